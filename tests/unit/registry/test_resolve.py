"""What a name means, and what an error about a name says."""

from collections.abc import Iterator

import pytest

from roost.config.settings import ModelSettings
from roost.errors import ModelNotFound
from roost.registry.resolve import aliases_of, all_roles, resolve
from roost.registry.types import CHAT_ROLES, Redirect, Registry, Resolution

KNOWN = ("org/coder-30b", "org/small-4b", "org/embed", "odd@name")
REGISTRY = Registry(
    roles={
        "default": "org/small-4b",
        "coding": "org/coder-30b",
        "review": "org/coder-30b@here",
        "far": "org/coder-30b@basement",
        "gone": "org/gone-9b",
        "odd": "odd@name",
    }
)


def meaning(name: str, registry: Registry = REGISTRY) -> Resolution:
    return resolve(
        name, registry, known=KNOWN, known_ids=KNOWN, aliases={"gpt-4": "org/small-4b", "x": "lost"}, local_node="here"
    )


def refusal(name: str, registry: Registry = REGISTRY) -> str:
    with pytest.raises(ModelNotFound) as caught:
        meaning(name, registry)
    assert caught.value.param == "model"
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    return caught.value.message


def test_a_role_means_its_model() -> None:
    assert meaning("coding") == Resolution("coding", "org/coder-30b", None, "coding")


def test_a_physical_id_means_itself() -> None:
    assert meaning("org/embed") == Resolution("org/embed", "org/embed", None, None)


def test_an_alias_means_its_model() -> None:
    assert meaning("gpt-4") == Resolution("gpt-4", "org/small-4b", None, None, alias="gpt-4")


def test_a_role_of_the_user_counts() -> None:
    assert meaning("review") == Resolution("review", "org/coder-30b", "here", "review")


@pytest.mark.parametrize("role", [role for role in CHAT_ROLES if role not in REGISTRY.roles])
def test_a_chat_role_without_entry_means_what_default_means(role: str) -> None:
    assert meaning(role) == Resolution(role, "org/small-4b", None, role, via_default=True)


def test_a_role_named_like_a_model_never_serves_other_weights_under_its_id() -> None:
    registry = Registry(roles={"org/embed": "org/small-4b"})
    assert meaning("org/embed", registry) == Resolution("org/embed", "org/embed", None, None)


def test_a_fixed_role_wins_over_an_id_and_an_id_over_an_alias() -> None:
    both = resolve("coding", Registry(roles={"coding": "b"}), known={"coding", "b"}, local_node="here")
    assert (both.model_id, both.role) == ("b", "coding")
    found = resolve("a", Registry(), known={"a", "b"}, aliases={"a": "b"}, local_node="here")
    assert found.model_id == "a"


def test_a_name_at_this_node_is_served_here() -> None:
    assert meaning("org/embed@here") == Resolution("org/embed@here", "org/embed", "here", None)
    assert meaning("coding@here") == Resolution("coding@here", "org/coder-30b", "here", "coding")
    assert meaning("gpt-4@here").alias == "gpt-4"


def test_an_id_that_holds_an_at_sign_is_itself() -> None:
    assert meaning("odd@name") == Resolution("odd@name", "odd@name", None, None)
    assert meaning("odd").model_id == "odd@name"


def test_another_node_is_named_and_nothing_served_instead() -> None:
    for name in ("org/embed@basement", "coding@basement", "far"):
        message = refusal(name)
        assert "'basement'" in message
        assert "this node (here)" in message


def test_a_typo_names_the_nearest_role_with_its_model() -> None:
    assert refusal("codng") == (
        "cannot serve 'codng': no node has it, nothing was substituted; nearest role coding → org/coder-30b; "
        'see "roost models"'
    )


def test_an_id_nearly_right_names_the_role_that_uses_it() -> None:
    assert "nearest role coding → org/coder-30b" in refusal("coder-30B")
    assert "nearest model org/embed" in refusal("org/embedd")


def test_a_name_near_nothing_is_told_what_default_is() -> None:
    assert "role default is org/small-4b" in refusal("zzzzzzzzzz")
    assert refusal("zzzzzzzzzz", Registry()).count("role") == 0


@pytest.mark.parametrize("role", ["embedding", "rerank"])
def test_an_auxiliary_role_without_entry_never_falls_back(role: str) -> None:
    message = refusal(role)
    assert f'run "roost use {role} ID"' in message
    assert "org/small-4b" not in message


def test_default_without_entry_names_its_mend() -> None:
    assert 'run "roost use default ID"' in refusal("default", Registry())
    message = refusal("coding", Registry())
    assert "neither role coding nor role default has a model" in message
    assert 'run "roost use default ID"' in message


def test_a_role_whose_model_nobody_has_is_not_substituted() -> None:
    message = refusal("gone")
    assert "role gone is 'org/gone-9b', which no node has, nothing was substituted" in message
    assert "roost models add org/gone-9b" in message
    assert "role default is" in refusal("oss", Registry(roles={"default": "org/nope"}))


def test_an_alias_of_a_model_that_is_gone_is_not_found() -> None:
    refusal("x")


