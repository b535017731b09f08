"""The one place of this room that reads and writes: clients' settings, and in roost's state what was done to them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from roost.config.files import locked, replace_file
from roost.connect.client import Client
from roost.connect.edits import Restored, Written, restore, text_digest, write
from roost.connect.json_text import JsonText
from roost.connect.toml_text import TomlText
from roost.connect.types import BrokenText, CannotEdit, Edit, Editor, Format, Record
from roost.connect.yaml_text import YamlText
from roost.errors import BadConfiguration, Refused

EDITORS: dict[Format, Editor] = {
    Format.JSON: JsonText(comments=False),
    Format.JSONC: JsonText(comments=True),
    Format.TOML: TomlText(),
    Format.YAML: YamlText(),
}
#: What only its owner may read: a key may be in it.
PRIVATE_MODE = 0o600


@dataclass(frozen=True)
class Settings:
    """A client's file as it is now."""

    #: Where links lead.
    path: FilePath
    #: None: there is no file.
    text: str | None
    mode: int | None
    editor: Editor

    def value(self) -> object:
        """Raises BadConfiguration naming the file and the line."""
        with _naming(self.path):
            return self.editor.read(self.text or "")


def open_settings(client: Client, path: FilePath) -> Settings:
    """Raises BadConfiguration when it is no text, and the plain OSError when it cannot be read."""
    assert client.format is not None, "only clients with a file are opened"
    real = FilePath(os.path.realpath(path))
    editor = EDITORS[client.format]
    try:
        text = real.read_bytes().decode("utf-8")
        return Settings(real, text, stat.S_IMODE(real.stat().st_mode), editor)
    except FileNotFoundError:
        return Settings(real, None, None, editor)
    except UnicodeDecodeError:
        raise BadConfiguration(f"cannot read {real}: it is not UTF-8; nothing was changed") from None


class Ledger:
    """What roost did to clients' settings: a record and a backup each, in a folder that only its owner reads."""

    def __init__(self, folder: FilePath) -> None:
        self._folder = folder

    def record(self, client: Client) -> Record | None:
        """None: nothing was written. Raises BadConfiguration when the record is broken."""
        path = self._record_path(client)
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise BadConfiguration(
                f"cannot use {path}: it is no record of roost ({error.error_count()} mistakes); remove it, and take "
                f"roost out of the settings of {client.title} by hand"
            ) from None

    def backup(self, client: Client) -> FilePath:
        return self._folder / f"{client.name}.bak"

    def preview(self, settings: Settings, edits: Sequence[Edit], record: Record | None) -> Written:
        """What a write would make. Raises BadConfiguration, and Refused where the record is about another file."""
        if record is not None and record.file != str(settings.path):
            raise Refused(
                f'cannot write {settings.path}: roost has written {record.file} before; "roost connect '
                f'{record.client} --restore" first'
            )
        with _naming(settings.path):
            return write(settings.text, settings.editor, edits, record)

    def write(self, client: Client, settings: Settings, edits: Sequence[Edit], key_id: str | None) -> bool:
        """Returns whether anything changed. `key_id`: of the key that is in the edits.

        The record comes first: what is recorded and was not written is nothing to restore.
        Raises BadConfiguration, Refused, StorageFull, OSError; the client's file is then as it was.
        """
        with self._locked(client):
            earlier = self.record(client)
            written = self.preview(settings, edits, earlier)
            if earlier is None or not written.whole:
                self._keep(self.backup(client), settings.text or "")
            record = Record(
                client=client.name,
                file=str(settings.path),
                kept=written.kept,
                left=text_digest(written.text),
                whole=written.whole,
                was_absent=settings.text is None if earlier is None else earlier.was_absent,
                mode=settings.mode if earlier is None else earlier.mode,
                key_id=key_id,
            )
            self._keep(self._record_path(client), record.model_dump_json(indent=2))
            mode = settings.mode or PRIVATE_MODE
            mode = mode & PRIVATE_MODE if key_id else mode
            if written.text == settings.text and mode == settings.mode:
                return False
            _replace(settings, written.text, mode)
            return True

    def restore(self, client: Client, settings: Settings, record: Record, *, force: bool) -> Restored:
        """Undoes what was written. Raises BadConfiguration, Refused, StorageFull, OSError."""
        with self._locked(client):
            backup = self.backup(client)
            before = backup.read_bytes().decode() if backup.exists() else None
            with _naming(settings.path):
                restored = restore(settings.text, settings.editor, record, before, force=force)
            if restored.text is not None:
                _replace(settings, restored.text, settings.mode if record.mode is None else record.mode)
            elif settings.text is not None:
                _unchanged(settings)
                settings.path.unlink()
            if restored.changed:
                left = tuple(kept for kept in record.kept if kept.path in restored.changed)
                after = record.model_copy(update={"kept": left, "whole": False})
                self._keep(self._record_path(client), after.model_dump_json(indent=2))
            else:
                self._record_path(client).unlink(missing_ok=True)
                backup.unlink(missing_ok=True)
            return restored

    @contextmanager
    def _locked(self, client: Client) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._record_path(client)):
            yield

    def _record_path(self, client: Client) -> FilePath:
        return self._folder / f"{client.name}.json"

    def _keep(self, path: FilePath, text: str) -> None:
        replace_file(path, text.encode(), mode=PRIVATE_MODE)


def _replace(settings: Settings, text: str, mode: int | None) -> None:
    _unchanged(settings)
    settings.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = settings.path.stat() if settings.text is not None else None
    replace_file(
        settings.path,
        text.encode(),
        mode=PRIVATE_MODE if mode is None else mode,
        owner=(owner.st_uid, owner.st_gid) if owner else None,
    )


def _unchanged(settings: Settings) -> None:
    """Clients write their settings too."""
    try:
        now = settings.path.read_bytes()
    except FileNotFoundError:
        now = None
    if now != (None if settings.text is None else settings.text.encode()):
        raise Refused(f"cannot write {settings.path}: somebody else has just changed it; try again")


@contextmanager
def _naming(path: FilePath) -> Iterator[None]:
    """Errors of the editors with the file that they are about."""
    try:
        yield
    except BrokenText as error:
        raise BadConfiguration(
            f"cannot use {path}:{error.line}:{error.column}: {error.why}; mend it first, nothing was changed"
        ) from None
    except CannotEdit as error:
        raise BadConfiguration(
            f"cannot edit {path}: {error.message}; nothing was changed: put in by hand what --print shows"
        ) from None
