"""Reading what stands at the registry's path, whatever it is."""

import os
from pathlib import Path

from roost.registry.file import read
from roost.registry.types import Registry, RegistryProblem


def message(path: Path) -> str:
    found = read(path)
    assert isinstance(found, RegistryProblem), found
    return found.message


def test_no_file_is_an_empty_registry(tmp_path: Path) -> None:
    assert read(tmp_path / "registry.json") == Registry()
    assert read(tmp_path / "no/folder/registry.json") == Registry()


def test_a_link_to_nothing_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "registry.json").symlink_to(tmp_path / "gone.json")
    assert "gone.json, which is not there" in message(tmp_path / "registry.json")


def test_a_loop_of_links_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "registry.json").symlink_to(tmp_path / "registry.json")
    assert "cannot be read" in message(tmp_path / "registry.json")


def test_a_folder_and_a_pipe_are_problems_and_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert message(tmp_path / "pipe") == "it is not a file"
    assert message(tmp_path) == "it is not a file"
