from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.gateway.front import Front, front


@pytest.fixture
async def gate(short_path: Path) -> AsyncIterator[Front]:
    """A gateway with the default settings before a stand-in that behaves."""
    async with front(short_path) as running:
        yield running
