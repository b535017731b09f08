from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.helpers import short_folder
from tests.integration.cli.control import ControlDaemon, listening


@pytest.fixture
def home() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
async def daemon(home: Path) -> AsyncIterator[ControlDaemon]:
    async with listening(ControlDaemon(), home) as daemon:
        yield daemon
