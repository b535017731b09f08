"""Which saved caches fit, which must go, and what a sidecar says."""

from __future__ import annotations

import json

import pytest

from roost.workers.saved_files import Reuse, SavedFile, Sidecar, decode, encode, key_of, mismatch, no_room, to_drop

FACTS = {"weights": "aa", "settings": {"context": 8192, "kv_type": None}, "extra_args": ["a=1"]}
FILES = {"slot-0.kv": SavedFile(100, "d1"), "sub/entry.bin": SavedFile(20, "d2")}


def sidecar(model_id: str = "m", saved_at: float = 1.0, size_bytes: int = 100) -> Sidecar:
    files = {"slot-0.kv": SavedFile(size_bytes, "d")} if size_bytes else {}
    return Sidecar(model_id, FACTS, saved_at, tokens=7, files=files)


def test_a_sidecar_is_read_as_it_was_written() -> None:
    written = Sidecar("org/m", FACTS, 12.5, 300, Reuse.WORKS, FILES)
    assert decode(encode(written)) == written
    assert written.size_bytes == 120


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_a_sidecar_cut_anywhere_is_none(cut: int) -> None:
    raw = encode(Sidecar("org/m", FACTS, 12.5, 300, Reuse.WORKS, FILES))
    assert decode(raw[:cut]) is None


@pytest.mark.parametrize("change", [{"version": 2}, {"reuse": "perhaps"}, {"files": [1]}, {"files": {"a": [1]}}])
def test_a_sidecar_of_another_form_is_none(change: dict[str, object]) -> None:
    value = json.loads(encode(sidecar()))
    assert decode(json.dumps(value | change).encode()) is None


def test_every_fact_changes_the_key_and_its_order_does_not() -> None:
    assert key_of(FACTS) == key_of(dict(reversed(FACTS.items())))
    for name in FACTS:
        assert key_of(FACTS | {name: "other"}) != key_of(FACTS)


def test_only_the_same_facts_with_the_same_files_may_be_restored() -> None:
    saved = Sidecar("m", FACTS, 1.0, 7, files=FILES)
    assert mismatch(saved, FACTS, FILES) is None
    assert "another model" in str(mismatch(saved, FACTS | {"weights": "bb"}, FILES))
    assert "files" in str(mismatch(saved, FACTS, FILES | {"slot-0.kv": SavedFile(99, "d1")}))
    assert "files" in str(mismatch(saved, FACTS, {"slot-0.kv": FILES["slot-0.kv"]}))


def test_facts_are_compared_as_json_keeps_them() -> None:
    saved = decode(encode(Sidecar("m", {"args": ("a", "b")}, 1.0)))
    assert saved is not None and mismatch(saved, {"args": ("a", "b")}, {}) is None


def test_the_oldest_go_until_the_rest_fits() -> None:
    entries = {"old": sidecar(saved_at=1.0), "new": sidecar(saved_at=3.0), "middle": sidecar(saved_at=2.0)}
    assert to_drop(entries, 300) == []
    assert to_drop(entries, 250) == ["old"]
    assert to_drop(entries, 100) == ["old", "middle"]
    assert to_drop(entries, 0) == ["old", "middle", "new"]


def test_a_finding_without_files_is_never_dropped() -> None:
    assert to_drop({"finding": sidecar(size_bytes=0), "files": sidecar(saved_at=9.0)}, 0) == ["files"]


def test_a_disk_with_less_room_than_the_bound_takes_nothing_and_says_the_numbers() -> None:
    assert no_room(2**31, 2**31) is None
    assert no_room(2**30, 2**32) == "1.0 GiB of disk are free, less than the 4.0 of resume.max_bytes"
