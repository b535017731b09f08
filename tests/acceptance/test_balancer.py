"""Two servers behind a plain TCP balancer: one is drained and one is lost, and no new request fails."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import openai
import pytest

from roost.nodes import certificates
from roost.testing.wait import until_sync
from tests.acceptance.conftest import STAND_IN, Roost
from tests.acceptance.test_far_server import free_port

_LOOK_S = 0.1


@dataclass
class Balancer:
    """Knows bytes alone, and who is ready: as HAProxy in mode tcp with a check over https."""

    port: int
    ports: dict[str, int]
    trust: ssl.SSLContext
    ready: set[str] = field(default_factory=set)
    _turn: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, up: threading.Event, over: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        async with httpx.AsyncClient(verify=self.trust, timeout=2) as client:
            await self._look(client)
            up.set()
            while not over.is_set():
                await self._look(client)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await over.wait()
        server.close()
        while self._open:
            for connection in self._open:
                connection.cancel()
            await asyncio.wait(self._open)

    async def _look(self, client: httpx.AsyncClient) -> None:
        for name, port in self.ports.items():
            try:
                is_ready = (await client.get(f"https://localhost:{port}/readyz")).status_code == 200
            except httpx.HTTPError:
                is_ready = False
            (self.ready.add if is_ready else self.ready.discard)(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)
        with suppress(OSError, ConnectionError):
            try:
                there = await self._connect()
                if there is not None:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_copy(reader, there[1]))
                        group.create_task(_copy(there[0], writer))
            finally:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """To the next one in turn; one that takes no connection is skipped."""
        self._turn += 1
        names = sorted(self.ready)
        for name in names[self._turn % max(1, len(names)) :] + names:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self.ports[name])
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, ConnectionError):
        writer.close()


@contextmanager
def balancing(port: int, ports: dict[str, int], trust: ssl.SSLContext) -> Iterator[None]:
    balancer, up = Balancer(port, ports, trust), threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(balancer.run(up, over)))
    thread.start()
    try:
        assert up.wait(20)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()


@dataclass
class Client:
    """Asks one question after another, each on a connection of its own, by the official SDK as it comes."""

    url: str
    key: str
    trust: ssl.SSLContext
    nodes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._over.is_set():
            with openai.OpenAI(
                base_url=self.url, api_key=self.key, http_client=httpx.Client(verify=self.trust, timeout=30)
            ) as client:
                try:
                    raw = client.chat.completions.with_raw_response.create(
                        model="a", messages=[{"role": "user", "content": "two?"}]
                    )
                except openai.APIError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                else:
                    self.nodes.append(str(raw.headers.get("x-roost-node")))

    @contextmanager
    def asking(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(60)


def await_answers_of(client: Client, names: set[str], *, count: int = 6) -> None:
    """So many more answers come, from these and no others at the end."""
    begun = len(client.nodes)
    until_sync(
        lambda: len(client.nodes) >= begun + count and set(client.nodes[-count:]) == names,
        timeout_s=60,
        what=f"answers of {names}, and not {client.nodes[begun:]} {client.failures}",
    )


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """One that both servers show."""
    made = certificates.new_key()
    (tmp_path / "key.pem").write_text(made)
    authority_key, now = certificates.new_key(), time.time()
    authority = certificates.home_authority(authority_key, {"localhost"}, now)
    (tmp_path / "ca.pem").write_text(authority)
    leaf = certificates.home_leaf(authority, authority_key, made, {"localhost"}, now, 10**6)
    (tmp_path / "chain.pem").write_text(leaf)
    return tmp_path


def test_one_is_drained_and_one_is_lost_and_no_new_request_fails(
    make_roost: Callable[[], Roost], certificate: Path
) -> None:
    servers: dict[str, Roost] = {}
    port = free_port()
    for name in ("east", "west"):
        roost = servers[name] = make_roost()
        roost.settings(
            f'drain_s = 5\n[gateway]\ntls_certificate = "{certificate}/chain.pem"\ntls_key = "{certificate}/key.pem"\n'
            f'allowed_hosts = ["localhost:{port}"]\n[nodes]\nname = "{name}"\nlisten = "off"\n'
            f'[models."a".command]\ncmd = "{STAND_IN}"\n'
        )
        roost.registry(default="a")
    key = servers["east"].cli("keys", "add", "everybody").stdout.strip()
    (servers["west"].home / "state").mkdir(exist_ok=True)
    shutil.copy(servers["east"].home / "state/keys.json", servers["west"].home / "state/keys.json")
    for roost in servers.values():
        roost.start()
    trust = ssl.create_default_context(cafile=str(certificate / "ca.pem"))
    ports = {name: roost.port for name, roost in servers.items()}
    with balancing(port, ports, trust):
        client = Client(f"https://localhost:{port}/v1", key, trust)
        with client.asking():
            await_answers_of(client, {"east", "west"})
            assert servers["east"].stop() == 0
            await_answers_of(client, {"west"})
            servers["east"].start("--port", str(ports["east"]))
            await_answers_of(client, {"east", "west"})
            assert servers["west"].process is not None
            servers["west"].process.kill()
            await_answers_of(client, {"east"})
        assert not client.failures
