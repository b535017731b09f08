"""The catalog over real files: what it finds, holds, forgets, and what it says of what is away."""

import json
import os
import shutil
from pathlib import Path

import pytest

from roost.catalog.compose import EMBEDDED_ID
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec, SourceKind, UnavailableModel
from roost.errors import BadRequest, ModelNotFound, ModelUnavailable, Unavailable
from roost.testing.tiny_models import (
    adapter_metadata,
    gguf_bytes,
    projector_metadata,
    safetensors_bytes,
    write_folder,
    write_gguf,
)


def ids(catalog):
    return [model.id for model in catalog.all()]


def test_an_empty_machine_has_no_models(machine):
    catalog = machine.open()
    assert ids(catalog) == []
    assert catalog.get("anything") is None
    assert not machine.paths.catalog.exists(), "nothing is written for nothing"


def test_files_and_folders_are_named_after_themselves(machine):
    write_gguf(machine.models / "sub" / "Tiny-Q8_0.gguf")
    write_folder(machine.models / "tiny-mlx")
    catalog = machine.open()
    assert ids(catalog) == ["Tiny-Q8_0", "tiny-mlx"]
    assert catalog.get("Tiny-Q8_0").source.kind is SourceKind.FILE
    assert catalog.get("tiny-mlx").source.kind is SourceKind.FOLDER
    assert catalog.added() == frozenset()


def test_the_embedded_model_has_its_name_whatever_the_file_is_called(machine, embedded_gguf):
    machine.models.mkdir()
    (machine.models / "renamed.gguf").symlink_to(embedded_gguf)
    assert ids(machine.open()) == [EMBEDDED_ID]


def test_headers_are_read_once_and_never_again_unless_they_change(machine):
    path = write_gguf(machine.models / "a.gguf")
    catalog = machine.open()
    assert len(machine.inspected) == 1
    catalog.refresh()
    machine.open()
    assert len(machine.inspected) == 1
    path.write_bytes(gguf_bytes({"general.name": "Another"}))
    catalog.refresh()
    assert len(machine.inspected) == 2
    assert catalog.get("a").name == "Another"


def test_a_refusal_is_remembered_too_and_listed_with_its_reason(machine):
    machine.models.mkdir()
    (machine.models / "broken.gguf").write_bytes(gguf_bytes()[:200])
    catalog = machine.open()
    assert isinstance(catalog.get("broken"), UnavailableModel)
    assert "header needs" in catalog.get("broken").reason
    machine.open()
    assert len(machine.inspected) == 1


def test_a_folder_that_brings_code_is_listed_with_its_reason(machine):
    folder = write_folder(machine.models / "evil")
    (folder / "modeling.py").write_text("")
    catalog = machine.open()
    assert "modeling.py" in catalog.get("evil").reason
    (folder / "modeling.py").unlink()
    catalog.refresh()
    assert isinstance(catalog.get("evil"), ModelSpec)


def test_links_to_one_file_count_once(machine):
    path = write_gguf(machine.models / "a" / "Tiny.gguf")
    (machine.models / "b").mkdir()
    (machine.models / "b" / "Link.gguf").symlink_to(path)
    (machine.models / "b" / "Hard.gguf").hardlink_to(path)
    (machine.models / "loop").symlink_to(machine.models)
    assert ids(machine.open()) == ["Tiny"]


def test_a_copy_is_the_same_model_and_a_namesake_is_not(machine):
    write_gguf(machine.models / "a" / "Tiny.gguf")
    write_gguf(machine.models / "b" / "Tiny.gguf")
    write_gguf(machine.models / "c" / "Tiny.gguf", {"general.name": "Namesake"})
    catalog = machine.open()
    first, second = ids(catalog)
    assert first == "Tiny"
    assert second == f"Tiny~{catalog.get(second).fingerprint[:8]}"
    assert catalog.get(second).name == "Namesake"


def test_a_projector_beside_a_model_gives_it_sight(machine):
    write_gguf(machine.models / "Seeing-Q4_K_M.gguf")
    write_gguf(machine.models / "mmproj-Seeing-F16.gguf", projector_metadata())
    catalog = machine.open()
    assert ids(catalog) == ["Seeing-Q4_K_M"]
    assert "vision" in catalog.get("Seeing-Q4_K_M").capabilities
    assert catalog.get("Seeing-Q4_K_M").projector.name == "mmproj-Seeing-F16.gguf"


