"""The installed `roost` without a daemon: files in, files out, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.control import ROOST, home_environment, roost

DECLARED = """
[models."stand-in"]
external = { url = "http://127.0.0.1:9/v1" }
[models."other-one"]
external = { url = "http://127.0.0.1:9/v1" }
"""


@pytest.fixture
def declared(home: Path) -> Path:
    """A home whose catalog holds two declared models."""
    (home / "roost.toml").write_text(DECLARED)
    return home


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["down"],
        ["restart"],
        ["load", "x"],
        ["unload", "x"],
        ["explain", "coding"],
        ["ask", "hi"],
        ["wait", "--timeout", "0.1"],
        ["logs", "some-worker"],
    ],
)
async def test_what_needs_a_daemon_says_that_none_is_running(home: Path, command: list[str]) -> None:
    done = await roost(home, *command)
    assert (done.code, done.out) == (1, "")
    assert done.err == 'error: no roost is running here; start it with "roost up"\n'


async def test_use_writes_the_role_and_keeps_what_belongs_to_others(declared: Path) -> None:
    registry = declared / "registry.json"
    registry.write_text('{"models": {"oss": "other-one"}, "nodeports": {"a": 1.50}}')
    done = await roost(declared, "use", "coding", "stand-in")
    assert done.code == 0, done.err
    assert done.out == "coding → stand-in\n"
    assert json.loads(registry.read_text())["models"] == {"oss": "other-one", "coding": "stand-in"}
    assert "1.50" in registry.read_text()


async def test_adding_nothing_is_wrong_usage(home: Path) -> None:
    done = await roost(home, "models", "add", "")
    assert done.code == 2
    assert "name a hub id, a folder or a file.gguf" in done.err


async def test_use_with_half_an_id_writes_nothing(declared: Path) -> None:
    done = await roost(declared, "use", "coding", "stand")
    assert done.code == 1
    assert 'did you mean "stand-in"?' in done.err
    assert not (declared / "registry.json").exists()


async def test_use_with_a_dry_run_writes_nothing(declared: Path) -> None:
    done = await roost(declared, "use", "coding", "stand-in", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) | {"registry": ""} == {
        "role": "coding",
        "model": "stand-in",
        "before": None,
        "registry": "",
        "written": False,
        "daemon": 'no roost is running here; "roost up" will use it',
    }
    assert not (declared / "registry.json").exists()


async def test_use_leaves_a_broken_registry_as_it_is(declared: Path) -> None:
    (declared / "registry.json").write_text('{"models": {')
    done = await roost(declared, "use", "coding", "stand-in")
    assert done.code == 78
    assert (declared / "registry.json").read_text() == '{"models": {'


async def test_models_list_has_json_and_text(declared: Path) -> None:
    listed = json.loads((await roost(declared, "models", "list", "--json")).out)
    assert [model["id"] for model in listed] == ["other-one", "stand-in"]
    text = (await roost(declared, "models", "list")).out.splitlines()
    assert text[0].split() == ["ID", "SIZE", "QUANT", "CONTEXT", "CAN", "ROLES", "FROM"]
    assert text[1].startswith("other-one ")


async def test_an_unknown_model_is_not_shown(declared: Path) -> None:
    done = await roost(declared, "models", "show", "stand-on")
    assert done.code == 1
    assert 'did you mean "stand-in"?' in done.err


async def test_a_bad_setting_exits_with_78_and_names_its_place(home: Path) -> None:
    (home / "roost.toml").write_text("[gateway]\nprot = 1\n")
    done = await roost(home, "config", "show")
    assert done.code == 78
    assert "roost.toml" in done.err
    assert '"prot"' in done.err


async def test_config_show_tells_where_each_value_came_from(home: Path) -> None:
    (home / "roost.toml").write_text("[gateway]\nport = 8080\n")
    done = await roost(home, "config", "show", "--json", environment={"ROOST_ROTATION__POLICY": "always"})
    origins = {row["key"]: row["origin"] for row in json.loads(done.out)}
    assert origins["gateway.port"].endswith("roost.toml:2")
    assert "ROOST_ROTATION__POLICY" in origins["rotation.policy"]
    assert origins["gateway.host"] == "default"


async def test_config_check_is_quiet_about_what_holds_together(declared: Path) -> None:
    await roost(declared, "use", "default", "stand-in")
    done = await roost(declared, "config", "check")
    assert (done.code, done.out) == (0, "settings, registry and engines' knobs hold together\n")


async def test_config_check_names_each_role_that_cannot_be_reached(declared: Path) -> None:
    (declared / "registry.json").write_text('{"models": {"default": "stand-in", "oss": "other-one"}}')
    done = await roost(declared, "config", "check", "--json", environment={"ROOST_ROTATION__POLICY": "never"})
    texts = [problem["text"] for problem in json.loads(done.out)]
    assert any(text.startswith("role oss cannot be reached") for text in texts), texts
    assert done.code == 0


async def test_config_check_names_settings_that_lie_where_nobody_reads_them(declared: Path) -> None:
    (declared / "elsewhere").mkdir()
    (declared / "elsewhere/roost.toml").write_text("[gateway]\nport = 1\n")
    elsewhere = {"ROOST_REGISTRY": str(declared / "elsewhere/registry.json")}
    done = await roost(declared, "config", "check", environment=elsewhere)
    assert f"nobody reads {declared / 'elsewhere/roost.toml'}" in done.out.replace("\n", " ")
    assert done.code == 0


async def test_config_check_fails_on_a_broken_registry_with_its_place(declared: Path) -> None:
    (declared / "registry.json").write_text('{"models":\n {"default": 1}}')
    done = await roost(declared, "config", "check")
    assert done.code == 78
    assert "line 2" in done.out


async def test_an_external_model_has_no_command_to_show(declared: Path) -> None:
    done = await roost(declared, "config", "show", "--engine-command", "stand-in")
    assert done.code == 0, done.err
    assert done.out.startswith("no command")


async def test_a_key_is_shown_once_and_then_only_its_name(home: Path) -> None:
    added = await roost(home, "keys", "add", "laptop", "--expires-in", "30d")
    assert added.code == 0, added.err
    key = added.out.strip()
    listed = await roost(home, "keys", "list")
    assert "laptop" in listed.out
    assert key not in listed.out
    assert "sha256" not in (await roost(home, "keys", "list", "--json")).out
    assert stat.S_IMODE((home / "state/keys.json").stat().st_mode) == 0o600


async def test_a_revoked_key_is_gone(home: Path) -> None:
    public = (await roost(home, "keys", "add", "laptop")).out.split("-")[1]
    assert (await roost(home, "keys", "revoke", public)).out == f"revoked {public} (laptop)\n"
    assert json.loads((await roost(home, "keys", "list", "--json")).out) == []
    assert (await roost(home, "keys", "revoke", public)).code == 1


async def test_doctor_names_who_holds_the_port(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        # Its answer to the question for Ollama's version: none.
        closing = asyncio.get_running_loop().run_in_executor(None, lambda: holder.accept()[0].close())
        done = await roost(home, "doctor", "--json", environment={"ROOST_GATEWAY__PORT": str(port)})
        await closing
    found = next(check for check in json.loads(done.out) if check["name"] == "port")
    assert done.code == 1
    assert found["verdict"] == "fail"
    assert f"(pid {os.getpid()}) answers there" in found["text"]


async def test_doctor_recognises_ollama(home: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        body = b'{"version": "0.9.1"}' if request.startswith(b"GET /api/version ") else b"Ollama is running"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await roost(home, "doctor", environment={"ROOST_GATEWAY__PORT": str(port)})
    assert f"cannot listen on 127.0.0.1:{port}: Ollama 0.9.1 answers there" in done.out


async def test_doctor_of_a_fresh_machine_has_nothing_to_fail(home: Path) -> None:
    done = await roost(home, "doctor", "--json", environment={"ROOST_GATEWAY__PORT": "0"})
    checks = json.loads(done.out)
    assert {"python", "engines", "settings", "port", "disk", "state", "memory", "clock"} <= {c["name"] for c in checks}
    assert done.code == 0, [check for check in checks if check["verdict"] == "fail"]


def test_doctor_changes_nothing(home: Path) -> None:
    subprocess.run([ROOST, "doctor"], env=home_environment(home), capture_output=True)
    assert [path for path in home.rglob("*") if path.name != "catalog.json" and path.is_file()] == []


async def test_a_server_profile_without_keys_and_tls_does_not_start(home: Path) -> None:
    # With its own door it has both.
    done = await roost(home, "up", "--profile", "server", environment={"ROOST_NODES__LISTEN": "off"})
    assert done.code == 78
    assert "roost keys add NAME" in done.err
    assert "gateway.tls_certificate" in done.err
    assert done.out == ""


async def test_a_reader_that_has_enough_is_not_complained_about(home: Path) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{ROOST} config show | head -n 1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=home_environment(home),
    )
    out, err = await process.communicate()
    assert out.startswith(b"SETTING")
    assert err == b""


def test_the_daemons_log_is_readable_without_a_daemon(home: Path) -> None:
    log = home / "state/logs/daemon.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"one\ntwo \xff\n")
    done = subprocess.run([ROOST, "logs"], env=home_environment(home), capture_output=True, check=True)
    assert done.stdout == b"one\ntwo \xff\n"


async def test_no_log_says_that_roost_has_not_run(home: Path) -> None:
    done = await roost(home, "logs")
    assert done.code == 1
    assert "roost has not run here" in done.err


def test_a_followed_log_grows_survives_rotation_and_ends_with_130(home: Path) -> None:
    log = home / "state/logs/daemon.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n")
    process = subprocess.Popen(
        [ROOST, "logs", "-f"], env=home_environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    with log.open("a") as stream:
        stream.write("two\n")
    assert process.stdout.readline() == b"two\n"
    log.rename(log.with_suffix(".1"))
    log.write_text("three\n")
    assert process.stdout.readline() == b"three\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")


def test_help_is_quick_because_it_loads_no_room(home: Path) -> None:
    code = "import sys; from roost.cli.main import main; main(['--help']); print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [str(ROOST.with_name("python")), "-c", code], env=home_environment(home), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False"


async def test_a_background_start_that_cannot_be_gives_its_reason_and_code(home: Path) -> None:
    (home / "roost.toml").write_text("[gateway]\nprot = 1\n")
    done = await roost(home, "up", "--detach")
    assert (done.code, done.out) == (78, "")
    assert done.err.count('unknown key "prot"') == 1
    assert "roost did not start (exit code 78); log:" in done.err
