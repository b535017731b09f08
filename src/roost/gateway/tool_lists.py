"""Tools of another dialect as tools of a chat, kept for the next request: an agent sends the same ones with each turn.

The key is the text as it came, so that nothing is taken for a list that it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roost.gateway.splice import quick_literal

#: About as many programs as talk to one machine at a time.
MOST_LISTS = 16
#: A longer one is translated each time: it must not fill the memory.
LONGEST_CHARACTERS = 256 * 1024


@dataclass(frozen=True)
class ToolList:
    """One list, translated. Requests share it: nobody changes what is in it."""

    own: list[dict[str, Any]]
    #: Names of the tools that only the dialect's own servers have.
    foreign: tuple[str, ...]
    #: `own` as JSON text; None: nobody keeps it.
    text: str | None = None

    def texts(self) -> dict[str, str]:
        """What `compose` need not write again."""
        return {} if self.text is None else {"tools": self.text}


class ToolLists:
    """The lists that came last, each at most once."""

    def __init__(self, translate: Callable[[object], tuple[list[dict[str, Any]], list[str]]]) -> None:
        self._translate = translate
        self._kept: dict[str, ToolList] = {}

    def of(self, given: object, text: str | None) -> ToolList:
        """The translation of `given`, which came as `text`. Raises what that raises, and keeps nothing then."""
        if text is None or len(text) > LONGEST_CHARACTERS:
            own, foreign = self._translate(given)
            return ToolList(own, tuple(foreign))
        found = self._kept.pop(text, None)
        if found is None:
            own, foreign = self._translate(given)
            found = ToolList(own, tuple(foreign), quick_literal(own))
        # The last one that was asked for is the last one to go.
        self._kept[text] = found
        if len(self._kept) > MOST_LISTS:
            del self._kept[next(iter(self._kept))]
        return found

    def __len__(self) -> int:
        return len(self._kept)
