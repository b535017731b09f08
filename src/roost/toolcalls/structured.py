"""Calls that the engine made itself. Most are sound and pass as they are; what engines get wrong is mended:
a first delta without a name, empty names and ids later, arguments encoded twice, control tokens in a name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost.toolcalls.calls import clean_name
from roost.toolcalls.literal import decode, dumped
from roost.toolcalls.schema import accepts
from roost.toolcalls.values import NoCall, Reason, Tools

NewId = Callable[[], str]


@dataclass(frozen=True)
class Mended:
    """Calls as they should have been. `steps` is empty when they were."""

    calls: list[dict[str, Any]]
    steps: tuple[str, ...] = ()
    reason: Reason | None = None


def mended(calls: Sequence[Mapping[str, Any]], tools: Tools, new_id: NewId) -> Mended:
    """The calls of a whole answer."""
    deltas = CallDeltas(tools, new_id)
    given = [{"index": index, **call} for index, call in enumerate(calls)]
    pieces = [*deltas.feed(given), *deltas.finish()]
    if not deltas.steps:
        return Mended([dict(call) for call in calls], (), deltas.reason)
    return Mended(_joined(pieces), tuple(deltas.steps), deltas.reason)


def _joined(pieces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        function = piece["function"]
        call = found.get(piece["index"])
        if call is None:
            call = {key: value for key, value in piece.items() if key != "index"}
            found[piece["index"]] = call | {"function": {"arguments": "", **function}}
        else:
            call["function"]["arguments"] += function.get("arguments", "")
    return list(found.values())


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    #: The header is out.
    told: bool = False
    #: The arguments are a JSON string: they wait for their end.
    quoted: bool = False
    arguments: list[str] = field(default_factory=list)
    #: Of these, so many pieces are out.
    sent: int = 0

    def waiting(self) -> str:
        return "".join(self.arguments[self.sent :])


class CallDeltas:
    """The `tool_calls` of one choice's deltas."""

    def __init__(self, tools: Tools, new_id: NewId) -> None:
        self._tools = tools
        self._new_id = new_id
        self._calls: dict[int, _Call] = {}
        #: What was mended.
        self.steps: dict[str, None] = {}
        self.reason: Reason | None = None

    def feed(self, deltas: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What goes on of some deltas; equal to them when nothing is wrong."""
        return [said for delta in deltas if (said := self._said(delta)) is not None]

    def finish(self) -> list[dict[str, Any]]:
        """What waited for the end."""
        return [said for index, call in self._calls.items() if (said := self._rest(index, call)) is not None]

    @property
    def truncated(self) -> bool:
        """Some call's arguments are not whole: the engine was cut off in the middle of them."""
        return self.reason is Reason.TRUNCATED

    def _said(self, delta: Mapping[str, Any]) -> dict[str, Any] | None:
        function = delta.get("function") or {}
        index = int(delta.get("index", 0))
        call = self._calls.setdefault(index, _Call())
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            self._did("object_arguments")
            arguments = dumped(arguments)
        if arguments:
            call.arguments.append(arguments)
        if call.told:
            return self._later(delta, function, index, call)
        return self._header(delta, function, index, call)

    def _header(
        self, delta: Mapping[str, Any], function: Mapping[str, Any], index: int, call: _Call
    ) -> dict[str, Any] | None:
        """The delta that names the call, once there is a name."""
        call.id = call.id or str(delta.get("id") or "")
        given = str(function.get("name") or "")
        if not given:
            self._did("late_name")
            return None
        call.name = self._cleaned(given)
        call.told = True
        call.quoted = call.waiting().lstrip().startswith('"')
        if not call.id:
            call.id = self._new_id()
            self._did("id")
        said = "" if call.quoted else call.waiting()
        call.sent = 0 if call.quoted else len(call.arguments)
        sound = delta.get("id") == call.id and given == call.name and function.get("arguments", "") == said
        if sound:
            return dict(delta)
        header = {"name": call.name, "arguments": said}
        return {**delta, "index": index, "id": call.id, "type": "function", "function": header}

    def _later(
        self, delta: Mapping[str, Any], function: Mapping[str, Any], index: int, call: _Call
    ) -> dict[str, Any] | None:
        """More arguments; a name or an id is said once."""
        if not call.sent and call.waiting().lstrip().startswith('"'):
            call.quoted = True
        repeated = "name" in function or "id" in delta
        if repeated:
            self._did("repeated_header")
        if call.quoted:
            return None
        said = call.waiting()
        call.sent = len(call.arguments)
        if not repeated and said == function.get("arguments"):
            return dict(delta)
        return {"index": index, "function": {"arguments": said}} if said else None

    def _cleaned(self, name: str) -> str:
        try:
            cleaned, steps = clean_name(name, self._tools)
        except NoCall as refused:
            self.reason = refused.reason
            return name
        for step in steps:
            self._did(step)
        return cleaned

    def _rest(self, index: int, call: _Call) -> dict[str, Any] | None:
        text = "".join(call.arguments)
        if not call.told:
            return None
        if call.quoted:
            said = self._decoded(text)
        elif not text.strip() and self._takes_nothing(call.name):
            self._did("empty_arguments")
            said = "{}"
        else:
            said = ""
        if not _is_object(said or text):
            self.reason = self.reason or Reason.TRUNCATED
        return {"index": index, "function": {"arguments": said}} if said else None

    def _decoded(self, text: str) -> str:
        """Arguments encoded twice, with one layer taken off; as they are when no object lies below."""
        try:
            inner = decode(text)
        except ValueError:
            return text
        if not isinstance(inner, str) or not _is_object(inner):
            return text
        self._did("decoded_arguments")
        return inner

    def _takes_nothing(self, name: str) -> bool:
        tool = self._tools.by_name.get(name)
        return tool is not None and accepts(tool, {})

    def _did(self, step: str) -> None:
        self.steps[step] = None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
