"""Makes a Llama-shaped MLX folder with random weights at 4 bits. Runs inside mlx-lm's own interpreter:

ENGINE_PYTHON -I random_model.py OUT TOKENIZER_FOLDER LAYERS HIDDEN
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.llama import Model, ModelArgs

GROUP, BITS = 64, 4
CONTEXT = 8192


def config_of(layers: int, hidden: int, vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": hidden * 7 // 2,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": max(hidden // 256, 1),
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "quantization": {"group_size": GROUP, "bits": BITS},
    }


def main(out: Path, tokenizer: Path, layers: int, hidden: int) -> None:
    out.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, out / name)
    source = json.loads((tokenizer / "config.json").read_text())
    config = config_of(layers, hidden, source["vocab_size"])
    config |= {key: source[key] for key in ("bos_token_id", "eos_token_id") if key in source}
    (out / "config.json").write_text(json.dumps(config, indent=1))
    model = Model(ModelArgs.from_dict({key: value for key, value in config.items() if key != "quantization"}))
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, group_size=GROUP, bits=BITS)
    tensors = dict(tree_flatten(model.parameters()))
    for name in tensors:
        mx.eval(tensors[name])  # one at a time: all at once would need twice the memory
    mx.save_safetensors(str(out / "model.safetensors"), tensors, {"format": "mlx"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
