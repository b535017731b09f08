"""A catalog over a folder of its own, and a look at what it would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.catalog.catalog import Catalog
from roost.config.paths import Paths
from roost.config.settings import Settings


class Machine:
    """A machine with nothing on it but what a test puts there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"HOME": str(root / "user"), "ROOST_HOME": str(root / "home")}
        self.paths = Paths.from_environment(self.environ)
        self.mounts: set[Path] = {Path("/")}
        self.inspected: list[Path] = []
        self.folders: list[str] = [str(root / "models")]

    @property
    def models(self) -> Path:
        """A folder of the user's that the settings name."""
        return self.root / "models"

    def settings(self, **more: Any) -> Settings:
        return Settings.model_validate({"catalog": {"folders": self.folders, **more.pop("catalog", {})}, **more})

    def open(self, **more: Any) -> Catalog:
        """A catalog as a fresh process would open it; `inspected` counts the headers that are really read."""
        from roost.catalog.inspector import inspect

        def counted(path: Path) -> Any:
            self.inspected.append(path)
            return inspect(path)

        return Catalog.open(
            self.paths, self.settings(**more), self.environ, is_mount=lambda path: path in self.mounts, inspect=counted
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
