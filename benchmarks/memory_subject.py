"""One case of the memory benchmark: a model with its settings, what roost says of it, and its worker's peak."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arms import started
from roost.host.this import this_host, this_memory

#: Cap of cached prompts: small, so that they are filled to it.
CACHE_MIB = {"llama.cpp": 64, "mlx-lm": 16}
#: Windows beyond these tokens are computed in the smallest steps, by one thread: on a busy machine several wait for
#: each other.
PLAIN_WINDOW, SMALLEST_STEP = 2048, 512
#: GGUF's number of that type.
_UINT32 = 4


@dataclass(frozen=True)
class Case:
    #: As `roost models list` names it.
    model: str
    #: A GGUF file or a folder of safetensors.
    path: Path
    engine: str
    context: int
    sequences: int

    @property
    def name(self) -> str:
        return f"{self.model} {self.context}/{self.sequences}"

    @property
    def cache_mib(self) -> int:
        return CACHE_MIB[self.engine]

    @property
    def settings(self) -> str:
        knobs = f'name = "{self.engine}"\ncontext = {self.context}\nmax_sequences = {self.sequences}\n'
        if self.context > PLAIN_WINDOW:
            knobs += f"prefill_batch = {SMALLEST_STEP}\nthreads = 1\n"
        return (
            # The worker is asked past roost, which would take it for idle and unload it on a busy machine.
            '[coexistence]\nprofile = "server"\n'
            "[catalog]\nhuggingface = false\nlm_studio = false\nollama = false\n"
            f'folders = ["{self.path.parent}"]\n'
            f'[models."{self.model}".engine]\n{knobs}prefix_cache_mb = {self.cache_mib}\n'
        )


@contextmanager
def home_of(case: Case) -> Iterator[Path]:
    """A home of roost with the settings of this case, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as folder:
        home = Path(folder)
        (home / "roost.toml").write_text(case.settings)
        (home / "registry.json").write_text(json.dumps({"models": {"default": case.model}}))
        yield home


def predicted(case: Case, home: Path) -> Mapping[str, Any]:
    """What `roost plan --json` says before anything runs."""
    argv = [sys.executable, "-m", "roost.cli.main", "plan", case.model, "--json"]
    done = subprocess.run(argv, env=_environment(home), capture_output=True, text=True, timeout=300)
    if done.returncode or not done.stdout:
        raise SystemExit(f"{case.name}: roost plan ended with {done.returncode}: {done.stdout}{done.stderr}")
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


@dataclass(frozen=True)
class Worker:
    """The one worker of a roost that runs."""

    url: str
    pid: int
    engine_version: str
    #: Where its private folders and its socket are.
    run_dir: Path

    @property
    def socket(self) -> Path:
        (path,) = (path for path in self.run_dir.glob("*.sock") if (self.run_dir / f"w-{path.stem}").is_dir())
        return path

    @property
    def saved(self) -> Path:
        (path,) = self.run_dir.glob("w-*/saved")
        return path

    def peak_bytes(self) -> int:
        """The most that its processes ever had in memory, mapped files too, as the kernel keeps it."""
        processes = [this_memory().process(pid) for pid in this_host().tree(self.pid)]
        return sum(process.peak_bytes for process in processes if process)


@contextmanager
def running(case: Case, home: Path) -> Iterator[Worker]:
    """roost, and its worker READY."""
    argv = [sys.executable, "-m", "roost.cli.main", "up", "--port", "0"]
    with started(argv, "roost ready ", _environment(home)) as daemon:
        url = daemon.said.split()[0].removesuffix("/v1")
        with urllib.request.urlopen(f"{url}/roost/v1/workers", timeout=30) as answer:
            workers = json.load(answer)
        (worker,) = [worker for worker in workers["workers"] if worker["state"] == "ready"]
        yield Worker(url, worker["pid"], worker["engine_version"] or "", home / "state/run")


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ROOST_HOME": str(home)}


def with_window(source: Path, copy: Path, tokens: int) -> Path:
    """A copy of a GGUF file whose header says that it was trained for so many tokens."""
    data = bytearray(source.read_bytes())
    key = b"llama.context_length"
    at = data.index(key) + len(key)
    (kind,) = struct.unpack_from("<I", data, at)
    if kind != _UINT32:
        raise SystemExit(f"{source.name}: its window is no 32-bit number")
    struct.pack_into("<I", data, at + 4, tokens)
    copy.write_bytes(data)
    return copy
