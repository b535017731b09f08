"""Defects are planted where they can be: a wrong one breaks every call, and is found for the wrong reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.soak.hook.planted import DEFECTS, replace

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_can_be_planted(name: str) -> None:
    # In a process of its own: it stays planted.
    code = f"from tests.soak.hook.planted import plant; plant({name!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_one_that_is_called_otherwise_than_what_it_replaces_is_refused() -> None:
    def three(job: Any, upstream: Any, out: Any) -> None: ...

    def two(job: Any, upstream: Any) -> None: ...

    owner = SimpleNamespace(there=three)
    with pytest.raises(TypeError):
        replace(owner, "there", lambda whole: two)
    assert owner.there is three
    replace(owner, "there", lambda whole: lambda *asked: None)
    with pytest.raises(AttributeError):
        replace(owner, "gone", lambda whole: whole)
