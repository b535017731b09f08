"""Where this operating system wants programs to keep their settings."""

from __future__ import annotations

import sys
from pathlib import Path


def application_settings(home: Path, config: Path) -> Path:
    """The folder of programs that follow the system; `config`: that of programs that follow XDG everywhere."""
    return home / "Library/Application Support" if sys.platform == "darwin" else config
