"""docs/reference/worker-states.md, written from the tables: `python -m roost.workers.reference`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from roost.workers import standby
from roost.workers.lifecycle import TABLE, State

MEANINGS: dict[State, str] = {
    State.STOPPED: "no process; a request may start one",
    State.LOADING: "the process runs, its weights are on their way",
    State.PROVING: "the engine says it can generate; roost checks whose weights it serves",
    State.READY: "proven; the only state in which requests are sent",
    State.DRAINING: "asked to go: what runs ends, nothing new is sent",
    State.PARKING: "told to give its memory back; its process stays",
    State.PARKED: "its memory is back, its process waits: the next request wakes it, as a load that takes less time",
    State.STOPPING: "told to end or killed; its memory is not free yet",
    State.BACKOFF: "failed twice in a row: requests get the reason and Retry-After, nothing is started",
    State.FAILED: "failed too often: `roost restart ID` starts it again",
}


SPARE_MEANINGS: dict[standby.State, str] = {
    standby.State.ABSENT: "no process: none is wanted, there is no room, or a model is being loaded",
    standby.State.IMPORTING: "its imports are under way; a start may take it already",
    standby.State.STANDBY: "waits for a model",
    standby.State.ENDING: "being ended: turned off, made with other settings, memory is short, or roost stops",
    standby.State.BACKOFF: "ended by itself: the next one is started after a pause",
    standby.State.FAILED: "ended by itself too often: the next one is started when its settings or the engine change",
}


def mermaid(table: Mapping[tuple[Any, Any], tuple[Any, Any]] = TABLE, first: StrEnum = State.STOPPED) -> str:
    """A table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}"]
    for (state, event), (target, effect) in table.items():
        act = f" / {effect.value}" if effect.value != "nothing" else ""
        lines.append(f"    {state.value} --> {target.value}: {event.value}{act}")
    return "\n".join(lines) + "\n"


def page() -> str:
    spares = mermaid(standby.TABLE, standby.State.ABSENT)
    return (
        "# States of a worker\n\n"
        "Written from the tables that the code runs (`roost.workers.lifecycle`, `roost.workers.standby`); do not "
        "edit.\n\n"
        f"{_meanings(MEANINGS)}\n```mermaid\n{mermaid()}```\n\n"
        "## A spare\n\n"
        "[Warm standby](../explanation/standby.md): a process without a model.\n\n"
        f"{_meanings(SPARE_MEANINGS)}\n```mermaid\n{spares}```\n"
    )


def _meanings(meanings: Mapping[State, str] | Mapping[standby.State, str]) -> str:
    rows = "".join(f"| `{state.value}` | {meaning} |\n" for state, meaning in meanings.items())
    return f"| state | meaning |\n|---|---|\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(page())
