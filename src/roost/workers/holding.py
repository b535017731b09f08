"""What a start may take of the memory: told to its guardian once there is one, and to the kernel where that listens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from roost.engines.containers import PROGRAMS
from roost.host.control_groups import ControlGroups
from roost.host.this import counts_private_memory, this_control_groups
from roost.memory.lines import Beyond, Lines, why_ended
from roost.memory.means import Abilities, Means, held_by, means_for
from roost.workers.process import WorkerProcess
from roost.workers.start import StartOrder

log = structlog.get_logger(__name__)


class Holding:
    """One start. Lines may be drawn before there is a process, and again while it runs."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._process: WorkerProcess | None = None

    def hold_to(self, lines: Lines) -> None:
        self._lines = lines
        if self._process:
            self._process.hold_to(lines)

    def hold(self, process: WorkerProcess) -> None:
        self._process = process
        if self._lines:
            process.hold_to(self._lines)

    @property
    def beyond(self) -> Beyond | None:
        return self._process.beyond if self._process else None

    def why_ended(self) -> str:
        """ "" unless its guardian ended it for its memory."""
        if self._lines is None or self.beyond is None:
            return ""
        return f"was ended for its memory: {why_ended(self._lines, self.beyond)}"


@dataclass
class Holdings:
    """All starts of a pool, and the means by which each is held."""

    groups: ControlGroups | None = None
    abilities: Abilities = field(default_factory=Abilities)
    _means: dict[str, Means] = field(default_factory=dict)
    #: What holds it should the kernel refuse its group.
    _else: dict[str, Means] = field(default_factory=dict)
    _hold_to: dict[str, Callable[[Lines], None]] = field(default_factory=dict)

    def choose(self, start: str, order: StartOrder, device: str | None) -> Means:
        """`device`: what it computes on, if its size is known by more than somebody's word."""
        in_container = _in_container(order)
        abilities = replace(self.abilities, groups=self.groups is not None)
        chosen = means_for(abilities, device=device, in_container=in_container)
        self._means[start] = chosen
        self._else[start] = means_for(replace(abilities, groups=False), device=device, in_container=in_container)
        return chosen

    def started(self, start: str, hold_to: Callable[[Lines], None]) -> None:
        self._hold_to[start] = hold_to

    def of(self, start: str) -> Means | None:
        """What holds it, as far as was seen; None: nothing of it is here."""
        return self._means.get(start)

    def look(self, start: str) -> None:
        """Once it is ready: whether the kernel took it into its group. Its guardian puts it there, and goes on if it
        cannot."""
        if self._means.get(start) is Means.GROUP and not (self.groups and self.groups.holds_somebody(_group_of(start))):
            self._refused(start)

    def _refused(self, start: str) -> Means:
        means = self._means[start] = self._else.get(start, Means.WATCH)
        log.warning("not in a control group", start=start, held_by=means.value)
        return means

    def draw(self, start: str, lines: Lines) -> None:
        means, hold_to = self._means.get(start, Means.WATCH), self._hold_to.get(start)
        if hold_to is None:
            return
        group = None
        if means is Means.GROUP and self.groups:
            group = self.groups.limit(_group_of(start), lines.limit_bytes)
            means = means if group else self._refused(start)
        lines = held_by(means, lines, self.abilities)
        hold_to(replace(lines, group=str(group)) if group else lines)

    def ended(self, start: str) -> None:
        """Nothing of it runs any more."""
        self._hold_to.pop(start, None)
        self._else.pop(start, None)
        if self._means.pop(start, None) is Means.GROUP and self.groups:
            self.groups.drop(_group_of(start))


def holdings_here() -> Holdings:
    """With what this machine has. Called once, before anything is started: the daemon may move into a group."""
    groups = this_control_groups()
    if groups and not groups.prepare():
        groups = None
    return Holdings(groups, Abilities(data_limit=counts_private_memory(), cpus=os.cpu_count() or 1))


def _group_of(start: str) -> str:
    """A file name for a name that may hold anything."""
    return f"worker-{hashlib.sha256(start.encode()).hexdigest()[:16]}"


def _in_container(order: StartOrder) -> bool:
    """What it takes is the container's, whose client alone is ours."""
    command = order.model.command
    words = command.cmd.split() if command and isinstance(command.cmd, str) else list(command.cmd) if command else []
    return bool(words) and Path(words[0]).name in PROGRAMS
