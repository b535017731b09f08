"""Engine environments with a lock that names nothing: a real venv and a real pip, no network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from roost.config.paths import Paths
from roost.engines import environments
from roost.engines.environments import (
    LOCKS,
    MARKER,
    PLATFORMS,
    choose_interpreter,
    inspect_interpreter,
    install,
    installed,
    lock_file,
)
from roost.errors import BadConfiguration, Unavailable


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.from_environment({"ROOST_HOME": str(tmp_path)})


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of locks in place of the package's own, with an empty one for every platform."""
    folder = tmp_path / "locks"
    folder.mkdir()
    for platform in PLATFORMS.values():
        (folder / f"tiny-{platform}.txt").write_text("# nothing\n")
    monkeypatch.setattr(environments, "LOCKS", folder)
    return folder


def test_an_environment_is_made_once_and_a_failed_new_one_is_not_taken_for_it(paths: Paths, locks: Path) -> None:
    lines: list[str] = []
    made = install(paths, "tiny", lines.append)
    assert made.python.exists()
    assert installed(paths, "tiny") == made
    assert "tiny is ready" in lines[-1]

    again: list[str] = []
    assert install(paths, "tiny", again.append) == made
    assert again == [f"tiny is installed already in {paths.engine_environments / 'tiny'}"]

    for lock in locks.iterdir():  # changed, so it is made anew; without hashes, so pip refuses it
        lock.write_text("some-package==1.0\n")
    with pytest.raises(Unavailable, match="roost engines install tiny"):
        install(paths, "tiny", again.append)
    assert installed(paths, "tiny") is None
    assert not (paths.engine_environments / "tiny" / MARKER).exists()


@pytest.mark.parametrize("engine", ["llama.cpp", "command", "external"])
def test_engines_without_an_environment_say_so(paths: Paths, engine: str) -> None:
    with pytest.raises(BadConfiguration, match="cannot install"):
        install(paths, engine, lambda _: None)


def test_an_interpreter_tells_its_version_and_machine_itself() -> None:
    found = inspect_interpreter(Path(sys.executable))
    assert found is not None
    assert found.version == sys.version_info[:2]
    assert inspect_interpreter(Path("/bin/false")) is None


def test_without_a_fitting_interpreter_the_versions_are_named() -> None:
    with pytest.raises(BadConfiguration, match=r"Python 3\.11 to 3\.13"):
        choose_interpreter("tiny", [Path("/bin/false")])


def test_a_machine_without_a_lock_is_told_what_there_is() -> None:
    with pytest.raises(BadConfiguration, match="ROOST_ENGINE_MLX_LM_PYTHON"):
        lock_file("mlx-lm", "linux-riscv64")


def test_every_lock_pins_versions_with_hashes_and_names_no_address() -> None:
    locks = sorted(LOCKS.glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        requirements = [line for line in text.splitlines() if line and line[0] not in "# "]
        assert all("==" in line for line in requirements), lock.name
        assert text.count("--hash=sha256:") >= len(requirements), lock.name
        assert "://" not in text, lock.name
        assert not any(line.lstrip().startswith(("--index", "--extra", "--find")) for line in text.splitlines())
