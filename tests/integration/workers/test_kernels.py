"""Compiled kernels, kept from one start to the next on a real disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.engines.types import Kernels
from roost.workers import kernels as kept
from roost.workers.kernels import bring, take


@pytest.fixture
def store(tmp_path: Path) -> Kernels:
    return Kernels(tmp_path / "kernels" / "mlx_lm-1", inside="mlx", suffix=".so")


def compiled(home: Path, name: str = "libAdd.so", data: bytes = b"machine code") -> Path:
    path = home / "mlx/0.32.4/cpu" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


def test_what_one_start_compiled_the_next_one_finds(tmp_path: Path, store: Kernels) -> None:
    compiled(tmp_path / "first")
    compiled(tmp_path / "first", "libAdd.cpp")
    take(store, tmp_path / "first")
    bring(store, tmp_path / "second")
    assert names(tmp_path / "second") == ["libAdd.so"]
    assert (tmp_path / "second/mlx/0.32.4/cpu/libAdd.so").read_bytes() == b"machine code"
    assert store.store.stat().st_mode & 0o077 == 0


def test_a_start_works_on_copies_of_its_own(tmp_path: Path, store: Kernels) -> None:
    compiled(tmp_path / "first")
    take(store, tmp_path / "first")
    bring(store, tmp_path / "second")
    compiled(tmp_path / "second", data=b"spoilt")
    take(store, tmp_path / "second")
    bring(store, tmp_path / "third")
    assert (tmp_path / "third/mlx/0.32.4/cpu/libAdd.so").read_bytes() == b"machine code"


def test_links_are_not_followed(tmp_path: Path, store: Kernels) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    path = compiled(tmp_path / "first")
    path.with_name("libLink.so").symlink_to(secret)
    take(store, tmp_path / "first")
    assert names(store.store) == ["libAdd.so"]


def test_another_installations_kernels_go_and_another_engines_stay(tmp_path: Path, store: Kernels) -> None:
    for other in ("mlx_lm-0", "vllm_mlx-0"):
        compiled(tmp_path / "kernels" / other)
    compiled(tmp_path / "first")
    take(store, tmp_path / "first")
    assert sorted(path.name for path in (tmp_path / "kernels").iterdir()) == ["mlx_lm-1", "vllm_mlx-0"]


def test_they_stay_within_their_bound(tmp_path: Path, store: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 250)
    for number in range(4):
        compiled(tmp_path / "first", f"lib{number}.so", bytes(100))
    take(store, tmp_path / "first")
    assert names(store.store) == ["lib0.so", "lib1.so"]


def test_without_any_nothing_is_done(tmp_path: Path, store: Kernels) -> None:
    (tmp_path / "first").mkdir()
    bring(store, tmp_path / "first")
    take(store, tmp_path / "nowhere")
    assert names(tmp_path) == []
