"""Verdicts on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.errors import BadConfiguration
from roost.store.verdicts import Basis, Verdict, VerdictFile

BASIS = Basis(weights="w", texts="t", engine="e", engine_version="1", quantization="q4", settings="s")


def verdict(model: str = "m", basis: Basis = BASIS, at: float = 1.0, word: str = "fit") -> Verdict:
    return Verdict.model_validate(
        {"model": model, "basis": basis, "word": word, "tools": "marker", "at": at, "version": "1"}
    )


def test_what_was_kept_is_found_by_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "state/verdicts.json"
    before = VerdictFile(path)
    assert before.of("m", BASIS) is None
    VerdictFile(path).keep(verdict())
    assert before.of("m", BASIS) == verdict()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("field", Basis.model_fields)
def test_a_change_of_anything_voids_it(tmp_path: Path, field: str) -> None:
    file = VerdictFile(tmp_path / "v.json")
    file.keep(verdict())
    assert file.of("m", BASIS.model_copy(update={field: "other"})) is None
    assert file.last("m") == verdict(), "it is still known what there was"


def test_a_newer_one_replaces_that_of_its_basis_alone(tmp_path: Path) -> None:
    file, other = VerdictFile(tmp_path / "v.json"), BASIS.model_copy(update={"settings": "x"})
    for one in (verdict(at=1), verdict(basis=other, at=2), verdict(at=3, word="unfit")):
        file.keep(one)
    assert file.of("m", BASIS) == verdict(at=3, word="unfit")
    assert file.of("m", other) == verdict(basis=other, at=2)
    assert file.last("m") == verdict(at=3, word="unfit")


def test_a_broken_file_holds_no_verdict_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text("{")
    file = VerdictFile(path)
    assert file.of("m", BASIS) is None and "broken" in (file.problem() or "")
    file.keep(verdict())
    assert file.problem() is None and file.of("m", BASIS) == verdict()


def test_it_is_not_looked_at_more_often_than_said(tmp_path: Path) -> None:
    now = 0.0
    file = VerdictFile(tmp_path / "v.json", look_every_s=1.0, now=lambda: now)
    VerdictFile(tmp_path / "v.json").keep(verdict())
    assert file.of("m", BASIS) is None
    now = 1.0
    assert file.of("m", BASIS) == verdict()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration, match="cannot write"):
        VerdictFile(tmp_path / "file/v.json").keep(verdict())
