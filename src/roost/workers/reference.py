"""docs/reference/worker-states.md, written from the lifecycle table: `python -m roost.workers.reference`."""

from __future__ import annotations

import sys

from roost.workers.lifecycle import TABLE, Effect, State

MEANINGS: dict[State, str] = {
    State.STOPPED: "no process; a request may start one",
    State.LOADING: "the process runs, its weights are on their way",
    State.PROVING: "the engine says it can generate; roost checks whose weights it serves",
    State.READY: "proven; the only state in which requests are sent",
    State.DRAINING: "asked to go: what runs ends, nothing new is sent",
    State.STOPPING: "told to end or killed; its memory is not free yet",
    State.BACKOFF: "failed twice in a row: requests get the reason and Retry-After, nothing is started",
    State.FAILED: "failed too often: `roost restart ID` starts it again",
}


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> stopped"]
    for (state, event), (target, effect) in TABLE.items():
        act = f" / {effect.value}" if effect is not Effect.NOTHING else ""
        lines.append(f"    {state.value} --> {target.value}: {event.value}{act}")
    return "\n".join(lines) + "\n"


def page() -> str:
    rows = "\n".join(f"| `{state.value}` | {MEANINGS[state]} |" for state in State)
    return (
        "# States of a worker\n\n"
        "Written from the table that the code runs (`roost.workers.lifecycle`); do not edit.\n\n"
        f"| state | meaning |\n|---|---|\n{rows}\n\n"
        f"```mermaid\n{mermaid()}```\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
