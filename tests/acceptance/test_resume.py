"""A conversation goes on after its model was away: llama.cpp for real, seen by its own count of cached tokens."""

from __future__ import annotations

import json
import os
import stat
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Roost

MODEL = "SmolLM2-135M-Instruct-Q4_1"
OFF = "[resume]\nenabled = false\n"
Messages = list[dict[str, str]]


def conversation(animal: str = "bird") -> Messages:
    return [
        {"role": "system", "content": f"{animal}: " + f"The {animal} sat on the tree. " * 30},
        {"role": "user", "content": f"Where is the {animal}?"},
    ]


def turn(roost: Roost, messages: Messages, question: str = "And now?") -> dict[str, Any]:
    """One turn; the conversation goes on in `messages`. What llama.cpp says of its work."""
    body = {"model": "default", "messages": messages, "max_tokens": 6, "temperature": 0}
    request = urllib.request.Request(
        f"{roost.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        told = json.load(answer)
    message = told["choices"][0]["message"]
    messages += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": question}]
    timings: dict[str, Any] = told["timings"]
    return timings


def used(timings: dict[str, Any]) -> int:
    """Tokens in the slot after the turn; the last one is made and not yet computed."""
    return int(timings["cache_n"] + timings["prompt_n"] + timings["predicted_n"] - 1)


def saved(roost: Roost) -> list[Path]:
    return list((roost.home / "state").rglob("*.kv"))


def test_the_next_turn_after_an_unload_and_after_a_restart_of_roost_computes_its_own_words_only(roost: Roost) -> None:
    messages = conversation()
    first = turn(roost.start(), messages)
    assert first["cache_n"] == 0 and first["prompt_n"] > 200 and saved(roost) == []

    roost.cli("unload", MODEL)
    (file,) = saved(roost)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (
        stat.S_IMODE(file.parent.stat().st_mode) == stat.S_IMODE((roost.home / "state/saved").stat().st_mode) == 0o700
    )
    roost.cli("load", MODEL)
    second = turn(roost, messages)
    assert second["cache_n"] == used(first) and second["prompt_n"] < 30
    assert saved(roost) == []

    assert roost.stop() == 0
    assert len(saved(roost)) == 1
    third = turn(roost.start(), messages)
    assert third["cache_n"] >= used(second) - 1 and third["prompt_n"] < 30
    restored = [line for line in roost.journal() if line["event"] == "cache restored"]
    assert [line["tokens"] for line in restored] == [used(first), used(second)]


def test_conversations_take_nothing_from_each_other_and_all_are_kept(roost: Roost) -> None:
    # Each is larger than the cache beside the slots: what leaves its slot is computed again.
    roost.settings("[engine]\nmax_sequences = 3\nprefix_cache_mb = 2\n")
    roost.start()
    talks = [conversation(animal) for animal in ("bird", "horse", "snake")]
    first = [turn(roost, talk) for talk in talks]
    assert all(timings["prompt_n"] > 200 for timings in first)
    second = [turn(roost, talk) for talk in talks]
    assert [timings["cache_n"] for timings in second] == [used(timings) for timings in first]

    roost.cli("unload", MODEL)
    assert len(saved(roost)) == 3
    third = [turn(roost, talk) for talk in talks]
    assert [timings["cache_n"] for timings in third] == [used(timings) for timings in second]


@pytest.mark.parametrize("change", ["[engine]\ncontext = 4096\n", OFF])
def test_other_settings_begin_anew(roost: Roost, change: str) -> None:
    messages = conversation()
    turn(roost.start(), messages)
    assert roost.stop() == 0
    roost.settings(change)
    assert turn(roost.start(), messages)["cache_n"] == 0
    assert roost.stop() == 0
    assert len(saved(roost)) == (0 if change is OFF else 1)


def test_the_same_name_with_other_weights_begins_anew(roost: Roost, embedded_gguf: Path) -> None:
    """llama.cpp itself would take the file: only the weights' digest differs."""
    copy = roost.home / "copy.gguf"
    copy.write_bytes(embedded_gguf.read_bytes())
    roost.cli("models", "add", str(copy), "--id", "Copy-Q4_1")
    roost.registry(default="Copy-Q4_1")
    messages = conversation()
    turn(roost.start(), messages)
    assert roost.stop() == 0 and len(saved(roost)) == 1
    with copy.open("r+b") as weights:
        weights.seek(-4096, os.SEEK_END)
        weights.write(bytes(4096))
    roost.cli("models", "rm", "Copy-Q4_1")
    roost.cli("models", "add", str(copy), "--id", "Copy-Q4_1")
    assert turn(roost.start(), messages)["cache_n"] == 0


def test_a_file_cut_short_costs_one_prefill_and_no_start(roost: Roost) -> None:
    """llama.cpp ends its process on such a file."""
    messages = conversation()
    turn(roost.start(), messages)
    assert roost.stop() == 0
    os.truncate(saved(roost)[0], saved(roost)[0].stat().st_size // 2)
    assert turn(roost.start(), messages)["cache_n"] == 0
    assert roost.worker(MODEL)["restarts"] == 0
    assert any(line["event"] == "cache not restored" for line in roost.journal())


@pytest.mark.engines
def test_vllm_mlx_takes_its_prefixes_over_a_restart(
    roost: Roost, mlx_model_folder: Path, vllm_mlx_python: Path
) -> None:
    roost.settings('[models."mlx-smol".engine]\nname = "vllm-mlx"\n')
    roost.cli("models", "add", str(mlx_model_folder), "--id", "mlx-smol")
    roost.registry(default="mlx-smol")
    messages = [{"role": "user", "content": "The bird sat on the tree. " * 22 + "Where is it?"}]
    roost.start()
    client = roost.client()
    client.chat.completions.create(model="default", messages=messages, max_tokens=2)  # type: ignore[arg-type]
    assert roost.stop() == 0
    files = [path for path in (roost.home / "state/saved").rglob("*") if path.is_file()]
    assert files and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    roost.start()
    told = {line["event"]: line["tokens"] for line in roost.journal() if line["event"].startswith("cache ")}
    assert told["cache restored"] == told["cache saved"] > 128
    assert not list((roost.home / "state").rglob("*.safetensors"))
