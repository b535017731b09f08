"""Which weights does this worker serve? Evidence from the kernel, compared with the catalog; nobody's word counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from roost.catalog.spec import FileRole, ModelFile, ModelSpec
from roost.engines.types import (
    Container,
    Endpoint,
    LaunchPlan,
    ProofGrade,
    ProofKind,
    TcpEndpoint,
    UnixEndpoint,
    UrlEndpoint,
)
from roost.host.types import Host, MappedFile, ProcessIdentity
from roost.workers.containers import container_id

#: Files whose content decides what the model answers.
DECISIVE = frozenset({FileRole.WEIGHTS, FileRole.PROJECTOR, FileRole.ADAPTER})


@dataclass(frozen=True)
class Proof:
    grade: ProofGrade
    #: For people: how it was shown.
    text: str


@dataclass(frozen=True)
class Mismatch:
    """What is served is not, or cannot be shown to be, what the catalog knows."""

    reason: str


@dataclass(frozen=True)
class Handover:
    """A spare that became the worker: which process, and what was written into the pipe that only it could read."""

    process: ProcessIdentity | None
    order: bytes

    def names(self, path: Path) -> bool:
        return json.dumps(str(path)).encode() in self.order


def changed_file(files: Iterable[ModelFile], identity_digest: Callable[[Path], str]) -> str | None:
    """Why the files on disk are no longer those that the catalog read; None: they are.

    Blocking. Header and samples are hashed again only where size, times or inode moved: a copy of the same bytes is
    fine.
    """
    for file in files:
        try:
            now = file.path.stat()
        except OSError as error:
            return f"{file.path}: {error.strerror}"
        if now.st_size != file.size_bytes:
            return f"{file.path} has {now.st_size} bytes, the catalog knows {file.size_bytes}"
        same = (now.st_mtime_ns, now.st_ino, now.st_dev) == (file.mtime_ns, file.inode, file.device)
        if not same and file.role in DECISIVE and identity_digest(file.path) != file.identity_sha256:
            return f"{file.path} has another content than the catalog knows"
    return None


def find_listener(host: Host, endpoint: Endpoint, tree: tuple[int, ...]) -> int | None:
    """The process that answers at the endpoint, when it belongs to the tree that we started."""
    match endpoint:
        case UnixEndpoint(path):
            owner = host.unix_listener(path)
            return owner if owner in tree else None
        case TcpEndpoint(_, port, _):
            return next(iter(host.tcp_listeners(port, tree)), None)
        case UrlEndpoint(url, _):
            known = _port_of(url)
            return next(iter(host.tcp_listeners(known, tree)), None) if known else None


def _port_of(url: str) -> int | None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


class Started(Protocol):
    """A worker's process, as far as evidence goes."""

    def itself(self) -> tuple[int, ...]: ...

    def tree(self) -> tuple[int, ...]: ...


def prove(
    host: Host, plan: LaunchPlan, spec: ModelSpec, started: Started | None, handed: Handover | None = None
) -> Proof | Mismatch:
    """Blocking; reads /proc. Call it once the engine says that it is healthy. `started` None: no process of ours.
    `handed`: it was a spare."""
    if plan.container is not None:
        return _by_container(plan.container)
    if plan.proof is ProofKind.CLAIMED:
        return Proof(ProofGrade.CLAIMED, "its own word: roost does not supervise this server")
    listener = None
    if started is not None:
        # Rarely another process than the one that was started; to find all of them takes long.
        listener = find_listener(host, plan.endpoint, started.itself())
        listener = listener or find_listener(host, plan.endpoint, started.tree())
    if listener is None:
        if plan.foreign_listener:
            return Proof(ProofGrade.CLAIMED, "its health check answers, from outside the process that roost started")
        return Mismatch("the process that answers is not the one that roost started")
    if plan.proof is ProofKind.COMMAND_LINE:
        return Proof(ProofGrade.CMDLINE, f"pid {listener} listens: {' '.join(host.command_line(listener))[:200]}")
    if plan.proof is ProofKind.SPAWN_DIGESTS:
        return _by_handover(host, listener, spec, handed) if handed else _by_command_line(host, listener, spec)
    return _by_maps(host.mapped_files(listener), listener, spec, plan.draft_files)


