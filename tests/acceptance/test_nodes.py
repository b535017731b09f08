"""Two installed roosts as their owners pair them: the command line, real TLS, real signals."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from roost.testing.tiny_models import write_gguf
from roost.testing.wait import until_sync
from tests.acceptance.conftest import ROOST, STAND_IN, Roost

MODEL = f'[models."a".command]\ncmd = "{STAND_IN}"\n'


@pytest.fixture
def basement(make_roost: Callable[[], Roost]) -> Roost:
    roost = make_roost()
    roost.settings(f'[nodes]\nname = "basement"\nlisten = "127.0.0.1:0"\nlook_every_s = 0.2\n{MODEL}')
    roost.registry(default="a")
    return roost.start()


@pytest.fixture
def laptop(make_roost: Callable[[], Roost]) -> Roost:
    roost = make_roost()
    roost.settings(f'[nodes]\nname = "laptop"\nlook_every_s = 0.2\n{MODEL}')
    roost.registry(default="a")
    return roost.start()


def nodes(roost: Roost) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(roost.cli("node", "list", "--json").stdout)
    return report


def link(roost: Roost) -> str:
    return str(nodes(roost)["nodes"][0]["link"])


def pair(basement: Roost, laptop: Roost) -> tuple[str, str]:
    """What both screens show at the end."""
    inviting = subprocess.Popen(
        [str(ROOST), "node", "invite"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=basement.environ,
    )
    with inviting:
        assert inviting.stdout is not None
        code = inviting.stdout.readline().strip()
        joined = laptop.cli("node", "join", code).stdout
        invited = inviting.stdout.read()
        assert inviting.wait(20) == 0
    return invited.strip(), joined.strip()


def test_two_machines_are_paired_used_parted_and_told(basement: Roost, laptop: Roost) -> None:
    invited, joined = pair(basement, laptop)
    assert invited.startswith("paired with laptop: ") and joined.startswith("paired with basement at 127.0.0.1:")
    assert invited.split(": ")[1] == joined.rsplit(": ", 1)[1]
    until_sync(lambda: link(laptop) == "up", timeout_s=20)
    seen = nodes(laptop)["nodes"][0]
    assert [model["id"] for model in seen["models"]] == ["a"] and seen["roles"]["default"] == "a"
    assert "basement" in laptop.cli("node", "list").stdout
    basement.cli("node", "revoke", "laptop")
    until_sync(lambda: link(laptop) == "down", timeout_s=20)
    said = laptop.cli("node", "list").stdout
    assert "not paired" in said and "roost node join CODE" in said
    assert basement.stop() == 0 and laptop.stop() == 0


def test_a_machine_that_was_killed_comes_back_under_its_key(basement: Roost, laptop: Roost) -> None:
    pair(basement, laptop)
    until_sync(lambda: link(laptop) == "up", timeout_s=20)
    before = nodes(basement)
    port = before["addresses"][0].rsplit(":", 1)[1]
    assert basement.process is not None
    basement.process.kill()
    basement.process.wait()
    until_sync(lambda: link(laptop) == "down", timeout_s=20)
    basement.settings(f'[nodes]\nname = "basement"\nlisten = "127.0.0.1:{port}"\n{MODEL}')
    basement.start()
    until_sync(lambda: link(laptop) == "up", timeout_s=20)
    assert nodes(basement)["node_id"] == before["node_id"]


def test_the_server_profile_starts_with_a_door_and_without_a_certificate_of_ones_own(
    make_roost: Callable[[], Roost],
) -> None:
    roost = make_roost()
    # Another daemon of this machine may have the usual port.
    roost.settings(f'[nodes]\nlisten = "127.0.0.1:0"\n{MODEL}')
    roost.registry(default="a")
    roost.start("--profile", "server")
    assert roost.status()["coexistence"]["profile"] == "server" and roost.status()["auth"] == "open-loopback"
    door = f"https://localhost:{nodes(roost)['addresses'][0].rsplit(':', 1)[1]}"
    authority = roost.home / "ca.pem"
    authority.write_text(roost.cli("node", "ca").stdout)
    trusted = ssl.create_default_context(cafile=str(authority))
    assert httpx.get(f"{door}/v1/models", verify=trusted).status_code == 401
    key = roost.cli("keys", "add", "guest").stdout.strip()
    until_sync(
        lambda: httpx.get(f"{door}/v1/models", verify=trusted, headers={"x-api-key": key}).status_code == 200,
        timeout_s=5,
    )
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{door}/livez")


def test_a_certificate_of_ones_own_is_taken_up_when_its_files_change(make_roost: Callable[[], Roost]) -> None:
    roost = make_roost()
    first, second = (_own_certificate(roost.home / name) for name in ("first", "second"))
    chain, key = roost.home / "chain.pem", roost.home / "key.pem"

    def lay(folder: Path) -> None:
        (folder / "key.pem").replace(key)
        (folder / "chain.pem").replace(chain)

    lay(first)
    roost.settings(
        f'[gateway]\ntls_certificate = "{chain}"\ntls_key = "{key}"\n[nodes]\nlisten = "127.0.0.1:0"\n{MODEL}'
    )
    roost.registry(default="a")
    roost.start()
    door = int(nodes(roost)["addresses"][0].rsplit(":", 1)[1])
    before = {ssl.get_server_certificate(("127.0.0.1", port)) for port in (roost.port, door)}
    assert len(before) == 1
    # Half of a pair: the last good one serves.
    broken = chain.read_text()
    chain.write_text("nonsense")
    assert {ssl.get_server_certificate(("127.0.0.1", port)) for port in (roost.port, door)} == before
    chain.write_text(broken)
    lay(second)
    after = {ssl.get_server_certificate(("127.0.0.1", port)) for port in (roost.port, door)}
    assert len(after) == 1 and after != before


def _own_certificate(folder: Path) -> Path:
    from roost.nodes import certificates

    folder.mkdir()
    made = certificates.new_key()
    (folder / "key.pem").write_text(made)
    (folder / "chain.pem").write_text(certificates.identity_leaf(made, 1_790_000_000.0, 10**8))
    return folder


def test_a_machine_that_was_never_paired_makes_no_key(laptop: Roost) -> None:
    assert nodes(laptop) == {
        "name": "laptop",
        "node_id": None,
        "addresses": [],
        "problem": None,
        "nodes": [],
    }
    assert not (laptop.home / "state/node").exists()
    done = laptop.cli("node", "invite", "--no-wait", check=False)
    assert done.returncode != 0 and "nodes.listen" in done.stderr
    done = laptop.cli("node", "join", "roost-nonsense", check=False)
    assert done.returncode == 1 and "roost node invite" in done.stderr
    assert laptop.cli("node", "ca", check=False).returncode == 1


def test_a_model_is_fetched_from_a_paired_machine_and_served(
    make_roost: Callable[[], Roost], embedded_gguf: Path
) -> None:
    basement, laptop = make_roost(), make_roost()
    basement.settings(f'[nodes]\nname = "basement"\nlisten = "127.0.0.1:0"\nlook_every_s = 0.2\n{MODEL}')
    more = '[rotation]\npolicy = "always"\n[catalog]\noffline = true\n'
    laptop.settings(f'[nodes]\nname = "laptop"\nlook_every_s = 0.2\n{more}{MODEL}')
    basement.cli("models", "add", str(embedded_gguf), "--id", "small")
    basement.cli("models", "add", str(write_gguf(basement.home / "tiny.gguf")), "--id", "org/tiny:F32")
    for roost in (basement, laptop):
        roost.registry(default="a")
        roost.start()
    pair(basement, laptop)
    until_sync(lambda: "small" in [model["id"] for model in nodes(laptop)["nodes"][0]["models"]], timeout_s=20)
    done = laptop.cli("models", "pull", "small")
    assert "from basement, checked" in done.stdout and "fetch small: 100 % of 98 MB" in done.stderr
    report = json.loads(laptop.cli("models", "pull", "small", "basement", "--json").stdout)
    assert report["step"] == "done" and report["moved_bytes"] == 0
    shown = json.loads(laptop.cli("models", "show", "small", "--json").stdout)
    assert (
        Path(shown["path"]).is_relative_to(laptop.home)
        and Path(shown["path"]).read_bytes() == embedded_gguf.read_bytes()
    )
    # The hub is not asked for what a paired machine has.
    added = laptop.cli("models", "add", "org/tiny:F32")
    assert "basement has it" in added.stderr and added.stdout.startswith("added org/tiny:F32 (")
    pushed = laptop.cli("models", "push", "small", "basement", check=False)
    assert pushed.returncode == 1 and 'nodes.accept_models = ["laptop"]' in pushed.stderr
    basement.stop()
    reply = laptop.client().chat.completions.with_raw_response.create(
        model="small", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert reply.parse().usage.completion_tokens > 0 and reply.headers["x-roost-node"] == "laptop"
    refused = laptop.cli("models", "pull", "nothing", check=False)
    assert refused.returncode == 1 and "roost models add nothing" in refused.stderr
