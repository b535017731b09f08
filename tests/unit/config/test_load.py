"""Precedence, variables, flags and the sentences about mistakes, without a file."""

import json
from pathlib import Path

import pytest

from roost.config.layers import OriginKind
from roost.config.load import LoadedSettings, load
from roost.config.paths import Paths
from roost.config.settings import RotationPolicy
from roost.errors import BadConfiguration

NOWHERE = Paths(*(Path("/nonexistent") / name for name in ("user.toml", "registry", "state", "models", "system.toml")))


def loaded(environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> LoadedSettings:
    return load(NOWHERE, environ or {}, flags)


def problems(environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> tuple[str, ...]:
    with pytest.raises(BadConfiguration) as caught:
        loaded(environ, flags)
    return caught.value.problems


def test_without_files_the_defaults_hold() -> None:
    found = loaded()
    assert found.settings.gateway.port == 11434
    assert {origin.kind for origin in found.origins.values()} == {OriginKind.DEFAULT}
    assert str(found.origins["rotation.policy"]) == "default"


def test_a_flag_wins_over_a_variable() -> None:
    found = loaded(
        {"ROOST_GATEWAY__PORT": "1", "ROOST_GATEWAY__HOST": "::1"}, {"gateway.port": 2, "gateway.host": None}
    )
    assert (found.settings.gateway.port, found.settings.gateway.host) == (2, "::1")
    assert str(found.origins["gateway.port"]) == "flag"
    assert str(found.origins["gateway.host"]) == "environment ROOST_GATEWAY__HOST"


@pytest.mark.parametrize(
    ("name", "value", "key", "expected"),
    [
        ("ROOST_GATEWAY__PORT", "0", "gateway.port", 0),
        ("ROOST_ROTATION__POLICY", "always", "rotation.policy", RotationPolicy.ALWAYS),
        ("ROOST_LOAD__WAIT", "false", "load.wait", False),
        ("ROOST_DRAIN_S", "2.5", "drain_s", 2.5),
        ("ROOST_ENGINE__CONTEXT", "4096", "engine.context", 4096),
        ("ROOST_ENGINE__DRAFT_MODEL", "123", "engine.draft_model", "123"),
        ("ROOST_GATEWAY__ALLOWED_HOSTS", '["a:1", "b"]', "gateway.allowed_hosts", ("a:1", "b")),
        ("ROOST_GATEWAY", '{"port": 7}', "gateway.port", 7),
        (
            "ROOST_ENGINE__CHAT_TEMPLATE_ARGS__ENABLE_THINKING",
            "false",
            "engine.chat_template_args.enable_thinking",
            False,
        ),
        ("ROOST_ENGINE__CHAT_TEMPLATE_ARGS__STYLE", "plain", "engine.chat_template_args.style", "plain"),
        ("ROOST_ENGINE__ENV__MixedCase", "x", "engine.env.MixedCase", "x"),
    ],
)
def test_a_variable_sets_a_value_of_the_right_type(name: str, value: str, key: str, expected: object) -> None:
    found = loaded({name: value})
    current: object = found.settings
    for part in key.split("."):
        current = current[part] if isinstance(current, dict) else getattr(current, part)
    assert current == expected
    assert type(current) is type(expected)
    assert str(found.origins[key]) == f"environment {name}"


def test_names_that_no_shell_can_spell_are_matched_by_their_letters() -> None:
    found = loaded({"ROOST_ENGINES__VLLM_MLX__MAX_SEQUENCES": "9", "ROOST_ROLES__TOOL_CALLING__REQUIRES": '["tools"]'})
    assert found.settings.engines == {"vllm-mlx": {"max_sequences": 9}}
    assert found.settings.roles["tool-calling"].requires == ("tools",)


def test_paths_empty_variables_and_others_variables_are_no_settings() -> None:
    environ = {
        "ROOST_HOME": "/x",
        "ROOST_MODELS": "/y",
        "ROOST_GATEWAY__PORT": "",
        "ROOST_WORKER_NONCE": "1",
        "A__B": "1",
    }
    found = loaded(environ)
    assert {origin.kind for origin in found.origins.values()} == {OriginKind.DEFAULT}
    assert found.problems == ()


def test_a_variable_spelled_nearly_right_is_a_warning() -> None:
    found = loaded({"ROOST_PORT": "1", "ROOST_ROTATION_POLICY": "never"})
    assert [(problem.severity, problem.text, problem.mend) for problem in found.problems] == [
        ("warning", "ROOST_PORT sets nothing", "rename it to ROOST_GATEWAY__PORT"),
        ("warning", "ROOST_ROTATION_POLICY sets nothing", "rename it to ROOST_ROTATION__POLICY"),
    ]


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"ROOST_GATEWAY__PROT": "1"}, 'ROOST_GATEWAY__PROT: unknown key "prot" in [gateway]; did you mean "port"?'),
        ({"ROOST_X__PORT": "1"}, 'ROOST_X__PORT: unknown key "x"; known there: gateway, rotation,'),
        ({"ROOST_GATEWAY__POLICY": "x"}, '; did you mean "rotation.policy"?'),
        ({"ROOST_GATEWAY__PORT": "many"}, 'ROOST_GATEWAY__PORT: gateway.port = "many": must be a valid integer'),
        ({"ROOST_GATEWAY__PORT": "70000"}, "must be less than or equal to 65535 (TCP port; 0 takes a free one)"),
        ({"ROOST_GATEWAY__ALLOWED_HOSTS": "a,b"}, "ROOST_GATEWAY__ALLOWED_HOSTS: is not JSON"),
        ({"ROOST_GATEWAY__ALLOWED_HOSTS": "{}"}, 'must be JSON like ["a", "b"]'),
        ({"ROOST_GATEWAY__ALLOWED_HOSTS": "[" * 100_000}, "ROOST_GATEWAY__ALLOWED_HOSTS: is not JSON"),
        ({"ROOST_ROTATION__MIN_IDLE_S": "nan"}, "must be a finite number"),
        ({"ROOST_DRAIN_S": "inf"}, "must be a finite number"),
        ({"ROOST_ROTATION__MIN_IDLE_S": "1e300"}, 'rotation.min_idle_s = "1e300": must be at most 316224000 ('),
        ({"ROOST_ENGINE__PREFIX_CACHE_MB": str(10**29)}, "must be less than or equal to 1073741824"),
        ({"ROOST_QUEUE__MAX_REQUESTS": str(10**29)}, "must be at most 9007199254740992"),
        ({"ROOST_MEMORY__MAX_GB": "inf"}, "must be a finite number"),
        ({"ROOST_MEMORY__NIGHT_MAX_GB": "1e300"}, "must be less than or equal to 1048576"),
        ({"ROOST_ENGINES__MLX_LM__CONTEXT": "1"}, "ROOST_ENGINES__MLX_LM__CONTEXT: engines.mlx-lm.context = "),
        ({"ROOST_ENGINE__PROCESS_PRIORITY": "background"}, "never background: that costs an order of magnitude"),
    ],
)
def test_a_wrong_variable_is_named_with_its_mend(environ: dict[str, str], sentence: str) -> None:
    (found,) = problems(environ)
    assert sentence in found


