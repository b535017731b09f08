"""What counts as proof, over a host that is told what to see."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from roost.catalog.spec import FileRole, ModelFile, ModelFormat, ModelSpec, Source, SourceKind
from roost.engines.types import EngineTraits, LaunchPlan, ProofGrade, ProofKind, UnixEndpoint
from roost.host.types import MappedFile, ProcessIdentity
from roost.workers.proof import Handover, Mismatch, Proof, changed_file, prove


@dataclass
class SeenHost:
    """The part of a host that a proof looks at."""

    listener: int | None = 7
    mapped: tuple[MappedFile, ...] | None = ()
    command: tuple[str, ...] = ()
    ports: dict[int, int] = field(default_factory=dict)

    def unix_listener(self, path: Path) -> int | None:
        return self.listener

    def tcp_listeners(self, port: int, pids: Iterable[int]) -> tuple[int, ...]:
        return tuple(pid for pid in pids if self.ports.get(pid) == port)

    def mapped_files(self, pid: int) -> tuple[MappedFile, ...] | None:
        return self.mapped

    def command_line(self, pid: int) -> tuple[str, ...]:
        return self.command

    def identity(self, pid: int) -> ProcessIdentity | None:
        return ProcessIdentity(pid, "boot:100")


class Family:
    """The process that was started, and a child that may be the one that listens."""

    def itself(self) -> tuple[int, ...]:
        return (5,)

    def tree(self) -> tuple[int, ...]:
        return (5, 7)


def weights(path: Path, content: bytes = b"GGUF weights") -> ModelFile:
    path.write_bytes(content)
    now = path.stat()
    return ModelFile(
        path=path,
        role=FileRole.WEIGHTS,
        size_bytes=now.st_size,
        mtime_ns=now.st_mtime_ns,
        device=now.st_dev,
        inode=now.st_ino,
        identity_sha256="h",
    )


def model(file: ModelFile) -> ModelSpec:
    source = Source(kind=SourceKind.FILE, location=str(file.path))
    return ModelSpec(id="m", format=ModelFormat.GGUF, path=file.path, files=(file,), source=source)


def mapped(file: ModelFile, **changes: object) -> MappedFile:
    now = file.path.stat()
    values = {"device": now.st_dev, "inode": now.st_ino, "path": str(file.path), **changes}
    return MappedFile(**values)  # type: ignore[arg-type]


def planned(kind: ProofKind, *, foreign: bool = False) -> LaunchPlan:
    return LaunchPlan(
        argv=("x",),
        env={},
        endpoint=UnixEndpoint(Path("/run/w.s")),
        served_name="m",
        proof=kind,
        traits=EngineTraits(True, "none", frozenset()),
        context_length=None,
        concurrency=1,
        foreign_listener=foreign,
    )


def verdict(host: SeenHost, kind: ProofKind, spec: ModelSpec, *, foreign: bool = False) -> Proof | Mismatch:
    return prove(host, planned(kind, foreign=foreign), spec, Family())  # type: ignore[arg-type]


def test_a_listener_that_maps_the_weights_is_proven(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    result = verdict(SeenHost(mapped=(mapped(file),)), ProofKind.MAPPED, model(file))
    assert isinstance(result, Proof) and result.grade is ProofGrade.PROVEN


def test_the_same_name_with_another_inode_is_not(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    assert isinstance(verdict(SeenHost(mapped=(mapped(file, inode=1),)), ProofKind.MAPPED, model(file)), Mismatch)


def test_an_overlay_device_is_made_up_for_by_the_real_path(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    assert isinstance(verdict(SeenHost(mapped=(mapped(file, device=99),)), ProofKind.MAPPED, model(file)), Proof)
    elsewhere = mapped(file, device=99, path="/elsewhere/m.gguf")
    assert isinstance(verdict(SeenHost(mapped=(elsewhere,)), ProofKind.MAPPED, model(file)), Mismatch)


def test_other_weights_beside_the_right_ones_are_a_mismatch(tmp_path: Path) -> None:
    file, other = weights(tmp_path / "m.gguf"), weights(tmp_path / "other.gguf")
    result = verdict(SeenHost(mapped=(mapped(file), mapped(other))), ProofKind.MAPPED, model(file))
    assert isinstance(result, Mismatch) and "other.gguf" in result.reason


def test_a_draft_must_be_mapped_too_and_is_named_in_the_proof(tmp_path: Path) -> None:
    file, draft = weights(tmp_path / "m.gguf"), weights(tmp_path / "draft.gguf")
    plan = replace(planned(ProofKind.MAPPED), draft_files=(draft,))

    def judged(*seen: ModelFile) -> Proof | Mismatch:
        host = SeenHost(mapped=tuple(mapped(one) for one in seen))
        return prove(host, plan, model(file), Family())  # type: ignore[arg-type]

    both = judged(file, draft)
    assert isinstance(both, Proof) and "weights h, draft h" in both.text
    alone = judged(file)
    assert isinstance(alone, Mismatch) and "draft.gguf" in alone.reason
    assert isinstance(judged(file, draft, weights(tmp_path / "other.gguf")), Mismatch)


def test_an_adapters_digest_is_in_the_proof_beside_its_bases(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    adapter = weights(tmp_path / "a.gguf").model_copy(update={"role": FileRole.ADAPTER, "identity_sha256": "a1"})
    spec = model(file).model_copy(update={"files": (file, adapter)})
    result = verdict(SeenHost(mapped=(mapped(file),)), ProofKind.MAPPED, spec)
    assert isinstance(result, Proof) and result.text.endswith("weights h, adapter a1")


def test_maps_that_cannot_be_read_prove_nothing(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    assert isinstance(verdict(SeenHost(mapped=None), ProofKind.MAPPED, model(file)), Mismatch)


def test_a_listener_outside_the_spawned_tree_is_a_mismatch(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    host = SeenHost(listener=4711, mapped=(mapped(file),))
    assert isinstance(verdict(host, ProofKind.MAPPED, model(file)), Mismatch)


def test_a_container_is_only_claimed(tmp_path: Path) -> None:
    result = verdict(SeenHost(listener=None), ProofKind.COMMAND_LINE, model(weights(tmp_path / "m")), foreign=True)
    assert isinstance(result, Proof) and result.grade is ProofGrade.CLAIMED


def test_a_command_line_is_the_weaker_grade(tmp_path: Path) -> None:
    file = weights(tmp_path / "m")
    result = verdict(SeenHost(command=("server", "--port", "1")), ProofKind.COMMAND_LINE, model(file))
    assert isinstance(result, Proof) and result.grade is ProofGrade.CMDLINE


def test_digests_at_spawn_need_the_folder_in_the_listeners_command_line(tmp_path: Path) -> None:
    file = weights(tmp_path / "m")
    spec = model(file)
    named = SeenHost(command=("python", str(file.path)))
    assert isinstance(verdict(named, ProofKind.SPAWN_DIGESTS, spec), Proof)
    assert isinstance(verdict(SeenHost(command=("python",)), ProofKind.SPAWN_DIGESTS, spec), Mismatch)


def handed(process: ProcessIdentity | None, order: str, spec: ModelSpec) -> Proof | Mismatch:
    plan = planned(ProofKind.SPAWN_DIGESTS)
    return prove(SeenHost(), plan, spec, Family(), Handover(process, order.encode()))  # type: ignore[arg-type]


def test_a_spare_proves_its_weights_by_what_exactly_it_was_handed(tmp_path: Path) -> None:
    spec = model(weights(tmp_path / "m"))
    own, order = ProcessIdentity(7, "boot:100"), json.dumps({"folder": str(spec.path), "socket": "/run/w.s"})
    proof = handed(own, order, spec)
    assert isinstance(proof, Proof) and proof.grade is ProofGrade.PROVEN and f"was handed {spec.path}" in proof.text


def test_a_spare_that_was_handed_another_folder_is_a_mismatch_whatever_its_command_line_says(tmp_path: Path) -> None:
    spec, own = model(weights(tmp_path / "m")), ProcessIdentity(7, "boot:100")
    for order in ("", json.dumps({"folder": f"{spec.path}-other"}), json.dumps({"folder": "/other"})):
        assert isinstance(handed(own, order, spec), Mismatch)


def test_another_process_than_the_one_that_was_handed_the_model_is_a_mismatch(tmp_path: Path) -> None:
    spec = model(weights(tmp_path / "m"))
    order = json.dumps({"folder": str(spec.path)})
    for process in (ProcessIdentity(8, "boot:100"), ProcessIdentity(7, "boot:99"), None):
        assert isinstance(handed(process, order, spec), Mismatch)


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    def never(path: Path) -> str:
        raise AssertionError("read")

    assert changed_file((weights(tmp_path / "m"),), never) is None


def test_a_copy_of_the_same_bytes_is_fine_and_another_header_is_not(tmp_path: Path) -> None:
    file = weights(tmp_path / "m")
    moved = file.model_copy(update={"mtime_ns": 1})
    assert changed_file((moved,), lambda path: "h") is None
    reason = changed_file((moved,), lambda path: "another")
    assert reason is not None and "another content" in reason


def test_another_size_or_a_missing_file_is_a_change(tmp_path: Path) -> None:
    file = weights(tmp_path / "m")
    spec = model(file)
    file.path.write_bytes(b"longer than it was before")
    assert "bytes" in (changed_file(spec.files, lambda path: "h") or "")
    file.path.unlink()
    assert "No such file" in (changed_file(spec.files, lambda path: "h") or "")
