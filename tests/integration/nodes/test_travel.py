"""Weights between paired machines, over real TLS."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from roost.api import TravelWish
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec
from roost.errors import BadRequest, Conflict, ModelNotFound, NodeUnreachable, StorageFull
from roost.store.keys import Consumer
from roost.testing.tiny_models import projector_metadata, write_folder, write_gguf
from tests.integration.nodes.house import MODEL, paired, plain_session
from tests.integration.nodes.store import Store, cable, store

#: 8 MiB of weights: several pieces, many records of TLS.
LARGE = (("token_embd.weight", (8, 4), 0), ("blk.0.ffn_up.weight", (1024, 2048), 0))


class Two(NamedTuple):
    basement: Store
    laptop: Store


@pytest.fixture
async def two(short_path: Path) -> AsyncIterator[Two]:
    """Paired; nothing on their disks."""
    async with store(short_path, "basement") as basement, store(short_path, "laptop", door=False) as laptop:
        await paired(basement.house, laptop.house)
        yield Two(basement, laptop)


def have(machine: Store, path: Path, model_id: str) -> ModelSpec:
    return machine.catalog.add(str(path), model_id=model_id)


def same(one: ModelSpec, other: ModelSpec) -> bool:
    """Byte for byte, digest for digest."""
    return [(file.role, file.sha256) for file in one.files] == [(file.role, file.sha256) for file in other.files]


async def test_a_gguf_with_its_projector_comes_whole_and_only_once(two: Two) -> None:
    folder = two.basement.models / "vision"
    write_gguf(folder / "mmproj-f16.gguf", projector_metadata())
    there = have(two.basement, write_gguf(folder / "weights.gguf"), "org/vision:Q4")
    assert there.projector is not None
    done = await two.laptop.pull("org/vision:Q4", "basement")
    here = two.laptop.catalog.require("org/vision:Q4")
    assert here.fingerprint == there.fingerprint and same(here, there) and here.projector is not None
    assert done.moved_bytes == sum(file.size_bytes for file in there.files)
    assert here.path is not None and here.path.is_relative_to(two.laptop.models) and not two.laptop.parts()
    asked = len(two.basement.house.answered)
    assert (await two.laptop.pull("org/vision:Q4", "basement")).moved_bytes == 0
    assert (await two.laptop.pull("org/vision:Q4", "basement", "mine")).moved_bytes == 0
    assert two.laptop.catalog.require("mine").path == here.path
    assert not [path for path, _ in two.basement.house.answered[asked:] if "/files/" in path]


async def test_a_folder_comes_with_its_texts_and_nothing_that_runs(two: Two) -> None:
    folder = write_folder(two.basement.models / "tiny")
    for name in ("generation_config.json", "1_Pooling/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    for name in (".secret.json", "notes.md", "run.sh", ".git/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no")
    there = have(two.basement, folder, "tiny")
    await two.laptop.pull("tiny", "basement")
    here = two.laptop.catalog.require("tiny")
    assert same(here, there) and here.path is not None
    come = {str(path.relative_to(here.path)) for path in here.path.rglob("*") if path.is_file()}
    known = {"config.json", "tokenizer_config.json", "model.safetensors"}
    assert come == known | {"generation_config.json", "1_Pooling/config.json"}


async def test_a_transfer_that_breaks_off_goes_on_where_it_was(short_path: Path) -> None:
    async with store(short_path, "basement") as basement, store(short_path, "laptop", door=False) as laptop:
        there = have(basement, write_gguf(basement.models / "large.gguf", tensors=LARGE), "large")
        async with cable(basement.house) as line:
            await paired(basement.house, laptop.house)
            line.cut_after = line.came_bytes + 3 * 2**20
            done = await laptop.pull("large", "basement")
        assert same(laptop.catalog.require("large"), there)
        # Nothing came twice.
        assert done.moved_bytes == there.files[0].size_bytes
        ranges = [asked for path, asked in basement.house.answered if "/files/" in path]
        assert ranges[0] is None and len(ranges) == 2
        assert (ranges[1] or "").startswith("bytes=") and 2**20 < int((ranges[1] or "")[6:-1]) < 4 * 2**20


async def test_whoever_stops_in_the_middle_goes_on_later(two: Two) -> None:
    there = have(two.basement, write_gguf(two.basement.models / "large.gguf", tensors=LARGE), "large")
    size = there.files[0].size_bytes
    pulling = two.laptop.travel.pull(TravelWish(model="large", node="basement"))
    async for event in pulling:
        if event.moved_bytes:
            break
    with pytest.raises(Conflict):
        await two.laptop.pull("large", "basement")
    await pulling.aclose()
    assert two.laptop.catalog.get("large") is None
    (part,) = two.laptop.parts()
    come = part.stat().st_size
    assert 0 < come < size
    done = await two.laptop.pull("large", "basement")
    assert done.moved_bytes == size - come and same(two.laptop.catalog.require("large"), there)
    assert [asked for asked in two.basement.house.answered if "/files/" in asked[0]][-1] == (
        f"/roost/v1/peer/models/large/files/{there.files[0].sha256}",
        f"bytes={come}-",
    )


async def test_a_machine_that_stays_away_is_told_and_what_came_stays(short_path: Path) -> None:
    async with store(short_path, "basement") as basement, store(short_path, "laptop", door=False) as laptop:
        have(basement, write_gguf(basement.models / "large.gguf", tensors=LARGE), "large")
        async with cable(basement.house) as line:
            await paired(basement.house, laptop.house)
            line.cut_after = line.came_bytes + 3 * 2**20
            pulling = laptop.travel.pull(TravelWish(model="large", node="basement"))
            with pytest.raises(NodeUnreachable, match="goes on from there"):
                async for event in pulling:
                    # From the first byte on nobody gets through any more.
                    line.dead = event.moved_bytes > 0
            assert laptop.catalog.get("large") is None and laptop.parts()


async def test_one_wrong_byte_and_nothing_is_added(two: Two) -> None:
    path = write_gguf(two.basement.models / "model.gguf")
    have(two.basement, path, "model")
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    # As a disk that turns a bit would leave it.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ModelRefused, match="its sha256 is"):
        await two.laptop.pull("model", "basement")
    assert two.laptop.catalog.get("model") is None and not two.laptop.parts()
    assert [path for path in two.laptop.models.iterdir() if not path.name.startswith(".")] == []
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    await two.laptop.pull("model", "basement")
    assert two.laptop.catalog.require("model").files[0].size_bytes == len(whole)


async def test_an_id_that_means_something_else_here_is_not_taken_over(two: Two) -> None:
    have(two.basement, write_gguf(two.basement.models / "a.gguf", seed=1), "model")
    own = have(two.laptop, write_gguf(two.laptop.models / "b.gguf", seed=2), "model")
    with pytest.raises(BadRequest, match="--id"):
        await two.laptop.pull("model", "basement")
    await two.laptop.pull("model", "basement", "theirs")
    assert two.laptop.catalog.require("model").fingerprint == own.fingerprint
    assert two.laptop.catalog.require("theirs").fingerprint == two.basement.catalog.require("model").fingerprint


async def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_a_byte(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(two.basement, write_gguf(two.basement.models / "model.gguf"), "model")
    full = shutil.disk_usage(two.laptop.models)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StorageFull, match="free some space"):
        await two.laptop.pull("model", "basement")
    assert not [path for path, _ in two.basement.house.answered if "/files/" in path]


async def test_without_a_name_it_comes_from_a_machine_that_has_it(two: Two) -> None:
    there = have(two.basement, write_gguf(two.basement.models / "model.gguf"), MODEL)
    done = await two.laptop.pull(MODEL)
    assert done.node == "basement" and same(two.laptop.catalog.require(MODEL), there)


async def test_what_nobody_has_is_said(two: Two) -> None:
    with pytest.raises(ModelNotFound, match="roost models add other"):
        await two.laptop.pull("other")
    with pytest.raises(ModelNotFound, match="from basement"):
        await two.laptop.pull("other", "basement")
    with pytest.raises(NodeUnreachable):
        await two.laptop.pull("other", "attic")


async def test_a_machine_that_nobody_can_go_to_is_to_do_it_itself(two: Two) -> None:
    have(two.basement, write_gguf(two.basement.models / "model.gguf"), "model")
    with pytest.raises(NodeUnreachable, match="roost models push model NODE"):
        await two.basement.pull("model", "laptop")
    with pytest.raises(NodeUnreachable, match="roost models pull model NODE"):
        await two.basement.push("model", "laptop")


async def test_files_are_given_by_digest_to_paired_machines_alone(two: Two) -> None:
    there = have(two.basement, write_gguf(two.basement.models / "model.gguf"), "model")
    good = f"/roost/v1/peer/models/model/files/{there.files[0].sha256}"
    server = await two.laptop.house.room.reach("basement")
    two.basement.house.keys.owners["right"] = Consumer("k", "guest", admin=True)
    for path, status in (
        (good, 200),
        ("/roost/v1/peer/models/other/files", 404),
        (f"/roost/v1/peer/models/model/files/{'0' * 64}", 404),
        ("/roost/v1/peer/models/model/files/model.gguf", 404),
        ("/roost/v1/peer/models/model/files/..%2Fmodel.gguf", 404),
    ):
        async with server.session.get(server.base_url + path) as response:
            assert response.status == status, path
    for asked in ("bytes=0-1", f"bytes={there.files[0].size_bytes}-", "bytes=-1", "lines=1-", "bytes=1-,5-"):
        async with server.session.get(server.base_url + good, headers={"Range": asked}) as response:
            assert response.status == 400, asked
    async with plain_session(two.basement.house) as session:
        for path in (good, "/roost/v1/peer/models/model/files"):
            assert (await session.get(path, headers={"x-api-key": "right"})).status == 403
    await two.basement.house.desk.revoke("laptop")
    async with server.session.get(server.base_url + good) as response:
        assert response.status == 403


async def test_a_model_that_was_only_found_is_hashed_once_for_the_first_who_asks(two: Two) -> None:
    write_gguf(two.basement.models / "found.gguf")
    two.basement.catalog.refresh()
    spec = two.basement.catalog.require("found")
    assert spec.files[0].sha256 is None
    await two.laptop.pull("found", "basement")
    assert two.basement.catalog.require("found").files[0].sha256 is not None
