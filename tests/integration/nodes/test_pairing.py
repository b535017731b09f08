"""Two machines on real sockets: invites that are used, replayed, expired, guessed, and read by somebody between."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest

from roost.errors import BadConfiguration, InviteRefused, NodeUnreachable
from roost.nodes import certificates
from roost.nodes.invites import LIFETIME_S, Code
from roost.nodes.tls import DOMAIN, joining_context
from roost.nodes.types import Link
from tests.integration.nodes.house import House, house, paired


async def test_both_screens_show_the_same_words_and_both_know_each_other(basement: House, laptop: House) -> None:
    invitation = await basement.desk.invite()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(basement.desk.outcome(invitation.invite))
        joined = await laptop.desk.join(invitation.code)
    outcome = waiting.result()
    assert outcome.words == joined.words and len(joined.words.split()) == 5
    assert (joined.name, outcome.peer, outcome.state) == ("basement", "laptop", "used")
    assert basement.room.book.get(laptop.room.node_id or "") and laptop.room.book.get(basement.room.node_id or "")


async def test_a_replayed_invite_lets_no_second_machine_in(basement: House, laptop: House, short_path: Path) -> None:
    code = (await basement.desk.invite()).code
    await laptop.desk.join(code)
    async with house(short_path, "thief", door=False) as thief:
        with pytest.raises(InviteRefused, match="has been used"):
            await thief.desk.join(code)
        assert thief.room.book.all() == () and len(basement.room.book.all()) == 1


async def test_of_two_machines_with_one_code_only_one_gets_in(basement: House, laptop: House, short_path: Path) -> None:
    code = (await basement.desk.invite()).code
    async with house(short_path, "thief", door=False) as thief:
        done = await asyncio.gather(laptop.desk.join(code), thief.desk.join(code), return_exceptions=True)
    assert sum(isinstance(one, InviteRefused) for one in done) == 1 and len(basement.room.book.all()) == 1


async def test_an_expired_invite_is_refused_and_whoever_waits_for_it_is_told(basement: House, laptop: House) -> None:
    invitation = await basement.desk.invite()
    basement.clock.ahead_s = LIFETIME_S + 1
    with pytest.raises(InviteRefused, match="expired"):
        await laptop.desk.join(invitation.code)
    assert (await basement.desk.outcome(invitation.invite)).state == "expired"


async def test_a_code_with_another_secret_opens_nothing(basement: House, laptop: House) -> None:
    real = Code.read((await basement.desk.invite()).code)
    with pytest.raises(InviteRefused, match="no such invite"):
        await laptop.desk.join(Code(real.addresses, real.pin, b"guess" * 3 + b"!").text())
    assert basement.room.book.all() == ()


async def test_a_machine_with_another_key_at_the_codes_address_learns_nothing(
    basement: House, laptop: House, short_path: Path
) -> None:
    async with house(short_path, "impostor") as impostor:
        real = Code.read((await basement.desk.invite()).code)
        with pytest.raises(NodeUnreachable, match="does not have the key"):
            await laptop.desk.join(Code((f"127.0.0.1:{impostor.port}",), real.pin, real.secret).text())
        assert impostor.activity.rows == [] and laptop.room.book.all() == ()
        # Nothing was used up: the real machine still lets it in.
        await laptop.desk.join(real.text())


async def test_what_one_machine_sends_to_join_is_of_no_use_to_another(basement: House, laptop: House) -> None:
    """Somebody between them who could read it all, and has a key of his own."""
    real = Code.read((await basement.desk.invite()).code)
    sent = laptop.desk._request(real, await laptop.room.identity())
    key = certificates.new_key()
    own = certificates.identity_certificate(key, basement.clock())
    forged = sent.model_copy(update={"certificate": own})
    assert (await _post_join(basement, forged.model_dump_json()))[0] == 403
    # With the laptop's own certificate but without its key.
    unsigned = sent.model_copy(update={"signature": certificates.sign(key, b"x").hex()})
    assert (await _post_join(basement, unsigned.model_dump_json()))[0] == 400
    assert basement.room.book.all() == ()


@pytest.mark.parametrize("body", ["{}", "[]", "nonsense", '{"invite": "0000000000000000"}', '{"invite": 7}'])
async def test_nonsense_joins_nothing(basement: House, body: str) -> None:
    status, answer = await _post_join(basement, body)
    assert status == 400 and b"Traceback" not in answer


async def _post_join(server: House, body: str) -> tuple[int, bytes]:
    assert server.room.node_id is not None
    context = joining_context(server.room.node_id[:32])
    connector = aiohttp.TCPConnector(ssl=context)
    url = f"https://127.0.0.1:{server.port}/roost/v1/peer/join"
    headers = {"Content-Type": "application/json", "Host": f"join.{DOMAIN}"}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=body, headers=headers, server_hostname=f"join.{DOMAIN}") as response,
    ):
        return response.status, await response.read()


async def test_a_machine_without_a_door_cannot_invite_and_says_how_to_open_one(laptop: House) -> None:
    with pytest.raises(BadConfiguration, match=r"nodes\.listen"):
        await laptop.desk.invite()


async def test_a_machine_does_not_join_itself(basement: House) -> None:
    with pytest.raises(InviteRefused, match="itself"):
        await basement.desk.join((await basement.desk.invite()).code)


async def test_a_code_whose_machine_is_away_names_each_address(basement: House, laptop: House) -> None:
    code = (await basement.desk.invite()).code
    await basement.close_door()
    with pytest.raises(NodeUnreachable, match=f"nobody answers at 127.0.0.1:{basement.port}"):
        await laptop.desk.join(code)


async def test_a_link_lost_in_pairing_is_mended_by_another_invite(basement: House, laptop: House) -> None:
    """The server has noted the laptop, which never heard so."""
    real = Code.read((await basement.desk.invite()).code)
    sent = laptop.desk._request(real, await laptop.room.identity())
    await basement.desk.admit(sent)
    assert laptop.room.book.all() == ()
    with pytest.raises(InviteRefused, match="has been used"):
        await laptop.desk.join(real.text())
    await paired(basement, laptop)
    assert len(basement.room.book.all()) == 1


async def test_two_machines_with_doors_go_to_each_other(basement: House, short_path: Path) -> None:
    async with house(short_path, "attic") as attic:
        await paired(basement, attic)
        assert (await basement.sees("attic", Link.UP)).address == f"127.0.0.1:{attic.port}"


async def test_a_stranger_with_a_certificate_of_his_own_is_not_let_into_the_connection(
    basement: House, laptop: House, short_path: Path
) -> None:
    await paired(basement, laptop)
    async with house(short_path, "stranger", door=False) as stranger:
        # He knows whom to trust, and is not known.
        known = laptop.room.book.named("basement")
        assert known is not None
        await stranger.room.identity()
        stranger.room.book.put(known)
        view = await stranger.sees("basement", Link.DOWN)
        assert "does not know this machine" in (view.problem or "")
    assert [view.name for view in basement.room.views()] == ["laptop"]


def test_an_old_version_of_tls_is_no_way_between_machines(tmp_path: Path) -> None:
    assert joining_context("0" * 32).minimum_version is ssl.TLSVersion.TLSv1_3


async def test_a_stranger_who_asks_to_join_leaves_nothing_behind(basement: House, laptop: House) -> None:
    real = Code.read((await basement.desk.invite()).code)
    joining = basement.desk._request(real, await basement.room.identity())
    with pytest.raises(InviteRefused, match="no such invite"):
        await laptop.desk.admit(joining)
    assert laptop.room.node_id is None and not laptop.folder.exists()
