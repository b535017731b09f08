"""The folder of saved caches: whole or not there, private, bounded."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from roost.workers.saved_files import Allowance, Reuse, Sidecar
from roost.workers.saved_store import SavedStore

FACTS = {"weights": "aa"}
PLENTY = Allowance(2**30)


@pytest.fixture
def store(tmp_path: Path) -> SavedStore:
    return SavedStore(tmp_path / "state" / "saved")


def put(
    store: SavedStore, tmp_path: Path, model_id: str = "m", facts: Mapping[str, str] = FACTS, saved_at: float = 1.0
) -> Sidecar:
    written = tmp_path / "written"
    (written / "sub").mkdir(parents=True, exist_ok=True)
    (written / "slot-0.kv").write_bytes(b"tokens" * 1000)
    (written / "sub" / "entry.bin").write_bytes(b"more")
    for file in written.rglob("*"):
        file.chmod(0o755)
    return store.put(model_id, facts, 1000, saved_at, written)


def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def files_of(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state").rglob("*") if path.is_file() and path.name != "saved.json"]


def test_what_is_put_is_taken_once(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    folder = target(tmp_path)
    taken = store.take(FACTS, folder)
    assert isinstance(taken, Sidecar) and taken.tokens == 1000
    assert (folder / "slot-0.kv").read_bytes() == b"tokens" * 1000
    assert (folder / "sub" / "entry.bin").read_bytes() == b"more"
    assert files_of(tmp_path) == [] and store.take(FACTS, tmp_path / "again") is None


def test_everything_is_readable_by_its_owner_only(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    for path in [tmp_path / "state/saved", *(tmp_path / "state/saved").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_other_facts_find_nothing(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    assert store.take({"weights": "bb"}, target(tmp_path)) is None


def test_a_folder_with_the_right_name_and_other_facts_inside_is_refused(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    (folder,) = (tmp_path / "state/saved").iterdir()
    sidecar = folder / "saved.json"
    sidecar.write_text(sidecar.read_text().replace('"aa"', '"bb"'))
    assert "another model" in str(store.take(FACTS, target(tmp_path)))
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "zeros", "gone"])
def test_a_file_that_is_not_as_it_was_saved_is_refused_and_removed(
    store: SavedStore, tmp_path: Path, damage: str
) -> None:
    put(store, tmp_path)
    (file,) = (tmp_path / "state/saved").rglob("slot-0.kv")
    if damage == "cut":
        os.truncate(file, 3000)
    elif damage == "zeros":
        file.write_bytes(b"tokens" * 500 + bytes(3000))
    else:
        file.unlink()
    assert "not those that were saved" in str(store.take(FACTS, target(tmp_path)))
    assert files_of(tmp_path) == []


def test_a_model_keeps_one_cache(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    put(store, tmp_path, facts={"weights": "aa", "context": "other"})
    put(store, tmp_path, "second", {"weights": "cc"})
    assert sorted(sidecar.model_id for sidecar in store.entries().values()) == ["m", "second"]


def test_a_finding_outlives_the_files_and_goes_with_the_settings(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    taken = store.take(FACTS, target(tmp_path))
    assert isinstance(taken, Sidecar) and store.reuse(FACTS) is Reuse.UNTESTED
    store.note(taken, Reuse.FAILS)
    assert store.reuse(FACTS) is Reuse.FAILS
    assert store.reuse({"weights": "aa", "context": "other"}) is Reuse.UNTESTED
    store.note(taken, Reuse.WORKS)
    assert put(store, tmp_path).reuse is Reuse.WORKS


def test_the_bound_removes_the_oldest_and_half_done_work(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path, "old", {"n": "1"}, saved_at=1.0)
    put(store, tmp_path, "new", {"n": "2"}, saved_at=2.0)
    half = tmp_path / "state/saved/.new-1234"
    half.mkdir()
    (half / "slot-0.kv").write_bytes(b"secret")
    (tmp_path / "state/saved/deadbeef").mkdir()
    assert store.keep_within(Allowance(7000), "new") == ["old"]
    assert [sidecar.model_id for sidecar in store.entries().values()] == ["new"]
    assert not half.exists() and not (tmp_path / "state/saved/deadbeef").exists()


def test_off_for_one_model_removes_its_own_and_off_for_all_removes_all(store: SavedStore, tmp_path: Path) -> None:
    put(store, tmp_path, "a", {"n": "1"})
    put(store, tmp_path, "b", {"n": "2"})
    assert store.keep_within(Allowance(2**30, model=False), "a") == ["a"]
    assert store.keep_within(PLENTY, "b") == []
    assert store.keep_within(Allowance(0), "c") == ["b"]
    assert files_of(tmp_path) == []


def test_nothing_is_made_where_nothing_was_saved(store: SavedStore, tmp_path: Path) -> None:
    assert store.keep_within(PLENTY, "m") == [] and store.take(FACTS, target(tmp_path)) is None
    assert not (tmp_path / "state").exists()
