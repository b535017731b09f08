"""A row as every reader of the log can take it. Engines fill in token counts and reasons, and engines are not trusted."""

from __future__ import annotations

from dataclasses import fields, replace

from roost.store.types import ActivityRow

#: SQLite's largest integer; a larger one is refused by the driver, not by the database.
_LARGEST_INTEGER = 2**63 - 1
#: Two thousand rows are kept in memory: a reason of a megabyte each would fill it.
_LONGEST_TEXT = 1000


def storable(row: ActivityRow) -> ActivityRow:
    """The row itself, or one whose impossible numbers are unknown and whose texts are cut and made printable."""
    changes = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if (kept := _kept(value)) is not value:
            changes[field.name] = kept
    return replace(row, **changes) if changes else row


def _kept(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT and value.isprintable() else _plain(value[:_LONGEST_TEXT])
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return None
    return value


def _plain(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, control characters play with terminals: both are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
