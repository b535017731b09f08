"""Contradictions in valid settings."""

from typing import Any

import pytest

from roost.api import Problem
from roost.config.check import check, is_loopback
from roost.config.findings import Facts
from roost.config.settings import Settings

FACTS = Facts(has_keys=False, models=("org/a", "org/b"), roles=("default", "coding", "embedding"))
SKY = {"sky": {"url": "https://sky.example/v1", "api_key": "env:SKY_KEY"}}
TLS = {"tls_certificate": "c.pem", "tls_key": "k.pem"}


def found(settings: dict[str, Any], facts: Facts = FACTS) -> tuple[Problem, ...]:
    return check(Settings.model_validate(settings), facts)


def texts(settings: dict[str, Any], facts: Facts = FACTS) -> str:
    return "\n".join(f"{problem.severity}: {problem.text} | {problem.mend}" for problem in found(settings, facts))


def test_the_defaults_hold_together() -> None:
    assert found({}) == ()


def test_settings_that_are_all_right_say_nothing() -> None:
    settings = {
        "gateway": {
            "host": "0.0.0.0",
            "allowed_hosts": ["box.lan:11434", "[::1]:1"],
            "allowed_origins": ["https://a.b"],
            **TLS,
        },
        "engine": {"prefix_sharing": True, "paged_cache": True, "speculative_decoding": True, "draft_model": "org/b"},
        "engines": {"vllm-mlx": {"max_sequences": 8, "standby": True}},
        "models": {
            "org/a": {"aliases": ["gpt-4"], "engine": {"name": "mlx-lm", "env": {"A_1": "x"}}},
            "cmd": {"command": {"cmd": "x --port ${PORT}", "check_endpoint": "none"}, "context_length": 4096},
            "ext": {"external": {"url": "https://api.x/v1", "api_key": "env:KEY"}, "engine": {"name": "external"}},
        },
        "roles": {"coding": {"requires": ["tools"], "filters": {"clamp": {"top_p": {"max": 1}}}}},
        "residency": {
            "max_resident": 3,
            "pinned": ["org/a"],
            "preload": ["coding", "cmd"],
            "groups": {"g": {"members": ["org/a", "cmd"], "swap": False}},
        },
        "selectors": {"s": {"strategy": "warm", "targets": ["org/a", "gpt-4"]}},
        "classes": {"review": {"candidates": ["local", "basement/coding", "cloud:sky/any"]}},
        "clouds": SKY,
        "profiles": {"p": {"pins": {"x": "s", "y": "", "gpt-4": "cmd"}}},
        "profile": "p",
        "nodes": {"advertise": ["box.lan", "10.0.0.7:1", "[fd00::7]:1"], "wake": {"box": {"command": "true"}}},
    }
    assert texts(settings, Facts(True, FACTS.models, FACTS.roles)) == ""


