"""The settings in force while their file changes under a running daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.config.paths import Paths
from roost.daemon.live_settings import LiveSettings

MODEL = '[models."a".command]\ncmd = "serve"\n'


@pytest.mark.parametrize("empty_first", [True, False])
async def test_a_save_that_empties_or_removes_the_file_first_drops_no_model(tmp_path: Path, empty_first: bool) -> None:
    environ = {"ROOST_HOME": str(tmp_path), "HOME": str(tmp_path)}
    paths = Paths.from_environment(environ)
    paths.settings.write_text(MODEL)
    live = LiveSettings(paths, environ, {})
    if empty_first:
        paths.settings.write_text("")
    else:
        paths.settings.unlink()
    async with asyncio.TaskGroup() as group:
        group.create_task(live.reload(frozenset({paths.settings})))
        await asyncio.sleep(0)
        assert "a" in live.settings().models
        paths.settings.write_text(MODEL + '[log]\nlevel = "debug"\n')
    assert "a" in live.settings().models and live.settings().log.level == "debug"


async def test_what_holds_from_the_start_on_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    environ = {"ROOST_HOME": str(tmp_path), "HOME": str(tmp_path)}
    paths = Paths.from_environment(environ)
    paths.settings.write_text("[nodes]\nlook_every_s = 2\n[gateway]\nport = 1\n")
    live = LiveSettings(paths, environ, {})
    paths.settings.write_text('[nodes]\nlisten = "h:1"\nlook_every_s = 3\n[gateway]\nport = 2\n')
    await live.reload(frozenset({paths.settings}))
    settings = live.settings()
    assert live.pending == ("gateway.port", "nodes.listen")
    assert (settings.nodes.listen, settings.nodes.look_every_s, settings.gateway.port) == ("auto", 3, 1)