@pytest.mark.parametrize("name", ["", "@", "@here", "a@", "org/embed@", "\n", "a" * 5_000_000])
def test_strange_names_are_refused_briefly(name: str) -> None:
    message = refusal(name)
    assert len(message) < 400
    assert message.isprintable()


def test_the_ids_are_walked_only_for_a_name_that_is_not_found() -> None:
    def ids() -> Iterator[str]:
        raise AssertionError("walked")
        yield ""

    assert resolve("a", Registry(), known={"a"}, known_ids=ids(), local_node="here").model_id == "a"


def test_the_first_of_two_owners_keeps_an_alias() -> None:
    models = {"a": ModelSettings(aliases=("x", "y")), "b": ModelSettings(aliases=("y",))}
    assert aliases_of(models) == {"x": "a", "y": "a"}


def test_all_roles_are_the_fixed_ones_and_the_users_own() -> None:
    roles = all_roles(REGISTRY)
    assert roles[:9] == (*CHAT_ROLES, "embedding", "rerank")
    assert set(roles[9:]) == {"review", "far", "gone", "odd"}


def redirected(name: str) -> Resolution:
    """With a profile whose pins come before a selector, and both before an alias."""
    pins = {"fast": "gpt-4", "thing": "warm-one", "off": "", "lost-pin": "nobody", "coding": "org/embed"}
    pins |= {"org/embed": "org/small-4b", "gpt-4": "org/coder-30b"}
    selectors = {"warm-one": "org/embed", "thing": "org/small-4b", "bad": "warm-one", "org/small-4b": "org/embed"}
    return resolve(
        name,
        REGISTRY,
        known=KNOWN,
        aliases={"gpt-4": "org/small-4b"},
        local_node="here",
        redirects=(
            lambda one: Redirect(pins[one], "profile") if one in pins else None,
            lambda one: Redirect(selectors[one], "warm") if one in selectors else None,
        ),
    )


@pytest.mark.parametrize(
    ("name", "model", "via"),
    [
        ("warm-one", "org/embed", ("warm",)),
        ("thing", "org/embed", ("profile", "warm")),
        # The target of a pin is no pin itself: it means what it means without the profile.
        ("fast", "org/small-4b", ("profile",)),
        ("gpt-4", "org/coder-30b", ("profile",)),
        ("fast@here", "org/small-4b", ("profile",)),
    ],
)
def test_a_redirected_name_means_its_target_and_tells_the_way(name: str, model: str, via: tuple[str, ...]) -> None:
    found = redirected(name)
    assert (found.requested, found.model_id, found.via) == (name, model, via)


def test_neither_an_id_nor_a_role_is_ever_redirected() -> None:
    assert redirected("org/embed") == Resolution("org/embed", "org/embed", None, None)
    assert redirected("org/small-4b").model_id == "org/small-4b"
    assert redirected("coding").model_id == "org/coder-30b"


def test_filters_of_an_alias_hold_when_a_redirect_comes_to_it() -> None:
    assert redirected("fast").alias == "gpt-4"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("off", "the active profile makes this name mean nothing"),
        ("lost-pin", "'lost-pin' means 'nobody' now (profile), which no node has"),
        # A selector does not choose another one.
        ("bad", "'bad' means 'warm-one' now (warm), which no node has"),
    ],
)
def test_a_redirect_to_nobody_is_told_and_nothing_is_substituted(name: str, why: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        redirected(name)
    assert why in caught.value.message and caught.value.param == "model"


class Basement:
    """One paired machine that has `org/huge`, as its role `coding`."""

    def knows(self, node: str) -> bool:
        return node == "basement"

    def meaning(self, node: str, name: str, requested: str) -> str:
        found = {"org/huge": "org/huge", "coding": "org/huge", "org/coder-30b": "org/coder-30b"}.get(name)
        if found is None:
            raise ModelNotFound(f"cannot serve {requested}", param="model")
        return found

    def who_has(self, model_id: str) -> str | None:
        return "basement" if model_id in ("org/huge", "org/coder-30b", "org/gone-9b") else None


def anywhere(name: str) -> Resolution:
    return resolve(name, REGISTRY, known=KNOWN, known_ids=KNOWN, local_node="here", elsewhere=Basement())


@pytest.mark.parametrize(
    ("name", "model", "node", "role"),
    [
        ("org/huge@basement", "org/huge", "basement", None),
        ("coding@basement", "org/huge", "basement", None),
        ("org/huge", "org/huge", "basement", None),
        # What is here stays here, though another machine has it too.
        ("org/coder-30b", "org/coder-30b", None, None),
        ("far", "org/coder-30b", "basement", "far"),
        ("gone", "org/gone-9b", "basement", "gone"),
        ("coding", "org/coder-30b", None, "coding"),
    ],
)
def test_names_reach_paired_machines(name: str, model: str, node: str | None, role: str | None) -> None:
    assert anywhere(name) == Resolution(name, model, node, role)


@pytest.mark.parametrize("name", ["org/huge@attic", "org/other@basement", "org/other", "@basement"])
def test_what_no_machine_has_is_not_found_anywhere(name: str) -> None:
    with pytest.raises(ModelNotFound):
        anywhere(name)
