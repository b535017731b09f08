"""The throw-away process: real files, hostile files, limits."""

import os
import resource
import struct
from pathlib import Path

import pytest

from roost.catalog.digest import identity_sha256
from roost.catalog.inspect import inspect_model, stamp
from roost.catalog.refusal import ModelRefused
from roost.testing.tiny_models import (
    adapter_metadata,
    gguf_bytes,
    projector_metadata,
    write_folder,
    write_gguf,
)


def test_the_real_embedded_model_is_what_it_is(embedded_gguf):
    facts = inspect_model(embedded_gguf)
    assert (facts.architecture, facts.quantization) == ("llama", "Q4_1")
    assert (facts.parameters_total, facts.parameters_active) == (134_515_008, 134_515_008)
    assert (facts.weights_bytes, facts.bits_per_weight) == (96_576_768, 5.744)
    assert (facts.context_length, facts.vocabulary_size, facts.longest_token_bytes) == (8192, 49152, 81)
    assert [facts.attention[key] for key in ("layers", "heads", "kv_heads")] == [30, 9, [3]]
    assert facts.capabilities == ("chat", "completion")
    assert facts.files[0].size_bytes == embedded_gguf.stat().st_size


def test_the_same_model_as_a_folder_agrees_with_the_file(embedded_gguf, mlx_model_folder):
    file, folder = inspect_model(embedded_gguf), inspect_model(mlx_model_folder)
    assert folder.parameters_total == file.parameters_total
    assert folder.longest_token_bytes == file.longest_token_bytes
    assert folder.template.sha256 == file.template.sha256
    assert (folder.context_length, folder.vocabulary_size) == (file.context_length, file.vocabulary_size)
    assert (folder.quantization, folder.bits_per_weight) == ("f32", 32.0)


def test_only_the_header_of_a_huge_file_is_read(tmp_path):
    path = tmp_path / "huge.gguf"
    info = struct.pack("<Q", 1) + b"t" + struct.pack("<IQQIQ", 2, 2**20, 30_000, 1, 0)
    name = b"general.architecture"
    pair = struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, 5) + b"llama"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + pair + info)
    os.truncate(path, 2**16 + 2 * 2**20 * 30_000)
    facts = inspect_model(path, timeout_s=10)
    assert facts.weights_bytes == 2 * 2**20 * 30_000
    assert path.stat().st_blocks * 512 < 2**20, "the test's file is sparse"


def test_a_split_model_is_one_model(tmp_path):
    for number in (1, 2):
        write_gguf(
            tmp_path / f"big-0000{number}-of-00002.gguf",
            {"split.count": 2, "split.no": number - 1, "split.tensors.count": 2},
            tensors=[(f"blk.{number}.weight", (8, 8), 0)],
        )
    facts = inspect_model(tmp_path / "big-00002-of-00002.gguf")
    assert [Path(file.path).name for file in facts.files] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert (facts.parameters_total, facts.weights_bytes) == (128, 512)


def test_a_missing_part_is_named(tmp_path):
    write_gguf(tmp_path / "big-00001-of-00002.gguf")
    with pytest.raises(ModelRefused, match=r"big-00002-of-00002\.gguf is missing"):
        inspect_model(tmp_path / "big-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("metadata", "kind", "capabilities"),
    [
        ({"llama.pooling_type": 1}, "model", ("embedding",)),
        ({"llama.pooling_type": 4}, "model", ("rerank",)),
        ({"general.architecture": "bert"}, "model", ("embedding",)),
        ({"tokenizer.chat_template": None}, "model", ("completion",)),
        (projector_metadata(), "projector", ()),
        (adapter_metadata(), "adapter", ()),
    ],
)
def test_the_header_tells_what_it_is_for(tmp_path, metadata, kind, capabilities):
    facts = inspect_model(write_gguf(tmp_path / "x.gguf", metadata))
    assert (facts.kind, facts.capabilities) == (kind, capabilities)


def test_experts_and_recurrent_layers_are_counted(tmp_path):
    metadata = {
        "general.architecture": "qwen3next",
        "qwen3next.block_count": 4,
        "qwen3next.attention.head_count": 4,
        "qwen3next.attention.head_count_kv": 2,
        "qwen3next.full_attention_interval": 4,
        "qwen3next.ssm.state_size": 8,
        "qwen3next.expert_count": 8,
        "qwen3next.expert_used_count": 2,
    }
    tensors = [("blk.0.ffn_up_exps.weight", (8, 8, 8), 0), ("token_embd.weight", (8, 4), 0)]
    facts = inspect_model(write_gguf(tmp_path / "x.gguf", metadata, tensors=tensors))
    assert (facts.parameters_total, facts.parameters_active) == (544, 32 + 128)
    assert facts.attention["hybrid"] is True
    assert tuple(facts.attention["kv_heads"]) == (0, 0, 0, 2)