CASES: list[tuple[dict[str, Any], str]] = [
    ({"models": {"org/a": {"aliases": [" "]}}}, "error: models.\"org/a\".aliases: ' ' cannot be a name"),
    ({"models": {"org/a": {"aliases": ["x@y"]}}}, 'warning: models."org/a".aliases: "x@y" reads like a model on'),
    ({"models": {"org/a": {"filters": {"strip": ["messages"]}}}}, "takes messages from every request"),
    ({"park": {"engines": ["llama-cpp"]}}, 'error: park.engines: no engine is called "llama-cpp"'),
    ({"coexistence": {"busy_percent": 20}}, "error: coexistence.calm_percent 35 is not below"),
    ({"gateway": {"host": "0.0.0.0"}}, "error: gateway.host 0.0.0.0 can be reached from other machines and needs keys"),
    ({"gateway": {"host": "box.lan"}}, "and needs TLS"),
    ({"gateway": {"host": "::", **TLS}}, "warning: gateway.host :: can be reached"),
    ({"gateway": {"tls_certificate": "c"}}, "error: gateway.tls_certificate is set without gateway.tls_key"),
    ({"gateway": {"tls_key": "c"}}, "error: gateway.tls_key is set without gateway.tls_certificate"),
    ({"gateway": {"allowed_origins": ["*"]}}, 'error: gateway.allowed_origins: "*" is not an origin'),
    ({"gateway": {"allowed_origins": ["https://a/"]}}, '"https://a/" is not an origin'),
    ({"gateway": {"allowed_hosts": ["http://a"]}}, 'error: gateway.allowed_hosts: "http://a" is not a host'),
    ({"gateway": {"trusted_proxies": ["caddy"]}}, 'error: gateway.trusted_proxies: "caddy" is no address or CIDR'),
    ({"gateway": {"trusted_proxies": ["10.0.0.5/24"]}}, "(10.0.0.5/24 has host bits set)"),
    ({"gateway": {"trusted_proxies": ["0.0.0.0/0"]}}, '"0.0.0.0/0" is every machine there is'),
    ({"gateway": {"trusted_proxies": ["127.0.0.1"]}}, "warning: gateway.trusted_proxies is set and there is no key"),
    ({"nodes": {"advertise": ["https://box"]}}, 'error: nodes.advertise: "https://box" is not a host'),
    ({"nodes": {"wake": {"box": {}}}}, "error: [nodes.wake.box]: nothing wakes it"),
    ({"residency": {"pinned": ["org/a"]}}, "warning: residency.pinned names 1 models"),
    ({"residency": {"preload": ["org/a"]}}, "warning: residency.preload names 1 models"),
    (
        {"residency": {"groups": {"g": {"members": ["org/a", "org/b"], "swap": False}}}},
        "warning: residency.groups let up to 2 models be loaded together, and residency.max_resident is 1",
    ),
    (
        {"residency": {"matrix": {"sets": {"s": "x & y & z"}, "vars": {"x": "org/a", "y": "org/b", "z": "q"}}}},
        "warning: residency.matrix lets up to 3 models",
    ),
    (
        {"residency": {"groups": {"g": {"members": ["org/aa"]}}}},
        'residency.groups.g.members: no model is called "org/aa"',
    ),
    ({"residency": {"matrix": {"sets": {"s": "x"}}}}, 'warning: residency.matrix: no model is called "x"'),
    (
        {"residency": {"groups": {"g": {"members": ["org/a"]}, "h": {"members": ["org/a"]}}}},
        'error: residency.groups.h.members: "org/a" is in group "g" already',
    ),
    ({"selectors": {"s": {"strategy": "warm", "targets": []}}}, "error: selectors.s.targets is empty"),
    ({"selectors": {"org/a": {"strategy": "pin", "targets": ["org/b"]}}}, '"org/a" is the id of a model already'),
    ({"selectors": {"coding": {"strategy": "pin", "targets": ["org/b"]}}}, '"coding" is a role already'),
    ({"selectors": {"s": {"strategy": "pin", "targets": ["org/aa"]}}}, "warning: selectors.s.targets: no model"),
    (
        {"selectors": {n: {"strategy": "pin", "targets": [t]} for n, t in (("s", "t"), ("t", "org/a"))}},
        'error: selectors.s.targets: "t" is a selector',
    ),
    ({"classes": {"coding": {}}}, 'error: [classes.coding]: "coding" is a role already'),
    ({"classes": {"org/a": {}}}, '"org/a" is the id of a model already'),
    ({"classes": {"batch": {}}}, '"batch" is a word of the queue already'),
    ({"classes": {"c": {"candidates": ["basement"]}}}, '"basement" names no model there | write basement/NAME'),
    ({"classes": {"c": {"candidates": ["cloud:sky/x"]}}}, 'error: classes.c.candidates: no provider is called "sky"'),
    ({"roles": {"coding": {"candidates": ["local/org/aa"]}}}, 'no role or model is called "org/aa" here'),
    (
        {"classes": {"c": {"candidates": ["cloud:sky/x"], "private": True}}, "clouds": SKY},
        "it is private, and all its candidates are clouds",
    ),
    (
        {"classes": {"c": {"candidates": ["cloud:sky/x"]}}, "clouds": {"sky": {**SKY["sky"], "models": {"y": {}}}}},
        'clouds.sky.models does not name "x"',
    ),
    (
        {"classes": {"c": {"candidates": [{"to": "local", "min_prompt_tokens": 9, "max_prompt_tokens": 8}]}}},
        "for none",
    ),
    ({"nodes": {"wake": {"b": {}}}}, "error: nodes.wake.b needs either mac or command"),
    ({"profiles": {"p": {"pins": {"org/a": "org/b"}}}}, 'warning: profiles.p.pins."org/a": this is the id of a model'),
    ({"profiles": {"p": {"pins": {"coding": "org/b"}}}}, "warning: profiles.p.pins.coding: this is a role"),
    ({"profiles": {"p": {"pins": {"x": "org/bb"}}}}, 'profiles.p.pins.x: no model is called "org/bb"'),
    ({"profile": "p", "profiles": {"pp": {"pins": {}}}}, 'error: profile = "p": there is no such profile'),
    ({"residency": {"pinned": ["org/aa"]}}, 'no model is called "org/aa" | did you mean "org/a"?'),
    ({"residency": {"preload": ["codin"]}}, 'no role or model is called "codin" | did you mean "coding"?'),
    ({"engine": {"prefix_sharing": True}}, "error: [engine]: prefix_sharing shares the blocks of a paged cache"),
    (
        {"engine": {"prefix_sharing": True, "paged_cache": True, "prefix_cache": False}},
        "error: [engine]: prefix_sharing shares cached prefixes, and prefix_cache is off",
    ),
    ({"engine": {"prefix_cache": False, "prefix_cache_mb": 9}}, "warning: [engine]: prefix_cache_mb reserves memory"),
    ({"engine": {"speculative_decoding": True}}, "error: [engine]: speculative_decoding needs a draft model"),
    ({"engine": {"draft_model": "org/b"}}, "warning: [engine]: draft_model is set and speculative_decoding is off"),
    ({"engine": {"draft_model": "org/c"}}, 'warning: engine.draft_model: no model is called "org/c"'),
    ({"engine": {"context": 512, "generation_cap": 512}}, "warning: [engine]: generation_cap is not below context"),
    ({"engine": {"completion_batch": 8}}, "warning: [engine]: completion_batch is larger than max_sequences"),
    ({"engine": {"name": "mlx"}}, 'error: engine.name: no engine is called "mlx"'),
    ({"engine": {"name": "command"}}, 'error: engine.name = "command" cannot hold for every model'),
    ({"engine": {"env": {"A-B": "x"}}}, 'error: engine.env: "A-B" cannot be a variable'),
    ({"engine": {"env": {"ROOST_X": "x"}}}, "error: engine.env: ROOST_X is one of roost's own"),
    ({"engines": {"mlx": {}}}, "error: [engines.mlx]: no engine is called that"),
    ({"engines": {"mlx-lm": {"name": "x"}}}, "error: engines.mlx-lm.name has no meaning"),
    (
        {"engines": {"vllm-mlx": {"prefix_sharing": True}}},
        "error: [engines.vllm-mlx]: prefix_sharing shares the blocks",
    ),
    (
        {
            "engine": {"paged_cache": True},
            "models": {"org/a": {"engine": {"prefix_sharing": True, "paged_cache": False}}},
        },
        'error: [models."org/a".engine]: prefix_sharing shares the blocks',
    ),
    (
        {"models": {"org/a": {"engine": {"speculative_decoding": True, "draft_model": "org/a"}}}},
        'error: models."org/a".engine.draft_model is the model itself',
    ),
    (
        {"models": {"org/a": {"engine": {"standby": False}}}},
        'error: models."org/a".engine.standby has no meaning: a spare waits for any model of its engine',
    ),
    ({"models": {"org/c": {}}}, 'warning: [models."org/c"]: no model is called that'),
    (
        {"models": {"m": {"command": {"cmd": "x"}, "external": {"url": "http://x"}}}},
        "error: [models.m] has both a command and an external server",
    ),
    ({"models": {"org/a": {"engine": {"name": "command"}}}}, 'needs the table [models."org/a".command]'),
    (
        {"models": {"m": {"command": {"cmd": "x"}, "engine": {"name": "mlx-lm"}}}},
        'error: models.m.engine.name = "mlx-lm" contradicts the table [models.m.command]',
    ),
    ({"models": {"org/a": {"context_length": 5}}}, "context_length declares the window of a command or external model"),
    ({"models": {"m": {"command": {"cmd": " "}}}}, "error: models.m.command.cmd is empty"),
    ({"models": {"m": {"command": {"cmd": "x", "proxy": "x"}}}}, 'models.m.command.proxy "x" is not a URL'),
    ({"models": {"m": {"command": {"cmd": "x", "check_endpoint": "x"}}}}, "is not a path"),
    ({"models": {"m": {"external": {"url": "box:1"}}}}, "error: models.m.external.url is not a URL"),
    ({"models": {"org/a": {"capabilities": ["visoin"]}}}, 'did you mean "vision"?'),
    (
        {"models": {"org/a": {"aliases": ["x"]}, "org/b": {"aliases": ["x"]}}},
        'error: models."org/b".aliases: "x" is an',
    ),
    ({"models": {"org/a": {"aliases": ["org/b"]}}}, '"org/b" is the id of a model'),
    ({"models": {"org/a": {"aliases": ["coding"]}}}, '"coding" is a role'),
    ({"models": {"org/a": {"filters": {"strip": ["model"]}}}}, "filters.strip names the field model"),
    ({"models": {"org/a": {"filters": {"clamp": {"top_p": {"min": 2, "max": 1}}}}}}, "min 2 is above max 1"),
    (
        {"models": {"org/a": {"filters": {"clamp": {"top_p": {}}}}}},
        'warning: models."org/a".filters.clamp.top_p has nei',
    ),
    ({"models": {"org/a": {"filters": {"set": {"a": 1}, "strip": ["a"]}}}}, "a is both set and defaulted or stripped"),
    ({"roles": {"codng": {}}}, 'warning: [roles.codng]: the registry has no such role | did you mean "coding"?'),
    ({"roles": {"coding": {"requires": ["tool"]}}}, 'error: roles.coding.requires: "tool" is not a capability'),
    (
        {"models": {"org/a": {"name_filters": {"org/a": {"set": {"model": "x"}}}}}},
        'error: models."org/a".name_filters."org/a".set names the field model',
    ),
    ({"models": {"org/a": {"name_filters": {"other": {}}}}}, '"other" is none of its names'),
    (
        {"roles": {"coding": {"filters": {"set": {"model": "x"}}}}},
        "error: roles.coding.filters.set names the field model",
    ),
]


