"""Loops of dependent calls: each result says what the next call must be. The tools behind them are functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roost.verify.toolbox import TEXT, TOOLS, WHOLE, tool
from roost.verify.types import Call


@dataclass(frozen=True)
class Loop:
    """`call` is the right call of a round, counted from 1, and `result` what its tool answers."""

    name: str
    rounds: int
    tools: tuple[Mapping[str, Any], ...]
    system: str
    user: str
    call: Callable[[int], Call]
    result: Callable[[int], dict[str, Any]]


def loops(rounds: int) -> list[Loop]:
    """Numbers, codes, and two tools in turn."""
    return [_dial(rounds), _pages(rounds), _ledger(rounds)]


def _number(seed: str, step: int, most: int) -> int:
    """A number from 0 below `most`, the same at every run."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:4]) % most


_RULE = "Make exactly one call at a time, until a result says that it is done; then answer with the word done."
_DIAL = tool("turn_dial", "Turn the dial to a number.", number=WHOLE)
_PAGE = tool("open_page", "Open the page with this code.", code=TEXT)
_READ = tool("read_entry", "Read an entry of the ledger.", entry_id=WHOLE)
_POST = tool("post_amount", "Post the amount that the entry had.", amount=WHOLE)


def _dial(rounds: int) -> Loop:
    def number(step: int) -> int:
        return 10 + _number("dial", step, 90)

    def result(step: int) -> dict[str, Any]:
        return {"done": True} if step == rounds else {"next_number": number(step + 1)}

    return Loop(
        "dial",
        rounds,
        (_DIAL, TOOLS["set_lamp"], TOOLS["get_weather"]),
        f"You open a safe with turn_dial. Each result has the next number. {_RULE}",
        f"Begin: turn the dial to {number(1)}.",
        lambda step: Call("turn_dial", {"number": number(step)}),
        result,
    )


def _pages(rounds: int) -> Loop:
    def code(step: int) -> str:
        letters = "".join(chr(65 + _number(f"page {place}", step, 26)) for place in range(3))
        return f"{letters}-{_number('page', step, 1000):03d}"

    def result(step: int) -> dict[str, Any]:
        text = f"Page {step} of a long book. " + "It tells of nothing that matters. " * (step % 4)
        return {"text": text, "done": True} if step == rounds else {"text": text, "next_code": code(step + 1)}

    return Loop(
        "pages",
        rounds,
        (_PAGE, TOOLS["read_file"], TOOLS["search_files"]),
        f"You read a book page by page with open_page. Each result has the code of the next page. {_RULE}",
        f"Begin with the page whose code is {code(1)}.",
        lambda step: Call("open_page", {"code": code(step)}),
        result,
    )


def _ledger(rounds: int) -> Loop:
    """Entry, its amount, the next entry, its amount."""

    def entry(step: int) -> int:
        return 100 + _number("entry", (step + 1) // 2, 900)

    def amount(step: int) -> int:
        return 1 + _number("amount", step // 2 if step % 2 == 0 else (step + 1) // 2, 5000)

    def call(step: int) -> Call:
        if step % 2:
            return Call("read_entry", {"entry_id": entry(step)})
        return Call("post_amount", {"amount": amount(step)})

    def result(step: int) -> dict[str, Any]:
        if step == rounds:
            return {"done": True}
        return {"amount": amount(step + 1)} if step % 2 else {"posted": True, "next_entry_id": entry(step + 1)}

    return Loop(
        "ledger",
        rounds,
        (_READ, _POST, TOOLS["delete_note"]),
        f"You copy a ledger: read_entry gives an amount, post_amount posts it and gives the next entry. {_RULE}",
        f"Begin with the entry {entry(1)}.",
        call,
        result,
    )
