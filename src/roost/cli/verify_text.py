"""What `roost models verify` shows: progress while it asks, then engine and served numbers side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from roost.cli import format as people

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from roost.store.verdicts import GroupShare, Verdict
    from roost.verify.types import Group, Result

_EVERY = 0.25


class Steps:
    """A bar a group on a terminal, elsewhere a line for each quarter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}

    def show(self, group: Group, done: int, total: int) -> None:
        if self._stream.isatty():
            self._draw(group, done, total)
            return
        quarter = int(done / total / _EVERY) if total else 0
        if quarter > self._said.get(group, 0):
            self._said[group] = quarter
            self._stream.write(f"  {group}: {done} of {total}\n")
            self._stream.flush()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _draw(self, group: Group, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = _bars(self._stream)
            self._progress.start()
        if group not in self._tasks:
            self._tasks[group] = self._progress.add_task(f"{group:12}", total=total)
        self._progress.update(self._tasks[group], completed=done)


def _bars(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(file=stream))


def shares(results: Sequence[Result]) -> Iterator[GroupShare]:
    """One a group and arm, in the order of the battery."""
    from roost.store.verdicts import GroupShare
    from roost.verify.types import Arm, Group, Outcome, tally

    for group in Group:
        for arm, name in ((Arm.ENGINE, "engine"), (Arm.SERVED, "served")):
            found = tally(results, group, arm)
            others = Counter(one.value for one in found.outcomes if one is not Outcome.OK)
            if found.count:
                yield GroupShare.model_validate(
                    {"group": group.value, "arm": name, "passed": found.passed, "count": found.count, "others": others}
                )


def lines(verdict: Verdict, *, kept: bool) -> list[str]:
    """The table and the verdict, most important last."""
    by_group: dict[str, dict[str, GroupShare]] = {}
    for share in verdict.groups:
        by_group.setdefault(share.group, {})[share.arm] = share
    rows = [("group", "engine alone", "as clients get it", "what went wrong then")]
    for group, arms in by_group.items():
        served = arms["served"]
        others = ", ".join(f"{count} {what}" for what, count in served.others.items())
        rows.append((group, _share(arms.get("engine")), _share(served), others))
    found = f"{verdict.model}: {verdict.word} for tools"
    if verdict.passed:
        found += f"; roost looks for its calls in mode {verdict.tools}"
    return [
        *people.columns(rows),
        *(f"  {reason}" for reason in verdict.reasons),
        found if kept else f"{found}, by a quarter of the battery: nothing was kept",
    ]


def tools_line(model: str, holds: Verdict | None, last: Verdict | None) -> str:
    """Of `models show`: the verdict that holds, else what there was and the command that mends it."""
    mend = f'run "roost models verify {model}" while roost is up'
    if holds is not None:
        told = f"{holds.word}, verified {_day(holds)}"
    elif last is not None:
        told = f"unverified: it was {last.word} on {_day(last)}, and is served otherwise now; {mend}"
    else:
        told = f"unverified; {mend}"
    return f"{'tools':<13} {told}"


def _day(verdict: Verdict) -> str:
    return datetime.fromtimestamp(verdict.at).date().isoformat()


def _share(share: GroupShare | None) -> str:
    """With the 95 % interval, which for few cases is wide."""
    from roost.verify.interval import wilson

    if share is None:
        return ""
    low, high = wilson(share.passed, share.count)
    return f"{share.passed}/{share.count} ({low:.2f}-{high:.2f})"
