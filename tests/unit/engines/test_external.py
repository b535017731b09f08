from __future__ import annotations

import pytest

from roost.config.settings import ExternalWorker, Knobs, ModelSettings
from roost.engines.external import External
from roost.engines.types import LaunchPlan, ProofKind, UrlEndpoint
from roost.errors import BadConfiguration
from tests.unit.engines.specs import PATHS, PLACE, declared

EXTERNAL = External(PATHS, {"THEIR_KEY": "sk-canary"})


def plan(url: str = "https://models.lan/v1", knobs: Knobs | None = None, **more: str) -> LaunchPlan:
    worker = ExternalWorker.model_validate({"url": url, **more})
    settings = ModelSettings(external=worker, context_length=2048, capabilities=("chat", "vision"))
    return EXTERNAL.launch(declared(), knobs or Knobs(), settings, PLACE)


def test_no_process_is_started_and_nothing_is_proven() -> None:
    made = plan()
    assert made.argv == ()
    assert made.proof is ProofKind.CLAIMED
    assert (made.served_name, made.context_length) == ("mine", 2048)
    assert made.traits.surfaces == frozenset({"chat"})
    assert made.traits.vision


def test_the_key_is_resolved_from_its_reference_and_never_shown() -> None:
    made = plan(api_key="env:THEIR_KEY")
    assert made.endpoint == UrlEndpoint("https://models.lan/v1", key="sk-canary")
    assert "canary" not in repr(made)


def test_a_key_in_the_settings_is_refused_without_repeating_it() -> None:
    with pytest.raises(BadConfiguration) as caught:
        plan(api_key="sk-live-canary")
    assert "env:NAME" in caught.value.message
    assert "canary" not in caught.value.message


def test_a_reference_to_nothing_names_the_variable() -> None:
    with pytest.raises(BadConfiguration, match="export ABSENT"):
        plan(api_key="env:ABSENT")


@pytest.mark.parametrize("url", ["models.lan", "file:///etc/passwd", "https://user:canary@models.lan"])
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(BadConfiguration, match=r"external\.url") as caught:
        plan(url)
    assert "canary" not in caught.value.message


def test_what_would_need_a_process_is_a_problem() -> None:
    found = EXTERNAL.problems(None, Knobs(env={"A": "1"}, extra_args=("-x",), threads=2, standby=True))
    assert len(found) == 4
    assert all(problem.startswith("external: ") for problem in found)
