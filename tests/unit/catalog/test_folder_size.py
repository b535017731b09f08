"""Counting parameters of plain and packed weights."""

import pytest

from roost.catalog.facts import active_parameters, bits_per_weight
from roost.catalog.folder_size import measure
from roost.catalog.safetensors import StoredTensor


def stored(name, dtype, *shape, size=0):
    return StoredTensor(name, dtype, shape, size)


def test_plain_weights_count_their_elements():
    size = measure([stored("a.weight", "BF16", 4, 8, size=64), stored("b.bias", "BF16", 8, size=16)], {})
    assert (size.parameters, size.size_bytes, size.quantization) == (40, 80, "bf16")


def test_mlx_packs_eight_four_bit_weights_into_one_element():
    tensors = [
        stored("a.weight", "U32", 64, 8, size=2048),
        stored("a.scales", "BF16", 64, 1, size=128),
        stored("a.biases", "BF16", 64, 1, size=128),
    ]
    size = measure(tensors, {"group_size": 64, "bits": 4})
    assert (size.parameters, size.quantization) == (64 * 64, "4bit")
    assert bits_per_weight(size.size_bytes, size.parameters) == 4.5


def test_a_layer_of_mlx_may_have_bits_of_its_own():
    tensors = [stored("a.weight", "U32", 4, 4), stored("a.scales", "BF16", 4, 1)]
    assert measure(tensors, {"bits": 4, "a": {"bits": 8}}).parameters == 4 * 16


@pytest.mark.parametrize(
    ("tensors", "quantization", "parameters", "name"),
    [
        (
            [stored("a.qweight", "I32", 8, 4), stored("a.qzeros", "I32", 1, 1), stored("a.scales", "F16", 1, 4)],
            {"quant_method": "gptq", "bits": 4},
            256,
            "gptq-4bit",
        ),
        (
            [stored("a.weight", "F8_E4M3", 8, 8, size=64), stored("a.weight_scale_inv", "F32", 1, 1, size=4)],
            {"quant_method": "fp8"},
            64,
            "fp8",
        ),
        (
            [stored("a_blocks", "U8", 4, 16), stored("a_scales", "U8", 4)],
            {"quant_method": "mxfp4"},
            128,
            "mxfp4",
        ),
        (
            [stored("a.weight_packed", "I32", 4, 4), stored("a.weight_scale", "F16", 4)],
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}},
            64,
            "compressed-tensors-8bit",
        ),
    ],
)
def test_other_packings_are_unpacked(tensors, quantization, parameters, name):
    size = measure(tensors, quantization)
    assert (size.parameters, size.quantization) == (parameters, name)


def test_a_bias_is_no_quantization_table():
    assert measure([stored("a.biases", "F32", 8, size=32)], {}).parameters == 8


def test_only_the_used_share_of_experts_is_active():
    tensors = [stored("mlp.experts.0.up.weight", "F16", 10, 10), stored("attn.weight", "F16", 10, 2)]
    size = measure(tensors, {})
    assert active_parameters(size.parameters, size.in_experts, 4, 1) == 20 + 25
    assert active_parameters(size.parameters, size.in_experts, None, None) == 120
    assert active_parameters(size.parameters, size.in_experts, 4, None) is None


@pytest.mark.parametrize("bits", [0, -4, "4", 10**9, None])
def test_bits_that_make_no_sense_divide_nothing_by_zero(bits):
    assert measure([stored("a.qweight", "I32", 2, 2)], {"bits": bits}).parameters == 32
