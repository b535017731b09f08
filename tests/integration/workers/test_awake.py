"""The machine stays awake while there is something to lose: real programs hold and are refused."""

from __future__ import annotations

import shutil

import pytest

from roost.config.settings import CoexistenceSettings
from roost.daemon.awake import Awake, wanted
from roost.daemon.coexisting import Coexisting
from roost.host.assertion import assertion_command
from roost.host.this import this_host
from roost.testing.memory import ScriptedMemory
from roost.testing.power import ScriptedPower
from roost.testing.wait import until
from tests.integration.workers.conftest import MakeBench

#: Like systemd-inhibit, it lasts until its standard input ends.
HOLDER = (shutil.which("cat") or "cat",)
REFUSED = ("sh", "-c", "exit 1")


@pytest.mark.parametrize(
    ("policy", "on_battery", "at_work", "expected"),
    [
        ("mains", False, "a request runs", "a request runs"),
        ("mains", None, "a request runs", "a request runs"),
        ("mains", True, "a request runs", None),
        ("always", True, "a request runs", "a request runs"),
        ("never", False, "a request runs", None),
        ("always", False, None, None),
    ],
)
def test_an_idle_roost_never_keeps_a_machine_awake(
    policy: str, on_battery: bool | None, at_work: str | None, expected: str | None
) -> None:
    settings = CoexistenceSettings.model_validate({"keep_awake": policy})
    assert wanted(settings, at_work, on_battery) == expected


async def test_it_is_held_while_a_request_runs_or_a_model_loads_and_shown(make_bench: MakeBench) -> None:
    whys: list[str] = []

    def command(why: str) -> tuple[str, ...]:
        whys.append(why)
        return HOLDER

    power, settings = ScriptedPower(), CoexistenceSettings()
    async with make_bench(flags={"a": ("--load-s", "0.5")}) as bench:
        watch = Coexisting(
            power, ScriptedMemory(), this_host(), bench.pool, lambda: settings, lambda: None, Awake(command)
        )
        await watch.look()
        assert watch.report().awake is None
        ticket = bench.enter("a")
        await until(lambda: bench.state("a") == "loading")
        await watch.look()
        assert watch.report().awake == "a is loading"
        await ticket.worker()
        await watch.look()
        assert watch.report().awake == "a request runs" and whys == ["a is loading"], "one program for one time"
        power.unplug(80)
        await watch.look()
        assert watch.report().awake is None
        power.plug_in()
        await watch.look()
        assert watch.report().awake == "a request runs"
        ticket.leave()
        await watch.look()
        assert watch.report().awake is None


async def test_a_refusal_is_shown_and_asked_again_only_with_the_next_work() -> None:
    asked: list[str] = []

    def command(why: str) -> tuple[str, ...]:
        asked.append(why)
        return REFUSED

    awake = Awake(command)
    await awake.follow("a request runs")

    async def refused() -> bool:
        await awake.follow("a request runs")
        return awake.problem is not None

    await until(refused)
    assert awake.why is None and awake.problem == "the system refused it (exit code 1)" and len(asked) == 1
    await awake.follow(None)
    assert awake.problem is None
    await awake.follow("a request runs")
    assert len(asked) == 2
    await awake.let_go()


async def test_a_program_that_is_not_there_is_told() -> None:
    awake = Awake(lambda why: ("/nowhere/systemd-inhibit",))
    await awake.follow("a request runs")
    assert awake.why is None and awake.problem == "cannot start /nowhere/systemd-inhibit: No such file or directory"
    await awake.let_go()


def test_a_machine_without_a_session_manager_has_no_assertion_to_hold() -> None:
    command = assertion_command("a request runs")
    assert command is None or command[0].endswith(("systemd-inhibit", "caffeinate"))
