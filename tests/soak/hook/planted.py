"""Defects, each one function of roost replaced in the daemon under test. A soak that stays green with one is blind.

Loaded by sitecustomize.py beside it, for a daemon that the soak started and for no other.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from roost.errors import ModelNotFound, RoostError


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Puts `make(what was there)` in its place.

    Raises AttributeError when there is nothing of that name any more, TypeError when it is called otherwise now: a
    defect that only breaks every call would be found, and prove nothing.
    """
    there = getattr(owner, name)
    planted = make(there)
    needed = [one for one in inspect.signature(there).parameters.values() if one.default is one.empty]
    positional = [one.name for one in needed if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    keywords = {one.name: None for one in needed if one.kind is one.KEYWORD_ONLY}
    inspect.signature(planted).bind(*positional, **keywords)
    setattr(owner, name, planted)


def no_host_check() -> None:
    """Any web page may speak to it."""
    from roost.gateway import app

    replace(app, "check_host", lambda check: lambda *asked: None)


def clean_end_accepted() -> None:
    """A stream whose engine went away ends as if it were complete."""
    from roost.gateway import streaming

    def make(whole):
        async def pump(job, upstream, rewriter, out, rewrites):
            try:
                await whole(job, upstream, rewriter, out, rewrites)
            except RoostError:
                if rewriter.facts.error is not None:
                    raise

        return pump

    replace(streaming, "_pump", make)


def stop_invented() -> None:
    """A stream whose engine went away gets an ending that no engine sent."""
    from roost.gateway import streaming

    def make(whole):
        async def pump(job, upstream, rewriter, out, rewrites):
            try:
                await whole(job, upstream, rewriter, out, rewrites)
            except RoostError:
                if rewriter.facts.error is not None:
                    raise
                choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
                chunk = {"model": job.model_id, "choices": [choice], "usage": {"completion_tokens": 1}}
                await out.write(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

        return pump

    replace(streaming, "_pump", make)


def slot_kept() -> None:
    """A client that leaves in mid-answer keeps its place."""
    from roost.workers.supervisor import Supervisor

    def make(leave):
        def keep(self, station, place):
            task = asyncio.current_task()
            if not (place in station.running and task is not None and task.cancelling()):
                leave(self, station, place)

        return keep

    replace(Supervisor, "leave", make)


def queue_kept() -> None:
    """A client that leaves while it waits stays in line."""
    from roost.workers.supervisor import Supervisor

    def make(leave):
        def keep(self, station, place):
            if place not in station.waiting:
                leave(self, station, place)

        return keep

    replace(Supervisor, "leave", make)


def log_teed() -> None:
    """What a worker prints is written down as it is."""
    from roost.workers import logs

    replace(logs, "redact", lambda redact: lambda line: line)


def default_substituted() -> None:
    """An unknown name is served by the default."""
    from roost.gateway.state import Gateway

    def make(resolve):
        def substitute(self, name, **how):
            try:
                return resolve(self, name, **how)
            except ModelNotFound:
                return resolve(self, "default", **how)

        return substitute

    replace(Gateway, "resolve", make)


def registry_in_place() -> None:
    """The registry is written over the old one."""
    from roost.registry import write

    def overwrite(path, data, *, mode, owner=None):
        pathlib.Path(path).write_bytes(data)

    replace(write, "replace_file", lambda atomic: overwrite)


def workers_outlive() -> None:
    """Nothing ends a worker when its daemon is killed."""
    from roost.workers import process

    guardian = str(pathlib.Path(__file__).with_name("careless_guardian.py"))

    def make(command):
        def careless(*asked):
            return [guardian if word.endswith("/guardian.py") else word for word in command(*asked)]

        return careless

    replace(process, "_command", make)


def busy_killed() -> None:
    """A swap does not wait for the requests that run."""
    from roost.workers.floor import Floor
    from roost.workers.lifecycle import Event, State

    def make(finish):
        def at_once(self):
            for station in self._stations.values():
                if station.state is State.DRAINING:
                    self._post(station, Event.DRAINED)
            finish(self)

        return at_once

    replace(Floor, "_finish_drains", make)


def wedge_unseen() -> None:
    """A worker that does nothing is left alone."""
    from roost.workers import run

    async def alive(patient):
        return False

    replace(run, "is_dead", lambda look: alive)


def names_crossed() -> None:
    """An answer is relayed under the name that was asked for, whoever gave it."""
    from roost.workers.supervisor import Supervisor

    def make(enter):
        def other(self, model_id, entry):
            ready = [s.model_id for s in self._stations.values() if s.state.value == "ready" and "other" in s.model_id]
            return enter(self, ready[0] if ready and model_id.endswith("Q4_1") else model_id, entry)

        return other

    replace(Supervisor, "enter", make)


DEFECTS: dict[str, Callable[[], None]] = {
    "no host check": no_host_check,
    "clean end accepted": clean_end_accepted,
    "stop invented": stop_invented,
    "slot kept": slot_kept,
    "queue kept": queue_kept,
    "log teed": log_teed,
    "default substituted": default_substituted,
    "registry in place": registry_in_place,
    "workers outlive": workers_outlive,
    "busy killed": busy_killed,
    "wedge unseen": wedge_unseen,
    "names crossed": names_crossed,
}


def plant(name: str) -> None:
    """Replace what the named defect replaces; said on stderr, so that no green comes of a defect that is not there."""
    DEFECTS[name]()
    sys.stderr.write(f"planted: {name}\n")
