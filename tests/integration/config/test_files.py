"""Settings files on a real disk."""

from pathlib import Path

import pytest

from roost.config.load import LoadedSettings, load
from roost.config.paths import Paths
from roost.errors import BadConfiguration


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        tmp_path / "roost.toml", tmp_path / "registry.json", tmp_path, tmp_path, system_settings=tmp_path / "etc.toml"
    )


def loaded(paths: Paths, user: str, system: str = "", environ: dict[str, str] | None = None) -> LoadedSettings:
    paths.settings.write_text(user)
    paths.system_settings.write_text(system)
    return load(paths, environ or {})


def problems(paths: Paths, user: bytes) -> list[str]:
    paths.settings.write_bytes(user)
    with pytest.raises(BadConfiguration) as caught:
        load(paths, {})
    return [problem.replace(str(paths.settings), "FILE") for problem in caught.value.problems]


def test_each_source_wins_over_the_one_before(paths: Paths) -> None:
    system = "[gateway]\nport = 1\nhost = '::1'\nheartbeat_s = 1\nbody_idle_s = 1\n"
    user = "[gateway]\nport = 2\nheartbeat_s = 2\nbody_idle_s = 2\n"
    paths.settings.write_text(user)
    paths.system_settings.write_text(system)
    environ = {"ROOST_GATEWAY__PORT": "3", "ROOST_GATEWAY__HEARTBEAT_S": "3"}
    found = load(paths, environ, {"gateway.port": 4})
    gateway = found.settings.gateway
    assert (gateway.port, gateway.heartbeat_s, gateway.body_idle_s, gateway.host) == (4, 3, 2, "::1")
    assert [
        str(found.origins[f"gateway.{key}"]) for key in ("port", "heartbeat_s", "body_idle_s", "host", "tls_key")
    ] == [
        "flag",
        "environment ROOST_GATEWAY__HEARTBEAT_S",
        f"{paths.settings}:4",
        f"{paths.system_settings}:3",
        "default",
    ]


def test_tables_are_merged_key_by_key_and_lists_replaced(paths: Paths) -> None:
    system = '[engine.env]\nA = "1"\nB = "1"\n[residency]\npinned = ["x"]\n'
    found = loaded(paths, '[engine.env]\nB = "2"\n[residency]\npinned = ["y", "z"]\n', system)
    assert found.settings.engine.env == {"A": "1", "B": "2"}
    assert found.settings.residency.pinned == ("y", "z")


def test_a_variable_may_mean_a_model_of_the_file(paths: Paths) -> None:
    environ = {"ROOST_MODELS__ORG_QWEN3_4B__ENGINE__CONTEXT": "4096"}
    found = loaded(paths, '[models."org/Qwen3-4B"]\naliases = ["x"]\n', environ=environ)
    assert found.settings.knobs("org/Qwen3-4B").context == 4096
    assert str(found.origins['models."org/Qwen3-4B".aliases']) == f"{paths.settings}:2"


def test_the_narrower_knob_wins(paths: Paths) -> None:
    user = (
        '[engine]\nmax_sequences = 1\nthreads = 1\n[engines."llama.cpp"]\nthreads = 2\ncontext = 512\n'
        '[models.m.engine]\ncontext = 1024\nname = "llama.cpp"\n'
    )
    knobs = loaded(paths, user).settings.knobs("m")
    assert (knobs.max_sequences, knobs.threads, knobs.context) == (1, 2, 1024)


def test_a_byte_order_mark_is_no_mistake(paths: Paths) -> None:
    paths.settings.write_bytes(b"\xef\xbb\xbfdrain_s = 1\n")
    assert load(paths, {}).settings.drain_s == 1


MISTAKES = {
    b"[gateway]\nport = \n": ["FILE:2:8: Invalid value"],
    b"[gateway\n": ["FILE:1:9: Expected ']' at the end of a table declaration"],
    b'a = """x': ["FILE:1:9: Unterminated string"],
    b"[gateway]\nport = 1\nport = 2\n": ["FILE:3:9: Cannot overwrite a value"],
    b"drain_s = 1\nx = '\xff'\n": ["FILE:2:6: is not UTF-8; save it as UTF-8"],
    b"[gateway]\n# no\n  prot = 1\n": ['FILE:3:3: unknown key "prot" in [gateway]; did you mean "port"?'],
    b"port = 1\n": ['FILE:1:1: unknown key "port"; did you mean "gateway.port"?'],
    b"[gatway]\nport = 1\n": ['FILE:1:2: unknown key "gatway"; did you mean "gateway"?'],
    b"gateway.max-json-depth = 7\n": [
        'FILE:1:1: unknown key "max-json-depth" in [gateway]; did you mean "max_json_depth"?'
    ],
    b"[engines.mlx-lm]\nmax_sequnces = 1\n": [
        'FILE:2:1: unknown key "max_sequnces" in [engines.mlx-lm]; did you mean "max_sequences"?'
    ],
    b'[models."a/b"]\nengine = { threads = 0 }\n': [
        'FILE:2:12: models."a/b".engine.threads = 0: must be greater than or equal to 1 '
        "(CPU threads (llama.cpp); unset: the physical cores)"
    ],
    b"[models.a.command]\nproxy = 'x'\n": ['FILE:1:2: [models.a.command] needs the key "cmd"'],
    b"gateway = 3\n": ["FILE:1:1: gateway = 3: must be a valid dictionary or instance of GatewaySettings"],
    b"models = 3\nengines = [1]\n": [
        "FILE:2:1: engines = [1]: must be a valid dictionary (Knobs for one engine, by its name)",
        "FILE:1:1: models = 3: must be a valid dictionary (What is set for one model, by its id)",
    ],
    b"drain_s = " + b"9" * 5000: [
        "FILE: cannot be read as TOML: Exceeds the limit (4300 digits) for integer string "
        "conversion: value has 5000 digits; use sys.set_int_max_str_digits() to increase the limit"
    ],
    b"[residency]\npinned = [\n 'a',\n 3]\n": [
        "FILE:2:1: residency.pinned = 3: must be a valid string (Models that a swap never evicts)"
    ],
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:24].decode("ascii", "replace"))
def test_a_mistake_is_named_with_file_line_and_column(paths: Paths, text: bytes) -> None:
    assert problems(paths, text) == MISTAKES[text]


def test_a_file_that_cannot_be_read_is_a_mistake(paths: Paths) -> None:
    paths.settings.mkdir()
    with pytest.raises(BadConfiguration, match=r"roost\.toml: cannot be read: Is a directory"):
        load(paths, {})


def test_mistakes_of_both_files_are_told(paths: Paths) -> None:
    paths.system_settings.write_text("[gateway\n")
    paths.settings.write_text("drain = 1\n")
    with pytest.raises(BadConfiguration) as caught:
        load(paths, {})
    assert len(caught.value.problems) == 2


def test_a_file_of_brackets_is_a_mistake_and_no_crash(paths: Paths) -> None:
    (found,) = problems(paths, b"a = " + b"[" * 100_000)
    assert found.startswith("FILE")
