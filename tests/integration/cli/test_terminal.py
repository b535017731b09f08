"""`roost chat` on a real terminal: a prompt, editing, Ctrl-C that stops an answer and not the conversation."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiohttp import web

from tests.integration.cli.control import ROOST, ControlDaemon, home_environment, refusal, says

CHAT = ("POST", "/v1/chat/completions")
CONTROL_C, CONTROL_D = b"\x03", b"\x04"


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)


class Session:
    """A chat in a pseudo terminal that is its controlling one, so that Ctrl-C becomes a signal."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.seen = b""

    async def read_until(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.seen:
                self.seen += await asyncio.to_thread(os.read, self.master, 4096)
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text: bytes) -> None:
        os.write(self.master, text)


async def start(home: Path, slave: int) -> asyncio.subprocess.Process:
    # A child of its own session opens the terminal, which makes it the controlling one.
    opening = f"os.setsid(); os.close(os.open({os.ttyname(slave)!r}, os.O_RDWR))"
    script = f"import os, sys; {opening}; os.execv(sys.argv[1], sys.argv[1:])"
    process = await asyncio.create_subprocess_exec(
        str(ROOST.with_name("python")),
        "-c",
        script,
        str(ROOST),
        "chat",
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=home_environment(home, TERM="dumb"),
    )
    os.close(slave)
    return process


async def left_by_control_c(session: Session, process: asyncio.subprocess.Process) -> int:
    """The exit code. Python forgets a signal that comes between its prompt and its wait for a key, so that a person
    presses again."""
    async with asyncio.timeout(30):
        while True:
            session.type(CONTROL_C)
            with suppress(TimeoutError):
                return await asyncio.wait_for(process.wait(), 2)


async def test_a_refusal_does_not_end_the_conversation_and_control_d_does(home: Path, daemon: ControlDaemon) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return refusal(503, "model_not_resident", "cannot switch to X")

    with terminal() as (master, slave):
        process = await start(home, slave)
        session = Session(master)
        await session.read_until(b"talking to default (SmolLM2-135M-Instruct-Q4_1)")
        await session.read_until(b"> ")
        daemon.routes[CHAT] = refuse
        session.type(b"hi\n")
        await session.read_until(b"error: cannot switch to X")
        await session.read_until(b"> ")
        daemon.routes[CHAT] = says("Hello.")
        session.type(b"hi\n")
        await session.read_until(b"Hello.")
        await session.read_until(b"> ")
        session.type(CONTROL_D)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_control_c_stops_the_answer_and_at_the_prompt_it_leaves(home: Path, daemon: ControlDaemon) -> None:
    cancelled = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n')
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return response

    daemon.routes[CHAT] = endless
    with terminal() as (master, slave):
        process = await start(home, slave)
        session = Session(master)
        await session.read_until(b"> ")
        session.type(b"hi\n")
        await session.read_until(b"word")
        session.type(CONTROL_C)
        await session.read_until(b"stopped")
        await session.read_until(b"> ")
        async with asyncio.timeout(5):
            await cancelled.wait()
        assert await left_by_control_c(session, process) == 130
    assert b"Traceback" not in session.seen