def test_the_hugging_face_cache_is_read_as_it_is(machine):
    cache = machine.root / "user/.cache/huggingface/hub"
    write_gguf(cache / "models--org--tiny-GGUF/snapshots/abc/tiny-Q4_K_M.gguf")
    write_gguf(cache / "models--org--tiny-GGUF/snapshots/abc/tiny-Q8_0.gguf", {"general.name": "8"})
    write_folder(cache / "models--org--tiny/snapshots/new", {"model_type": "new"})
    write_folder(cache / "models--org--tiny/snapshots/old", {"model_type": "old"})
    (cache / "models--org--tiny/refs").mkdir()
    (cache / "models--org--tiny/refs/main").write_text("new")
    write_folder(cache / "datasets--org--data/snapshots/x")
    catalog = machine.open()
    assert ids(catalog) == ["org/tiny", "org/tiny-GGUF:Q4_K_M", "org/tiny-GGUF:Q8_0"]
    assert catalog.get("org/tiny").architecture == "new"
    assert catalog.get("org/tiny").source.revision == "new"


def test_a_download_that_is_under_way_is_not_there_yet(machine):
    repository = machine.root / "user/.cache/huggingface/hub/models--org--big"
    folder = write_folder(repository / "snapshots/abc")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')
    (repository / "blobs").mkdir()
    (repository / "blobs/ff.incomplete").write_bytes(b"")
    catalog = machine.open()
    assert ids(catalog) == []
    (repository / "blobs/ff.incomplete").unlink()
    catalog.refresh()
    assert "model-00002.safetensors is missing" in catalog.get("org/big").reason


def test_lm_studio_s_folder_is_read_as_it_is(machine):
    root = machine.root / "user/.lmstudio/models"
    write_gguf(root / "org/one-GGUF/one-Q8_0.gguf")
    write_gguf(root / "org/two-GGUF/two-Q4_0.gguf", {"general.name": "4"})
    write_gguf(root / "org/two-GGUF/two-Q8_0.gguf", {"general.name": "8"})
    write_folder(root / "org/mlx")
    assert ids(machine.open()) == ["org/mlx", "org/one-GGUF", "org/two-GGUF/two-Q4_0", "org/two-GGUF/two-Q8_0"]


def ollama(machine, name, layers, host="registry.ollama.ai", namespace="library"):
    store = machine.root / "user/.ollama/models"
    manifest = store / "manifests" / host / namespace / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"layers": [{"mediaType": kind, "digest": digest} for kind, digest in layers]}))
    return store / "blobs"


def test_ollama_s_store_is_read_as_it_is(machine):
    digest = "sha256:" + "a" * 64
    blobs = ollama(machine, "tiny/latest", [("application/vnd.ollama.image.model", digest)])
    ollama(machine, "copy/7b", [("application/vnd.ollama.image.model", digest)])
    ollama(machine, "cloud/big", [("application/vnd.ollama.image.license", digest)])
    ollama(machine, "odd/1b", [("application/vnd.ollama.image.model", "sha256:../../x")], namespace="me")
    write_gguf(blobs / ("sha256-" + "a" * 64))
    catalog = machine.open()
    assert ids(catalog) == ["copy:7b", "me/odd:1b"], "one blob is one model, found under its first name"
    assert "not a sha256" in catalog.get("me/odd:1b").reason
    assert catalog.get("copy:7b").source.kind is SourceKind.OLLAMA


def test_discovery_writes_into_nobody_s_folders(machine):
    root = machine.root / "user/.lmstudio/models"
    write_gguf(root / "org/one/one.gguf")
    before = sorted(root.rglob("*"))
    machine.open().add("org/one")
    assert sorted(root.rglob("*")) == before


def test_adding_a_file_holds_its_digests(machine):
    path = write_gguf(machine.root / "elsewhere" / "Mine.gguf")
    steps = []
    catalog = machine.open()
    spec = catalog.add(str(path), progress=steps.append)
    assert (spec.id, catalog.added()) == ("Mine", {"Mine"})
    assert len(spec.files[0].sha256) == 64
    assert (steps[-1].verb, steps[-1].done_bytes, steps[-1].total_bytes) == (
        "verify",
        len(gguf_bytes()),
        len(gguf_bytes()),
    )
    assert machine.open().get("Mine").files[0].sha256 == spec.files[0].sha256


