"""The folder that scripts/make_mlx_model.py makes of a GGUF is the same model: same token ids, same template."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.http import ask
from roost.engines.llama_cpp import LlamaCpp
from tests.integration.engines.engine_process import gguf_spec, running_worker

TEXTS = (
    "What is 2+2?",
    "  leading and trailing  ",
    "In 1999, 31415926535 grains; v2.0.1-rc3, 0x1F, 10:45:07",
    "I'm sure they'll say we've won; it's 'quoted', DON'T",
    "tabs\tand\nnewlines\n\n\n  \r\nmixed \t \n end",
    "naïve café, Zürich, Ελληνικά, Русский, עברית, 日本語のテキスト, 한국어",
    "emoji 👩‍👩‍👧‍👦 🇨🇭 ✨, combining e\u0301, zero\u200bwidth, nbsp\u00a0here",
    "def f(x):\n    return {'a': [x ** 2 for _ in range(10)]}  # comment\n\t\tpass",
    "²³¼ Ⅷ ١٢٣ १२३ half½way x₁₂",
    '....!!!???---___===+++ <tag attr="v"> &amp; $100% @home #1 a/b\\c|d~e`f^g',
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "CamelCaseWordsAndSNAKE_CASE supercalifragilisticexpialidocious",
    "",
)
ENCODE = """
import json, sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
print(json.dumps([tokenizer.encode(text).ids for text in json.load(sys.stdin)]))
"""


def encoded(python: Path, folder: Path) -> list[list[int]]:
    """The ids of TEXTS by the folder's own tokenizer, as the engine would load it."""
    run = subprocess.run(
        [python, "-I", "-c", ENCODE, folder / "tokenizer.json"],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    ids: list[list[int]] = json.loads(run.stdout)
    return ids


async def test_it_tokenizes_like_llama_cpp(embedded_gguf: Path, mlx_model_folder: Path, mlx_lm_python: Path) -> None:
    ids_of_folder = encoded(mlx_lm_python, mlx_model_folder)
    engine = LlamaCpp(Paths.from_environment({}), {})
    async with running_worker(engine, gguf_spec(embedded_gguf), Knobs()) as worker:
        for text, ids in zip(TEXTS, ids_of_folder, strict=True):
            request = {"content": text, "add_special": False, "parse_special": True}
            answer = await ask(worker.http, "POST", "/tokenize", request)
            assert answer.json()["tokens"] == ids, text


def test_it_holds_float32_weights_and_the_chat_template(mlx_model_folder: Path) -> None:
    config = json.loads((mlx_model_folder / "config.json").read_text())
    assert (config["model_type"], config["dtype"], config["max_position_embeddings"]) == ("llama", "float32", 8192)
    assert "<|im_start|>" in json.loads((mlx_model_folder / "tokenizer_config.json").read_text())["chat_template"]
    names = {path.name for path in mlx_model_folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
