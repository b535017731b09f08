"""The documentation against the program: commands parse, links lead somewhere, settings, routes and codes exist."""

import re
import shlex
import tomllib
from functools import cache

import pytest
import typer

from docs.make_picture import PICTURE, TEXT, draw
from roost import errors
from roost.cli.app import build_app
from roost.config.settings import Settings
from roost.gateway.routes import ROUTES
from tests.helpers import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
REFERENCE = ROOT / "docs" / "reference"


def fences(text, *languages):
    """The contents of the fenced blocks in these languages; indented ones too."""
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        if match.group(2) in languages:
            yield re.sub(rf"^{match.group(1)}", "", match.group(3), flags=re.MULTILINE)


def commands(text):
    """Every `roost …` of a page: lines of shell blocks, and code spans."""
    for block in fences(text, "sh"):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            for part in re.split(r"[|;]|&&|&$", line.partition(" #")[0]):
                words = shlex.split(part, comments=False) if part.count('"') % 2 == 0 else []
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words.pop(0)
                if words and words[0].removeprefix(".venv/bin/") == "roost":
                    yield words[1:]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", prose):
        if span.startswith("roost ") and re.fullmatch(r"roost [a-z].*", span) and not span.startswith("roost ready"):
            yield shlex.split(span)[1:]


@cache
def root_command():
    return typer.main.get_command(build_app())


def parse(words):
    """Raises click's usage error for a command line that the program would refuse for its shape."""
    command, path = root_command(), ["roost"]
    while getattr(command, "commands", None) and words:
        assert words[0] in command.commands, f"{' '.join(path)} has no command {words[0]!r}"
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if getattr(command, "commands", None):
        return
    context = command.context_class(command, info_name=path[-1])
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_parses(page):
    for words in commands(page.read_text()):
        parse(words)


def test_the_pages_name_commands_at_all():
    assert sum(1 for page in PAGES for _ in commands(page.read_text())) > 60


@pytest.mark.parametrize("words", [["usee", "a", "b"], ["status", "--jsn"], ["models", "steal", "x"]])
def test_a_wrong_command_would_be_found(words):
    with pytest.raises(Exception, match=r"usee|jsn|steal"):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_internal_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{page.name} links to {target}"


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_settings_example_is_valid(page):
    for block in fences(page.read_text(), "toml"):
        Settings.model_validate(tomllib.loads(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_named_exists(page):
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    for section, key in re.findall(r"`([a-z_]+)\.([a-z_]+)`", page.read_text()):
        model = sections.get(section)
        if hasattr(model, "model_fields"):
            assert key in model.model_fields, f"{page.name} names {section}.{key}"


def test_every_route_is_in_the_reference():
    text = (REFERENCE / "http.md").read_text()
    for route in ROUTES:
        path = re.sub(r"\{(\w+)(:[^}]*)?\}", r"{\1}", route.path)
        assert re.search(rf"(ANY|{route.method}) {re.escape(path)}`", text), f"{route.method} {path}"


def test_every_error_code_is_in_the_reference():
    text = (REFERENCE / "errors.md").read_text()
    documented = set(re.findall(r"^\| (\d+) \| `(\w+)`", text, re.MULTILINE))
    assert documented == {(str(error.status), error.code) for error in error_classes(errors.RoostError)}


def error_classes(base):
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield error
            yield from error_classes(error)


def test_every_page_is_reachable_from_the_contents():
    contents = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md" and page.parent.name != "adr":
            assert f"]({page.relative_to(ROOT / 'docs')})" in contents, page.name


def test_the_picture_is_drawn_from_its_text():
    assert PICTURE.read_text() == draw(TEXT.read_text())
