"""What status says of a worker's limits is what the kernel did, over a group's folder as the kernel shows it."""

from __future__ import annotations

from pathlib import Path

from roost.config.settings import Knobs, ModelSettings
from roost.host.control_groups import ControlGroups
from roost.memory.lines import Lines
from roost.memory.means import Abilities, Means
from roost.testing.stand_in import StandInEngine, declared_spec
from roost.workers.holding import Holdings
from roost.workers.start import StartOrder

ORDER = StartOrder(declared_spec("a"), StandInEngine(), Knobs(), ModelSettings())
LINES = Lines(15, 2**30, 2**30, 0)


def begun(folder: Path, device: str | None = "cpu") -> tuple[Holdings, list[Lines]]:
    """One start with its first lines."""
    holdings, told = Holdings(ControlGroups(folder), Abilities(data_limit=True)), list[Lines]()
    holdings.choose("a #1", ORDER, device)
    holdings.started("a #1", told.append)
    holdings.draw("a #1", LINES)
    return holdings, told


def test_a_worker_in_its_group_is_held_by_it(tmp_path: Path) -> None:
    holdings, (lines,) = begun(tmp_path)
    assert Path(lines.group).parent == tmp_path and not lines.data_bytes
    (Path(lines.group) / "cgroup.procs").write_text("17\n")
    holdings.look("a #1")
    assert holdings.of("a #1") is Means.GROUP


def test_a_group_that_cannot_be_made_gives_way_to_the_next_means(tmp_path: Path) -> None:
    holdings, (lines,) = begun(tmp_path / "gone")
    assert holdings.of("a #1") is Means.DATA_LIMIT
    assert not lines.group and lines.data_bytes > lines.limit_bytes
    assert begun(tmp_path / "gone", device=None)[0].of("a #1") is Means.WATCH


def test_a_worker_that_the_kernel_did_not_take_into_its_group_is_not_said_to_be_in_it(tmp_path: Path) -> None:
    holdings, told = begun(tmp_path)
    (Path(told[0].group) / "cgroup.procs").write_text("")
    holdings.look("a #1")
    holdings.draw("a #1", LINES)
    assert holdings.of("a #1") is Means.DATA_LIMIT and told[1].data_bytes
    holdings.ended("a #1")
    assert holdings.of("a #1") is None
