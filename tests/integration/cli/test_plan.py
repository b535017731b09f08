"""The installed `roost` on what fits here: a real model, the real engine, this machine's real memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.control import Done, roost

MIB = 2**20
MODEL = "SmolLM2-135M-Instruct-Q4_1"


@pytest.fixture
def with_model(home: Path, embedded_gguf: Path) -> Path:
    """A home whose catalog finds the real model, and a worker of undeclared size."""
    (home / "models").mkdir()
    (home / "models" / embedded_gguf.name).symlink_to(embedded_gguf)
    (home / "roost.toml").write_text(
        """
        [catalog]
        huggingface = false
        lm_studio = false
        ollama = false
        [models."a-server"]
        command = { cmd = "server --port ${PORT}" }
        [models."b-server"]
        command = { cmd = "server --port ${PORT}" }
        memory_gb = 0.25
        """
    )
    return home


def told(done: Done, code: int = 0) -> Any:
    assert done.code == code, done.err + done.out
    return json.loads(done.out)


async def test_a_plan_asks_the_real_engine(with_model: Path) -> None:
    plan = told(await roost(with_model, "plan", MODEL, "--context", "2048", "--concurrency", "1", "--json"))
    assert (plan["engine"], plan["context"], plan["concurrency"]) == ("llama.cpp", 2048, 1)
    assert (plan["dry_run_failed"], plan["need"]["basis"]) == (None, "dry run")
    terms = {term["name"]: term for term in plan["terms"]}
    assert (terms["weights"]["size_bytes"], terms["weights"]["source"]) == (96_576_768, "header")
    assert terms["KV cache"]["size_bytes"] == pytest.approx(2048 * 23_040, abs=0.02 * MIB)
    assert (plan["verdict"]["verdict"], plan["kv_bytes_per_token"]) == ("fits", 23_040)
    assert plan["decode"]["tokens_per_s"] > 0


async def test_what_does_not_fit_is_said_with_exit_code_1(with_model: Path) -> None:
    small = {"ROOST_MEMORY__MAX_GB": "0.7"}
    plan = told(await roost(with_model, "plan", MODEL, "--json", environment=small), code=1)
    assert plan["verdict"]["verdict"] == "does not fit"
    assert plan["verdict"]["permanent"] is True
    assert "what binds is memory.max_gb" in plan["verdict"]["reason"]
    assert plan["tier"] == "overnight"


async def test_a_size_that_nobody_knows_is_said_and_a_declared_one_is_taken(with_model: Path) -> None:
    unknown = told(await roost(with_model, "plan", "a-server", "--json"))
    assert (unknown["verdict"]["verdict"], unknown["need"], unknown["terms"]) == ("alone", None, [])
    declared = told(await roost(with_model, "plan", "b-server", "--json"))
    assert declared["need"] | {"basis": ""} == {
        "basis": "",
        "total_bytes": 256 * MIB,
        "margin_bytes": 0,
        "host_bytes": 256 * MIB,
        "gpu_bytes": 0,
    }


async def test_sizes_that_the_engine_cannot_honour_are_bad_configuration(with_model: Path) -> None:
    done = await roost(with_model, "plan", MODEL, "--context", "999999")
    assert done.code == 78
    assert "more than the 8192 tokens that the model was trained for" in done.err


async def test_sizes_that_the_engine_falls_over_do_not_fit(with_model: Path) -> None:
    """llama.cpp's own assertion about the step's rows: a start would end the same way."""
    done = await roost(with_model, "plan", MODEL, "--context", "512", "--concurrency", "65")
    assert done.code == 78 and not done.out
    assert "cannot start with these sizes" in done.err and "GGML_ASSERT" in done.err


async def test_the_list_says_of_each_when_it_fits(with_model: Path) -> None:
    rows = {row["id"]: row for row in told(await roost(with_model, "models", "list", "--fit", "--json"))}
    assert (rows[MODEL]["basis"], rows[MODEL]["now"]) == ("formula", "fits")
    assert (rows["a-server"]["now"], rows["a-server"]["tier"]) == ("alone", "unknown")
    text = await roost(with_model, "models", "list", "--fit")
    assert text.out.splitlines()[0].split()[:4] == ["ID", "NEEDS", "TIER", "NOW"]


async def test_showing_a_model_tells_what_it_takes(with_model: Path) -> None:
    done = await roost(with_model, "models", "show", MODEL)
    assert done.code == 0, done.err
    assert "23,040 bytes a token × 8,192 cells, f16" in done.out
    assert f'"roost plan {MODEL}" asks the engine itself' in done.out