def test_a_wrong_flag_is_named() -> None:
    assert problems(flags={"gateway.port": -1}) == (
        "flag gateway.port: gateway.port = -1: must be greater than or equal to 0 (TCP port; 0 takes a free one)",
    )


def test_true_is_no_number() -> None:
    (found,) = problems(flags={"gateway.port": True})
    assert "gateway.port = true: must be a number" in found


def test_every_mistake_is_told_at_once() -> None:
    found = problems({"ROOST_GATEWAY__PORT": "x", "ROOST_QUEUE__MAX_REQUESTS": "0"}, {"rotation.policy": "often"})
    assert len(found) == 3
    with pytest.raises(BadConfiguration, match=r"cannot use the settings: .* \(and 2 more: roost config check\)"):
        loaded({"ROOST_GATEWAY__PORT": "x", "ROOST_QUEUE__MAX_REQUESTS": "0"}, {"rotation.policy": "often"})


def test_every_leaf_has_a_row_with_value_and_origin() -> None:
    rows = {row.key: row for row in loaded({"ROOST_GATEWAY__PORT": "5"}).rows()}
    assert (rows["gateway.port"].value, rows["gateway.port"].origin.place) == ("5", "ROOST_GATEWAY__PORT")
    assert rows["engine.name"].value == '"auto"'
    assert rows["models"].value == "{}"
    assert all(json.loads(row.value) is not Ellipsis for row in rows.values())


def test_values_that_may_be_secret_are_never_shown() -> None:
    model = {"external": {"url": "http://x", "api_key": "sk-1"}, "engine": {"env": {"HF_TOKEN": "hf-2"}}}
    found = loaded(flags={"models": {"a": model}})
    shown = " ".join(row.value for row in found.rows())
    assert "sk-1" not in shown
    assert "hf-2" not in shown
    broken = {"external": {"url": "http://x", "api_key": ["sk-1"]}, "engine": {"env": {"HF_TOKEN": ["hf-2"]}}}
    told = " ".join(problems(flags={"models": {"a": broken}}))
    assert "sk-1" not in told
    assert "hf-2" not in told


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            '{"groups": {"g": {"members": ["a"]}, "h": {"members": ["a"]}}}',
            'ROOST_RESIDENCY: residency.groups.h.members: "a" is in group "g" already',
        ),
        ('{"matrix": {"sets": {"s": "a &"}}}', 'ROOST_RESIDENCY: residency.matrix.sets: set "s": it ends where'),
        ('{"groups": {"g": {}}, "matrix": {"sets": {"s": "a"}}}', "residency.matrix: there are groups too"),
    ],
)
def test_groups_and_sets_that_mean_nothing_are_refused_at_their_place(value: str, sentence: str) -> None:
    assert sentence in problems({"ROOST_RESIDENCY": value})[0]
