"""What somebody may have meant. Suggestions are shown, never taken."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Below it a suggestion confuses more than it helps (difflib's ratio, 0 to 1).
CLOSE_ENOUGH = 0.6
SHOWN = 3


def nearest(name: str, known: Iterable[str], closeness: float = CLOSE_ENOUGH) -> list[str]:
    """At most three known names that look like `name`, best first."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return [by_folded[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded, SHOWN, closeness)]


def containing(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names that begin with or contain `name`, shortest first: half of an id typed."""
    wanted = name.casefold()
    found = [candidate for candidate in known if wanted and wanted in candidate.casefold()]
    return sorted(found, key=lambda candidate: (not candidate.casefold().startswith(wanted), len(candidate)))[:SHOWN]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean "a" or "b"?)`, or nothing when no known name is near."""
    names = list(known)
    found = list(dict.fromkeys([*containing(name, names), *nearest(name, names)]))[:SHOWN]
    shown = " or ".join(f'"{each}"' for each in found)
    return f" (did you mean {shown}?)" if found else ""
