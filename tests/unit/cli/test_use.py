"""`use` takes exactly what was named, or says what is near."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind, UnavailableModel
from roost.cli.use import check_fit, check_free, check_role, check_tools, find_model, next_step, reachable, taken
from roost.config.settings import RoleSettings, Settings
from roost.errors import ModelNotFound, ModelUnavailable, Refused
from roost.store.verdicts import Basis, Verdict
from roost.testing.stand_in import FixedCatalog
from tests.unit.cli.reports import role, status, worker

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog

BASIS = Basis(weights="", texts="", engine="", engine_version=None, quantization=None, settings="")
VERDICT = Verdict(model="a", basis=BASIS, word="fit-with-repair", tools="full", at=1.0, version="1")
FILE = Source(kind=SourceKind.FILE, location="/m/smol.gguf")


def spec(model_id: str, *capabilities: str) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": model_id,
            "format": ModelFormat.GGUF,
            "path": Path("/m/smol.gguf"),
            "source": FILE,
            "capabilities": frozenset(capabilities or ("chat", "completion")),
        }
    )


def test_the_exact_id_is_found() -> None:
    assert find_model("a", [spec("a"), spec("ab")]).id == "a"


def test_a_prefix_of_one_id_is_suggested_and_not_taken() -> None:
    with pytest.raises(ModelNotFound, match='did you mean "SmolLM2-135M"') as caught:
        find_model("smol", [spec("SmolLM2-135M")])
    assert "nothing was put in its place" in caught.value.message


def test_an_id_in_other_letters_is_not_taken() -> None:
    with pytest.raises(ModelNotFound):
        find_model("smollm2-135m", [spec("SmolLM2-135M")])


@pytest.mark.parametrize("name", ["default", "coding", "rerank", "my-role", "team.a_1"])
def test_known_and_new_roles_pass(name: str) -> None:
    check_role(name, ["my-role"])


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 65, "a@b"])
def test_what_cannot_be_a_role_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="cannot be a role"):
        check_role(name, [])


def test_a_slip_of_a_known_role_is_refused_with_the_right_one() -> None:
    with pytest.raises(Refused, match='did you mean "coding"'):
        check_role("codng", [])


def test_a_role_that_requires_a_capability_refuses_a_model_without() -> None:
    with pytest.raises(Refused, match="requires vision"):
        check_fit("coding", spec("a"), {"vision"})


def test_a_model_that_has_what_the_role_requires_passes() -> None:
    check_fit("coding", spec("a", "chat", "vision"), {"vision", "tools"})


def test_tools_are_a_matter_of_the_verdict() -> None:
    with pytest.raises(Refused, match='run "roost models verify a"'):
        check_tools("tool-calling", spec("a", "chat", "tools"), None)
    with pytest.raises(Refused, match="found unfit: single: 3 of 40"):
        check_tools(
            "tool-calling", spec("a"), VERDICT.model_copy(update={"word": "unfit", "reasons": ("single: 3 of 40",)})
        )
    check_tools("tool-calling", spec("a"), VERDICT)


def test_the_role_named_for_tools_requires_them_and_others_may() -> None:
    settings = Settings(roles={"coding": RoleSettings(requires=("tools", "vision"))})
    assert settings.required("tool-calling") == {"tools"}
    assert settings.required("coding") == {"tools", "vision"}
    assert settings.required("default") == frozenset()


def test_rerank_needs_a_reranker() -> None:
    with pytest.raises(Refused, match="requires rerank"):
        check_fit("rerank", spec("a"), ())


def test_embedding_takes_a_chat_model() -> None:
    check_fit("embedding", spec("a"), ())


def test_an_unavailable_model_says_why() -> None:
    with pytest.raises(ModelUnavailable, match="volume not mounted"):
        reachable(UnavailableModel(id="a", reason="volume not mounted: /Volumes/X", source=FILE))


@pytest.mark.parametrize("policy", ["never", "idle", "always"])
def test_the_next_step_names_the_policy(policy: str) -> None:
    assert f'rotation is "{policy}"' in next_step(status(rotation_policy=policy), "coding", "other", Settings())


def test_a_model_that_is_loaded_needs_no_next_step() -> None:
    assert next_step(status(), "coding", worker().model, Settings()) == "it is loaded already"


def test_a_model_whose_last_start_failed_is_not_called_loaded() -> None:
    failed = status(workers=(worker(state="stopped", problem="exit code 1"),))
    assert next_step(failed, "coding", worker().model, Settings()) == "the next request loads it"


def test_a_free_place_is_taken_by_the_next_request() -> None:
    two = Settings.model_validate({"residency": {"max_resident": 2}})
    assert next_step(status(workers=()), "coding", "other", Settings()) == "the next request loads it"
    assert next_step(status(), "coding", "other", two) == "the next request loads it"


def test_a_server_elsewhere_takes_no_place() -> None:
    settings = Settings.model_validate({"models": {"far": {"external": {"url": "http://127.0.0.1:9/v1"}}}})
    assert "goes to the server" in next_step(status(), "coding", "far", settings)


def test_an_embedding_model_evicts_nobody() -> None:
    assert "beside the resident" in next_step(status(), "embedding", "other", Settings())


def test_a_name_that_a_model_has_is_no_role() -> None:
    """A request by it would get that model, whatever the registry says."""
    catalog = cast("Catalog", FixedCatalog({"a": spec("a"), "coding": spec("coding")}))
    with pytest.raises(Refused, match="it is the id of a model here"):
        check_free("a", catalog)
    check_free("coding", catalog)
    check_free("b", catalog)


def test_a_change_is_taken_once_the_role_has_its_own_entry() -> None:
    """Before, it may mean the same model as default."""
    inherited = role("coding", resolves_to="a", via_default=True)
    assert not taken(status(roles=(inherited,)), "coding", "a")
    own = role("coding", resolves_to="a", via_default=False)
    assert taken(status(roles=(own,)), "coding", "a")
    assert not taken(status(roles=(own,)), "coding", "b")