def test_another_process_s_addition_is_noticed_at_refresh(machine):
    daemon, cli = machine.open(), machine.open()
    cli.add(str(write_gguf(machine.root / "elsewhere" / "Mine.gguf")))
    assert daemon.get("Mine") is None
    daemon.refresh()
    assert isinstance(daemon.get("Mine"), ModelSpec)


def test_an_id_may_be_given_and_must_be_usable(machine):
    path = write_gguf(machine.root / "elsewhere" / "Mine.gguf")
    catalog = machine.open()
    assert catalog.add(str(path), model_id="short").id == "short"
    for unusable in ("", "a b", "x@node", "x" * 300, "tab\t"):
        with pytest.raises(BadRequest, match="as an id"):
            catalog.add(str(path), model_id=unusable)


def test_an_id_never_changes_hands(machine):
    write_gguf(machine.models / "Mine.gguf")
    other = write_gguf(machine.root / "elsewhere" / "Mine.gguf", {"general.name": "Other"})
    catalog = machine.open()
    with pytest.raises(BadRequest, match=r"has that id; choose another with --id"):
        catalog.add(str(other))
    assert catalog.add(str(other), model_id="other").name == "Other"
    assert catalog.get("Mine").name == "Tiny"


def test_adding_what_is_known_by_path_keeps_the_known_name(machine):
    path = write_gguf(machine.root / "user/.lmstudio/models/org/one/one-Q8_0.gguf")
    assert machine.open().add(str(path)).id == "org/one"


def test_a_model_that_changed_under_its_name_is_not_served(machine):
    path = write_gguf(machine.models / "Mine.gguf")
    catalog = machine.open()
    before = catalog.pin("Mine").short_fingerprint
    path.write_bytes(gguf_bytes({"llama.block_count": 3}))
    catalog.refresh()
    assert f"fingerprint {before}" in catalog.get("Mine").reason
    with pytest.raises(ModelUnavailable, match="changed since it was added"):
        catalog.require("Mine")


def test_a_changed_chat_template_needs_a_second_look(machine):
    folder = write_folder(machine.models / "mine")
    catalog = machine.open()
    catalog.pin("mine")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ bos_token }}"}')
    catalog.refresh()
    assert "chat template changed" in catalog.get("mine").reason


def test_a_model_of_a_volume_that_is_away_is_unavailable_until_it_is_back(machine):
    volume = machine.root / "volume"
    machine.folders.append(str(volume / "models"))
    machine.mounts.add(volume)
    write_gguf(volume / "models" / "Seen.gguf")
    added = write_gguf(volume / "Added.gguf", {"general.name": "Added"})
    catalog = machine.open()
    catalog.add(str(added))
    away = machine.root / "away"
    volume.rename(away)
    machine.mounts.discard(volume)
    for observer in (catalog, machine.open()):
        observer.refresh()
        for name in ("Seen", "Added"):
            assert observer.get(name).reason == f"volume not mounted: {volume}"
    with pytest.raises(ModelUnavailable, match="volume not mounted"):
        catalog.add("Added")
    away.rename(volume)
    machine.mounts.add(volume)
    catalog.refresh()
    assert [type(model) for model in catalog.all()] == [ModelSpec, ModelSpec]


def test_a_namesake_does_not_take_the_place_of_a_model_that_is_away(machine):
    volume = machine.root / "volume"
    machine.mounts.add(volume)
    catalog = machine.open()
    catalog.add(str(write_gguf(volume / "Mine.gguf")))
    shutil.rmtree(volume)
    machine.mounts.discard(volume)
    write_gguf(machine.models / "Mine.gguf", {"general.name": "Namesake"})
    catalog.refresh()
    assert isinstance(catalog.get("Mine"), UnavailableModel)


def test_a_file_that_is_gone_from_a_mounted_disk_is_missing_or_forgotten(machine):
    added = write_gguf(machine.root / "elsewhere" / "Added.gguf", {"general.name": "Added"})
    seen = write_gguf(machine.models / "Seen.gguf")
    catalog = machine.open()
    catalog.add(str(added))
    added.unlink()
    seen.unlink()
    catalog.refresh()
    assert ids(catalog) == ["Added"]
    assert catalog.get("Added").reason == f"file missing: {added}"


