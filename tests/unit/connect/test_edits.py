"""Writing and restoring for every client, over settings as users have them."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from roost.connect.client import KeyInVariable, KeyItself, Target
from roost.connect.clients import CLIENTS
from roost.connect.edits import restore, text_digest, write
from roost.connect.files import EDITORS
from roost.connect.types import BrokenText, CannotEdit, Edit, Format, Item, Record
from roost.connect.values import look_up
from tests.unit.connect.texts import BROKEN, BY_CLIENT

WITH_FILE = {client.name: client for client in CLIENTS if client.format}
TARGET = Target("http://127.0.0.1:11434", "coding", 32768, None)
OTHER = Target("https://roost.lan:8443", "quickest", None, KeyInVariable("MY_KEY"))
COMMENTS = ("# the big one", "// slow line here", "# for everything", "# the small one", "// larger", "/* keys */")
MINTED = Target("http://127.0.0.1:11434", "coding", 4096, KeyItself("roost-0123-4567"))


def editor(name: str) -> Any:
    return EDITORS[WITH_FILE[name].format]


def edits(name: str, target: Target = TARGET) -> tuple[Edit, ...]:
    return WITH_FILE[name].setup(target).edits


def record_of(name: str, before: str | None, written: Any, earlier: Record | None = None) -> Record:
    return Record(
        client=name,
        file="f",
        kept=written.kept,
        left=text_digest(written.text),
        whole=written.whole,
        was_absent=before is None if earlier is None else earlier.was_absent,
    )


def lines_gone(before: str, after: str) -> list[str]:
    there = after.splitlines()
    return [line for line in before.splitlines() if line not in there and f"{line}," not in there]


@pytest.mark.parametrize("name", WITH_FILE)
@pytest.mark.parametrize("target", [TARGET, OTHER, MINTED], ids=["plain", "variable", "minted"])
def test_each_setting_is_there_after_a_write_and_everything_else_stays(name: str, target: Target) -> None:
    before = BY_CLIENT[name]
    written = write(before, editor(name), edits(name, target), None)
    value = editor(name).read(written.text)
    assert all(look_up(value, edit.path) == edit.value for edit in edits(name, target) if not edit.unless_there)
    assert len(lines_gone(before, written.text)) <= 2, written.text


@pytest.mark.parametrize("name", WITH_FILE)
def test_comments_stay_where_they_were(name: str) -> None:
    before = BY_CLIENT[name]
    after = write(before, editor(name), edits(name), None).text
    for comment in COMMENTS:
        if comment in before:
            where = before[: before.index(comment)].splitlines()[-1].strip()
            kept = after[: after.index(comment)].splitlines()[-1].strip()
            assert where.split()[:1] == kept.split()[:1]


@pytest.mark.parametrize("name", WITH_FILE)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("text", ["own", "empty", "absent"])
def test_restoring_gives_back_every_byte(name: str, newline: str, text: str) -> None:
    before = {"own": BY_CLIENT[name].replace("\n", newline), "empty": "", "absent": None}[text]
    written = write(before, editor(name), edits(name), None)
    assert "\n" not in written.text.replace(newline, "") or newline == "\n" or text != "own"
    back = restore(written.text, editor(name), record_of(name, before, written), before, force=False)
    assert (back.text, back.changed) == (before, ())


@pytest.mark.parametrize("name", WITH_FILE)
def test_a_second_write_changes_nothing(name: str) -> None:
    first = write(BY_CLIENT[name], editor(name), edits(name), None)
    second = write(first.text, editor(name), edits(name), record_of(name, BY_CLIENT[name], first))
    assert (second.text, second.kept, second.whole) == (first.text, first.kept, True)


@pytest.mark.parametrize("name", WITH_FILE)
def test_restoring_key_by_key_means_the_same_as_before(name: str) -> None:
    """Another setting changed in between, so that the backup must not be put back."""
    before = BY_CLIENT[name]
    written = write(before, editor(name), edits(name), None)
    other = (Item(key="name", name="new"), "a") if name == "vscode" else ("new", "a")
    other = (Item(key="model_id", name="new"), "a") if name == "llm" else other
    touched = editor(name).put(written.text, other, "b")
    back = restore(touched, editor(name), record_of(name, before, written), before, force=False)
    assert back.text is not None and not back.changed
    assert editor(name).read(back.text) == editor(name).read(editor(name).put(before, other, "b"))


@pytest.mark.parametrize("name", WITH_FILE)
def test_restoring_after_two_writes_leads_back_to_before_the_first(name: str) -> None:
    before = BY_CLIENT[name]
    first = write(before, editor(name), edits(name), None)
    earlier = record_of(name, before, first)
    second = write(first.text, editor(name), edits(name, OTHER), earlier)
    record = record_of(name, before, second, earlier)
    exact = restore(second.text, editor(name), record, before, force=False)
    by_key = restore(second.text, editor(name), record.model_copy(update={"whole": False}), before, force=False)
    assert exact.text == before and not by_key.changed and by_key.text is not None
    assert editor(name).read(by_key.text) == editor(name).read(before)


@pytest.mark.parametrize("name", WITH_FILE)
def test_what_the_user_changed_since_stays_unless_forced(name: str) -> None:
    before = BY_CLIENT[name]
    written = write(before, editor(name), edits(name), None)
    mine = edits(name)[-1]
    touched = editor(name).put(written.text, mine.path, "mine")
    record = record_of(name, before, written)
    kind = restore(touched, editor(name), record, before, force=False)
    assert kind.changed == (mine.path,) and kind.text is not None
    assert look_up(editor(name).read(kind.text), mine.path) == "mine"
    forced = restore(touched, editor(name), record, before, force=True)
    assert forced.changed == () and forced.text is not None
    assert editor(name).read(forced.text) == editor(name).read(before)


def test_a_setting_that_the_user_made_his_own_comes_back_after_the_next_write() -> None:
    tool = editor("claude")
    first = write(BY_CLIENT["claude"], tool, edits("claude"), None)
    touched = tool.put(first.text, ("env", "ANTHROPIC_MODEL"), "mine")
    earlier = record_of("claude", BY_CLIENT["claude"], first)
    second = write(touched, tool, edits("claude"), earlier)
    back = restore(second.text, tool, record_of("claude", "", second, earlier), None, force=False)
    assert back.text is not None
    assert look_up(tool.read(back.text), ("env", "ANTHROPIC_MODEL")) == "mine"


def test_what_an_earlier_write_set_and_this_one_does_not_is_undone() -> None:
    tool = editor("claude")
    first = write(None, tool, edits("claude", OTHER), None)
    assert look_up(tool.read(first.text), ("apiKeyHelper",)) == "printenv MY_KEY"
    second = write(first.text, tool, edits("claude"), record_of("claude", None, first))
    assert "apiKeyHelper" not in second.text


@pytest.mark.parametrize("name", WITH_FILE)
def test_broken_settings_are_named_with_their_line_and_nothing_is_made(name: str) -> None:
    text, line = BROKEN[name]
    with pytest.raises(BrokenText) as caught:
        write(text, editor(name), edits(name), None)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("claude", '{"env": "x"}'),
        ("claude", "[]"),
        ("codex", "model_providers = { azure = { name = 'a' } }\n"),
        ("codex", "model_providers.roost.name = 'mine'\n"),
        ("zed", '{"language_models": [1]}'),
        ("continue", "models: text\n"),
        ("llm", "a: 1\n"),
        ("vscode", "{}"),
    ],
)
def test_settings_of_another_shape_are_refused_or_kept_in_meaning(name: str, text: str) -> None:
    with pytest.raises(CannotEdit):
        write(text, editor(name), edits(name), None)


def test_the_record_holds_no_key() -> None:
    for name, client in WITH_FILE.items():
        written = write(BY_CLIENT[name], editor(name), client.setup(MINTED).edits, None)
        assert "roost-0123-4567" not in record_of(name, "", written).model_dump_json()
        assert ("roost-0123-4567" in written.text) is client.holds_key


KEYS = st.sampled_from(
    ["env", "models", "model", "provider", "roost", "agent", "language_models", "openai_compatible", "x y", "é", "n"]
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-1000, 1000),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


def toml_of(table: dict[str, Any]) -> str:
    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {inline(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value, ensure_ascii=False)

    simple = [f"{json.dumps(key)} = {inline(value)}" for key, value in table.items() if not isinstance(value, dict)]
    tables = [
        f"[{json.dumps(key)}] # {{[\n" + "".join(f"{json.dumps(k)} = {inline(v)}\n" for k, v in value.items())
        for key, value in table.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*simple, "", *tables])


def rendered(name: str, table: dict[str, Any], style: int) -> str:
    match WITH_FILE[name].format:
        case Format.TOML:
            return toml_of(table)
        case Format.YAML:
            value: Any = [table] if name == "llm" else table
            flow = {0: False, 1: None, 2: True}[style]
            return yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, sort_keys=False)
        case form:
            value = [table] if name == "vscode" else table
            text = json.dumps(value, indent=(None, 2, "\t")[style], ensure_ascii=False)
            return f"// above {{\n{text} // behind\n" if form is Format.JSONC else text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.sampled_from(sorted(WITH_FILE)), TABLES, st.integers(0, 2), st.sampled_from([TARGET, OTHER, MINTED]))
def test_whatever_the_settings_restoring_is_the_inverse_of_writing(
    name: str, table: dict[str, Any], style: int, target: Target
) -> None:
    before, tool = rendered(name, table, style), editor(name)
    meant = tool.read(before)
    try:
        written = write(before, tool, edits(name, target), None)
    except CannotEdit:
        assume(False)
        raise
    record = record_of(name, before, written)
    assert restore(written.text, tool, record, before, force=False).text == before
    by_key = restore(written.text, tool, record.model_copy(update={"whole": False}), None, force=False)
    assert by_key.changed == () and by_key.text is not None
    assert tool.read(by_key.text) == meant


@given(TABLES)
def test_a_write_never_changes_the_value_it_was_given(table: dict[str, Any]) -> None:
    from roost.connect.values import put

    before = copy.deepcopy(table)
    with suppress(CannotEdit):
        put(table, ("env", "roost", "n"), 1)
    assert table == before
