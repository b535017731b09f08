"""Weights that are sent to a paired machine, over real TLS, by one that nobody can come to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.api import TravelWish
from roost.daemon import pushing
from roost.errors import BadRequest, Forbidden, ModelNotFound, ModelUnavailable, NodeUnreachable
from roost.nodes import travel
from roost.testing.tiny_models import write_folder, write_gguf
from tests.integration.nodes.house import paired
from tests.integration.nodes.store import Store, cable, store
from tests.integration.nodes.test_travel import LARGE, Two, have, same


@pytest.fixture
async def two(short_path: Path) -> AsyncIterator[Two]:
    """Paired; nothing on their disks."""
    async with store(short_path, "basement") as basement, store(short_path, "laptop", door=False) as laptop:
        await paired(basement.house, laptop.house)
        yield Two(basement, laptop)


def slices(machine: Store) -> int:
    return sum("/files/" in path for path, _ in machine.house.answered)


async def test_a_model_is_sent_whole_and_only_once(two: Two) -> None:
    there = have(two.laptop, write_gguf(two.laptop.models / "large.gguf", tensors=LARGE), "large")
    done = await two.laptop.push("large", "basement")
    assert done.moved_bytes == there.files[0].size_bytes and not two.basement.parts()
    assert same(two.basement.catalog.require("large"), there)
    sent = slices(two.basement)
    assert (await two.laptop.push("large", "basement")).moved_bytes == 0
    assert (await two.laptop.push("large", "basement", "theirs")).moved_bytes == 0
    assert two.basement.catalog.require("theirs").fingerprint == there.fingerprint and slices(two.basement) == sent


async def test_a_folder_with_two_equal_files_and_an_empty_one_arrives_as_it_is(two: Two) -> None:
    folder = write_folder(two.laptop.models / "tiny")
    (folder / "1_Pooling").mkdir()
    for name in ("1_Pooling/config.json", "generation_config.json"):
        (folder / name).write_text('{"same": true}')
    (folder / "merges.txt").touch()
    there = have(two.laptop, folder, "tiny")
    await two.laptop.push("tiny", "basement")
    here = two.basement.catalog.require("tiny")
    assert same(here, there) and here.path is not None
    for path in folder.rglob("*"):
        assert path.is_dir() or (here.path / path.relative_to(folder)).read_bytes() == path.read_bytes()


async def test_a_push_that_breaks_off_goes_on_where_it_was(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (travel, pushing):
        monkeypatch.setattr(module, "SLICE_BYTES", 2**20)
    async with store(short_path, "basement") as basement, store(short_path, "laptop", door=False) as laptop:
        there = have(laptop, write_gguf(laptop.models / "large.gguf", tensors=LARGE), "large")
        async with cable(basement.house) as line:
            await paired(basement.house, laptop.house)
            sending = laptop.travel.push(TravelWish(model="large", node="basement"))
            cut = False
            async for event in sending:
                if not cut and event.moved_bytes > 3 * 2**20:
                    line.cut()
                    cut = True
            assert cut and event.step == "done"
        assert same(basement.catalog.require("large"), there)
        # What was under way at the cut is all that went twice.
        assert event.moved_bytes <= there.files[0].size_bytes + 2**20


async def test_whoever_stops_a_push_goes_on_later(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "SLICE_BYTES", 2**20)
    there = have(two.laptop, write_gguf(two.laptop.models / "large.gguf", tensors=LARGE), "large")
    sending = two.laptop.travel.push(TravelWish(model="large", node="basement"))
    async for event in sending:
        if event.moved_bytes:
            break
    await sending.aclose()
    assert two.basement.catalog.get("large") is None and two.basement.parts()
    done = await two.laptop.push("large", "basement")
    assert done.moved_bytes == there.files[0].size_bytes - 2**20
    assert same(two.basement.catalog.require("large"), there)


@pytest.mark.parametrize("accepts", [(), ("attic",)])
async def test_nothing_is_put_on_a_disk_without_its_owners_word(short_path: Path, accepts: tuple[str, ...]) -> None:
    async with (
        store(short_path, "basement", accepts=accepts) as basement,
        store(short_path, "laptop", door=False) as laptop,
    ):
        await paired(basement.house, laptop.house)
        have(laptop, write_gguf(laptop.models / "model.gguf"), "model")
        with pytest.raises(Forbidden, match=r"nodes\.accept_models"):
            await laptop.push("model", "basement")
        assert list(basement.models.iterdir()) == []


async def test_one_wrong_byte_and_nothing_is_added(two: Two) -> None:
    path = write_gguf(two.laptop.models / "model.gguf")
    have(two.laptop, path, "model")
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(BadRequest, match="its sha256 is"):
        await two.laptop.push("model", "basement")
    assert two.basement.catalog.get("model") is None and not two.basement.parts()


async def test_a_full_disk_an_id_that_is_taken_and_strangers_are_told(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(two.laptop, write_gguf(two.laptop.models / "model.gguf"), "model")
    with monkeypatch.context() as patch:
        full = shutil.disk_usage(two.laptop.models)._replace(free=100)
        patch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(ModelUnavailable, match="free some space"):
            await two.laptop.push("model", "basement")
    have(two.basement, write_gguf(two.basement.models / "b.gguf", seed=2), "model")
    with pytest.raises(BadRequest, match="--id"):
        await two.laptop.push("model", "basement")
    with pytest.raises(ModelNotFound):
        await two.laptop.push("other", "basement")
    with pytest.raises(NodeUnreachable):
        await two.laptop.push("model", "attic")


async def test_all_paired_machines_may_be_let(short_path: Path) -> None:
    async with store(short_path, "basement", accepts=("*",)) as basement, store(short_path, "laptop") as laptop:
        await paired(basement.house, laptop.house)
        have(laptop, write_gguf(laptop.models / "model.gguf"), "model")
        assert (await laptop.push("model", "basement")).moved_bytes


EVIL = ("../x.gguf", "/etc/x.gguf", "a/b.gguf", ".x.gguf", "x.py", "x.gguf/../../y.gguf", "x\\y.gguf", "x\ny.gguf")


@pytest.mark.parametrize("name", EVIL)
async def test_a_name_that_no_model_has_is_refused(two: Two, name: str) -> None:
    said = {
        "id": "m",
        "format": "gguf",
        "fingerprint": "0" * 64,
        "files": [{"role": "weights", "name": name, "size_bytes": 1, "sha256": "0" * 64}],
    }
    server = await two.laptop.house.room.reach("basement")
    way, headers = f"{server.base_url}/roost/v1/peer/models/m", {"Content-Type": "application/json"}
    async with server.session.post(f"{way}/arrive", data=json.dumps(said), headers=headers) as response:
        assert response.status == 400
    async with server.session.put(f"{way}/files/{'0' * 64}", data=b"x") as response:
        assert response.status == 409
    assert list(two.basement.models.iterdir()) == []


async def test_more_bytes_than_were_announced_are_refused(two: Two) -> None:
    digest = "0" * 64
    said = {
        "id": "m",
        "format": "gguf",
        "fingerprint": "0" * 64,
        "files": [{"role": "weights", "name": "m.gguf", "size_bytes": 10, "sha256": digest}],
    }
    server = await two.laptop.house.room.reach("basement")
    way, headers = f"{server.base_url}/roost/v1/peer/models/m", {"Content-Type": "application/json"}
    async with server.session.post(f"{way}/arrive", data=json.dumps(said), headers=headers) as response:
        assert await response.json() == {"here": False, "missing": {digest: 0}}
    for offset, data, status in ((0, b"x" * 11, 400), (0, b"x" * 5, 200), (4, b"x", 409), (5, b"x" * 5, 400)):
        sent = {"x-roost-offset": str(offset)}
        async with server.session.put(f"{way}/files/{digest}", data=data, headers=sent) as response:
            assert response.status == status, offset
    assert two.basement.catalog.get("m") is None and not two.basement.parts()
