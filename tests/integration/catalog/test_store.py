"""The catalog's file between processes."""

import multiprocessing
import os

import pytest

from roost.catalog.locking import write_whole
from roost.catalog.spec import Source, SourceKind
from roost.catalog.store import CatalogFile, CatalogStore, Entry


def entry(model_id):
    return Entry(id=model_id, source=Source(kind=SourceKind.FILE, location="/x"), path="/x", added=True)


def with_entry(model_id):
    return lambda file: file.model_copy(update={"entries": {**file.entries, model_id: entry(model_id)}})


def add_many(path, prefix, count):
    store = CatalogStore(path)
    for number in range(count):
        store.update(with_entry(f"{prefix}{number}"))


def test_writers_in_two_processes_lose_nothing(tmp_path):
    path = tmp_path / "catalog.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(path, prefix, 20)) for prefix in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(CatalogStore(path).read().entries) == 40


def test_an_unchanged_file_is_not_written(tmp_path):
    store = CatalogStore(tmp_path / "catalog.json")
    store.update(with_entry("a"))
    before = store.path.stat().st_mtime_ns
    store.update(lambda file: file)
    assert store.path.stat().st_mtime_ns == before


def test_the_file_is_its_owner_s_alone(tmp_path):
    store = CatalogStore(tmp_path / "catalog.json")
    store.update(with_entry("a"))
    assert store.path.stat().st_mode & 0o077 == 0


def test_every_truncation_is_set_aside_or_read(tmp_path):
    path = tmp_path / "catalog.json"
    CatalogStore(path).update(with_entry("a"))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        store = CatalogStore(path)
        assert store.read() == CatalogFile()
        assert store.problem


def test_a_file_of_a_newer_roost_is_kept_aside(tmp_path):
    path = tmp_path / "catalog.json"
    path.write_text('{"version": 99}')
    store = CatalogStore(path)
    store.read()
    assert "newer roost" in store.problem
    assert path.with_name("catalog.json.broken").read_text() == '{"version": 99}'


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_whole(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("x.json", b"old")]
