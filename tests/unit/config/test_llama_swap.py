"""A config.yaml of llama-swap as settings: what is taken over, what is told, what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from roost.config.llama_swap.convert import import_config
from roost.config.llama_swap.types import Imported
from roost.config.settings import GroupSettings, ProfileSettings, SelectorSettings, Settings, Strategy
from roost.errors import BadConfiguration

ENVIRON = {"HOME": "/u", "MODELS": "/m dir", "TTL": "90", "PEER_KEY": "sk-peer", "CLIENT_KEY": "sk-client"}
ROLES = ("default", "coding", "embedding")


def imported(text: str) -> Imported:
    return import_config(text, ENVIRON, Path("/cfg"), "/u", ROLES)


def settings(text: str) -> Settings:
    return Settings.model_validate(tomllib.loads(imported(text).toml))


def model(entry: str, name: str = "m", top: str = "") -> Any:
    """The settings of one model, its entry in flow style."""
    return settings(f"{top}\nmodels: {{{name}: {{{entry}}}}}").models[name]


def command(entry: str, top: str = "") -> str:
    found: str = model(entry, top=top).command.cmd
    return found


def warnings(text: str) -> str:
    return "\n".join(imported(text).warnings)


CMD = 'cmd: "serve --port ${PORT}"'


def test_a_plain_model_becomes_a_command_that_swaps_on_request() -> None:
    found = settings(f"models: {{m: {{{CMD}}}}}")
    assert found.models["m"].command.cmd == "serve --port ${PORT}"
    assert (found.rotation.policy, found.residency.max_resident) == ("always", 1)
    assert found.knobs("m", "command").max_sequences == 10
    assert found.knobs("m", "command").env == {"HOME": "/u"}


def test_macros_are_filled_in_the_last_declared_first_and_a_models_own_win() -> None:
    top = 'macros: {size: 4096, args: "--ctx ${size} --id ${MODEL_ID}", bin: "/bin/serve --port ${PORT}"}'
    assert command('cmd: "${bin} ${args}"', top) == "/bin/serve --port ${PORT} --ctx 4096 --id ${MODEL_ID}"
    own = 'macros: {size: 8192, flag: true}, cmd: "${bin} ${args} --f ${flag}"'
    assert command(own, top) == "/bin/serve --port ${PORT} --ctx 8192 --id ${MODEL_ID} --f true"


def test_variables_come_first_and_keep_the_type_of_what_they_say() -> None:
    text = "models:\n  m:\n    ttl: ${env.TTL}\n    cmd: serve ${PORT} '${env.MODELS}/x'\n"
    found = settings(text).models["m"]
    assert found.engine["idle_ttl_s"] == 90
    assert found.command.cmd == "serve ${PORT} '/m dir/x'"
    assert "${env.MODELS}, ${env.TTL}: " in warnings(text)
    # Inside braces it is YAML only once it is filled in.
    assert model("ttl: ${env.TTL}, " + CMD).engine["idle_ttl_s"] == 90


def test_a_comment_and_what_it_names_are_dropped_and_lines_are_joined() -> None:
    text = """
macros:
  engine: >
    /bin/serve
    --port ${PORT}
models:
  m:
    cmd: |
      # ${engine} ${unknown}
      ${engine} \\
      --x 'a b' --hash a#b
