"""Defects, each one function of roost replaced in the daemon under test. A soak that stays green with one is blind.

Loaded by sitecustomize.py beside it, for a daemon that the soak started and for no other.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from collections.abc import Callable

from roost.errors import ModelNotFound, RoostError


def no_host_check() -> None:
    """Any web page may speak to it."""
    from roost.gateway import app

    app.check_host = lambda values, hosts: None


def clean_end_accepted() -> None:
    """A stream whose engine went away ends as if it were complete."""
    from roost.gateway import streaming

    whole = streaming._pump

    async def pump(job, upstream, rewriter, out):
        try:
            await whole(job, upstream, rewriter, out)
        except RoostError:
            if rewriter.facts.error is not None:
                raise

    streaming._pump = pump


def stop_invented() -> None:
    """A stream whose engine went away gets an ending that no engine sent."""
    from roost.gateway import streaming

    whole = streaming._pump

    async def pump(job, upstream, rewriter, out):
        try:
            await whole(job, upstream, rewriter, out)
        except RoostError:
            if rewriter.facts.error is not None:
                raise
            choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
            chunk = {"object": "chat.completion.chunk", "model": job.model_id, "choices": [choice], "usage": {"n": 1}}
            await out.write(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

    streaming._pump = pump


def slot_kept() -> None:
    """A client that leaves in mid-answer keeps its place."""
    from roost.workers.supervisor import Supervisor

    leave = Supervisor.leave

    def keep(self, station, place):
        task = asyncio.current_task()
        if not (place in station.running and task is not None and task.cancelling()):
            leave(self, station, place)

    Supervisor.leave = keep


def queue_kept() -> None:
    """A client that leaves while it waits stays in line."""
    from roost.workers.supervisor import Supervisor

    leave = Supervisor.leave

    def keep(self, station, place):
        if place not in station.waiting:
            leave(self, station, place)

    Supervisor.leave = keep


def log_teed() -> None:
    """What a worker prints is written down as it is."""
    from roost.workers import logs

    logs.redact = lambda line: line


def default_substituted() -> None:
    """An unknown name is served by the default."""
    from roost.gateway.state import Gateway

    resolve = Gateway.resolve

    def substitute(self, name):
        try:
            return resolve(self, name)
        except ModelNotFound:
            return resolve(self, "default")

    Gateway.resolve = substitute


def registry_in_place() -> None:
    """The registry is written over the old one."""
    from roost.registry import write

    def overwrite(path, data, *, mode, owner=None):
        pathlib.Path(path).write_bytes(data)

    write.replace_file = overwrite


def workers_outlive() -> None:
    """Nothing ends a worker when its daemon is killed."""
    from roost.workers import process

    command = process._command
    guardian = str(pathlib.Path(__file__).with_name("careless_guardian.py"))

    def careless(plan, life, status, nice):
        # Without -I and -S it could be hooked itself: only the script is another one.
        return [word if not word.endswith("/guardian.py") else guardian for word in command(plan, life, status, nice)]

    process._command = careless


def busy_killed() -> None:
    """A swap does not wait for the requests that run."""
    from roost.workers.floor import Floor
    from roost.workers.lifecycle import Event, State

    finish = Floor._finish_drains

    def at_once(self):
        for station in self._stations.values():
            if station.state is State.DRAINING:
                self._post(station, Event.DRAINED)
        finish(self)

    Floor._finish_drains = at_once


def wedge_unseen() -> None:
    """A worker that does nothing is left alone."""
    from roost.workers import run

    async def alive(patient):
        return False

    run.is_dead = alive


def names_crossed() -> None:
    """An answer is relayed under the name that was asked for, whoever gave it."""
    from roost.workers.supervisor import Supervisor

    enter = Supervisor.enter

    def other(self, model_id, entry):
        ready = [s.model_id for s in self._stations.values() if s.state.value == "ready" and "other" in s.model_id]
        return enter(self, ready[0] if ready and model_id.endswith("Q4_1") else model_id, entry)

    Supervisor.enter = other


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
