"""A row as every reader of the log can take it. Engines fill in counts and reasons, and engines are not trusted."""

from __future__ import annotations

from typing import Any

from roost.store.types import ActivityRow

#: SQLite's largest integer; a larger one is refused by the driver, not by the database.
_LARGEST_INTEGER = 2**63 - 1
#: Two thousand rows are kept in memory: a reason of a megabyte each would fill it.
_LONGEST_TEXT = 1000


def storable(row: ActivityRow) -> ActivityRow:
    """The row itself, or one whose impossible numbers are unknown and whose texts are cut and made printable."""
    changes: dict[str, Any] = {}
    # Asked for each request: no call for a value that is fine, and most are.
    value: Any
    for name, value in zip(row._fields, row, strict=True):
        kind = type(value)
        if kind is str:
            if len(value) > _LONGEST_TEXT or not value.isprintable():
                changes[name] = _plain(value[:_LONGEST_TEXT])
        elif kind is int and not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
            changes[name] = None
    return row._replace(**changes) if changes else row


def _plain(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, control characters play with terminals: both are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
