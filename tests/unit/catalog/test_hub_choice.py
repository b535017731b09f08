"""Which files of a repository are fetched."""

import pytest

from roost.catalog.hub_choice import HubRequest, best_variant, choose, is_allowed, parse_hub_id
from roost.catalog.refusal import ModelRefused


def chosen(names, quantization=None):
    return choose(HubRequest("org/repo", quantization), dict.fromkeys(names, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/repo", HubRequest("org/repo", None)),
        ("org/Repo-2.5_x:Q4_K_M", HubRequest("org/Repo-2.5_x", "Q4_K_M")),
        ("repo", None),
        ("a/b/c", None),
        ("../b", None),
        ("org/re po", None),
        ("org/repo:", None),
        ("-org/repo", None),
    ],
)
def test_a_hub_id_is_two_names_and_perhaps_a_quantization(text, expected):
    assert parse_hub_id(text) == expected


@pytest.mark.parametrize(
    "name", ["model.bin", "modeling.py", "x.pt", "a.pkl", "run.sh", "../x.json", "a/../x.json", "x.gguf.exe"]
)
def test_nothing_that_could_run_is_ever_fetched(name):
    assert not is_allowed(name)


def test_a_safetensors_repository_comes_whole_but_for_the_rest():
    names = ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "modeling_x.py", "x.bin"]
    choice = chosen([*names, "original/model.safetensors", "onnx/model.onnx", "README.md"])
    assert choice.files == ("config.json", "chat_template.jinja", "tokenizer.json", "model.safetensors")
    assert (choice.model_id, choice.primary) == ("org/repo", None)


def test_the_same_weights_in_a_second_form_are_left_there():
    choice = chosen(["config.json", "model-00001-of-00001.safetensors", "consolidated.safetensors"])
    assert choice.files == ("config.json", "model-00001-of-00001.safetensors")


def test_the_preferred_quantization_comes_with_its_projector():
    choice = chosen(["x-Q8_0.gguf", "x-Q4_K_M.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf", "config.json"])
    assert choice.files == ("mmproj-F16.gguf", "x-Q4_K_M.gguf")
    assert (choice.model_id, choice.primary, choice.projector) == (
        "org/repo:Q4_K_M",
        "x-Q4_K_M.gguf",
        "mmproj-F16.gguf",
    )


def test_all_parts_of_a_split_model_come():
    parts = [f"Q8_0/x-Q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    choice = chosen([*parts, "x-Q2_K.gguf"], "q8_0")
    assert (choice.files, choice.primary, choice.model_id) == (tuple(parts), parts[0], "org/repo:Q8_0")


def test_a_single_file_without_a_quantization_needs_none_in_its_id():
    assert chosen(["model.gguf"]).model_id == "org/repo"


def test_a_quantization_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(ModelRefused, match=r"has Q4_K_M, Q8_0; add org/repo:Q4_K_M"):
        chosen(["x-Q8_0.gguf", "x-Q4_K_M.gguf"], "Q2_K")


@pytest.mark.parametrize("names", [["pytorch_model.bin", "config.json"], ["model.safetensors"], ["README.md"], []])
def test_a_repository_of_pickles_alone_is_refused(names):
    with pytest.raises(ModelRefused, match="neither GGUF files nor safetensors"):
        chosen(names)


def test_a_quantization_of_a_repository_without_gguf_is_refused():
    with pytest.raises(ModelRefused, match="no GGUF"):
        chosen(["config.json", "model.safetensors"], "Q4_K_M")


def test_an_unknown_quantization_is_the_last_choice():
    assert best_variant(["Q9_X", "F32"]) == "F32"
    assert best_variant(["zz", "aa"]) == "aa"
