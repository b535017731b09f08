"""The home of a soak: real models and stand-ins, their settings and names, and the keys of the consumers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost.catalog.compose import EMBEDDED_ID
from roost.store.keys import KeyFile
from tests.soak.asked import Cast
from tests.soak.daemon import Daemon
from tests.soak.weights import GGUF_WORD, MLX_WORD, OWN_WORD, other_gguf, other_mlx

OTHER_ID, MLX_ID = "SmolLM2-other", "SmolLM2-mlx"
CALM, DEFT, EMBEDDING = "calm", "deft", "tiny-embedding"
#: A stand-in prints every prompt, as some engines do: none may be found in a log.
_STAND_IN = f"{sys.executable} -m roost.testing.engine --port ${{PORT}} --model ${{MODEL_ID}} --log-prompts"
CONSUMERS = 8
DRAIN_S = 5.0
STALL_S = 4.0
MAX_WAIT_S = 3.0
LOG_CAP_BYTES = 4 * 2**20


@dataclass
class Scene:
    """A prepared home, its cast, and what may be written into its files."""

    daemon: Daemon
    cast: Cast
    keys: Mapping[str, str]
    #: Model of role coding as the registry says now.
    coding: str = OTHER_ID
    _colour: int = 0
    _harmless: int = 0
    _mlx: bool = field(default=False)

    # Settings.

    def settings(self, *, tables: Mapping[str, str] | None = None, more: str = "") -> str:
        """The file as it holds; `tables` replaces the lines of single stand-ins."""
        commands = {name: _command(name) for name in (CALM, DEFT)} | {EMBEDDING: _command(EMBEDDING, "embedding")}
        commands |= dict(tables or {})
        colour = f'[models."{CALM}".engine]\nenv = {{ COLOUR = "{self._colour}" }}\n'
        nobody = f'[models."nobody".engine]\nidle_ttl_s = {600 + self._harmless}\n'
        mlx = f'[models."{MLX_ID}".engine]\nname = "mlx-lm"\n' if self._mlx else ""
        return "\n".join((_BASE, *commands.values(), colour, nobody, mlx, more))

    def change_nothing_that_runs(self) -> str:
        self._harmless += 1
        return self.settings()

    def change_the_environment_of_calm(self) -> str:
        self._colour += 1
        return self.settings()

    # Registry.

    def names(self, coding: str | None = None) -> bytes:
        """The registry's bytes with that model as role coding."""
        self.coding = coding or self.coding
        models = {"default": EMBEDDED_ID, "coding": self.coding, "embedding": EMBEDDING}
        return json.dumps({"models": models, "foreign": {"kept": True}}, indent=1).encode()

    def other_coding(self) -> str:
        return EMBEDDED_ID if self.coding == OTHER_ID else OTHER_ID


def _command(name: str, *capabilities: str) -> str:
    listed = f"capabilities = {json.dumps(capabilities)}\n" if capabilities else ""
    return f'[models."{name}"]\n{listed}[models."{name}".command]\ncmd = "{_STAND_IN}"\n'


_BASE = f"""drain_s = {DRAIN_S}
[rotation]
policy = "always"
min_residency_s = 0.5
[queue]
max_wait_s = {MAX_WAIT_S}
max_requests = 400
[residency]
max_resident = 3
[log]
worker_cap_bytes = {LOG_CAP_BYTES}
[catalog]
huggingface = false
lm_studio = false
ollama = false
[engine]
stall_s = {STALL_S}
# On a busy machine threads that wait for each other cost more than they bring.
[engines."llama.cpp"]
threads = 1
context = 2048
[engines."mlx-lm"]
stall_s = {10 * STALL_S}
"""


def prepare(home: Path, gguf: Path, mlx_folder: Path | None, defect: str | None = None) -> Scene:
    """Everything on disk; the daemon is not started. `mlx_folder` None: without mlx-lm."""
    daemon = Daemon.at(home, gguf, defect)
    (home / "mine").mkdir()
    other = other_gguf(gguf, home / "mine" / "other.gguf")
    daemon.cli("models", "add", str(other), "--id", OTHER_ID)
    daemon.cli("models", "add", str(gguf))
    real = {EMBEDDED_ID: OWN_WORD, OTHER_ID: GGUF_WORD}
    if mlx_folder is not None:
        daemon.cli("models", "add", str(other_mlx(mlx_folder, home / "mine" / "mlx")), "--id", MLX_ID)
        real[MLX_ID] = MLX_WORD
    slow = frozenset(model for model in real if model == MLX_ID)
    roles = {"default": frozenset({EMBEDDED_ID}), "coding": frozenset({EMBEDDED_ID, OTHER_ID})}
    names = [f"consumer-{number}" for number in range(CONSUMERS)]
    ring = KeyFile(home / "state" / "keys.json")
    keys = {name: ring.add(name) for name in names}
    scene = Scene(daemon, Cast(real, (CALM, DEFT), slow, EMBEDDING, roles), keys, _mlx=mlx_folder is not None)
    daemon.settings.write_text(scene.settings())
    daemon.registry.write_bytes(scene.names())
    return scene


def mlx_python() -> Path | None:
    """The interpreter of mlx-lm's environment, where there is one."""
    path = Path(os.environ.get("ROOST_ENGINE_MLX_LM_PYTHON") or "/nowhere")
    return path if path.exists() else None
