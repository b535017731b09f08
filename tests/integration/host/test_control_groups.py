"""Control groups as the kernel's files show them. No machine of these tests delegates real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roost.host.control_groups import ControlGroups, delegated_groups


def machine(root: Path, *, path: str = "/user.slice/roost.service", controllers: str = "memory pids") -> Path:
    """A /proc whose process is in a group of a hierarchy below `root`; the group's folder exists."""
    proc, mount = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(f"0::{path}\n")
    (proc / "self/mountinfo").write_text(f"41 31 0:38 / {mount} rw - cgroup2 cgroup2 rw\n")
    folder = mount / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(f"{controllers}\n")
    (folder / "cgroup.subtree_control").write_text("")
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return proc


def folder_of(root: Path) -> Path:
    return root / "cgroup/user.slice/roost.service"


def test_a_group_that_is_ours_alone_is_divided(tmp_path: Path) -> None:
    groups = delegated_groups(machine(tmp_path))
    assert groups == ControlGroups(folder_of(tmp_path)) and groups.prepare()
    assert (folder_of(tmp_path) / "daemon/cgroup.procs").read_text() == str(os.getpid())
    assert (folder_of(tmp_path) / "cgroup.subtree_control").read_text() == "+memory"
    group = groups.limit("worker-1", 5 * 2**20)
    assert group == folder_of(tmp_path) / "worker-1"
    told = {name: (group / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")}
    assert not groups.holds_somebody("worker-1")
    (group / "cgroup.procs").write_text("17\n")
    assert groups.holds_somebody("worker-1")
    assert told == {"memory.max": str(5 * 2**20), "memory.swap.max": "0", "memory.oom.group": "1"}


def test_one_of_others_of_a_containers_top_or_without_memory_is_left_alone(tmp_path: Path) -> None:
    shared = machine(tmp_path / "shared")
    procs = folder_of(tmp_path / "shared") / "cgroup.procs"
    procs.write_text(f"{os.getpid()}\n{os.getppid()}\n")
    assert delegated_groups(shared) is None
    assert delegated_groups(machine(tmp_path / "top", path="/")) is None
    assert delegated_groups(machine(tmp_path / "plain", controllers="pids")) is None
    assert delegated_groups(tmp_path / "nowhere") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_one_that_is_not_writable_is_left_alone(tmp_path: Path) -> None:
    proc = machine(tmp_path)
    (folder_of(tmp_path) / "cgroup.procs").chmod(0o444)
    assert delegated_groups(proc) is None


def test_a_kernel_that_refuses_is_no_error(tmp_path: Path) -> None:
    groups = ControlGroups(tmp_path / "gone")
    assert not groups.prepare() and groups.limit("worker-1", 1) is None
    groups.drop("worker-1")
