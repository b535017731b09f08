"""The installed `roost` talking to a daemon over the control socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.cli.control import (
    ROOST,
    ControlDaemon,
    answers,
    home_environment,
    refusal,
    roost,
    says,
    streams,
)
from tests.unit.cli.reports import role, status, worker

SMOL = "SmolLM2-135M-Instruct-Q4_1"
CHAT = ("POST", "/v1/chat/completions")


async def test_status_json_is_the_report(home: Path, daemon: ControlDaemon) -> None:
    done = await roost(home, "status", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == daemon.report.model_dump(mode="json")


async def test_status_text_has_no_colour_in_a_pipe(home: Path, daemon: ControlDaemon) -> None:
    done = await roost(home, "status")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert done.out.startswith("endpoint   http://127.0.0.1:11434/v1\n")


async def test_ask_writes_the_answer_and_nothing_else(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says("2+2", " is 4.")
    done = await roost(home, "ask", "What is 2+2?")
    assert (done.code, done.out, done.err) == (0, "2+2 is 4.\n", "")
    assert daemon.seen[0][2]["model"] == "default"


async def test_ask_puts_piped_text_after_the_prompt(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says("Add b")
    await roost(home, "ask", "commit message", "-m", "coding", "-s", "Be brief.", stdin=b"diff --git a b\n")
    body = daemon.seen[0][2]
    assert body["model"] == "coding"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "commit message\n\ndiff --git a b"},
    ]


async def test_ask_without_a_question_is_wrong_usage(home: Path, daemon: ControlDaemon) -> None:
    done = await roost(home, "ask")
    assert done.code == 2
    assert daemon.seen == []


async def test_ask_says_when_the_answer_was_cut(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says("one two", finish="length")
    done = await roost(home, "ask", "count", "--max-tokens", "2")
    assert (done.code, done.out) == (0, "one two\n")
    assert "cut at its token limit" in done.err


async def test_a_refused_question_is_one_line_on_standard_error(home: Path, daemon: ControlDaemon) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return refusal(404, "model_not_found", "cannot serve 'codng': nothing was substituted")

    daemon.routes[CHAT] = refuse
    done = await roost(home, "ask", "hi", "-m", "codng")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: cannot serve 'codng': nothing was substituted\n"


async def test_an_answer_that_breaks_off_keeps_its_text_and_fails(home: Path, daemon: ControlDaemon) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "half"}}]})
    daemon.routes[CHAT] = streams(event, ends=False)
    done = await roost(home, "ask", "hi")
    assert (done.code, done.out) == (1, "half\n")
    assert "incomplete" in done.err


async def test_interrupting_an_answer_exits_with_130_and_leaves_the_daemon_alone(
    home: Path, daemon: ControlDaemon
) -> None:
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "word "}}]}\n\n')
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    daemon.routes[CHAT] = endless
    process = await asyncio.create_subprocess_exec(
        str(ROOST),
        "ask",
        "hi",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=home_environment(home),
    )
    assert process.stdout is not None
    await process.stdout.readexactly(5)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    async with asyncio.timeout(5):
        await left.wait()


async def test_chat_takes_each_piped_line_as_a_turn_and_remembers(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says("Hello.")
    done = await roost(home, "chat", stdin=b"hi\n\n/model coding\nand?\n/quit\nnever\n")
    assert (done.code, done.out) == (0, "Hello.\nHello.\n")
    bodies = [body for _, _, body in daemon.seen]
    assert [body["model"] for body in bodies] == ["default", "coding"]
    assert [message["content"] for message in bodies[1]["messages"]] == ["hi", "Hello.", "and?"]


async def test_chat_hands_its_token_limit_on(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says("Hello.")
    assert (await roost(home, "chat", "--max-tokens", "7", stdin=b"hi\n")).code == 0
    assert daemon.seen[0][2]["max_tokens"] == 7


async def test_load_waits_until_the_model_is_ready(home: Path, daemon: ControlDaemon) -> None:
    daemon.report = status(workers=(worker(state="loading"),))

    async def load(_: web.Request) -> web.Response:
        return web.json_response({"model": SMOL, "state": "loading"})

    async def report(_: web.Request) -> web.Response:
        answer = daemon.report
        daemon.report = status()
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    daemon.routes["POST", "/roost/v1/models/default/load"] = load
    daemon.routes["GET", "/roost/v1/status"] = report
    done = await roost(home, "load", "default")
    assert (done.code, done.out) == (0, f"{SMOL} is resident\n")


async def test_a_load_that_fails_says_why(home: Path, daemon: ControlDaemon) -> None:
    daemon.report = status(workers=(worker(state="failed", problem="exit code 1: bad magic"),))
    daemon.routes["POST", f"/roost/v1/models/{SMOL}/load"] = answers({"model": SMOL, "state": "loading"})
    done = await roost(home, "load", SMOL)
    assert done.code == 1
    assert "exit code 1: bad magic" in done.err


async def test_unload_and_restart_name_what_they_did(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["POST", f"/roost/v1/models/{SMOL}/unload"] = answers({"model": SMOL, "state": "stopped"})
    daemon.routes["POST", "/roost/v1/workers/restart"] = answers({"model": "*", "state": "ready"})
    assert (await roost(home, "unload", SMOL)).out == f"{SMOL} is unloaded\n"
    daemon.routes["POST", "/roost/v1/workers/restart/default"] = answers({"model": SMOL, "state": "ready"})
    assert (await roost(home, "restart")).out == f"restarted {SMOL}\n"
    assert (await roost(home, "restart", "default")).out == f"restarted {SMOL}\n"


async def test_a_restart_of_what_does_not_run_says_so(home: Path, daemon: ControlDaemon) -> None:
    daemon.report = status(workers=(worker(state="stopped"),))
    daemon.routes["POST", "/roost/v1/workers/restart"] = answers({"model": "*", "state": "ready"})
    daemon.routes["POST", f"/roost/v1/workers/restart/{SMOL}"] = answers({"model": SMOL, "state": "ready"})
    assert (await roost(home, "restart")).out == "nothing was running: nothing was restarted\n"
    assert (await roost(home, "restart", SMOL)).out == f"started {SMOL}: it was not running\n"


async def test_explain_answers_step_by_step(home: Path, daemon: ControlDaemon) -> None:
    daemon.report = status(roles=(role("default"), role("coding", via_default=True)))
    done = await roost(home, "explain", "coding")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith('1. "coding" is a role without an entry')
    as_json = json.loads((await roost(home, "explain", "coding", "--json")).out)
    assert as_json["model"] == SMOL


async def test_explain_of_an_unknown_name_is_the_daemons_answer(home: Path, daemon: ControlDaemon) -> None:
    async def missing(_: web.Request) -> web.Response:
        return refusal(404, "model_not_found", "nobody has 'codng'; nearest role coding")

    daemon.routes["GET", "/v1/models/codng"] = missing
    done = await roost(home, "explain", "codng")
    assert (done.code, done.err) == (1, "error: nobody has 'codng'; nearest role coding\n")


async def test_explain_tells_candidates_and_asks_for_the_request_that_it_is_about(
    home: Path, daemon: ControlDaemon
) -> None:
    found = {
        "name": "review",
        "kind": "class",
        "private": False,
        "steps": [{"to": "local", "model": SMOL, "may_serve": True, "reason": "it may serve"}],
        "goes_to": {"to": "local", "model": SMOL},
        "notes": [],
    }
    daemon.routes["GET", "/roost/v1/explain"] = answers(found)
    done = await roost(home, "explain", "review", "--prompt-tokens", "30000", "--tools")
    assert done.code == 0, done.err
    assert f"it goes to local: {SMOL}" in done.out
    assert "/roost/v1/explain?name=review&tools=1&prompt_tokens=30000" in [path for _, path, _ in daemon.seen]


async def test_wait_ends_when_the_default_answers(home: Path, daemon: ControlDaemon) -> None:
    asked = asyncio.Event()
    codes = iter((503, 503))

    async def health(_: web.Request) -> web.Response:
        asked.set()
        return web.json_response({"status": "x"}, status=next(codes, 200))

    daemon.routes["GET", "/health"] = health
    done = await roost(home, "wait", "--timeout", "20")
    assert (done.code, done.out) == (0, "ready\n")


async def test_wait_gives_up_in_time(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes["GET", "/health"] = answers({"status": "unavailable"}, 503)
    done = await roost(home, "wait", "--timeout", "0.3")
    assert done.code == 1
    assert "cannot answer after 0.3 s" in done.err


async def test_a_followed_worker_log_streams_until_interrupted(home: Path, daemon: ControlDaemon) -> None:
    async def log(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"loading\n")
        await asyncio.Event().wait()
        return response

    daemon.routes["GET", "/roost/v1/logs/smol-1"] = log
    process = await asyncio.create_subprocess_exec(
        str(ROOST),
        "logs",
        "-f",
        "smol-1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=home_environment(home),
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130


async def test_down_returns_once_the_daemon_is_gone(home: Path, daemon: ControlDaemon) -> None:
    sleeper = await asyncio.create_subprocess_exec("sleep", "60")
    daemon.report = status(pid=sleeper.pid)

    async def shut_down(_: web.Request) -> web.Response:
        sleeper.terminate()
        return web.json_response({"status": "draining"}, status=202)

    daemon.routes["POST", "/roost/v1/shutdown"] = shut_down
    done = await roost(home, "down")
    assert (done.code, done.out) == (0, f"roost has stopped (pid {sleeper.pid})\n")
    await sleeper.wait()


async def test_use_says_what_the_running_daemon_does_next(home: Path, daemon: ControlDaemon) -> None:
    (home / "roost.toml").write_text('[models."m"]\ncommand = { cmd = "serve --port ${PORT}" }\n')
    looks = 0

    async def slow_to_notice(_: web.Request) -> web.Response:
        nonlocal looks
        looks += 1
        report = status(roles=(role("oss", resolves_to="m"),)) if looks > 4 else daemon.report
        return web.Response(text=report.model_dump_json(), content_type="application/json")

    daemon.routes["GET", "/roost/v1/status"] = slow_to_notice
    done = await roost(home, "use", "oss", "m")
    assert done.code == 0, done.err
    assert 'roost is running and uses it; rotation is "idle"' in done.err


async def test_use_says_so_when_the_running_daemon_does_not_take_it(home: Path, daemon: ControlDaemon) -> None:
    (home / "roost.toml").write_text('[models."m"]\ncommand = { cmd = "serve --port ${PORT}" }\n')
    done = await roost(home, "use", "oss", "m")
    assert done.code == 0 and 'roost is running and has not taken it yet; rotation is "idle"' in done.err


async def test_doctor_counts_its_own_daemon_as_no_stranger_on_the_port(home: Path, daemon: ControlDaemon) -> None:
    done = await roost(home, "doctor")
    assert 'port      roost is running; see "roost status"' in done.out


async def test_a_broken_pipe_in_mid_answer_is_silent(home: Path, daemon: ControlDaemon) -> None:
    daemon.routes[CHAT] = says(*(["word " * 2000] * 50))
    read_end, write_end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        str(ROOST),
        "ask",
        "hi",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=write_end,
        stderr=asyncio.subprocess.PIPE,
        env=home_environment(home),
    )
    os.close(write_end)
    os.close(read_end)
    _, err = await process.communicate()
    assert err == b""


@pytest.mark.parametrize("command", [["status"], ["explain", "default"]])
async def test_a_daemon_that_hangs_up_is_a_sentence(home: Path, daemon: ControlDaemon, command: list[str]) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    daemon.routes["GET", "/roost/v1/status"] = hang_up
    done = await roost(home, *command)
    assert done.code == 1
    assert done.err.startswith("error: roost broke off the connection")
