"""Keys come and go: what is open, to whom, and how it is said. The installed `roost`, its own command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost

MakeRoost = Callable[..., Roost]
#: A route for everybody with a key, and one for administrators.
OPEN_TO_USERS, FOR_ADMINS = "/v1/models", "/roost/v1/activity"


def statuses(roost: Roost, scheme: str = "http") -> set[int]:
    """What this machine's programs get without a key."""
    with httpx.Client(verify=False) as client:
        return {
            client.get(f"{scheme}://127.0.0.1:{roost.port}{path}").status_code for path in (OPEN_TO_USERS, FOR_ADMINS)
        }


def add_key(roost: Roost, *flags: str) -> str:
    """A new key's public id."""
    return roost.cli("keys", "add", "laptop", *flags).stdout.split("-")[1]


def test_the_last_key_gone_opens_nothing_until_somebody_says_so(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    assert statuses(roost) == {200} and roost.status()["auth"] == "open-loopback"
    public = add_key(roost, "--admin")
    until_sync(lambda: statuses(roost) == {401}, timeout_s=3)

    assert "roost keys open-loopback" in roost.cli("keys", "revoke", public).stderr
    until_sync(lambda: roost.status()["auth"] == "shut", timeout_s=3)
    assert statuses(roost) == {401}
    (problem,) = roost.status()["problems"]
    assert "roost keys open-loopback" in problem["text"] and problem["mend"] == "roost keys add NAME"
    assert "shut: a key is needed and there is none" in roost.cli("status").stdout
    assert "roost keys open-loopback" in roost.cli("doctor", check=False).stdout

    roost.stop()
    roost.start()
    assert statuses(roost) == {401}, "a restart opens nothing either"
    roost.cli("keys", "open-loopback")
    until_sync(lambda: statuses(roost) == {200}, timeout_s=3)
    assert roost.status()["problems"] == []


def test_while_a_key_exists_the_loopback_cannot_be_opened(roost: Roost) -> None:
    add_key(roost)
    done = roost.cli("keys", "open-loopback", check=False)
    assert done.returncode == 1 and "laptop" in done.stderr and "revoke them first" in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_where_others_reach_it_there_is_never_an_endpoint_without_keys(stand_in: MakeRoost, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {key} -out {chain}"
    subprocess.run(make.split(), check=True, capture_output=True)
    gateway = (
        f'[gateway]\nhost = "0.0.0.0"\ntls_certificate = "{chain}"\ntls_key = "{key}"\nallowed_hosts = ["box.lan"]\n'
    )
    roost = stand_in(gateway)
    public = add_key(roost)
    roost.start()
    roost.cli("keys", "revoke", public)
    until_sync(lambda: roost.status()["auth"] == "shut", timeout_s=3)
    done = roost.cli("keys", "open-loopback", check=False)
    assert done.returncode == 1 and "0.0.0.0" in done.stderr
    # Said with other settings, or by hand: the daemon that others reach does not listen to it.
    (roost.home / "state/keys.json").write_text('{"keys": [], "open_loopback": true}')
    assert statuses(roost, "https") == {401}
    (roost.home / "state/keys.json").unlink()
    assert statuses(roost, "https") == {401}
    roost.stop()
    for content in ('{"keys": [], "open_loopback": true}', '{"keys": []}', "broken"):
        (roost.home / "state/keys.json").write_text(content)
        refused = roost.cli("up", "--port", "0", check=False)
        assert refused.returncode == 78 and "roost keys add NAME" in refused.stderr


def test_a_key_with_limits_is_held_to_them_and_its_use_is_shown(stand_in: MakeRoost) -> None:
    roost = stand_in()
    limits = ("--roles", "default, quickest", "--rpm", "3", "--concurrency", "2", "--expires", "90d")
    key = roost.cli("keys", "add", "ci", *limits).stdout.strip()
    roost.start()
    client = roost.client().with_options(api_key=key)
    ask: Any = {"messages": [{"role": "user", "content": "hi"}]}
    for name in ("default", "quickest"):
        assert client.chat.completions.create(model=name, **ask).model == "a"
    with pytest.raises(openai.PermissionDeniedError, match="may ask for default, quickest and nothing else"):
        client.chat.completions.create(model="a", **ask)
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="default", **ask)
    assert refused.value.code == "rate_limit_exceeded"
    assert {model.id for model in client.models.list()} == {"default", "quickest"}

    def told() -> dict[str, Any]:
        (row,) = json.loads(roost.cli("keys", "list", "--json").stdout)
        found: dict[str, Any] = row
        return found

    until_sync(lambda: (told()["usage"] or {}).get("requests") == 3, timeout_s=10)
    row = told()
    assert (row["usage"]["failed"], row["usage"]["prompt_tokens"] > 0) == (1, True)
    assert (row["names"], row["requests_per_minute"], row["requests_at_once"]) == (["default", "quickest"], 3, 2)
    text = roost.cli("keys", "list").stdout
    assert "default,quickest, 3 a minute, 2 at once" in text and "in 89 d 23 h" in text
