"""The way to the server: the front door that every client uses, through the daemon's own socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from roost.client import DaemonClient, NoDaemon, RoostClientError
from roost.verify.types import Answer, Arm, Case

HEADER = "x-roost-tools"
#: Others use the server too: who is told to come again does, so often.
_TRIES = 5
_LONGEST_WAIT_S = 10.0
_COME_AGAIN = (429, 503)


class Door(Protocol):
    async def whole(self, case: Case, arm: Arm) -> Answer: ...

    async def streamed(self, case: Case, arm: Arm) -> Answer: ...


@dataclass(frozen=True)
class FrontDoor:
    """Asks one model by its id. Raises NoDaemon when nobody is there any more."""

    client: DaemonClient
    model: str

    async def whole(self, case: Case, arm: Arm) -> Answer:
        for left in reversed(range(_TRIES)):
            try:
                reply = await self.client.complete(body_of(case, self.model), {HEADER: arm.value})
            except NoDaemon:
                raise
            except RoostClientError as error:
                return Answer(error.received_status or 0, fault=error.message)
            if reply.status not in _COME_AGAIN or not left:
                break
            await asyncio.sleep(_pause_s(reply.headers.get("retry-after", "")))
        return whole_answer(reply.status, reply.headers, reply.body)

    async def streamed(self, case: Case, arm: Arm) -> Answer:
        stream = Stream()
        body = {**body_of(case, self.model), "stream": True}
        try:
            async for event in self.client.events(body, {HEADER: arm.value}):
                stream.feed(event)
        except NoDaemon:
            raise
        except RoostClientError as error:
            return Answer(error.received_status or 0, fault=error.message)
        return stream.answer()


def body_of(case: Case, model: str) -> dict[str, Any]:
    """Greedy, unless the case says otherwise; what a case sets to None is left out."""
    body: dict[str, Any] = {"model": model, "messages": list(case.messages), "max_tokens": case.max_tokens}
    body |= {"tools": list(case.tools)} if case.tools else {}
    body |= {"temperature": 0} | dict(case.extra)
    return {key: value for key, value in body.items() if value is not None}


def _pause_s(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isdigit() else 1.0


def whole_answer(status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
    """An answer that is not in OpenAI's shape has a fault."""
    if status != 200:
        return Answer(status)
    try:
        choice = body["choices"][0]
        message = choice["message"]
        calls = tuple(
            (str(one["function"]["name"]), str(one["function"]["arguments"])) for one in message.get("tool_calls") or ()
        )
        return Answer(
            status,
            message.get("content") or "",
            message.get("reasoning_content") or "",
            calls,
            choice.get("finish_reason") or "",
            (body.get("usage") or {}).get("prompt_tokens"),
            headers.get(HEADER, ""),
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        return Answer(status, fault="the answer is not in OpenAI's shape")


@dataclass
class _Building:
    """One call of a stream."""

    name: str = ""
    arguments: str = ""


@dataclass
class Stream:
    """Puts chunks together as an SDK does, and sees what SDKs trip over."""

    content: str = ""
    reasoning: str = ""
    finish: str = ""
    fault: str = ""
    _calls: dict[int, _Building] = field(default_factory=dict)

    def feed(self, event: Mapping[str, Any]) -> None:
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            self.content += delta.get("content") or ""
            self.reasoning += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or ():
                self._feed_call(call)
            if reason := choice.get("finish_reason"):
                self.fault = self.fault or ("it ended twice" if self.finish else "")
                self.finish = reason

    def _feed_call(self, call: Mapping[str, Any]) -> None:
        index, function = call.get("index", 0), call.get("function") or {}
        if index not in self._calls:
            self._calls[index] = _Building()
            if not function.get("name"):
                self.fault = self.fault or "a call began without its name"
        building = self._calls[index]
        building.name = building.name or function.get("name") or ""
        building.arguments += function.get("arguments") or ""

    def answer(self) -> Answer:
        fault = self.fault or ("" if self.finish else "it had no finish_reason")
        calls = tuple((one.name, one.arguments) for _, one in sorted(self._calls.items()))
        return Answer(200, self.content, self.reasoning, calls, self.finish, fault=fault)
