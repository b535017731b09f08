"""Of a model that thinks: its thoughts in `reasoning_content` whatever its engine does, one switch whatever its
template calls it, and a word when it never came to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost.errors import InvalidType, Refused
from roost.gateway.exchange import Exchange
from roost.gateway.filters import BodyPolicy
from roost.gateway.splice import REMOVED
from roost.toolcalls.thoughts import opens_in_prompt, split, switch_of
from roost.workers.types import ReadyWorker

EFFORT, BUDGET, ARGUMENTS = "reasoning_effort", "thinking_budget_tokens", "chat_template_kwargs"
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_UNTOLD = {"off": "none", "on": "medium"}
#: Where engines put thoughts; clients read the first.
FIELD, OTHER_FIELD = "reasoning_content", "reasoning"


@dataclass
class Thoughts:
    """One request to a model that thinks. Only its handler touches it."""

    exchange: Exchange
    model_id: str
    template: str
    #: Arguments for the template, by its own names.
    switch: Mapping[str, object]
    #: Tokens that it may think; None: no limit.
    budget: int | None
    #: An answer begins inside a thought, and the engine does not tell.
    inside: bool = False

    def changes(self, values: Mapping[str, Any], policy: BodyPolicy, worker: ReadyWorker) -> dict[str, Any]:
        """What the body says differently to this worker. Raises Refused for a budget that its engine cannot keep."""
        changes: dict[str, Any] = {}
        given = values.get(ARGUMENTS) or {}
        arguments = {**policy.template_arguments, **given, **self.switch}
        if self.switch:
            changes[ARGUMENTS] = arguments
        on = arguments.get("enable_thinking", arguments.get("thinking", True)) is not False
        self.inside = on and not worker.traits.splits_thoughts and opens_in_prompt(self.template)
        return changes | self._budget(values, worker)

    def _budget(self, values: Mapping[str, Any], worker: ReadyWorker) -> dict[str, Any]:
        if self.budget is None:
            return {}
        field = worker.traits.thinking_budget_field
        if field is None:
            if values.get(BUDGET) is None:
                return {}
            raise Refused(
                f"cannot keep `{BUDGET}`: the engine of {self.model_id} ({worker.engine}) knows no such limit; leave "
                "it out, or serve the model with llama.cpp",
                param=BUDGET,
            )
        return {BUDGET: REMOVED, field: self.budget} if field != BUDGET else {field: self.budget}

    def settle(self, answer: dict[str, Any]) -> bool:
        """Whether a whole answer was changed, which is done in place. Keeps whether it came to an answer."""
        choices = answer.get("choices")
        changed = False
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                changed = self._settle(message) or changed
                self.judge(
                    choice.get("finish_reason"),
                    spoke=bool(message.get("content") or message.get("tool_calls")),
                    thought=bool(message.get(FIELD)),
                )
        return changed

    def _settle(self, message: dict[str, Any]) -> bool:
        if isinstance(message.get(OTHER_FIELD), str) and FIELD not in message:
            message[FIELD] = message.pop(OTHER_FIELD)
            return True
        content = message.get("content")
        if message.get(FIELD) or not isinstance(content, str):
            return False
        thought, said = split(content, inside=self.inside)
        if said == content:
            return False
        message["content"] = said or None
        message[FIELD] = thought
        return True

    def judge(self, finish_reason: object, *, spoke: bool, thought: bool) -> None:
        """A model that spent all its tokens on thinking has not answered: it is told, not hidden."""
        if finish_reason == "length" and thought and not spoke:
            self.exchange.thinking = "unfinished"


def thoughts_of(
    values: Mapping[str, Any], template: str | None, model_id: str, exchange: Exchange, policy: BodyPolicy
) -> Thoughts:
    """Of a request to a model with the capability `thinking`. Raises InvalidType, Refused."""
    effort = values.get(EFFORT)
    if effort is not None and effort not in _EFFORTS:
        raise InvalidType(f"`{EFFORT}` must be one of {', '.join(_EFFORTS)}", param=EFFORT)
    wanted = effort or _UNTOLD.get(policy.thinking)
    switch = switch_of(template or "", wanted) if wanted is not None else {}
    if switch is None and effort == "none":
        raise Refused(
            f"cannot turn off the thinking of {model_id}: its chat template has no switch for it; leave `{EFFORT}` "
            "out, or choose another model",
            param=EFFORT,
        )
    return Thoughts(exchange, model_id, template or "", switch or {}, _budget_of(values, policy))


def _budget_of(values: Mapping[str, Any], policy: BodyPolicy) -> int | None:
    budget = values.get(BUDGET)
    if budget is None:
        return policy.thinking_budget
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        raise InvalidType(f"`{BUDGET}` must be a whole number of tokens", param=BUDGET)
    return budget
