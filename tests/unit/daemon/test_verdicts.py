"""A verdict holds while a model is served as it was measured."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind
from roost.config.settings import Settings
from roost.daemon.roles import not_fit
from roost.daemon.verdicts import Verdicts
from roost.engines.basis import Ground
from roost.errors import Unavailable
from roost.store.verdicts import Basis, Verdict, VerdictFile

GROUND = Ground("w", "t", "e", "1", "q", "s")
BASIS = Basis(weights="w", texts="t", engine="e", engine_version="1", quantization="q", settings="s")
VERDICT = Verdict(model="m", basis=BASIS, word="fit", tools="marker", at=1.0, version="1")
SPEC = ModelSpec(id="m", format=ModelFormat.GGUF, path=None, source=Source(kind=SourceKind.FILE, location="/m.gguf"))


class Grounds:
    """What a model stands on, as the test says, and how often that was asked."""

    def __init__(self) -> None:
        self.now: Ground | None = GROUND
        self.asked = 0

    def __call__(self, spec: ModelSpec, settings: Settings) -> Ground:
        self.asked += 1
        if self.now is None:
            raise Unavailable("no engine")
        return self.now


def test_both_shapes_of_a_basis_have_the_same_fields() -> None:
    assert {field.name for field in fields(Ground)} == set(Basis.model_fields)


def test_it_is_worked_out_once_for_each_value_of_the_settings(tmp_path: Path) -> None:
    file, grounds, held = VerdictFile(tmp_path / "v.json"), Grounds(), [Settings()]
    verdicts = Verdicts(file, lambda: held[0], grounds)
    assert verdicts.of(SPEC) is None and grounds.asked == 0, "a model that was never measured costs nothing"
    file.keep(VERDICT)
    assert [verdicts.of(SPEC) for _ in range(3)] == [VERDICT] * 3 and grounds.asked == 1
    held[0], grounds.now = Settings(drain_s=1), replace(GROUND, settings="other")
    assert verdicts.of(SPEC) is None and grounds.asked == 2
    assert verdicts.of(SPEC.model_copy(update={"fingerprint": "new"})) is None and grounds.asked == 3


def test_a_model_that_nothing_serves_has_none(tmp_path: Path) -> None:
    file, grounds = VerdictFile(tmp_path / "v.json"), Grounds()
    file.keep(VERDICT)
    grounds.now = None
    assert Verdicts(file, Settings, grounds).of(SPEC) is None


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (None, 'run "roost models verify m"'),
        (VERDICT.model_copy(update={"word": "unfit", "reasons": ("r",)}), "unfit (r)"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(verdict: Verdict | None, said: str) -> None:
    assert said in not_fit("tool-calling", "m", verdict) and "force" in not_fit("tool-calling", "m", verdict)