@pytest.mark.parametrize(("settings", "sentence"), CASES, ids=[sentence[:60] for _, sentence in CASES])
def test_a_contradiction_is_named_with_its_mend(settings: dict[str, Any], sentence: str) -> None:
    assert sentence in texts(settings)
    assert all(problem.mend for problem in found(settings))


def test_nothing_is_said_about_what_nobody_looked_up() -> None:
    settings = {"models": {"x": {}}, "roles": {"y": {}}, "engine": {"draft_model": "z", "speculative_decoding": True}}
    assert found(settings, Facts(has_keys=False)) == ()


def test_a_wider_contradiction_is_told_once_where_it_stands() -> None:
    settings = {
        "engine": {"prefix_sharing": True},
        "engines": {"mlx-lm": {"threads": 2}},
        "models": {"org/a": {"engine": {"threads": 1}}},
    }
    assert texts(settings).count("prefix_sharing") == 2  # its text and its mend


def test_errors_come_before_warnings() -> None:
    order = [problem.severity for problem in found({"residency": {"pinned": ["x"]}, "engines": {"x": {}}})]
    assert order == sorted(order, key=lambda severity: severity != "error")
    assert set(order) == {"error", "warning"}


def test_a_key_written_into_the_settings_is_refused_and_not_repeated() -> None:
    told = texts({"models": {"m": {"external": {"url": "http://x", "api_key": "sk-geheim"}}}})
    assert "error: models.m.external.api_key is not a reference" in told
    assert "geheim" not in told