"""
    assert settings(text).models["m"].command.cmd == "/bin/serve --port ${PORT} --x 'a b' --hash 'a#b'"


def test_dollars_that_are_no_placeholder_reach_the_command_as_they_are() -> None:
    from string import Template

    word = command("cmd: 'serve ${PORT} $PORT $$x ${PORT}'").split()
    assert [Template(one).safe_substitute(PORT="5") for one in word] == ["serve", "5", "$PORT", "$$x", "5"]


def test_a_long_command_is_written_with_an_option_a_line() -> None:
    text = command(f'cmd: "serve --port ${{PORT}} --model /m/{"x" * 90}.gguf --jinja"')
    assert text.splitlines() == ["serve", "  --port ${PORT}", f"  --model /m/{'x' * 90}.gguf", "  --jinja"]


def test_everything_that_has_a_place_is_taken_over() -> None:
    entry = (
        f'{CMD}, cmdStop: "kill ${{PID}}", proxy: "http://127.0.0.1:${{PORT}}/v1", checkEndpoint: none, '
        'env: ["A=b=c"], aliases: [x, {id: y}], useModelName: up, unlisted: true, name: N, description: D, ttl: 0, '
        "concurrencyLimit: 3, capabilities: {in: [text, image], tools: true, context: 8192}"
    )
    found = model(entry, top="globalTTL: 60\nhealthCheckTimeout: 5\nlogLevel: warn")
    assert found.command.model_dump(exclude_defaults=True) == {
        "cmd": "serve --port ${PORT}",
        "cmd_stop": "kill ${PID}",
        "proxy": "http://127.0.0.1:${PORT}/v1",
        "check_endpoint": "none",
        "served_name": "up",
    }
    assert found.engine == {"max_sequences": 3, "idle_ttl_s": 0, "env": {"HOME": "/u", "A": "b=c"}}
    assert (found.aliases, found.unlisted, found.name, found.description) == (("x", "y"), True, "N", "D")
    assert (found.max_requests, found.context_length) == (3, 8192)
    assert {"vision", "tools", "chat"} <= set(found.capabilities)
    whole = settings(f"globalTTL: 60\nhealthCheckTimeout: 5\nlogLevel: warn\nmodels: {{m: {{{CMD}}}}}")
    assert (whole.knobs("m", "command").idle_ttl_s, whole.knobs("m", "command").load_deadline_s) == (60, 15)
    assert whole.log.level == "warning"


def test_filters_are_taken_over_with_those_of_single_names() -> None:
    entry = (
        f'{CMD}, filters: {{stripParams: " top_k ,model, top_k", setParams: {{t: 0.5, model: no, a: [1, null]}}, '
        'setParamsByID: {"${MODEL_ID}": {e: low}, "${MODEL_ID}:high": {e: "${big}"}}}, macros: {big: 7}'
    )
    found = model(entry)
    assert (found.filters.strip, found.filters.set) == (("top_k",), {"t": 0.5, "a": [1]})
    assert found.aliases == ("m:high",)
    assert {name: one.set for name, one in found.name_filters.items()} == {"m": {"e": "low"}, "m:high": {"e": 7}}


@pytest.mark.parametrize(
    ("flags", "capabilities"),
    [
        ("--embedding", ("embedding",)),
        ("--reranking", ("rerank",)),
        ("", ("chat", "completion", "embedding", "rerank", "tools", "vision")),
    ],
)
def test_what_a_command_serves_is_told_by_its_flags_or_is_anything(flags: str, capabilities: tuple[str, ...]) -> None:
    assert model(f'cmd: "s --port ${{PORT}} {flags}"').capabilities == capabilities


def test_the_default_is_the_first_preloaded_model_else_the_first() -> None:
    two = f"models: {{a: {{{CMD}}}, b: {{{CMD}, aliases: [bee]}}}}"
    assert imported(two).roles == {"default": "a"}
    found = imported(f"hooks: {{on_startup: {{preload: [bee, nobody, a]}}}}\n{two}")
    assert found.roles == {"default": "b"}
    assert tomllib.loads(found.toml)["residency"]["preload"] == ["a"]
    assert any('no model "nobody"' in line for line in found.warnings)


def test_names_that_are_roles_are_kept_by_pointing_the_role_at_the_model() -> None:
    found = imported(f"models: {{a: {{{CMD}}}, b: {{{CMD}, aliases: [coding, default, x]}}}}")
    assert found.roles == {"coding": "b", "default": "b"}
    assert tomllib.loads(found.toml)["models"]["b"]["aliases"] == ["x"]


def five_models(more: str) -> str:
    return f"{more}\nmodels: {{{', '.join(f'{name}: {{{CMD}}}' for name in 'abcde')}}}"


def test_groups_stay_groups_with_as_many_places_as_they_ever_fill() -> None:
    groups = (
        "big: {swap: false, members: [a, b]}, kept: {persistent: true, exclusive: false, swap: false, members: [c]}"
    )
    for text in (f"groups: {{{groups}}}", f"routing: {{router: {{use: group, settings: {{groups: {{{groups}}}}}}}}}"):
        found = settings(five_models(text)).residency
        assert found.max_resident == 3 and found.pinned == ()
        assert found.groups == {
            "big": GroupSettings(members=("a", "b"), swap=False),
            "kept": GroupSettings(members=("c",), swap=False, exclusive=False, persistent=True),
        }
    assert not warnings(five_models(f"groups: {{{groups}}}"))


def test_a_group_or_a_priority_that_names_nobody_is_told_and_the_rest_is_taken_over() -> None:
    top = "groups: {g: {members: [a, z]}, h: {members: [y]}, (default): {members: []}}"
    found = settings(five_models(top)).residency
    assert found.groups == {"g": GroupSettings(members=("a",))}
    told = warnings(five_models(top))
    assert 'groups.g.members: there is no model "z"' in told and 'groups.h.members: there is no model "y"' in told
    top = "routing: {scheduler: {settings: {fifo: {priority: {z: 3, b: 2}}}}}"
    assert settings(five_models(top)).models["b"].priority == 2
    assert "fifo.priority.z: there is no such model" in warnings(five_models(top))


def test_a_matrix_stays_a_matrix() -> None:
    matrix = "matrix: {vars: {x: a, y: b}, evict_costs: {y: 5, c: 2}, sets: {one: (x | y) & c & d, two: +one & e}}"
    for text in (matrix, f"routing: {{router: {{use: matrix, settings: {{{matrix}}}}}}}"):
        found = settings(five_models(text)).residency
        assert found.max_resident == 4 and found.matrix is not None
        assert found.matrix.vars == {"x": "a", "y": "b"} and found.matrix.evict_costs == {"y": 5, "c": 2}
        assert found.matrix.sets == {"one": "(x | y) & c & d", "two": "+one & e"}
        assert not warnings(five_models(text))
    unused = f"routing: {{router: {{settings: {{{matrix}}}}}}}"
    assert "routing.router.settings.matrix: routing.router.use is not matrix" in warnings(five_models(unused))


def test_preloaded_models_that_cannot_be_loaded_together_are_named() -> None:
    top = "groups: {g: {swap: false, members: [a, b]}}\nhooks: {on_startup: {preload: [b, c, a]}}"
    assert "hooks.on_startup.preload: c cannot be loaded beside those before it" in warnings(five_models(top))


def test_selectors_and_profiles_are_taken_over() -> None:
    top = """
