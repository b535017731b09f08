"""The tool gate as a user meets it: the battery against a running roost whose engine knows every answer, what is kept
of it, and what follows."""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx2 as httpx

from roost.testing.wait import until_sync
from roost.verify.toolbox import TOOLS
from tests.acceptance.conftest import Roost
from tests.helpers import ROOT

ORACLE = f"{sys.executable} {ROOT}/tests/oracle.py --port ${{PORT}}"


def serve(roost: Roost, how: str, settings: str = "", **roles: str) -> Roost:
    """Models `a` and `b` are the oracle."""
    tables = [f'[models."{name}".command]\ncmd = "{ORACLE} --how {how}"\n' for name in ("a", "b")]
    roost.environ["PYTHONPATH"] = str(ROOT)
    roost.settings(settings + "\n" + "\n".join(tables))
    roost.registry(default="a", **roles)
    return roost.start()


def verify(roost: Roost, *flags: str, code: int = 0) -> dict[str, Any]:
    done = roost.cli("models", "verify", "a", "--json", "--longest", "4096", *flags, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ask_with_tools(roost: Roost, model: str, **headers: str) -> httpx.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Delete note 5."}],
        "tools": [TOOLS["delete_note"]],
    }
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def calls(answer: httpx.Response) -> list[Any]:
    return list(answer.json()["choices"][0]["message"].get("tool_calls") or ())


def entry(roost: Roost, name: str) -> dict[str, Any]:
    found: dict[str, Any] = roost.get(f"/v1/models/{name}")["roost"]
    return found


def role(roost: Roost, name: str) -> dict[str, Any]:
    return next(one for one in roost.status()["roles"] if one["role"] == name)


def test_a_model_that_is_right_passes_and_may_have_the_role_until_something_changes(roost: Roost) -> None:
    serve(roost, "structured", '[roles.coding]\nrequires = ["tools"]\n')
    refused = roost.cli("use", "tool-calling", "a", check=False)
    assert refused.returncode == 1 and "roost models verify a" in refused.stderr
    assert roost.cli("use", "coding", "a", check=False).returncode == 1
    assert [role(roost, name)["verdict"] for name in ("tool-calling", "coding", "default")] == [
        *["unverified"] * 2,
        None,
    ]
    assert ask_with_tools(roost, "a").headers["x-roost-verdict"] == "unverified"
    assert entry(roost, "a")["verified"] is False

    found = verify(roost)["tools"]
    assert (found["word"], found["tools"], found["kept"]) == ("fit", "marker", True), found
    assert all(share["passed"] == share["count"] for share in found["groups"])
    for name in ("tool-calling", "coding"):
        roost.cli("use", name, "a")
        until_sync(lambda name=name: role(roost, name)["verdict"] == "fit", timeout_s=10)  # type: ignore[misc]
    assert (entry(roost, "a")["verified"], entry(roost, "a")["verdict"]) == (True, "fit")
    assert ask_with_tools(roost, "tool-calling").headers["x-roost-verdict"] == "fit"
    assert not [one for one in roost.status()["problems"] if "requires tools" in one["text"]]

    text = (roost.home / "roost.toml").read_text()
    roost.settings(text + '\n[models."a".filters]\nset = { temperature = 0.3 }\n')
    until_sync(lambda: role(roost, "tool-calling")["verdict"] == "unverified", timeout_s=10)
    assert roost.cli("use", "tool-calling", "a", check=False).returncode == 1
    assert [one for one in roost.status()["problems"] if one["mend"] == "roost models verify a"]
    roost.settings(text)
    until_sync(lambda: role(roost, "tool-calling")["verdict"] == "fit", timeout_s=10)


def test_a_model_whose_calls_leak_is_fit_with_repair_and_gets_it_from_then_on(roost: Roost) -> None:
    """Without a verdict a fence is text, with this one it is a call; the request's own word goes before both."""
    serve(roost, "fenced")
    assert not calls(ask_with_tools(roost, "a"))
    found = verify(roost)["tools"]
    assert (found["word"], found["tools"]) == ("fit-with-repair", "full"), found
    shares = {(one["group"], one["arm"]): one for one in found["groups"]}
    assert shares["single", "engine"]["others"] == {"leaked": 40} and shares["single", "served"]["passed"] == 40
    until_sync(lambda: bool(calls(ask_with_tools(roost, "a"))), timeout_s=10)
    assert not calls(ask_with_tools(roost, "a", **{"x-roost-tools": "marker"}))
    roost.cli("use", "tool-calling", "a")


def test_a_model_that_is_wrong_is_unfit_and_only_force_gives_it_the_role(roost: Roost) -> None:
    serve(roost, "wrong")
    found = verify(roost, code=1)["tools"]
    assert found["word"] == "unfit" and found["reasons"] == ["single: 0 of 40 right, 90% needed"]
    refused = roost.cli("use", "tool-calling", "a", check=False)
    assert refused.returncode == 1 and "found unfit" in refused.stderr
    put = httpx.put(f"{roost.url}/roost/v1/roles/tool-calling", json={"model": "a"})
    assert put.status_code == 400 and "found unfit" in put.json()["error"]["message"]
    roost.cli("use", "tool-calling", "a", "--force")
    until_sync(lambda: role(roost, "tool-calling")["verdict"] == "unfit", timeout_s=10)
    assert ask_with_tools(roost, "tool-calling").status_code == 200, "it is served, and shown for what it is"
    assert [one for one in roost.status()["problems"] if "requires tools" in one["text"]]


def test_a_quick_look_keeps_nothing(roost: Roost) -> None:
    serve(roost, "structured")
    found = verify(roost, "--quick")["tools"]
    assert (found["word"], found["kept"]) == ("fit", False)
    assert not (roost.home / "state/verdicts.json").exists()
    shown = roost.cli("models", "verify", "a", "--quick")
    assert "nothing was kept" in shown.stdout and "single: 10 of 10" in shown.stderr


def test_without_a_daemon_the_files_are_read_and_tools_are_not_measured(roost: Roost) -> None:
    roost.settings(f'[models."a".command]\ncmd = "{ORACLE}"\n')
    roost.registry(default="a")
    found = verify(roost)
    assert found["ok"] and found["tools"] is None and "roost up" in found["tools_note"]


def test_an_answer_that_the_model_was_not_asked_for_is_told(roost: Roost) -> None:
    """Nobody can be verified under another's name."""
    serve(roost, "structured")
    missing = roost.cli("models", "verify", "nobody", check=False)
    assert missing.returncode == 1 and "nobody" in missing.stderr