def test_removing_deletes_below_roost_s_own_folder_only(machine):
    own = write_gguf(machine.paths.models / "Own.gguf")
    foreign = write_gguf(machine.root / "elsewhere" / "Foreign.gguf", {"general.name": "F"})
    catalog = machine.open()
    catalog.add(str(foreign))
    removal = catalog.remove("Own")
    assert (removal.deleted, removal.freed_bytes, own.exists()) == ((own,), len(gguf_bytes()), False)
    removal = catalog.remove("Foreign")
    assert (removal.deleted, removal.kept, foreign.exists()) == ((), (foreign,), True)
    assert ids(catalog) == []


def test_a_link_in_roost_s_folder_is_removed_and_its_target_stays(machine):
    target = write_gguf(machine.root / "elsewhere" / "Target.gguf")
    machine.paths.models.mkdir(parents=True)
    link = machine.paths.models / "Link.gguf"
    link.symlink_to(target)
    removal = machine.open().remove("Link")
    assert (link.is_symlink(), target.exists()) == (False, True)
    assert removal.freed_bytes == link_bytes(target)


def link_bytes(target):
    """What a symbolic link itself takes."""
    return len(str(target))


def test_a_folder_of_roost_s_own_is_removed_whole(machine):
    folder = write_folder(machine.paths.models / "tiny")
    machine.open().remove("tiny")
    assert not folder.exists()


def test_a_link_to_a_folder_is_removed_and_the_folder_stays(machine):
    target = write_folder(machine.root / "elsewhere" / "tiny")
    machine.paths.models.mkdir(parents=True)
    link = machine.paths.models / "tiny"
    link.symlink_to(target)
    machine.open().remove("tiny")
    assert (link.is_symlink(), sorted(path.name for path in target.iterdir())[-1]) == (False, "tokenizer_config.json")


def test_what_belongs_to_others_is_refused_with_the_way_to_do_it(machine):
    blobs = ollama(machine, "tiny/latest", [("application/vnd.ollama.image.model", "sha256:" + "a" * 64)])
    write_gguf(blobs / ("sha256-" + "a" * 64))
    catalog = machine.open(models={"mine": {"external": {"url": "http://localhost:1"}}})
    with pytest.raises(BadRequest, match="ollama rm tiny:latest"):
        catalog.remove("tiny:latest")
    with pytest.raises(BadRequest, match=r"roost\.toml declares it"):
        catalog.remove("mine")
    with pytest.raises(ModelNotFound):
        catalog.remove("none")


def test_verify_tells_a_changed_byte_in_the_weights(machine):
    path = write_gguf(machine.models / "Mine.gguf")
    catalog = machine.open()
    assert [file.outcome for file in catalog.verify("Mine").files] == ["recorded"]
    assert [file.outcome for file in catalog.verify("Mine").files] == ["matches"]
    raw = bytearray(path.read_bytes())
    raw[-40] ^= 1
    path.write_bytes(raw)
    report = catalog.verify("Mine")
    assert [file.outcome for file in report.files] == ["differs"]
    assert not report.ok


def test_a_content_addressed_name_is_a_recorded_digest(machine):
    blobs = ollama(machine, "tiny/latest", [("application/vnd.ollama.image.model", "sha256:" + "a" * 64)])
    write_gguf(blobs / ("sha256-" + "a" * 64))
    assert [file.outcome for file in machine.open().verify("tiny:latest").files] == ["differs"]


def test_an_adapter_makes_a_model_of_its_own(machine):
    write_gguf(machine.models / "Base.gguf")
    adapter = write_gguf(machine.root / "adapters" / "style.gguf", adapter_metadata())
    catalog = machine.open()
    spec = catalog.add(f"Base+{adapter}")
    assert (spec.id, spec.base_id, spec.adapter) == ("Base+style", "Base", adapter)
    assert spec.path == catalog.get("Base").path
    assert spec.fingerprint != catalog.get("Base").fingerprint
    assert machine.open().get("Base+style") == spec
    adapter.unlink()
    catalog.refresh()
    assert catalog.get("Base+style").reason == f"file missing: {adapter}"