selectors:
  warm-one: {strategy: warm, targets: [b, a, z], name: N, description: D, unlisted: true, metadata: {x: 1}}
  many: {strategy: spillover, targets: [a, b], settings: {spillover: 4}}
  old: {strategy: balance, targets: [a, b], balance: {spillover: 2}}
  coding: {strategy: pin, targets: [c]}
  nobody: {strategy: pin, targets: [z]}
profiles:
  work: {description: W, pins: {fast: warm-one, slow: c, off: ~, also-off: "", a: b, default: b, gone: z}}
hooks: {on_startup: {profile: work}}
"""
    found = settings(five_models(top))
    assert found.selectors == {
        "warm-one": SelectorSettings(
            strategy=Strategy.WARM, targets=("b", "a"), name="N", description="D", unlisted=True
        ),
        "many": SelectorSettings(strategy=Strategy.SPILLOVER, targets=("a", "b"), spillover=4),
        "old": SelectorSettings(strategy=Strategy.SPILLOVER, targets=("a", "b"), spillover=2),
    }
    pins = {"fast": "warm-one", "slow": "c", "off": "", "also-off": ""}
    assert found.profiles == {"work": ProfileSettings(description="W", pins=pins)} and found.profile == "work"
    assert imported(five_models(top)).roles == {"coding": "c", "default": "a"}
    told = warnings(five_models(top))
    for line in (
        'selectors.warm-one.targets: there is no model "z"',
        "selectors.warm-one.metadata: ",
        'selectors.coding: "coding" is a role',
        "selectors.nobody: none of its targets",
        'profiles.work.pins.a: "a" is the name of a model',
        "profiles.work.pins.default: it is a role",
        'profiles.work.pins.gone: there is no model "z"',
    ):
        assert line in told, line


def test_priorities_go_to_their_models() -> None:
    top = "routing: {scheduler: {use: fifo, settings: {fifo: {priority: {x: 7}}}}}"
    assert model(f"{CMD}, aliases: [x]", top=top).priority == 7


def test_peers_become_servers_that_run_elsewhere_and_keys_stay_references() -> None:
    peers = "peers: {p: {proxy: https://p.test/api, apiKey: '%s', models: [q/r, m], filters: {stripParams: top_k}}}"
    text = f"{peers % '${env.PEER_KEY}'}\nmodels: {{m: {{{CMD}}}}}"
    found = settings(text)
    external = found.models["q/r"].external
    assert external and (external.url, external.api_key) == ("https://p.test/api", "env:PEER_KEY")
    assert found.models["q/r"].filters.strip == ("top_k",) and found.models["m"].command
    assert found.models["q/r"].aliases == ("p/q/r",)
    assert '"m" is taken already; this one is called "p/m"' in warnings(text)
    assert found.models["p/m"].external and found.models["p/m"].external.served_name == "m"
    literal = imported(f"{peers % 'sk-secret'}\nmodels: {{m: {{{CMD}}}}}")
    assert "sk-secret" not in literal.toml + "".join(literal.warnings) and "env:P_API_KEY" in literal.toml


def test_a_name_that_two_peers_have_means_neither() -> None:
    peers = "peers: {p: {proxy: 'http://p', models: [x]}, q: {proxy: 'http://q', models: [x, y]}}"
    found = settings(f"{peers}\nmodels: {{m: {{{CMD}}}}}")
    assert sorted(found.models) == ["m", "p/x", "q/x", "y"]
    assert "left out" in warnings(f"peers: {{p: {{proxy: 'tailcat://x', models: [x]}}}}\nmodels: {{m: {{{CMD}}}}}")


def test_keys_of_clients_are_handed_over_and_never_written() -> None:
    found = imported(f"apiKeys: [sk-one, '${{env.CLIENT_KEY}}', sk-one]\nmodels: {{m: {{{CMD}}}}}")
    assert found.keys == ("sk-one", "sk-client")
    assert "sk-" not in found.toml + repr(found)


def test_each_key_without_a_place_is_named() -> None:
    text = """
