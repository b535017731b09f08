"""Small files for real, on llama.cpp as roost brings it: an adapter, a draft, a projector, a reranker."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from roost.testing.companions import write_adapter, write_projector, write_reranker
from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost

MakeRoost = Callable[..., Roost]
ALWAYS = '[rotation]\npolicy = "always"\nmin_residency_s = 0\n'
BASE = "base"
BODY = {"temperature": 0, "max_tokens": 32, "messages": [{"role": "user", "content": "What is 2+2?"}]}


@pytest.fixture
def with_base(roost: Roost, embedded_gguf: Path) -> MakeRoost:
    """A roost whose default is the small model under a short id; further models are added before its start."""

    def make(*models: tuple[str, ...]) -> Roost:
        roost.settings(ALWAYS)
        for arguments in ((str(embedded_gguf), "--id", BASE), *models):
            roost.cli("models", "add", *arguments)
        roost.registry(default=BASE)
        return roost.start()

    return make


def ask(roost: Roost, model: str) -> dict[str, Any]:
    """A greedy answer to a question that the model can answer."""
    response = httpx.post(f"{roost.url}/v1/chat/completions", json={"model": model, **BODY}, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def catalogued(roost: Roost, model: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(roost.cli("models", "show", model, "--json").stdout)
    return shown


def digests(roost: Roost, model: str) -> dict[str, str]:
    """role -> identity digest of its files, as the catalog has them."""
    return {file["role"]: file["identity_sha256"] for file in catalogued(roost, model)["files"]}


def test_an_adapter_is_a_model_of_its_own_and_leaves_its_base_as_it_was(with_base: MakeRoost, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "wild.gguf")
    roost = with_base((f"{BASE}+{adapter}",))
    before = text(ask(roost, BASE))
    plain = roost.worker(BASE)
    assert "4" in before

    wild = ask(roost, "base+wild")
    assert wild["model"] == "base+wild" and text(wild) != before
    worker = roost.worker("base+wild")
    assert worker["grade"] == "proven" and worker["fingerprint"] != plain["fingerprint"]
    files = digests(roost, "base+wild")
    assert set(files) == {"weights", "adapter"} and files["weights"] == digests(roost, BASE)["weights"]
    assert all(f"{role} {digest[:12]}" in worker["proof"] for role, digest in files.items())

    assert text(ask(roost, BASE)) == before
    assert text(ask(roost, "base+wild")) == text(wild)


def test_an_adapter_that_became_another_is_not_served_as_the_one_it_was(with_base: MakeRoost, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "wild.gguf")
    roost = with_base((f"{BASE}+{adapter}",))
    known = catalogued(roost, "base+wild")["fingerprint"]
    write_adapter(adapter, seed=1)
    response = httpx.post(f"{roost.url}/v1/chat/completions", json={"model": "base+wild", **BODY}, timeout=60)
    assert response.status_code == 503 or roost.worker("base+wild")["fingerprint"] != known


def test_a_draft_changes_no_word_and_is_proven_too(with_base: MakeRoost, embedded_gguf: Path, tmp_path: Path) -> None:
    """A copy of the model drafts for it: a second weight file that the worker maps."""
    copy = shutil.copy(embedded_gguf, tmp_path / "little.gguf")
    roost = with_base((str(copy), "--id", "little"))
    expected = text(ask(roost, BASE))
    roost.stop()
    roost.settings(f'{ALWAYS}[models.{BASE}.engine]\nspeculative_decoding = true\ndraft_model = "little"\n')
    roost.launch()
    answer = ask(roost, BASE)
    assert text(answer) == expected
    assert answer["timings"]["draft_n"] > 0 and answer["timings"]["draft_n_accepted"] > 0
    worker = roost.worker(BASE)
    assert worker["grade"] == "proven" and f"draft {digests(roost, 'little')['weights'][:12]}" in worker["proof"]


def png(red: int, green: int, blue: int, pixels: int = 28) -> str:
    """A picture of one colour as a data URL."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * pixels) * pixels
    head = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    whole = part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + whole).decode()


def look(roost: Roost, model: str, url: str) -> httpx.Response:
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {**BODY, "model": model, "messages": [{"role": "user", "content": content}]}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=60)


def test_a_projector_beside_its_model_makes_it_see(roost: Roost, embedded_gguf: Path, tmp_path: Path) -> None:
    """It is found by its name and width; what a picture is turned into reaches the model."""
    seeing = shutil.copy(embedded_gguf, tmp_path / "eye.gguf")
    write_projector(tmp_path / "mmproj-eye.gguf")
    roost.cli("models", "add", str(seeing), "--id", "eye")
    roost.cli("models", "add", str(embedded_gguf), "--id", BASE)
    roost.settings(ALWAYS)
    roost.registry(default="eye")
    assert "vision" in catalogued(roost, "eye")["capabilities"]
    roost.start()

    red, blue, again = (look(roost, "eye", png(*colour)) for colour in ((255, 0, 0), (0, 0, 255), (255, 0, 0)))
    assert [answer.status_code for answer in (red, blue, again)] == [200] * 3, red.text
    assert text(red.json()) == text(again.json()) != text(blue.json())
    assert red.json()["usage"]["prompt_tokens"] > 4
    files, worker = digests(roost, "eye"), roost.worker("eye")
    assert set(files) == {"weights", "projector"} and worker["grade"] == "proven"
    assert all(f"{role} {digest[:12]}" in worker["proof"] for role, digest in files.items())

    broken = look(roost, "eye", "data:image/png;base64,bm8gcGljdHVyZQ==")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")
    blind = look(roost, BASE, png(1, 2, 3))
    assert blind.status_code == 400 and "vision" in blind.text


def test_a_reranker_scores_beside_the_resident(with_base: MakeRoost, tmp_path: Path) -> None:
    roost = with_base((str(write_reranker(tmp_path / "ranker.gguf")), "--id", "ranker"))
    roost.registry(default=BASE, rerank="ranker")
    documents = ["paris is the capital of france", "the cat sits on the mat", "the sky is blue"]

    def rank(**more: Any) -> httpx.Response:
        body = {"model": "rerank", "query": "what is the capital of france", "documents": documents, **more}
        return httpx.post(f"{roost.url}/v1/rerank", json=body, timeout=60)

    until_sync(lambda: rank().status_code != 404, timeout_s=10, what="the new role")
    assert rank().status_code == 200, rank().text
    answer = rank().json()
    scores = {row["index"]: row["relevance_score"] for row in answer["results"]}
    assert answer["model"] == "ranker" and set(scores) == {0, 1, 2} and len(set(scores.values())) == 3
    assert [row["relevance_score"] for row in answer["results"]] == sorted(scores.values(), reverse=True)
    turned = {row["index"]: row["relevance_score"] for row in rank(documents=documents[::-1]).json()["results"]}
    assert [turned[2 - index] for index in range(3)] == pytest.approx([scores[index] for index in range(3)], rel=1e-3)
    assert [row["index"] for row in rank(top_n=1).json()["results"]] == [answer["results"][0]["index"]]

    long = rank(documents=["the cat sits on the mat " * 100])
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    worker = roost.worker("ranker")
    assert (worker["kind"], worker["grade"]) == ("auxiliary", "proven")
    assert roost.worker(BASE)["state"] == "ready"
