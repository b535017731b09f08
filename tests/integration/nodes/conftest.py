from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.nodes.house import House, house, paired


@pytest.fixture
async def basement(short_path: Path) -> AsyncIterator[House]:
    """A machine that lets others in."""
    async with house(short_path, "basement") as made:
        yield made


@pytest.fixture
async def laptop(short_path: Path) -> AsyncIterator[House]:
    """A machine that lets nobody in."""
    async with house(short_path, "laptop", door=False) as made:
        yield made


@pytest.fixture
async def shared_pair(basement: House, laptop: House) -> tuple[House, House]:
    """Both, paired."""
    await paired(basement, laptop)
    return basement, laptop
