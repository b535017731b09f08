"""Writing registry.json on a real disk: nothing of others is lost, nothing is ever half written."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from roost.errors import BadConfiguration, StorageFull
from roost.registry.document import Document
from roost.registry.file import parse, read
from roost.registry.types import Registry, RegistryProblem
from roost.registry.write import remove_role, set_role, update
from roost.testing.wait import until_sync

NIX = (Path(__file__).parents[2] / "fixtures/registry-nix.json").read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "registry.json"
    found.write_text(NIX)
    return found


def on_disk(path: Path) -> Registry:
    found = read(path)
    assert isinstance(found, Registry), found
    return found


def test_a_first_role_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/registry.json"
    registry = set_role(path, "default", "org/a")
    assert path.read_text() == '{\n  "models": {\n    "default": "org/a"\n  }\n}\n'
    assert registry == on_disk(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not path.with_name("registry.json.bak").exists()


def test_only_the_role_changes_and_the_previous_file_is_kept(path: Path) -> None:
    registry = set_role(path, "oss", "org/b@basement")
    assert registry.roles["oss"] == "org/b@basement"
    assert path.read_text() == NIX.replace("mlx-community/gpt-oss-120b-MXFP4-Q4", "org/b@basement")
    assert path.with_name("registry.json.bak").read_text() == NIX


def test_the_mode_of_the_file_is_kept(path: Path) -> None:
    path.chmod(0o640)
    set_role(path, "oss", "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_edit_that_changes_nothing_touches_nothing(path: Path) -> None:
    before = path.stat()
    set_role(path, "oss", "mlx-community/gpt-oss-120b-MXFP4-Q4")
    remove_role(path, "no-such-role")
    assert path.stat() == before
    assert not path.with_name("registry.json.bak").exists()


def test_removing_from_nothing_makes_no_file(tmp_path: Path) -> None:
    assert remove_role(tmp_path / "registry.json", "oss") == parse(b"{}\n")
    assert not (tmp_path / "registry.json").exists()


def test_a_removed_role_is_gone_and_the_rest_is_there(path: Path) -> None:
    expected = json.loads(NIX)
    del expected["models"]["oss"]
    assert "oss" not in remove_role(path, "oss").roles
    assert json.loads(path.read_text()) == expected


def test_a_link_is_written_through(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "config/registry.json"
    link.parent.mkdir()
    link.symlink_to(path)
    set_role(link, "oss", "a")
    assert link.is_symlink()
    assert on_disk(path).roles["oss"] == "a"
    assert sorted(entry.name for entry in link.parent.iterdir()) == ["registry.json"]


def test_a_file_that_another_tool_manages_is_left_alone(path: Path) -> None:
    path.chmod(0o444)
    with pytest.raises(BadConfiguration, match=r"marked read-only, so another tool seems to manage it.*ROOST_REGISTRY"):
        set_role(path, "oss", "a")
    assert path.read_text() == NIX


def test_a_link_into_the_store_is_managed_whoever_asks(tmp_path: Path) -> None:
    link = tmp_path / "registry.json"
    link.symlink_to("/nix/store/0000-ai-stack/registry.json")
    with pytest.raises(BadConfiguration, match=r"/nix/store/0000-ai-stack/registry\.json, which the store keeps"):
        set_role(link, "oss", "a")
    assert link.is_symlink()


def test_a_broken_file_is_never_overwritten(path: Path) -> None:
    broken = NIX.replace('"oss":', '"oss"', 1)
    path.write_text(broken)
    with pytest.raises(BadConfiguration) as caught:
        set_role(path, "oss", "a")
    assert path.read_text() == broken
    assert f'{path}:18:11: ":" is missing' in caught.value.message
    assert caught.value.problems == (f'{path}:18:11: ":" is missing',)


@pytest.mark.parametrize("role", ["", "a b", "-x", "a/b", "a@b", "é", "x" * 65, "a\n"])
def test_a_role_must_be_a_name(path: Path, role: str) -> None:
    with pytest.raises(BadConfiguration, match="cannot set role"):
        set_role(path, role, "a")
    assert path.read_text() == NIX


@pytest.mark.parametrize("model_id", ["", " a", "a\n", "\ud800"])
def test_an_id_that_no_reader_would_take_is_not_written(path: Path, model_id: str) -> None:
    with pytest.raises(BadConfiguration):
        set_role(path, "oss", model_id)
    assert path.read_text() == NIX


def test_a_file_other_than_the_one_that_was_read_is_refused(path: Path) -> None:
    digest = on_disk(path).digest
    newer = set_role(path, "oss", "a", expected_digest=digest)
    with pytest.raises(BadConfiguration, match="not the file that was read"):
        set_role(path, "oss", "b", expected_digest=digest)
    assert set_role(path, "oss", "b", expected_digest=newer.digest).roles["oss"] == "b"


def test_a_byte_order_mark_stays(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + NIX.encode())
    set_role(path, "oss", "a")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf{")


def test_an_edit_by_a_program_that_knows_no_lock_is_kept(path: Path) -> None:
    rounds: list[int] = []

    def mutate(document: Document) -> Document:
        if not rounds:  # between our reading and our writing
            path.write_text(NIX.replace("30434", "40000"))
        rounds.append(1)
        return document.with_string("models", "oss", "a")

    update(path, mutate)
    assert len(rounds) == 2
    assert json.loads(path.read_text())["nodeports"]["mlx"] == 40000
    assert on_disk(path).roles["oss"] == "a"


def test_a_program_that_never_stops_writing_is_an_error(path: Path) -> None:
    ports = iter(range(1000))

    def mutate(document: Document) -> Document:
        path.write_text(NIX.replace("30434", str(next(ports))))
        return document.with_string("models", "oss", "a")

    with pytest.raises(BadConfiguration, match="another program keeps writing it"):
        update(path, mutate)


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the kernel answers the same to the same call."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from roost.errors import StorageFull; from roost.registry.write import set_role\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try: set_role(Path(sys.argv[1]), 'oss', 'a')\n"
        "except StorageFull as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write ")
    assert path.read_text() == NIX
    assert not [entry for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")]
    assert StorageFull.status == 503


WRITER = """
import sys
from pathlib import Path
from roost.registry.write import set_role
for number in range(int(sys.argv[3])):
    set_role(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", f"org/{sys.argv[2]}-{number}")
"""


def test_processes_that_write_at_once_lose_no_edit(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"writer{number}", "12"]) for number in range(4)
    ]
    seen: list[Registry | RegistryProblem] = []
    while any(writer.poll() is None for writer in writers):
        seen.append(read(path))
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    found = on_disk(path)
    for writer in range(4):
        for number in range(12):
            assert found.roles[f"writer{writer}-{number}"] == f"org/writer{writer}-{number}"
    assert json.loads(path.read_text())["timeouts"] == json.loads(NIX)["timeouts"]
    assert all(isinstance(reading, Registry) for reading in seen), "a reader saw a half-written file"


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(path: Path) -> None:
    """The lock goes with its holder, and the next writer succeeds."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "w", "100000"])
    until_sync(lambda: "w-3" in on_disk(path).roles)
    writer.kill()
    writer.wait()
    assert set_role(path, "oss", "after").roles["oss"] == "after"
    assert "w-3" in on_disk(path).roles
