"""The status report: what it makes of spares."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from roost.api import Problem
from roost.config.settings import Settings
from roost.daemon.status import Sources, build_status
from roost.host.types import Host, MemoryReading
from roost.registry.types import Registry, RegistryState
from roost.store.keys import KeyFile
from roost.store.types import CLIENT_CLOSED
from roost.testing.stand_in import FixedCatalog, declared_spec
from roost.workers.types import WaitingSpare
from tests.helpers import activity_row

HOST = SimpleNamespace(memory=lambda: MemoryReading(16, 8, 0, None), chip=lambda: "chip")


def sources(folder: Path, *spares: WaitingSpare) -> Sources:
    values: dict[str, Any] = {
        "host": cast(Host, HOST),
        "catalog": FixedCatalog({"a": declared_spec("a")}),
        "settings": Settings,
        "registry": lambda: RegistryState(Registry(roles={"default": "a"})),
        "workers": tuple,
        "spares": lambda: spares,
        "recent": tuple,
        "draining": lambda: False,
        "keys": KeyFile(folder / "keys"),
        "further_problems": tuple,
        "settings_problem": lambda: None,
        "address": lambda: ("127.0.0.1", 1),
        "registry_path": "registry.json",
        "node": "here",
        "version": "1",
        "started_at": 0.0,
        "swapped_out_at_start": None,
    }
    return Sources(**values)


def test_a_spare_has_a_row_of_its_own_and_is_no_worker(tmp_path: Path) -> None:
    spare = WaitingSpare("mlx-lm", "0.32.2", "standby", 77, 1.0, 3.0, 80_000_000, "standby-mlx-lm", None, None)
    told = build_status(sources(tmp_path, spare)).model_dump(mode="json")
    assert told["workers"] == [] and told["problems"] == []
    (row,) = told["spares"]
    assert (row["kind"], row["engine"], row["state"]) == ("spare", "mlx-lm", "standby")
    assert (row["resident_bytes"], row["pid"], row["imported_at"]) == (80_000_000, 77, 3.0)


def test_one_that_was_given_up_is_a_problem_and_fails_no_model(tmp_path: Path) -> None:
    failed = WaitingSpare("mlx-lm", "1", "failed", None, None, None, None, "standby-mlx-lm", "no such library", "mend")
    report = build_status(sources(tmp_path, failed))
    assert [(problem.text, problem.mend) for problem in report.problems] == [("no such library", "mend")]
    assert [role.state for role in report.roles if role.role == "default"] == ["on-disk"]


def test_a_request_that_its_client_left_has_not_failed(tmp_path: Path) -> None:
    rows = [
        activity_row(0)._replace(at=time.time(), status=status, code=code)
        for status, code in ((200, None), (499, CLIENT_CLOSED), (404, "model_not_found"))
    ]
    found = build_status(replace(sources(tmp_path), recent=lambda: rows)).statistics
    assert (found.requests, found.errors, found.left) == (3, 1, 1)


def test_what_keeps_the_default_away_is_told_once_though_two_tell_it(tmp_path: Path) -> None:
    away = Problem(severity="error", text="cannot load a", mend="roost logs a")
    warning = Problem(severity="warning", text="beside", mend=None)
    told = replace(sources(tmp_path), further_problems=lambda: (warning, away, away))
    assert build_status(told).problems == (away, warning)


def test_a_role_named_like_a_model_is_a_problem_and_no_role(tmp_path: Path) -> None:
    """The id wins in every request."""
    roles = {"default": "a", "a": "b", "mine": "a"}
    told = replace(sources(tmp_path), registry=lambda: RegistryState(Registry(roles=roles)))
    report = build_status(told)
    assert [role.role for role in report.roles if role.role in roles] == ["default", "mine"]
    assert "a request for a gets that model, never b" in report.problems[0].text
