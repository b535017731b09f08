"""`roost connect` over real files of settings."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from roost.cli.main import main
from roost.connect.clients import CLIENTS
from roost.store.keys import KeyFile
from tests.unit.connect.texts import BROKEN, BY_CLIENT

FILES = {
    "claude": ".claude/settings.json",
    "codex": ".codex/config.toml",
    "opencode": ".config/opencode/opencode.json",
    "continue": ".continue/config.yaml",
    "llm": ".config/io.datasette.llm/extra-openai-models.yaml",
    "zed": ".config/zed/settings.json",
    "vscode": ".config/Code/User/chatLanguageModels.json",
}
#: They move files of clients.
MOVES = (
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    "OPENCODE_CONFIG",
    "CONTINUE_GLOBAL_DIR",
    "LLM_USER_PATH",
    "XDG_CONFIG_HOME",
)


@pytest.fixture
def user(home: Path) -> Path:
    """A home whose clients have settings."""
    for name, text in BY_CLIENT.items():
        path = home / FILES[name]
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return home


@dataclass(frozen=True)
class Done:
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def done(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`roost connect ARGUMENTS` as a user of that home, to its expected end."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ROOST_HOME", str(home))
    for variable in MOVES:
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, code: int = 0) -> Done:
        found = main(["connect", *arguments])
        said = capsys.readouterr()
        assert found == code, said.out + said.err
        return Done(said.out, said.err)

    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", FILES)
def test_writing_and_restoring_leaves_file_mode_and_folder_as_they_were(user: Path, done: Run, name: str) -> None:
    path = user / FILES[name]
    path.chmod(0o640)
    done(name, "--write")
    assert "http://127.0.0.1:11434" in path.read_text() and mode(path) == 0o640
    again = done(name, "--write")
    assert "nothing to write" in again.out
    done(name, "--restore")
    assert (path.read_text(), mode(path)) == (BY_CLIENT[name], 0o640)
    assert list(path.parent.iterdir()) == [path]
    assert not [each for each in (user / "state/connect").iterdir() if each.suffix != ".lock"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_came_with_roost_goes_with_it(home: Path, done: Run, name: str) -> None:
    done(name, "--write")
    assert mode(home / FILES[name]) == 0o600
    assert done(name, "--restore").out.endswith("removed, as it came with roost\n")
    assert not (home / FILES[name]).exists()


@pytest.mark.parametrize("name", FILES)
def test_broken_settings_are_named_with_their_line_and_not_touched(user: Path, done: Run, name: str) -> None:
    text, line = BROKEN[name]
    path = user / FILES[name]
    path.write_text(text)
    found = done(name, "--write", code=78)
    assert f"cannot use {path.resolve()}:{line}:" in found.err and path.read_text() == text
    rows = json.loads(done("--json").out)
    (row,) = (row for row in rows if row["name"] == name)
    assert row["state"] == "broken settings" and f":{line}:" in row["problem"]


def test_a_link_stays_a_link(user: Path, done: Run) -> None:
    real = user / "dotfiles/claude.json"
    real.parent.mkdir()
    (user / FILES["claude"]).rename(real)
    (user / FILES["claude"]).symlink_to(real)
    done("claude", "--write")
    assert (user / FILES["claude"]).is_symlink() and "127.0.0.1:11434" in real.read_text()
    done("claude", "--restore")
    assert (user / FILES["claude"]).is_symlink() and real.read_text() == BY_CLIENT["claude"]


def test_the_list_says_who_points_here(user: Path, done: Run) -> None:
    done("codex", "--write")
    done("zed", "--write", "--url", "http://elsewhere:1/v1/")
    rows = {row["name"]: row for row in json.loads(done("--json").out)}
    assert list(rows) == [client.name for client in CLIENTS]
    assert (rows["codex"]["state"], rows["codex"]["written_by_roost"]) == ("points here", True)
    assert (rows["zed"]["state"], rows["zed"]["address"]) == ("points elsewhere", "http://elsewhere:1/v1")
    assert (rows["llm"]["state"], rows["open-webui"]["state"]) == ("not connected", "set by hand")
    assert "points elsewhere: http://elsewhere:1/v1" in done().out


def test_what_was_changed_since_stays_and_is_said(user: Path, done: Run) -> None:
    path = user / FILES["claude"]
    done("claude", "--write")
    settings = json.loads(path.read_text())
    settings["env"]["ANTHROPIC_BASE_URL"] = "http://mine:1"
    path.write_text(json.dumps(settings | {"mine": True}))
    found = done("claude", "--restore", code=1)
    assert "cannot undo env.ANTHROPIC_BASE_URL" in found.err and "--force" in found.err
    meant = json.loads(BY_CLIENT["claude"])
    meant["env"]["ANTHROPIC_BASE_URL"] = "http://mine:1"
    assert json.loads(path.read_text()) == meant | {"mine": True}
    done("claude", "--restore", "--force")
    assert json.loads(path.read_text()) == json.loads(BY_CLIENT["claude"]) | {"mine": True}
    assert "roost has written nothing there" in done("claude", "--restore", code=1).err


def test_printing_changes_nothing_and_prints_what_a_write_would_add(user: Path, done: Run) -> None:
    shown = done("claude", "-m", "quickest")
    assert json.loads(shown.out)["env"]["ANTHROPIC_MODEL"] == "quickest"
    assert str(user / FILES["claude"]) in shown.err
    assert (user / FILES["claude"]).read_text() == BY_CLIENT["claude"] and not (user / "state/connect").exists()
    assert "OPENAI_API_BASE_URL=http://127.0.0.1:11434/v1\n" in done("open-webui").out


def test_a_minted_key_is_in_a_private_file_and_nowhere_else(user: Path, done: Run) -> None:
    path = user / FILES["opencode"]
    path.chmod(0o644)
    made = done("opencode", "--write", "--mint")
    key = next(word for word in path.read_text().split('"') if word.startswith("roost-"))
    assert mode(path) == 0o600 and key not in made.out + made.err
    records = "".join(each.read_text() for each in (user / "state").rglob("*.*") if each.is_file())
    assert key not in records and key.split("-")[1] in records
    done("opencode", "--write", "-m", "quickest")
    assert key in path.read_text() and "roost/quickest" in path.read_text()
    again = done("opencode", "--write", "--mint")
    assert "is revoked" in again.err and key not in path.read_text()
    undone = done("opencode", "--restore")
    assert "roost keys revoke" in undone.err
    assert (path.read_text(), mode(path)) == (BY_CLIENT["opencode"], 0o644)


@pytest.mark.parametrize("name", ["codex", "llm", "zed"])
def test_a_key_for_settings_that_hold_none_is_shown_once(user: Path, done: Run, name: str) -> None:
    made = done(name, "--write", "--mint")
    key = made.out.splitlines()[-1]
    assert key.startswith("roost-") and key not in (user / FILES[name]).read_text()


def test_settings_name_the_variable_that_holds_the_key(user: Path, done: Run) -> None:
    done("codex", "--write", "--key", "env:MY_KEY")
    assert 'env_key = "MY_KEY"' in (user / FILES["codex"]).read_text()
    KeyFile(user / "state/keys.json").add("somebody")
    told = done("continue", "--write")
    assert "apiKey: ${{ secrets.ROOST_API_KEY }}" in (user / FILES["continue"]).read_text().replace('"', "")
    assert "this endpoint needs a key" in told.err


def test_a_key_on_the_command_line_is_refused_without_being_shown(user: Path, done: Run) -> None:
    found = done("codex", "--write", "--key", "roost-secret", code=78)
    assert "roost-secret" not in found.err and (user / FILES["codex"]).read_text() == BY_CLIENT["codex"]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("claud",), 1, 'did you mean "claude"?'),
        (("claude", "--write", "--restore"), 2, "choose one of"),
        (("claude", "--mint"), 2, "--mint goes with --write"),
        (("claude", "-m", "default"), 78, "one of its own names"),
        (("open-webui", "--write"), 1, "in its own database"),
        (("vscode", "--key", "env:A"), 78, "know no variables"),
        (("zed", "--key", "env:A"), 78, "reads ROOST_API_KEY and no other"),
        (("codex", "--url", "localhost:1"), 78, "http://HOST:PORT"),
        (("codex", "--restore"), 1, "has written nothing there"),
    ],
)
def test_what_cannot_be_done_is_said(home: Path, done: Run, arguments: tuple[str, ...], code: int, why: str) -> None:
    assert why in done(*arguments, code=code).err.replace("\n", " ").replace("│", "")


def test_a_port_that_each_start_chooses_anew_is_not_written(home: Path, done: Run) -> None:
    (home / "roost.toml").write_text("[gateway]\nport = 0\n")
    assert "gateway.port is 0" in done("claude", "--write", code=1).err
    done("claude", "--write", "--url", "http://127.0.0.1:5")
    assert "points elsewhere: http://127.0.0.1:5" in done().out


def test_a_key_is_not_made_for_settings_that_cannot_be_written(user: Path, done: Run) -> None:
    (user / FILES["claude"]).write_text('{"env": 1}')
    done("claude", "--write", "--mint", code=78)
    assert not (user / "state/keys.json").exists()


def test_variables_of_the_client_move_its_file(user: Path, done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", str(user / "elsewhere"))
    done("codex", "--write")
    assert (user / "elsewhere/config.toml").exists()
    monkeypatch.delenv("CODEX_HOME")
    assert "roost has written" in done("codex", "--write", code=1).err
    done("codex", "--restore")
    assert not (user / "elsewhere/config.toml").exists()