def _by_container(container: Container) -> Proof | Mismatch:
    """What runs in it, and on which weights, is its own word; but there must be one before anybody answers for it."""
    found = container_id(container)
    if found is None:
        return Mismatch(
            f"somebody answers at its address before its container exists ({container.id_file} is not there)"
        )
    name = f' "{container.name}"' if container.name else ""
    return Proof(ProofGrade.CLAIMED, f"its own word: container {found[:12]}{name} of {container.program}")


def _by_command_line(host: Host, listener: int, spec: ModelSpec) -> Proof | Mismatch:
    """The engine maps nothing after the load: its command line names the files whose digests were taken at spawn."""
    if spec.path is None or str(spec.path) not in host.command_line(listener):
        return Mismatch(f"the command line of pid {listener} does not name {spec.path}")
    return Proof(ProofGrade.PROVEN, f"pid {listener} was started on {spec.path}, its files' digests as in the catalog")


def _by_handover(host: Host, listener: int, spec: ModelSpec, handed: Handover) -> Proof | Mismatch:
    """A spare's command line was written before its model was known. What counts is the same: what roost gave to
    exactly this process, once, and the digests that were taken at that moment."""
    if handed.process is None or host.identity(listener) != handed.process:
        return Mismatch(f"pid {listener} is not the spare that was handed {spec.path}")
    if spec.path is None or not handed.names(spec.path):
        return Mismatch(f"the spare with pid {listener} was handed something else than {spec.path}")
    return Proof(ProofGrade.PROVEN, f"pid {listener} was handed {spec.path}, its files' digests as in the catalog")


def _by_maps(
    mapped: tuple[MappedFile, ...] | None, listener: int, spec: ModelSpec, draft: tuple[ModelFile, ...]
) -> Proof | Mismatch:
    if mapped is None:
        return Mismatch(f"the files mapped by pid {listener} cannot be read")
    wanted = [file for file in (*spec.files, *draft) if file.role is FileRole.WEIGHTS]
    missing = [file.path for file in wanted if not any(_same_file(file, entry) for entry in mapped)]
    if missing or not wanted:
        return Mismatch(f"pid {listener} does not map {missing[0] if missing else 'any weights'}")
    known = [file for file in (*spec.files, *draft) if file.role in DECISIVE]
    foreign = [e.path for e in mapped if e.path.endswith(".gguf") and not any(_same_file(f, e) for f in known)]
    if foreign:
        return Mismatch(f"pid {listener} maps other weights: {foreign[0]}")
    text = f"pid {listener} listens and maps {len(wanted)} weight file(s) of the catalog{_companions(spec, draft)}"
    return Proof(ProofGrade.PROVEN, text)


def _companions(spec: ModelSpec, draft: tuple[ModelFile, ...]) -> str:
    """What decides the answers beside the weights, and is read once instead of mapped: its digest was compared at the
    start. All identity digests, as the fingerprint holds them."""
    if not draft and all(
        file.role is not FileRole.ADAPTER and file.role is not FileRole.PROJECTOR for file in spec.files
    ):
        return ""
    named = [(file.role.value, file) for file in spec.files if file.role in DECISIVE]
    named += [("draft", file) for file in draft]
    return f"; digests as in the catalog: {', '.join(f'{word} {file.identity_sha256[:12]}' for word, file in named)}"


def _same_file(file: ModelFile, entry: MappedFile) -> bool:
    """By inode and device; overlay and btrfs mounts show another device in maps, so the real path decides there."""
    try:
        now = file.path.stat()
    except OSError:
        return False
    if entry.inode != now.st_ino:
        return False
    return entry.device == now.st_dev or entry.path == str(file.path.resolve())
