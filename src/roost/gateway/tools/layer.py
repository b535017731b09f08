"""One request's calls and format: what its engine is told, how its answer is looked at, what is said about it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from roost.errors import RoostError, UnusableAnswer
from roost.gateway.exchange import Exchange
from roost.gateway.filters import CAP_FIELDS
from roost.gateway.splice import REMOVED
from roost.gateway.tools.ask import Ask, Format, Second
from roost.gateway.tools.label import Label
from roost.toolcalls.detector import Detector, detector
from roost.toolcalls.forced import breaks_format, forced_calls, forced_schema
from roost.toolcalls.sieve import Sieve
from roost.toolcalls.structured import CallDeltas
from roost.toolcalls.values import Finding, Mode, NoCall, Reason, Refusal, Tier, ToolCall, Tools
from roost.workers.types import ReadyWorker

#: Tokens of an answer that must be a call, when the request names no limit: a model that finds no end must find one.
FORCED_TOKENS = 4096


class Judge(Protocol):
    """Tells, while a text comes, how much of it is surely for the reader, and at its end what it is."""

    released: int

    def feed(self, text: str) -> None: ...

    def finish(self, *, cut: bool = False) -> Finding:
        """Raises RoostError for a text that is not what was demanded."""
        ...

    def abandon(self) -> None: ...


@dataclass
class Layer:
    """Only the request's own handler touches it."""

    ask: Ask
    exchange: Exchange
    model_id: str
    #: The model's chat template; None: unknown.
    template: str | None
    second: Second = field(default_factory=Second)
    #: The engine is held to the schema of a call.
    constrained: bool = False
    #: The engine holds itself to the format.
    enforced: bool = False
    label: Label = field(default_factory=Label)
    #: What the model is to be asked about once more; set by the answer's end.
    refusal: Refusal | None = None
    #: The answer has content or calls.
    spoke: bool = False
    _detector: Detector | None = None

    def changes(self, values: Mapping[str, Any], worker: ReadyWorker) -> dict[str, Any]:
        """What the body says differently to this worker."""
        ask = self.ask
        self.enforced = worker.traits.enforces_format
        self.constrained = ask.forced and self.enforced
        if not ask.forced:
            return {}
        changes: dict[str, Any] = {}
        if ask.named is not None:
            changes["tools"] = [tool for tool in values["tools"] if _name_of(tool) == ask.named]
        if all(values.get(key) is None for key in CAP_FIELDS):
            changes[worker.traits.max_tokens_field] = FORCED_TOKENS
        if self.constrained:
            schema = forced_schema(self.tools, several=ask.parallel is True and ask.named is None)
            changes["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "call", "schema": schema, "strict": True},
            }
            changes["tool_choice"] = REMOVED
            changes["parallel_tool_calls"] = REMOVED
        return changes

    @property
    def tools(self) -> Tools:
        """Those that may be called."""
        return self.ask.tools if self.ask.named is None else self.ask.tools.only(self.ask.named)

    def judge(self) -> Judge:
        """Of one choice's content."""
        if self.constrained:
            return _Constrained(self)
        if self.ask.format is not None:
            return _Formatted(self, self.ask.format)
        sieve = Sieve(self.detector)
        return _Demanded(self, sieve) if self.ask.forced else sieve

    @property
    def detector(self) -> Detector:
        if self._detector is None:
            # A call was demanded: whatever shape it has, it is no accident.
            mode = Mode.FULL if self.ask.forced else self.ask.mode
            second = self.second if not self.ask.forced else Second()
            self._detector = detector(self.tools, mode, self.template, forwards=second.forwards, asks=second.asks)
        return self._detector

    def thoughts(self) -> Sieve | None:
        """Of one choice's reasoning: a thought that never ends may end in a call."""
        return Sieve(self.detector) if self.ask.mode is not Mode.OFF and not self.constrained else None

    def deltas(self) -> CallDeltas:
        """Of the calls that the engine makes itself."""
        return CallDeltas(self.ask.tools, new_id)

    def few(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        """One at a time, if the request says so."""
        return calls[:1] if self.ask.parallel is False else calls

    def take(self, finding: Finding) -> None:
        """Keep what is to be said about a finding."""
        if finding.calls and not self.constrained and finding.tier is not None:
            self.label.repaired(finding.tier, finding.steps)
        elif not finding.calls:
            self.label.unrepaired(finding.reason)

    @property
    def is_sound(self) -> bool:
        """At the answer's end: it says something, and nothing in it is a call that may not be made."""
        return self.spoke and self.label.outcome != "unrepaired"

    @property
    def asks_again(self) -> bool:
        """The answer may have to be asked for again, so that none of it is told before that is known."""
        return bool(self.second.asks) and not self.ask.forced and self.ask.mode is not Mode.OFF

    def again(self, refusal: Refusal, worker: ReadyWorker) -> Layer:
        """Of the second answer. It must be a call only where the engine can be held to one, and where the model had
        chosen a tool by its own marks: with a wrong name the right answer may be that no tool fits."""
        forced = refusal.reason is Reason.SCHEMA and refusal.tier is Tier.MARKER and worker.traits.enforces_format
        return self._once_more(replace(self.ask, forced=forced), Label(asked=refusal.reason))

    def in_vain(self, refusal: Refusal) -> Layer:
        """Of the first answer once more, because the second was no better."""
        return self._once_more(self.ask, Label(asked=refusal.reason, in_vain=True))

    def _once_more(self, ask: Ask, label: Label) -> Layer:
        second = replace(self.second, asks=frozenset())
        return Layer(ask, self.exchange, self.model_id, self.template, second, label=label)

    def told(self) -> str | None:
        """The label, kept for header and log; None: the answer had nothing to do with calls."""
        if self.constrained:
            self.label.constrained()
        if self.ask.mode is not Mode.OFF or self.ask.forced:
            self.exchange.tools = str(self.label)
        return self.exchange.tools

    def finish_reason(self, given: str | None) -> str | None:
        """Of an answer with calls."""
        if given == "length":
            return given
        return "stop" if self.ask.named is not None else "tool_calls"

    def check_named(self, names: Iterable[str | None]) -> None:
        """Raises RoostError for calls of the engine's own that are not of the tool that was demanded."""
        if self.ask.named is not None and any(name != self.ask.named for name in names):
            raise self.no_call(False)

    def no_call(self, cut: bool) -> RoostError:
        """The error for prose where a call was demanded."""
        why = "reached its token limit before the call was complete" if cut else "answered without a valid call"
        what = f"{self.ask.named}" if self.ask.named else "a tool"
        return UnusableAnswer(
            f"{self.model_id} had to call {what} and {why}; ask again with a higher max_tokens, or choose a model "
            "that is verified for tools",
            param="tool_choice",
        )


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def new_id() -> str:
    """As OpenAI's ids look."""
    return f"call_{secrets.token_hex(12)}"


@dataclass
class _Held:
    """All of the text waits for its end."""

    layer: Layer
    pieces: list[str] = field(default_factory=list)
    released: int = 0

    def feed(self, text: str) -> None:
        self.pieces.append(text)

    def abandon(self) -> None:
        self.released = sum(map(len, self.pieces))


class _Constrained(_Held):
    """The text is a call by its schema."""

    def finish(self, *, cut: bool = False) -> Finding:
        try:
            return Finding(0, forced_calls("".join(self.pieces), self.layer.tools))
        except NoCall:
            raise self.layer.no_call(cut) from None


class _Formatted(_Held):
    """The text is JSON as it was asked for. Where the engine sees to that, only a look at the end is left to do."""

    def __init__(self, layer: Layer, wanted: Format) -> None:
        super().__init__(layer)
        self._wanted = wanted

    def feed(self, text: str) -> None:
        super().feed(text)
        if self.layer.enforced:
            self.released += len(text)

    def finish(self, *, cut: bool = False) -> Finding:
        text = "".join(self.pieces)
        broken = breaks_format(text, self._wanted.schema)
        if broken is not None and not (cut and self.layer.enforced):
            raise UnusableAnswer(
                f"{self.layer.model_id} broke the format that was asked for: {broken}"
                f"{', because it reached its token limit' if cut else ''}; ask again, or choose a model whose engine "
                "enforces formats (llama.cpp does)",
                param="response_format",
            )
        return Finding(len(text))


class _Demanded(_Held):
    """A call is demanded of an engine that cannot be held to it: nothing is said before there is one."""

    def __init__(self, layer: Layer, sieve: Sieve) -> None:
        super().__init__(layer)
        self._sieve = sieve

    def finish(self, *, cut: bool = False) -> Finding:
        for piece in self.pieces:
            self._sieve.feed(piece)
        found = self._sieve.finish(cut=cut)
        if not found.calls:
            raise self.layer.no_call(cut)
        return found