CLOUD = {"url": "https://api.openai.com/v1", "api_key": "env:OPENAI_API_KEY"}


def test_a_cloud_that_can_be_asked_says_nothing() -> None:
    assert (
        found({"clouds": {"openai": CLOUD, "box": CLOUD | {"url": "http://127.0.0.1:9/x", "api_key": "cmd:a b"}}}) == ()
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"api_key": "sk-abcdef0123456789"}, "clouds.openai.api_key is not a reference"),
        ({"api_key": "env:not a name"}, "clouds.openai.api_key is not a reference"),
        ({"url": "api.openai.com"}, "clouds.openai.url is not a base URL"),
        ({"url": "https://:8"}, "clouds.openai.url is not a base URL"),
        ({"url": "https://a:99999"}, "clouds.openai.url is not a base URL"),
        ({"url": "https://a/v1?key=x"}, "clouds.openai.url is not a base URL"),
        ({"url": "https://me:hunter2@a/v1"}, "clouds.openai.url holds a user or password"),
        ({"url": "http://a.example/v1"}, "clouds.openai.url is http"),
        ({"models": {"m": {"capabilities": ["telepathy"]}}}, '"telepathy" is not a capability'),
        ({"models": {"m": {"usd_per_million_input": 1}}}, "belong together"),
    ],
)
def test_a_cloud_that_cannot_is_named_and_nothing_of_it_repeated(change: dict[str, Any], sentence: str) -> None:
    told = texts({"clouds": {"openai": CLOUD | change}})
    assert sentence in told
    assert "abcdef" not in told and "hunter2" not in told


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "localhost.evil.com", "box"])
def test_everything_else_counts_as_reachable(host: str) -> None:
    assert not is_loopback(host)


def test_a_key_written_into_the_settings_is_not_repeated_by_the_check() -> None:
    settings = Settings.model_validate({"clouds": {"sky": {"url": "https://a", "api_key": "sk-very-secret"}}})
    assert all("sk-very-secret" not in f"{one.text}{one.mend}" for one in check(settings, Facts(has_keys=False)))


def test_tls_may_be_left_to_a_trusted_proxy_and_keys_may_not() -> None:
    gateway = {"host": "0.0.0.0", "allowed_hosts": ["box.lan"], "trusted_proxies": ["10.0.0.5", "fd00::/64"]}
    assert texts({"gateway": gateway}, Facts(has_keys=True)) == ""
    assert "needs keys" in texts({"gateway": gateway})
