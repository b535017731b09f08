"""Names, pairs and fingerprints."""

import pytest

from roost.catalog.compose import (
    EMBEDDED_IDENTITY_SHA256,
    EMBEDDED_SIZE_BYTES,
    adapted_spec,
    best_projector,
    family_name,
    is_embedded,
    model_spec,
    quantization_tag,
    safe_id,
)
from roost.catalog.digest import fingerprint
from roost.catalog.facts import ADAPTER, MODEL, PROJECTOR, Facts, FileFacts, TemplateFacts
from roost.catalog.spec import ModelFile, Source, SourceKind

SOURCE = Source(kind=SourceKind.FILE, location="/models/x.gguf")


def facts(name="x-Q4_K_M.gguf", kind=MODEL, role="weights", header="h1", size=10, **more):
    path = f"/models/{name}"
    file = FileFacts(path, role, size, 1, 2, 3, header)
    return Facts(kind=kind, format="gguf", path=path, files=(file,), **more)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-coder-0.5b-q4_k_m.gguf", "Q4_K_M"),
        ("UD-Q4_K_XL/Big-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("gemma.BF16.gguf", "BF16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("x-IQ4_XS.gguf", "IQ4_XS"),
        ("mmproj-model-f16.gguf", "F16"),
        ("Q8-model.gguf", "Q8"),
        ("plain.gguf", None),
    ],
)
def test_a_file_name_claims_its_quantization(name, tag):
    assert quantization_tag(name) == tag


@pytest.mark.parametrize(("text", "expected"), [("My Model", "My-Model"), ("a@b", "a-b"), (" @ ", "model")])
def test_an_id_has_no_spaces_and_names_no_node(text, expected):
    assert safe_id(text) == expected


def file(role, size, header):
    return ModelFile(path=f"/{role}", role=role, size_bytes=size, mtime_ns=0, device=0, inode=0, identity_sha256=header)


def test_the_fingerprint_knows_no_order_and_no_place():
    weights, projector, config = file("weights", 1, "a"), file("projector", 2, "b"), file("config", 3, "c")
    assert fingerprint([weights, projector]) == fingerprint([projector, weights, config])
    assert fingerprint([weights]) != fingerprint([weights, projector])
    assert fingerprint([file("weights", 2, "a")]) != fingerprint([weights])
    assert fingerprint([config]) == ""


def test_a_spec_takes_over_what_the_header_says():
    template = TemplateFacts("t", "sha", ("<tool_call>",), (), ("tools",), ("careful",))
    spec = model_spec(
        "x", facts(template=template, capabilities=("chat",)), SOURCE, digests={"/models/x-Q4_K_M.gguf": "d"}
    )
    assert spec.capabilities == {"chat", "tools"}
    assert (spec.chat_template_sha256, spec.warnings, spec.files[0].sha256) == ("sha", ("careful",), "d")


def test_a_projector_gives_sight_and_changes_the_fingerprint():
    projector = facts("mmproj-F16.gguf", PROJECTOR, "projector", "h2")
    blind, seeing = (
        model_spec("x", facts(capabilities=("chat",)), SOURCE, projector=item) for item in (None, projector)
    )
    assert seeing.capabilities - blind.capabilities == {"vision"}
    assert seeing.fingerprint != blind.fingerprint
    assert str(seeing.projector) == "/models/mmproj-F16.gguf"


def test_an_adapter_is_a_model_of_its_own():
    base = model_spec("x", facts(capabilities=("chat",)), SOURCE)
    adapted = adapted_spec("x+style", base, facts("style.gguf", ADAPTER, "adapter", "h9"), SOURCE)
    assert (adapted.id, adapted.base_id, str(adapted.adapter)) == ("x+style", "x", "/models/style.gguf")
    assert adapted.fingerprint != base.fingerprint
    assert {item.identity_sha256 for item in adapted.files} == {"h1", "h9"}


def projector(name, width=8, quantization="F16"):
    return facts(name, PROJECTOR, "projector", projection_length=width, quantization=quantization)


def test_only_a_projector_of_the_model_s_width_pairs():
    model = facts(attention={"embedding_length": 8})
    assert best_projector(model, [projector("mmproj-F16.gguf", width=16)]) is None
    assert best_projector(model, [projector("mmproj-F16.gguf", width=None)]) is not None


def test_half_precision_is_preferred():
    model = facts(attention={"embedding_length": 8})
    chosen = best_projector(model, [projector("mmproj-F32.gguf", quantization="F32"), projector("mmproj-F16.gguf")])
    assert chosen.path == "/models/mmproj-F16.gguf"


def test_a_projector_named_after_another_model_stays_away():
    model = facts("Qwen2.5-VL-7B-Q4_K_M.gguf")
    assert best_projector(model, [projector("mmproj-llava-v1.6-f16.gguf")]) is None
    assert best_projector(model, [projector("mmproj-Qwen2.5-VL-7B-f16.gguf")]) is not None


def test_a_family_name_has_no_quantization_and_no_part():
    assert family_name("Big-UD-Q4_K_XL-00001-of-00003.gguf") == family_name("mmproj-Big-F16.gguf") == "big"


def test_the_embedded_model_is_known_by_its_header():
    assert is_embedded(facts(header=EMBEDDED_IDENTITY_SHA256, size=EMBEDDED_SIZE_BYTES))
    assert not is_embedded(facts(header=EMBEDDED_IDENTITY_SHA256))
