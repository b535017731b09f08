"""The way to a machine that goes away, comes back, is another one, sleeps, or has more than one address."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from roost.config.far import NodesSettings, WakeSettings
from roost.errors import NodeUnreachable
from roost.nodes.types import Link
from roost.testing.wait import until
from tests.integration.nodes.house import MODEL, House, house, paired


async def test_a_machine_is_seen_with_its_models_roles_and_budget(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    view = laptop.view("basement")
    assert [model.id for model in view.models] == [MODEL] and view.roles == {"default": MODEL}
    assert (view.budget_bytes, view.free_bytes, view.version) == (10, 4, "1.2.3")
    assert view.latency_s is not None and view.latency_s < 2 and view.problem is None
    basement.draining = True
    await until(lambda: laptop.view("basement").draining)


async def test_who_comes_in_is_seen_as_long_as_it_comes(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    view = await basement.sees("laptop", Link.UP)
    assert view.address is None
    with pytest.raises(NodeUnreachable, match="no address"):
        await basement.room.reach("laptop")
    await laptop.desk.revoke("basement")
    await until(lambda: laptop.room.views() == ())
    basement.clock.ahead_s = 60
    assert "does not come" in ((await basement.sees("laptop", Link.DOWN)).problem or "")


async def test_a_machine_that_goes_away_and_comes_back_is_noticed_both_times(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    port = basement.port
    await basement.close_door()
    view = await laptop.sees("basement", Link.DOWN, timeout_s=3)
    assert f"127.0.0.1:{port}" in (view.problem or "") and view.seen_at is not None
    with pytest.raises(NodeUnreachable, match="cannot reach basement: nobody answers") as refused:
        await laptop.room.reach("basement")
    assert refused.value.retry_after_s
    await basement.open_door(port)
    await laptop.sees("basement", Link.UP, timeout_s=3)
    assert (await laptop.room.reach("basement")).name == "basement"


async def test_another_roost_at_a_machines_address_is_not_taken_for_it(
    basement: House, laptop: House, short_path: Path
) -> None:
    await paired(basement, laptop)
    port = basement.port
    await basement.close_door()
    async with house(short_path, "attic", door=False) as attic:
        await attic.open_door(port)
        await until(lambda: "another machine answers" in (laptop.view("basement").problem or ""))
        view = laptop.view("basement")
        assert view.link is Link.DOWN and view.mend == "roost node join CODE"
        assert attic.activity.rows == []


async def test_two_machines_on_one_network_are_never_mixed_up(basement: House, laptop: House, short_path: Path) -> None:
    async with house(short_path, "attic") as attic:
        await paired(basement, laptop)
        await paired(attic, laptop)
        ports = basement.port, attic.port
        for machine in (basement, attic):
            await machine.close_door()
        # Each has the other's address, as after two leases of DHCP.
        await basement.open_door(ports[1])
        await attic.open_door(ports[0])
        for name in ("basement", "attic"):
            await until(lambda name=name: "another machine answers" in (laptop.view(name).problem or ""))
            assert laptop.view(name).link is Link.DOWN


async def test_the_address_that_leads_there_is_found_among_others(
    basement: House, laptop: House, short_path: Path
) -> None:
    await paired(basement, laptop)
    async with house(short_path, "attic") as attic:
        known = laptop.room.book.named("basement")
        assert known is not None
        await basement.close_door()
        await laptop.sees("basement", Link.DOWN)
        await basement.open_door()
        right = f"127.0.0.1:{basement.port}"
        places = (f"127.0.0.1:{_free_port()}", f"127.0.0.1:{attic.port}", right)
        laptop.room.book.put(known.model_copy(update={"addresses": places}))
        assert (await laptop.sees("basement", Link.UP)).address == right


async def test_three_broken_requests_close_the_way_and_the_next_look_opens_it(short_path: Path) -> None:
    slow = NodesSettings(look_every_s=30, connect_timeout_s=1)
    async with house(short_path, "basement") as server, house(short_path, "laptop", door=False) as client:
        await paired(server, client)
        client.settings, seen_at = slow, client.view("basement").seen_at
        # From the next look on it waits for half a minute.
        await until(lambda: client.view("basement").seen_at != seen_at)
        assert (await client.room.reach("basement")).name == "basement"
        for _ in range(3):
            client.room.note("basement", failed=True)
        assert "broke off" in (client.view("basement").problem or "")
        with pytest.raises(NodeUnreachable, match="broke off"):
            await client.room.reach("basement")
        await client.sees("basement", Link.UP, timeout_s=5)


async def test_a_machine_that_moves_tells_where_it_is(basement: House, short_path: Path) -> None:
    async with house(short_path, "attic") as attic:
        await paired(basement, attic)
        await basement.sees("attic", Link.UP)
        attic.room.addresses = (f"127.0.0.1:{attic.port}", "10.9.9.9:11443")
        await until(lambda: basement.room.book.named("attic").addresses == attic.room.addresses)  # type: ignore[union-attr]


async def test_the_address_that_leads_there_is_kept_though_the_machine_does_not_know_it(
    basement: House, laptop: House
) -> None:
    """As behind a forwarded port."""
    await paired(basement, laptop)
    basement.room.addresses = ("10.9.9.9:11443",)
    expected = (f"127.0.0.1:{basement.port}", "10.9.9.9:11443")
    await until(lambda: laptop.room.book.all()[0].addresses == expected)


async def test_a_machine_that_sleeps_is_woken_by_a_request_and_by_no_look(short_path: Path) -> None:
    woken = short_path / "woken"
    command = f"{sys.executable} -c \"open('{woken}', 'a').write('x')\""
    settings = NodesSettings(look_every_s=0.05, connect_timeout_s=1, wake={"basement": WakeSettings(command=command)})
    async with (
        house(short_path, "basement") as server,
        house(short_path, "laptop", door=False, settings=settings) as client,
    ):
        await paired(server, client)
        port = server.port
        await server.close_door()
        await client.sees("basement", Link.DOWN)
        assert client.view("basement").wakes and not woken.exists()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.room.reach("basement")
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(client.room.reach("basement")) for _ in range(5)]
            await until(woken.exists)
            await server.open_door(port)
        assert {one.result().name for one in asked} == {"basement"}
        assert woken.read_text() == "x"


async def test_a_name_that_nobody_has_is_said_at_once(laptop: House) -> None:
    with pytest.raises(NodeUnreachable, match="roost node list") as refused:
        await laptop.room.reach("nobody")
    assert refused.value.should_retry is False
    laptop.room.note("nobody", failed=True)


async def test_a_machine_that_takes_connections_and_says_nothing_is_away_in_time(
    basement: House, laptop: House
) -> None:
    await paired(basement, laptop)
    port = basement.port
    await basement.close_door()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", port))
        # The kernel takes connections; nobody ever accepts one.
        silent.listen(8)
        await laptop.sees("basement", Link.DOWN, timeout_s=5)
        await until(lambda: "no answer in time" in (laptop.view("basement").problem or ""), timeout_s=5)


async def test_a_broken_connection_is_an_error_of_the_request_alone(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    server = await laptop.room.reach("basement")
    await basement.close_door()
    with pytest.raises((aiohttp.ClientError, OSError)):
        await server.wire.post("/v1/chat/completions", b"{}", keep=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
