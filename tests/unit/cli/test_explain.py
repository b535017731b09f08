"""`explain` tells the way of a request stop by stop."""

from __future__ import annotations

from typing import Any

import pytest

from roost.api import StatusReport
from roost.cli.explain import explain_steps, resolved_model, ways_text
from tests.unit.cli.reports import role, status, worker

SMOL = "SmolLM2-135M-Instruct-Q4_1"


def steps(name: str, report: StatusReport, entry: dict[str, Any] | None = None) -> str:
    return "\n".join(explain_steps(name, report, entry))


def test_a_role_with_an_entry_names_the_file() -> None:
    assert f"registry.json points it at {SMOL}" in steps("default", status())


def test_a_role_without_an_entry_means_default() -> None:
    assert f"so it means what default means: {SMOL}" in steps("coding", status())


def test_an_auxiliary_role_without_an_entry_never_falls_back() -> None:
    report = status(roles=(role("embedding", resolves_to=None, state="unknown", reachable=False),))
    assert resolved_model("embedding", report, None) is None
    assert '404 model_not_found; run "roost use embedding ID"' in steps("embedding", report)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("selector", f'"any" is a selector, which chooses at each request; now it means {SMOL}'),
        ("profile", f'"any" means {SMOL} while the active profile says so'),
        ("alias", f'"any" is an alias of {SMOL}'),
    ],
)
def test_a_name_that_may_mean_something_else_tomorrow_says_so(kind: str, sentence: str) -> None:
    entry = {"id": "any", "meta": {"llamaswap": {"type": kind}}, "roost": {"resolves_to": SMOL}}
    assert sentence in steps("any", status(), entry)


def test_a_resident_model_shows_its_worker_and_proof() -> None:
    text = steps("default", status())
    assert "is ready in worker smol-1: llama.cpp 2026.10, pid 4242" in text
    assert "its weights are proven: maps 1 of 1 weight files" in text


@pytest.mark.parametrize("policy", ["never", "idle", "always"])
def test_a_model_that_is_not_resident_meets_the_rotation_policy(policy: str) -> None:
    report = status(rotation_policy=policy, roles=(role("oss", resolves_to="big", state="on-disk"),))
    assert f'rotation is "{policy}"' in steps("oss", report)


def test_a_note_of_the_daemon_is_told_as_it_is() -> None:
    report = status(roles=(role("oss", resolves_to="big", state="on-disk", note="takes the place of smol"),))
    assert steps("oss", report).endswith("takes the place of smol")


def test_a_stopped_worker_is_no_place_to_go() -> None:
    report = status(workers=(worker(state="stopped"),), roles=(role("default", state="on-disk"),))
    assert steps("default", report).endswith("nothing is resident: a request for it loads it")


def test_with_nothing_resident_a_request_loads_it() -> None:
    report = status(workers=(), roles=(role("oss", resolves_to="big", state="on-disk"),))
    assert steps("oss", report).endswith("nothing is resident: a request for it loads it")


def test_a_physical_id_answers_for_itself() -> None:
    entry = {"id": SMOL, "roost": {"kind": "model", "resolves_to": SMOL}}
    assert steps(SMOL, status(), entry).startswith(f'"{SMOL}" is a model id; exactly it answers')


def test_an_alias_names_its_model() -> None:
    entry = {"id": "small", "roost": {"kind": "model", "resolves_to": SMOL}}
    assert steps("small", status(workers=(worker(),)), entry).startswith(f'"small" is an alias of {SMOL}')


def test_a_loading_worker_is_not_said_to_answer_now() -> None:
    report = status(workers=(worker(state="loading"),), roles=(role("coding"),))
    assert "a request waits until it is ready" in steps("coding", report)
    assert "goes there now" not in steps("coding", report)


def test_a_worker_whose_start_failed_promises_nothing() -> None:
    report = status(workers=(worker(state="stopped", problem="exit code 1"),), roles=(role("coding"),))
    assert "exit code 1" in steps("coding", report)
    assert "a request" not in steps("coding", report)


def test_candidates_are_told_in_their_order_with_the_one_it_would_be() -> None:
    found = {
        "name": "review",
        "kind": "class",
        "private": True,
        "steps": [
            {"to": "cloud:sky/gpt", "model": "gpt", "may_serve": False, "reason": "review is private"},
            {"to": "local", "model": SMOL, "may_serve": True, "reason": "it may serve"},
        ],
        "goes_to": {"to": "local", "model": SMOL},
        "notes": [],
    }
    assert ways_text(found) == [
        '"review" is a class with candidates, and is private: it never goes to a cloud',
        "1. cloud:sky/gpt (gpt): no, review is private",
        f"2. local ({SMOL}): yes, it may serve",
        f"it goes to local: {SMOL}",
    ]


def test_nobody_is_told_too() -> None:
    found = {"name": "x", "kind": "role", "private": False, "steps": [], "goes_to": None, "notes": ["why"]}
    assert ways_text(found)[-2:] == ["nobody can serve it now", "why"]
