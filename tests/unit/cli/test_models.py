"""What `models discover` shows: models of other programs, none of roost's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.catalog.spec import Source, SourceKind, UnavailableModel
from roost.cli.models import is_others

FETCHED = Path("/u/roost/models")


def model(kind: SourceKind, location: str) -> UnavailableModel:
    return UnavailableModel(id="a", reason="", source=Source(kind=kind, location=location))


def test_a_file_of_another_program_is_shown() -> None:
    assert is_others(model(SourceKind.FILE, "/u/lm-studio/a.gguf"), {}, FETCHED)


@pytest.mark.parametrize(
    ("found", "own"),
    [
        (model(SourceKind.FILE, "/u/roost/models/a.gguf"), {}),
        (model(SourceKind.FILE, "/u/lm-studio/a.gguf"), {"a"}),
        (model(SourceKind.DECLARED, "http://127.0.0.1:9/v1"), {}),
    ],
    ids=["fetched", "added", "declared"],
)
def test_what_is_roosts_own_is_not(found: UnavailableModel, own: set[str]) -> None:
    assert not is_others(found, own, FETCHED)
