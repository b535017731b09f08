"""Numbers and names as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

GIGABYTE = 10**9
MEGABYTE = 10**6
NOTHING = "-"


def size(size_bytes: int | None) -> str:
    """Decimal units, as disks and engines' own tables use them: `92 MB`, `19.2 GB`."""
    if size_bytes is None:
        return NOTHING
    if size_bytes >= GIGABYTE:
        return f"{size_bytes / GIGABYTE:.1f} GB"
    if size_bytes >= MEGABYTE:
        return f"{size_bytes / MEGABYTE:.0f} MB"
    return f"{size_bytes / 1000:.0f} kB"


def gib(size_bytes: int) -> str:
    """Binary units, as memory is sold: `188 MiB`, `19.2 GiB`."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """The two largest units: `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left_seconds = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left_seconds, "s")]
    shown = next((index for index, (amount, _) in enumerate(parts) if amount), 3)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[shown : shown + 2] if amount) or "0 s"


def count(amount: int | None) -> str:
    """Thousands apart: `8,192`."""
    return NOTHING if amount is None else f"{amount:,}"


def parameters(amount: int | None) -> str:
    """As models are named: `135M`, `30.5B`."""
    if amount is None:
        return NOTHING
    return f"{amount / GIGABYTE:.1f}B" if amount >= GIGABYTE else f"{amount / MEGABYTE:.0f}M"


def share(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{fraction:.0%}".replace("%", " %")


def seconds(value_s: float | None) -> str:
    return NOTHING if value_s is None else f"{value_s:.2f} s"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns two spaces apart; nothing is cut, so that every id can be copied."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def indented(label: str, lines: Sequence[str], width: int = 10) -> list[str]:
    """A block under a label: `label     first line`, the others below it."""
    return [f"{(label if index == 0 else ''):<{width}} {line}".rstrip() for index, line in enumerate(lines)]
