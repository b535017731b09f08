"""The cap of llama.cpp's cached prompts holds for the memory of its process, whatever lengths come and go."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from benchmarks.memory_slots import SavedSlot
from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.llama_cpp import LlamaCpp
from tests.integration.engines.engine_process import RunningWorker, running_worker, small_model
from tests.integration.memory_faults.witness import private_mib

CAP_MIB, WINDOW, ROUNDS = 64, 2048, 24
KNOBS = Knobs(context=WINDOW, max_sequences=1, prefix_cache_mb=CAP_MIB, prefill_batch=512, threads=1)
#: What else a server takes for its requests; a prompt of the longest length takes 42 MiB.
OTHER_MIB = 6


async def complete(worker: RunningWorker, tokens: list[int]) -> None:
    body = {"prompt": tokens, "n_predict": 2, "id_slot": 0, "cache_prompt": True, "temperature": 0}
    assert (await worker.post("/completion", body)).status == 200


async def move(worker: RunningWorker, action: str, file: str) -> None:
    answer = await worker.post(f"/slots/0?action={action}", {"filename": file})
    assert answer.status == 200, answer.error_text()


@pytest.mark.thorough
async def test_cached_prompts_of_many_lengths_stay_within_their_cap() -> None:
    """Restored instead of computed: memory does not see the difference."""
    if not sys.platform.startswith("linux"):
        pytest.skip("private memory is read as Linux tells it")
    engine = LlamaCpp(Paths.from_environment({"ROOST_HOME": "/nowhere"}), os.environ)
    chance = random.Random(3)

    def tokens(count: int) -> list[int]:
        return [chance.randrange(300, 10_300) for _ in range(count)]

    async with running_worker(engine, small_model(), KNOBS) as worker:
        saved = Path(worker.plan.env["HOME"]) / "saved"
        await complete(worker, tokens(520))
        await complete(worker, tokens(48))
        await move(worker, "save", "seed.bin")
        seed = SavedSlot.parse((saved / "seed.bin").read_bytes())
        before = private_mib(worker.process.pid)
        most = before
        for _ in range(ROUNDS):
            (saved / "next.bin").write_bytes(seed.repeated(tokens(chance.randrange(200, 1900))))
            await move(worker, "restore", "next.bin")
            await complete(worker, tokens(8))
            most = max(most, private_mib(worker.process.pid))
        assert CAP_MIB / 2 < most - before < CAP_MIB + OTHER_MIB