startPort: 5800
captureBuffer: 5
tailcat: {allow: []}
hooks: {on_startup: {preload: [], also: 1}, on_end: 2}
unkown: 1
models:
  m:
    cmd: serve --port ${PORT}
    metadata: {a: 1}
    timeouts: {connect: 3}
    alias: [x]
    capabilities: {out: [text], sound: 1}
    filters: {stripParm: x}
    aliases: [{id: q, unlisted: true}]
    env: ["A=${PORT}"]
"""
    found = warnings(text)
    for place in (
        *("startPort", "captureBuffer", "tailcat", "hooks.on_startup.also", "hooks.on_end"),
        *("unkown", "models.m.metadata", "models.m.timeouts", "models.m.alias", "models.m.capabilities.sound"),
        *("models.m.filters.stripParm", "models.m.aliases[0].unlisted", "models.m.env.A"),
    ):
        assert f"{place}:" in found
    assert 'did you mean "aliases"' in found and 'did you mean "stripParams"' in found


REFUSED = {
    "models: {}": "there are none",
    "- a": "a mapping with the key",
    "models: {m: {cmd: ' '}}": "needs a command",
    'models: {m: {cmd: "a \'b"}}': "no closing quotation",
    'models: {m: {cmd: serve, proxy: "http://127.0.0.1:${PORT}"}}': "uses ${PORT}, which the command does not",
    'models: {m: {cmd: "s ${PORT} ${nope}"}}': "the macro ${nope} is not declared",
    'models: {m: {cmd: "s ${PORT} ${PID}"}}': "only known while",
    'models: {m: {cmd: "s ${env.NOPE}"}}': "the environment variable NOPE is not set",
    "macros: {PORT: 1}\nmodels: {}": "reserved",
    "macros: {a: 'x${a}'}\nmodels: {}": "refers to itself",
    "macros: {a b: 1}\nmodels: {}": "letters, digits",
    "macros: {a: [1]}\nmodels: {}": "a macro is text",
    "a: 1\na: 2": "twice",
    "a: [": "line 1, column",
    f"models: {{a: {{{CMD}, aliases: [x]}}, b: {{{CMD}, aliases: [x]}}}}": "alias of a already",
    f"models: {{a: {{{CMD}, aliases: [b]}}, b: {{{CMD}}}}}": "is the name of a model",
    f"models: {{a: {{{CMD}, ttl: -2}}}}": "-2 is not",
    f"models: {{a: {{{CMD}, ttl: soon}}}}": "a whole number is expected",
    f"models: {{a: {{{CMD}, env: [A]}}}}": "NAME=value",
    f"models: {{a: {{{CMD}, unlisted: maybe}}}}": "true or false",
    f"models: {{a: {{{CMD}, aliases: x}}}}": "a list is expected",
    f"groups: {{g: {{members: [a, a]}}}}\nmodels: {{a: {{{CMD}}}}}": 'in group "g" already',
    f"groups: {{g: {{members: [a]}}, h: {{members: [a]}}}}\nmodels: {{a: {{{CMD}}}}}": 'in group "g" already',
    f"matrix: {{sets: {{s: a & z}}}}\nmodels: {{a: {{{CMD}}}}}": 'set "s": there is no model "z"',
    f"matrix: {{vars: {{x: z}}, sets: {{s: a}}}}\nmodels: {{a: {{{CMD}}}}}": 'no model "z"',
    f"matrix: {{evict_costs: {{z: 2}}, sets: {{s: a}}}}\nmodels: {{a: {{{CMD}}}}}": "no such model",
    f"matrix: {{evict_costs: {{a: 0}}, sets: {{s: a}}}}\nmodels: {{a: {{{CMD}}}}}": "not a whole number from 1",
    f"matrix: {{sets: {{s: +s}}}}\nmodels: {{a: {{{CMD}}}}}": "refers to itself",
    f"matrix: {{}}\nmodels: {{a: {{{CMD}}}}}": "there are no sets",
    f"selectors: {{s: {{targets: [a]}}}}\nmodels: {{a: {{{CMD}}}}}": "one of warm, pin, spillover",
    f"selectors: {{a: {{strategy: pin, targets: [a]}}}}\nmodels: {{a: {{{CMD}}}}}": "the name of a model",
    f"selectors: {{s: {{strategy: pin, targets: [s]}}}}\nmodels: {{a: {{{CMD}}}}}": "cannot choose another",
    f"profiles: {{p: [a]}}\nmodels: {{a: {{{CMD}}}}}": "a mapping is expected",
    f"profiles: {{p: {{}}}}\nmodels: {{a: {{{CMD}}}}}": "at least one pin",
    f"hooks: {{on_startup: {{profile: p}}}}\nmodels: {{a: {{{CMD}}}}}": 'no profile "p"',
    f"groups: {{}}\nmatrix: {{}}\nmodels: {{a: {{{CMD}}}}}": "keep one of them",
    f"groups: {{}}\nrouting: {{router: {{use: group}}}}\nmodels: {{a: {{{CMD}}}}}": "keep one style",
    f"routing: {{scheduler: {{use: lifo}}}}\nmodels: {{a: {{{CMD}}}}}": "only fifo",
    f"apiKeys: ['a b']\nmodels: {{a: {{{CMD}}}}}": "has a space",
    f"peers: {{p: {{proxy: p.test, models: [x]}}}}\nmodels: {{a: {{{CMD}}}}}": "a URL with http",
    f"peers: {{p: {{proxy: 'http://p'}}}}\nmodels: {{a: {{{CMD}}}}}": "needs models",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_llama_swap_refuses_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        imported(text)
    assert REFUSED[text] in caught.value.message


def test_names_keep_their_spelling_and_words_are_no_truth_values() -> None:
    found = settings(f"models: {{1.50: {{{CMD}, aliases: [on, 2024-01-01, 1:30, 010]}}}}")
    assert found.models["1.50"].aliases == ("on", "2024-01-01", "1:30", "010")


def test_strings_of_any_kind_survive_the_way_into_toml() -> None:
    for text in ('a "q" \\ b', "tab\tand é 😀", '"""', "x\x7fy", "line\nline\\"):
        assert model(f"{CMD}, description: {_quoted(text)}").description == text


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=True).replace("\\ud83d\\ude00", "😀")