def test_metadata_is_cut_before_it_travels(tmp_path):
    facts = inspect_model(write_gguf(tmp_path / "x.gguf", {"general.description": "x" * 100_000, "a.b": float("nan")}))
    assert len(facts.metadata["general.description"]) == 4096
    assert "a.b" not in facts.metadata
    assert "tokenizer.chat_template" not in facts.metadata


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pt", "optimizer.pkl", "x.ckpt", "modeling_x.py"])
def test_a_folder_that_brings_code_is_refused_by_the_file_s_name(tmp_path, name):
    folder = write_folder(tmp_path / "m")
    (folder / name).write_bytes(b"x")
    with pytest.raises(ModelRefused, match=name.replace(".", r"\.")):
        inspect_model(folder)


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.py", "x.safetensors"])
def test_a_single_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(gguf_bytes())
    with pytest.raises(ModelRefused, match="cannot use"):
        inspect_model(tmp_path / name)


def test_auto_map_is_refused_wherever_it_stands(tmp_path):
    with pytest.raises(ModelRefused, match="auto_map"):
        inspect_model(write_folder(tmp_path / "a", {"auto_map": {"AutoModel": "x.Y"}}))
    folder = write_folder(tmp_path / "b")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "x.Y"}}')
    with pytest.raises(ModelRefused, match="tokenizer_config"):
        inspect_model(folder)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "sub/x.safetensors"])
def test_an_index_that_points_out_of_its_folder_is_refused(tmp_path, name):
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": "{name}"}}}}')
    with pytest.raises(ModelRefused, match="outside"):
        inspect_model(folder)


def test_a_shard_that_is_not_there_yet_is_named(tmp_path):
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')
    with pytest.raises(ModelRefused, match=r"model-00002\.safetensors is missing"):
        inspect_model(folder)


def test_links_out_of_a_folder_are_how_the_hub_cache_looks(tmp_path):
    folder = write_folder(tmp_path / "m")
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    assert inspect_model(folder).parameters_total == 32


def test_a_pipe_hangs_nobody(tmp_path):
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(ModelRefused, match="not a regular file"):
        inspect_model(tmp_path / "x.gguf", timeout_s=10)


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(ModelRefused, match=r"missing|No such file"):
        inspect_model(tmp_path / "none.gguf")


def test_a_reader_that_hangs_is_stopped(tmp_path):
    with pytest.raises(ModelRefused, match="took more than 0 s"):
        inspect_model(write_gguf(tmp_path / "x.gguf"), timeout_s=0.001)


@pytest.mark.parametrize("program", ["import os; os.kill(os.getpid(), 9)", "print('{')", "print('{}')"])
def test_a_reader_that_dies_or_babbles_is_a_refusal(tmp_path, program):
    with pytest.raises(ModelRefused, match=r"broke the reader|make no sense"):
        inspect_model(write_gguf(tmp_path / "x.gguf"), program=program)


def test_the_process_sees_no_environment_and_has_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    probe = (
        "import sys; sys.path.insert(0, sys.argv[1]); from roost.catalog import inspector; "
        "import json, os, resource; seen = lambda path: {'refused': json.dumps([sorted(os.environ), "
        "resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]])}; "
        "inspector.answer = seen; sys.exit(inspector.main(sys.argv[2:]))"
    )
    with pytest.raises(ModelRefused) as refused:
        inspect_model(tmp_path / "x.gguf", program=probe)
    assert "SECRET" not in refused.value.message
    assert refused.value.message.endswith(", 20, 0]")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0, "the limits are the child's alone"


def test_the_header_digest_can_be_taken_again_from_the_file(tmp_path):
    file, folder = write_gguf(tmp_path / "x.gguf"), write_folder(tmp_path / "m")
    assert identity_sha256(file) == inspect_model(file).files[0].identity_sha256
    assert identity_sha256(folder / "model.safetensors") == inspect_model(folder).files[0].identity_sha256


def test_a_stamp_changes_with_any_file_of_the_model(tmp_path):
    folder = write_folder(tmp_path / "m")
    before = stamp(folder)
    assert stamp(folder) == before
    (folder / "evil.py").write_text("")
    assert stamp(folder) != before
    file = write_gguf(tmp_path / "x.gguf")
    before = stamp(file)
    os.utime(file, ns=(1, 1))
    assert stamp(file) != before
