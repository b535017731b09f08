"""The pool over stand-ins that really take memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roost.memory import tripwire
from tests.integration.workers.conftest import make_bench

__all__ = ["make_bench"]


@pytest.fixture(autouse=True)
def calms_down_at_once() -> Iterator[None]:
    """An alarm outlasts its cause by seconds instead of half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tripwire, "FALL_S", 1.0)
        yield
