"""Fetching from a hub, against a small real one on loopback."""

import pytest

from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec, SourceKind
from roost.errors import ModelNotFound, StorageFull, Unavailable
from roost.testing.hub import StandInHub
from roost.testing.tiny_models import TEMPLATE, gguf_bytes, projector_metadata, safetensors_bytes

GGUF = {
    "tiny-Q4_K_M.gguf": gguf_bytes(seed=4),
    "tiny-Q8_0.gguf": gguf_bytes({"general.name": "Eight"}),
    "mmproj-F16.gguf": gguf_bytes(projector_metadata()),
    "README.md": b"# Tiny",
    "run.py": b"print()",
    "pytorch_model.bin": b"pickle",
}
FOLDER = {
    "config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}',
    "tokenizer_config.json": b'{"chat_template": "%s"}' % TEMPLATE.encode(),
    "model.safetensors": safetensors_bytes(),
    "pytorch_model.bin": b"pickle",
}
CODE = {**FOLDER, "config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'}


@pytest.fixture
def hub(machine):
    with StandInHub({"org/tiny-GGUF": GGUF, "org/tiny": FOLDER, "org/code": CODE}) as hub:
        machine.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(machine.root / "hf")}
        yield hub


def names(hub):
    return [path.rpartition("/")[2] for path in hub.fetched()]


def test_the_preferred_quantization_comes_pinned_to_its_commit(machine, hub):
    steps = []
    spec = machine.open().add("org/tiny-GGUF", progress=steps.append)
    assert spec.id == "org/tiny-GGUF:Q4_K_M"
    assert spec.source.kind is SourceKind.HUB
    assert spec.source.revision == hub.commit("org/tiny-GGUF")
    assert all(f"/resolve/{spec.source.revision}/" in path for path in hub.fetched())
    assert spec.projector is not None
    assert "vision" in spec.capabilities
    assert names(hub) == ["mmproj-F16.gguf", "tiny-Q4_K_M.gguf"]
    fetched = [step for step in steps if step.verb == "fetch"]
    assert fetched[-1].done_bytes == fetched[-1].total_bytes == sum(len(GGUF[name]) for name in names(hub))
    assert all(step.done_bytes <= step.total_bytes for step in steps)


def test_a_named_quantization_comes_alone(machine, hub):
    catalog = machine.open()
    assert catalog.add("org/tiny-GGUF:q8_0").name == "Eight"
    assert [model.id for model in catalog.all()] == ["org/tiny-GGUF:Q8_0"]


def test_a_folder_comes_without_its_pickles(machine, hub):
    spec = machine.open().add("org/tiny")
    assert spec.path.name == hub.commit("org/tiny")
    assert sorted(names(hub)) == ["config.json", "model.safetensors", "tokenizer_config.json"]
    assert spec.chat_template == TEMPLATE


def test_code_is_refused_before_any_weights_come(machine, hub):
    with pytest.raises(ModelRefused, match="auto_map"):
        machine.open().add("org/code")
    assert names(hub) == ["config.json"]


def test_a_cut_download_goes_on_where_it_stopped(machine, hub):
    # larger than the 10 MiB in which the hub's library writes
    hub.repositories["org/tiny-GGUF"] = {"large.gguf": gguf_bytes(tensors=[("t", (1024, 3000), 0)])}
    hub.cut_after = 11 * 2**20
    assert isinstance(machine.open().add("org/tiny-GGUF"), ModelSpec)
    ranges = [header for method, path, header in hub.requests if method == "GET" and "/resolve/" in path]
    assert ranges == [None, f"bytes={10 * 2**20}-"]


def test_what_is_there_is_not_fetched_again(machine, hub):
    machine.open().add("org/tiny-GGUF")
    before = len(hub.requests)
    catalog = machine.open()
    assert catalog.add("org/tiny-GGUF").id == "org/tiny-GGUF:Q4_K_M"
    assert catalog.add("org/tiny-GGUF:Q4_K_M").source.kind is SourceKind.HUB
    assert len(hub.requests) == before


def test_a_moved_branch_changes_no_pinned_model(machine, hub):
    catalog = machine.open()
    before = catalog.add("org/tiny-GGUF")
    hub.repositories["org/tiny-GGUF"]["tiny-Q4_K_M.gguf"] = gguf_bytes({"general.name": "New"})
    catalog.refresh()
    assert catalog.get(before.id) == before


def test_bytes_that_are_not_what_the_hub_says_are_refused(machine, hub):
    hub.corrupt.add("tiny-Q8_0.gguf")
    with pytest.raises(ModelRefused, match=r"tiny-Q8_0\.gguf arrived with sha256"):
        machine.open().add("org/tiny-GGUF:Q8_0")


def test_an_unknown_repository_is_not_found(machine, hub):
    with pytest.raises(ModelNotFound, match="no such model"):
        machine.open().add("org/none")


def test_a_quantization_that_is_not_there_is_answered_with_those_that_are(machine, hub):
    with pytest.raises(ModelRefused, match="Q4_K_M, Q8_0"):
        machine.open().add("org/tiny-GGUF:Q2_K")


def test_a_hub_that_does_not_answer_is_unavailable_and_says_how_to_go_on(machine):
    with StandInHub({}) as hub:
        machine.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(machine.root / "hf")}
    with pytest.raises(Unavailable, match="the hub did not answer"):
        machine.open().add("org/tiny")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_hub_s_own_offline_switch_is_obeyed(machine, hub, variable):
    machine.environ[variable] = "1"
    with pytest.raises(Unavailable, match="offline is set"):
        machine.open().add("org/tiny")
    assert hub.requests == []


def test_a_fetched_model_is_used_offline(machine, hub):
    machine.open().add("org/tiny-GGUF")
    machine.environ["HF_HUB_OFFLINE"] = "1"
    assert machine.open().add("org/tiny-GGUF").id == "org/tiny-GGUF:Q4_K_M"


def test_more_than_the_disk_holds_is_not_begun(machine, hub, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(StorageFull, match="HF_HOME"):
        machine.open().add("org/tiny")
    assert names(hub) == []


def test_a_fetched_model_of_a_volume_that_is_away_is_not_fetched_again(machine, hub):
    volume = machine.root / "hf"
    machine.mounts.add(volume)
    catalog = machine.open()
    catalog.add("org/tiny")
    before = len(hub.requests)
    volume.rename(machine.root / "away")
    machine.mounts.discard(volume)
    for revision in (None, "main"):
        with pytest.raises(Unavailable, match="volume not mounted"):
            catalog.add("org/tiny", revision=revision)
    assert len(hub.requests) == before
