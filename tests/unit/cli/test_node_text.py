"""`roost node list` as text."""

from __future__ import annotations

from typing import Any

from roost.api import NodeModelReport, NodeReport, NodesReport
from roost.cli.node import own_lines, problem_lines, row

NOW = 1_790_000_000.0


def node(**more: Any) -> NodeReport:
    model = NodeModelReport(
        id="m", state="resident", context_length=None, capabilities=(), running=0, queued=0, verdict=None
    )
    said: dict[str, Any] = {
        "name": "basement",
        "node_id": "a" * 64,
        "address": "10.0.0.7:11443",
        "link": "up",
        "latency_s": 0.0012,
        "seen_at": NOW - 3,
        "version": "1",
        "draining": False,
        "models": (model, model.model_copy(update={"state": "on-disk"})),
        "roles": {},
        "budget_bytes": 24 * 10**9,
        "free_bytes": 18 * 10**9,
        "problem": None,
        "mend": None,
        "wakes": False,
    }
    return NodeReport(**(said | more))


def test_a_machine_shows_link_latency_models_budget_and_address() -> None:
    assert row(node()) == (
        "basement",
        "up",
        "1.2 ms",
        "2 (1 resident)",
        "18.0 GB of 24.0 GB free",
        "10.0.0.7:11443",
    )


def test_one_that_comes_to_us_shows_what_is_known_and_no_more() -> None:
    visitor = node(address=None, latency_s=None, models=(), budget_bytes=None, free_bytes=None)
    assert row(visitor) == ("basement", "up", "-", "-", "-", "comes to us")


def test_one_that_drains_says_so() -> None:
    assert row(node(draining=True))[1] == "up, draining"


def test_what_is_wrong_comes_with_the_time_and_the_command_that_mends_it() -> None:
    assert problem_lines(node(), NOW) == []
    lines = problem_lines(node(link="down", problem="nobody answers", mend="roost node join CODE"), NOW)
    assert lines == ["basement: nobody answers (last seen 3 s ago); roost node join CODE"]
    assert problem_lines(node(problem="nobody answers", seen_at=None), NOW) == ["basement: nobody answers"]


def test_this_machine_says_where_it_lets_others_in_and_what_keeps_them_out() -> None:
    shut = NodesReport(name="laptop", node_id=None, addresses=(), problem=None, nodes=())
    assert own_lines(shut) == ["laptop (this machine): lets no other machine in"]
    opened = shut.model_copy(update={"node_id": "b" * 64, "addresses": ("h:1",), "problem": "no extra"})
    assert own_lines(opened) == ["laptop (this machine), key bbbbbbbbbbbb: lets others in at h:1", "  no extra"]
