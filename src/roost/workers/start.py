"""What one start is given: the model with its engine and settings, and where it keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs, ModelSettings
from roost.engines.types import Engine
from roost.workers.saved_cache import SavedPlace


@dataclass(frozen=True)
class StartOrder:
    """What is to be started."""

    spec: ModelSpec
    engine: Engine
    knobs: Knobs
    model: ModelSettings
    #: Make one real token before READY (loads that nobody waits for with a request of their own).
    warm: bool


@dataclass(frozen=True)
class RunPaths:
    """Where a start keeps its files."""

    run_dir: Path
    records: Path
    log: Path
    log_cap_bytes: int
    #: What it had computed, from one start to the next.
    saved: SavedPlace
