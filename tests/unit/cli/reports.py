"""Values of the daemon's API with everything filled in; each test changes what it is about."""

from __future__ import annotations

from typing import Any

from roost.api import HostReport, RequestStatistics, RoleReport, SpareReport, StatusReport, WorkerReport

NOW = 1_800_000_000.0
GIB = 2**30


def worker(**changes: Any) -> WorkerReport:
    values: dict[str, Any] = {
        "worker_id": "smol-1",
        "model": "SmolLM2-135M-Instruct-Q4_1",
        "fingerprint": "b179c9523d0e6a0f98a3",
        "engine": "llama.cpp",
        "engine_version": "2026.10",
        "state": "ready",
        "kind": "chat",
        "pid": 4242,
        "grade": "proven",
        "proof": "maps 1 of 1 weight files",
        "context_length": 8192,
        "quantization": "Q4_1",
        "concurrency": 4,
        "running": 1,
        "queued": 2,
        "restarts": 0,
        "resident_bytes": 210_000_000,
        "estimate_bytes": 97_000_000,
        "started_at": NOW - 200,
        "ready_at": NOW - 190,
        "expires_at": None,
        "problem": None,
        "mend": None,
    }
    return WorkerReport(**(values | changes))


def spare(**changes: Any) -> SpareReport:
    values: dict[str, Any] = {
        "engine": "mlx-lm",
        "engine_version": "0.32.2",
        "state": "standby",
        "pid": 77,
        "resident_bytes": 210_000_000,
        "started_at": NOW - 200,
        "imported_at": NOW - 197,
        "log": "standby-mlx-lm",
        "problem": None,
        "mend": None,
    }
    return SpareReport(**(values | changes))


def role(name: str, **changes: Any) -> RoleReport:
    values: dict[str, Any] = {
        "role": name,
        "resolves_to": "SmolLM2-135M-Instruct-Q4_1",
        "via_default": False,
        "state": "resident",
        "reachable": True,
    }
    return RoleReport(**(values | changes))


def status(**changes: Any) -> StatusReport:
    host = HostReport(
        name="desk",
        chip="Test Chip",
        cores=8,
        memory_total_bytes=64 * 10**9,
        memory_available_bytes=24 * 10**9,
        swap_used_bytes=0,
        swap_out_delta_bytes=0,
        load_average=1.25,
        on_battery=False,
    )
    statistics = RequestStatistics(
        requests=12,
        errors=1,
        left=0,
        running=1,
        queued=2,
        ttft_p50_s=0.21,
        ttft_p95_s=0.4,
        decode_tokens_per_s=45.24,
        cached_share=0.63,
    )
    values: dict[str, Any] = {
        "version": "0.1.0",
        "endpoint": "http://127.0.0.1:11434/v1",
        "auth": "open-loopback",
        "pid": 4211,
        "started_at": NOW - 7380,
        "draining": False,
        "problems": (),
        "host": host,
        "rotation_policy": "idle",
        "registry_path": "/home/u/.config/ai-stack/registry.json",
        "registry_problem": None,
        "settings_problem": None,
        "workers": (worker(),),
        "roles": (role("default"), role("coding", via_default=True)),
        "statistics": statistics,
        "default_model": "SmolLM2-135M-Instruct-Q4_1",
    }
    return StatusReport(**(values | changes))