def test_a_folder_adapter_goes_on_a_folder_model(machine):
    write_folder(machine.models / "base")
    adapter = machine.root / "adapters" / "style"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapters.safetensors").write_bytes(safetensors_bytes())
    assert machine.open().add(f"base+{adapter}").id == "base+style"


def test_an_adapter_s_base_that_is_gone_takes_it_along(machine):
    base = write_gguf(machine.models / "Base.gguf")
    adapter = write_gguf(machine.root / "adapters" / "style.gguf", adapter_metadata())
    catalog = machine.open()
    catalog.add(f"Base+{adapter}")
    base.unlink()
    catalog.refresh()
    assert "its base Base is unavailable" in catalog.get("Base+style").reason


@pytest.mark.parametrize(
    ("metadata", "why"),
    [(adapter_metadata("qwen3"), "made for qwen3, the base is llama"), ({}, "not an adapter")],
)
def test_an_adapter_that_does_not_fit_is_refused(machine, metadata, why):
    write_gguf(machine.models / "Base.gguf")
    adapter = write_gguf(machine.root / "adapters" / "style.gguf", metadata)
    with pytest.raises(ModelRefused, match=why):
        machine.open().add(f"Base+{adapter}")


@pytest.mark.parametrize(
    ("metadata", "why"), [(adapter_metadata(), "it is an adapter"), (projector_metadata(), "projector")]
)
def test_what_cannot_stand_alone_is_refused_with_the_way_to_do_it(machine, metadata, why):
    path = write_gguf(machine.root / "elsewhere" / "x.gguf", metadata)
    with pytest.raises(ModelRefused, match=why):
        machine.open().add(str(path))


def test_a_folder_of_one_gguf_is_that_file_and_of_several_a_question(machine):
    folder = machine.root / "elsewhere"
    write_gguf(folder / "One.gguf")
    write_gguf(folder / "mmproj-One.gguf", projector_metadata())
    catalog = machine.open()
    assert catalog.add(str(folder)).capabilities >= {"vision"}
    write_gguf(folder / "Two.gguf", {"general.name": "2"})
    with pytest.raises(BadRequest, match=r"several models \(One\.gguf, Two\.gguf\)"):
        catalog.add(str(folder))


@pytest.mark.parametrize("text", ["/none/x.gguf", "./x", "~/none", "nothing", "a/b/c", "org/x.gguf", ""])
def test_what_is_nowhere_is_not_found(machine, text, monkeypatch):
    monkeypatch.chdir(machine.root)
    with pytest.raises((ModelNotFound, ModelRefused)):
        machine.open().add(text)


def test_offline_asks_no_hub(machine):
    with pytest.raises(Unavailable, match="offline is set"):
        machine.open(catalog={"offline": True}).add("org/repo")


def test_declared_models_are_in_the_catalog_and_follow_the_settings(machine):
    catalog = machine.open(models={"mine": {"external": {"url": "http://localhost:1"}}})
    assert ids(catalog) == ["mine"]
    catalog.refresh(machine.settings())
    assert ids(catalog) == []


def test_a_broken_catalog_file_is_set_aside_and_said(machine):
    machine.paths.state.mkdir(parents=True)
    machine.paths.catalog.write_text('{"entries": {"x": 3')
    write_gguf(machine.models / "Mine.gguf")
    catalog = machine.open()
    assert ids(catalog) == ["Mine"]
    assert "catalog.json.broken" in catalog.problems()[0]
    assert machine.paths.catalog.with_name("catalog.json.broken").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_state_folder_that_cannot_be_written_costs_only_the_memory(machine):
    write_gguf(machine.models / "Mine.gguf")
    machine.paths.state.mkdir(parents=True)
    machine.paths.state.chmod(0o500)
    catalog = machine.open()
    assert ids(catalog) == ["Mine"]
    assert "cannot write" in catalog.problems()[0]


def test_a_state_folder_that_is_a_file_costs_only_the_memory(machine):
    write_gguf(machine.models / "Mine.gguf")
    Path(machine.environ["ROOST_HOME"]).mkdir()
    machine.paths.state.write_text("")
    catalog = machine.open()
    assert ids(catalog) == ["Mine"]
    assert "cannot write" in catalog.problems()[0]
