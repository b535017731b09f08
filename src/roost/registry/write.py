"""Writing registry.json without losing anything: not other programs' keys, not a concurrent writer's edit.

The order is lock, read, change, keep a `.bak`, replace. Writers that know the lock wait for each other; a writer that
does not is noticed by reading once more just before the replacement.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from roost.config.files import locked, replace_file
from roost.errors import BadConfiguration
from roost.registry.document import Document
from roost.registry.file import parse, read_bytes
from roost.registry.types import Registry, RegistryProblem

#: Other programs read the file too (`jq -r .models.coding`), and it holds no secret.
_NEW_FILE_MODE = 0o644
#: How often an edit is made again because another program wrote in between.
_ATTEMPTS = 20
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MANAGED_STORE = Path("/nix/store")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_role_name(role: str) -> bool:
    """Whether it may be written as a role: it stands in URLs and in other programs' paths."""
    return _ROLE.fullmatch(role) is not None


def set_role(path: Path, role: str, model_id: str, *, expected_digest: str | None = None) -> Registry:
    """Points `role` at `model_id` (`id` or `id@node`) and returns the registry as it is now on disk.

    `expected_digest` refuses when the file is not the one that was read. Raises BadConfiguration (a role that cannot
    be a name, a broken or managed or changed file), StorageFull. Blocks on the lock: call it in a thread.
    """
    if not is_role_name(role):
        raise BadConfiguration(
            f"cannot set role {role[:80]!r}: a role is 1 to 64 letters, digits, dots, dashes and underscores, "
            "and starts with a letter or digit"
        )
    return update(path, lambda document: document.with_string("models", role, model_id), expected_digest)


def remove_role(path: Path, role: str, *, expected_digest: str | None = None) -> Registry:
    """Takes the role's entry away; fine when there is none. Errors and locking as `set_role`."""
    return update(path, lambda document: document.without("models", role), expected_digest)


def update(path: Path, mutate: Callable[[Document], Document], expected_digest: str | None = None) -> Registry:
    """Applies `mutate` to the file under its lock. `mutate` may be called again when another program wrote meanwhile.

    A link is written through: its target changes, the link stays. The previous content is kept in `NAME.bak`.
    """
    target = Path(os.path.realpath(path))  # a loop of links is not an exception here, opening it says so
    _refuse_managed(path, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            return _update_locked(path, target, mutate, expected_digest)
    except OSError as error:
        if error.errno in _READ_ONLY:
            raise _managed(path, target, f"it cannot be written ({error.strerror})") from error
        raise BadConfiguration(f"cannot change {path}: {error.strerror}") from error


def _update_locked(
    path: Path, target: Path, mutate: Callable[[Document], Document], expected_digest: str | None
) -> Registry:
    for _ in range(_ATTEMPTS):
        before = _content(path, target)
        if expected_digest is not None and _digest(before) != expected_digest:
            raise BadConfiguration(f'cannot change {path}: it is not the file that was read; see "roost status"')
        after = _changed(path, before, mutate)
        registry = _valid(path, after)
        if after == (before or Document.empty().text.encode()):
            return registry
        if before is not None:
            _replace_like(target, target.with_name(f"{target.name}.bak"), before)
        if _content(path, target) == before:
            _replace_like(target, target, after)
            return registry
    raise BadConfiguration(f"cannot change {path}: another program keeps writing it; stop that one and try again")


def _replace_like(model: Path, path: Path, data: bytes) -> None:
    """Replaces `path` with the mode and owner of `model`, or those of a new file when that is not there."""
    try:
        status = model.stat()
    except FileNotFoundError:
        replace_file(path, data, mode=_NEW_FILE_MODE)
    else:
        replace_file(path, data, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid))


def _content(path: Path, target: Path) -> bytes | None:
    found = read_bytes(target)
    if isinstance(found, RegistryProblem):
        raise _broken(path, found)
    return found


def _changed(path: Path, before: bytes | None, mutate: Callable[[Document], Document]) -> bytes:
    """The new bytes. A broken file is not edited: whoever broke it has text in it that only a person can save."""
    if before is None:
        return _encoded(mutate(Document.empty()))
    problem = parse(before)
    if isinstance(problem, RegistryProblem):
        raise _broken(path, problem)
    mark = _BYTE_ORDER_MARK if before.startswith(_BYTE_ORDER_MARK) else b""
    return mark + _encoded(mutate(Document.of(before.removeprefix(mark).decode())))


def _encoded(document: Document) -> bytes:
    """Half a surrogate pair becomes bytes that the check of the result refuses, with its message."""
    return document.text.encode("utf-8", "surrogatepass")


def _valid(path: Path, data: bytes) -> Registry:
    registry = parse(data)
    if isinstance(registry, RegistryProblem):
        raise BadConfiguration(f"cannot change {path}: the result would be invalid: {registry.message}")
    return registry


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()


def _broken(path: Path, problem: RegistryProblem) -> BadConfiguration:
    place = f":{problem.line}:{problem.column}" if problem.line else ""
    found = f"{path}{place}: {problem.message}"
    return BadConfiguration(
        f"cannot change the registry: it is broken ({found}) and was left as it is; mend it by hand or restore "
        f"{path.name}.bak",
        problems=(found,),
    )


def _refuse_managed(path: Path, target: Path) -> None:
    """Files that another tool writes at activation are read-only, and stay so for root too."""
    if target.is_relative_to(_MANAGED_STORE):
        raise _managed(path, target, f"it is {target}, which the store keeps read-only")
    if target.is_file() and not target.stat().st_mode & 0o222:
        raise _managed(path, target, "it is marked read-only")


def _managed(path: Path, target: Path, reason: str) -> BadConfiguration:
    where = "" if target == path else f" (through to {target})"
    return BadConfiguration(
        f"cannot change {path}{where}: {reason}, so another tool seems to manage it; change the role in what generates "
        "the file (such as the Nix module), or set ROOST_REGISTRY to a file of your own"
    )
