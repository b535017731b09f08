from __future__ import annotations

from roost.engines.environment import worker_environment
from tests.unit.engines.specs import PLACE

DAEMON = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "de_DE.UTF-8",
    "CUDA_VISIBLE_DEVICES": "1",
    "LD_LIBRARY_PATH": "/cuda",
    "OPENAI_API_KEY": "canary",
    "HTTPS_PROXY": "http://proxy",
    "PYTHONPATH": "/elsewhere",
}


def test_only_what_is_on_the_list_comes_along() -> None:
    env = worker_environment(DAEMON, PLACE, {})
    assert {name for name in env if name in DAEMON} == {"PATH", "HOME", "LANG", "CUDA_VISIBLE_DEVICES"}
    assert "canary" not in str(env)


def test_home_and_temporary_files_are_the_workers_own() -> None:
    env = worker_environment(DAEMON, PLACE, {})
    assert env["HOME"] == env["TMPDIR"] == str(PLACE.home)


def test_loader_paths_come_along_only_when_needed() -> None:
    assert "LD_LIBRARY_PATH" not in worker_environment(DAEMON, PLACE, {})
    assert worker_environment(DAEMON, PLACE, {}, libraries=True)["LD_LIBRARY_PATH"] == "/cuda"


def test_the_users_own_variables_win_but_not_over_the_nonce() -> None:
    own = {"HF_HUB_OFFLINE": "0", "ROOST_WORKER_NONCE": "forged"}
    env = worker_environment(DAEMON, PLACE, own, engine={"HF_HUB_OFFLINE": "1", "X": "1"})
    assert (env["HF_HUB_OFFLINE"], env["X"], env["ROOST_WORKER_NONCE"]) == ("0", "1", "nonce-1")


def test_the_key_of_the_place_is_not_in_the_environment() -> None:
    assert "secret-key" not in str(worker_environment(DAEMON, PLACE, {}))


def test_a_worker_always_has_a_path() -> None:
    assert worker_environment({}, PLACE, {})["PATH"]
