"""What `--write` and `--restore` make of a text. Pure: texts and records in, texts and records out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.connect import values
from roost.connect.types import BrokenText, CannotEdit, Edit, Editor, Kept, Path, Record, dotted


@dataclass(frozen=True)
class Written:
    text: str
    kept: tuple[Kept, ...]
    #: Whether the backup is still all that a restore needs: nobody else has written since it was made.
    whole: bool


@dataclass(frozen=True)
class Restored:
    #: None: the file goes, as it came with roost.
    text: str | None
    #: What the user has changed since, and what therefore stays as it is.
    changed: tuple[Path, ...]


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(before: str | None, editor: Editor, edits: Sequence[Edit], record: Record | None) -> Written:
    """The text with all edits in it. What an earlier write kept stays kept; what that write set and this one does not
    is undone.

    Raises BrokenText, CannotEdit.
    """
    text = before or ""
    found = editor.read(text)
    earlier = {kept.path: kept for kept in record.kept} if record else {}
    whole = record is None or (record.whole and before is not None and text_digest(before) == record.left)
    asked = [edit for edit in edits if edit.path in earlier or not _stays(found, edit)]
    wanted = {edit.path for edit in asked}
    for path, kept in earlier.items():
        if path not in wanted and values.digest(values.look_up(found, path)) == kept.wrote:
            text = _undone(text, editor, kept)
    kept_now = []
    for edit in asked:
        kept_now.append(_kept(found, edit, earlier))
        text = _set(text, editor, edit)
    return Written(text, tuple(kept_now), whole)


def restore(now: str | None, editor: Editor, record: Record, backup: str | None, *, force: bool) -> Restored:
    """The text without what roost wrote. `backup`: the text before; it is taken whole where nobody has touched the
    file since. Raises BrokenText, CannotEdit."""
    if now is None:
        return Restored(None, ())
    if record.whole and text_digest(now) == record.left and (record.was_absent or backup is not None):
        return Restored(None if record.was_absent else backup, ())
    found = editor.read(now)
    text, changed = now, []
    for kept in reversed(record.kept):
        present = values.look_up(found, kept.path)
        if not force and _changed(present, kept):
            changed.append(kept.path)
        elif present is not values.MISSING or kept.was_there:
            text = _undone(text, editor, kept)
    gone = record.was_absent and not text.strip(" \t\r\n{}[]")
    return Restored(None if gone else text, tuple(reversed(changed)))


def differing(value: Any, edits: Iterable[Edit]) -> list[Path]:
    """The settings that are not as the edits would have them."""
    return [edit.path for edit in edits if values.look_up(value, edit.path) != edit.value]


def _stays(found: Any, edit: Edit) -> bool:
    return edit.unless_there and values.look_up(found, edit.path) is not values.MISSING


def _changed(present: Any, kept: Kept) -> bool:
    """One that is gone was changed only if something else was to come back."""
    if present is values.MISSING:
        return kept.was_there
    return values.digest(present) != kept.wrote


def _kept(found: Any, edit: Edit, earlier: Mapping[Path, Kept]) -> Kept:
    present = values.look_up(found, edit.path)
    wrote = values.digest(edit.value)
    before = earlier.get(edit.path)
    if before is not None and (present is values.MISSING or values.digest(present) == before.wrote):
        return before.model_copy(update={"wrote": wrote})
    depth = values.depth_of(found, edit.path)
    if before is None:
        # What is around it may be there because an earlier write made it.
        depth = min([depth, *(kept.depth for kept in earlier.values() if _shared(kept.path, edit.path) > kept.depth)])
    was_there = depth == len(edit.path)
    return Kept(path=edit.path, wrote=wrote, depth=depth, earlier=present if was_there else None)


def _shared(one: Path, other: Path) -> int:
    """How many steps two paths have in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _set(text: str, editor: Editor, edit: Edit) -> str:
    if values.look_up(editor.read(text), edit.path) == edit.value:
        return text
    return _sure(
        text,
        editor,
        lambda old: values.put(old, edit.path, edit.value),
        lambda: editor.put(text, edit.path, edit.value),
    )


def _undone(text: str, editor: Editor, kept: Kept) -> str:
    if kept.was_there:
        return _set(text, editor, Edit(path=kept.path, value=kept.earlier))
    text = _dropped(text, editor, kept.path)
    for length in range(len(kept.path) - 1, kept.depth, -1):
        around = kept.path[:length]
        inside = values.look_up(editor.read(text), around)
        if inside is not values.MISSING and values.says_nothing(inside, around[-1]):
            text = _dropped(text, editor, around)
    return text


def _dropped(text: str, editor: Editor, path: Path) -> str:
    return _sure(text, editor, lambda old: values.drop(old, path), lambda: editor.drop(text, path))


def _sure(text: str, editor: Editor, mean: Callable[[Any], Any], change: Callable[[], str]) -> str:
    """The changed text, if it means what it should and nothing else: an editor that errs costs an edit, no file."""
    expected = mean(editor.read(text))
    after = change()
    try:
        found = editor.read(after)
    except BrokenText:
        found = values.MISSING
    if not _alike(found, expected):
        raise CannotEdit("its settings are written in a way that roost does not edit")
    return after


def _alike(one: Any, other: Any) -> bool:
    """Equal, where an empty container and none at all are one: some formats cannot tell them apart."""
    return bool(_bare(one) == _bare(other))


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: bare for key, each in value.items() if (bare := _bare(each)) not in (None, {}, [])} or None
    if isinstance(value, list):
        return [_bare(each) for each in value] or None
    return value


def shown(paths: Iterable[Path]) -> str:
    return ", ".join(dotted(path) for path in paths)
