"""Keeps the machine awake while there is something to lose, as the settings say."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from roost.config.settings import CoexistenceSettings
from roost.host.assertion import Assertion, assertion_command

log = structlog.get_logger(__name__)


def wanted(settings: CoexistenceSettings, at_work: str | None, on_battery: bool | None) -> str | None:
    """Why the machine is to stay awake now; None: it may sleep. Pure. What does not tell its power has no battery."""
    allowed = settings.keep_awake == "always" or (settings.keep_awake == "mains" and not on_battery)
    return at_work if allowed else None


class Awake:
    """`command`: what holds the assertion, given why."""

    def __init__(self, command: Callable[[str], tuple[str, ...] | None] = assertion_command) -> None:
        self._command = command
        self._assertion = Assertion()
        self._why: str | None = None

    @property
    def why(self) -> str | None:
        """Why it is kept awake; None: it is not."""
        return self._why if self._assertion.held else None

    @property
    def problem(self) -> str | None:
        return self._assertion.problem

    async def follow(self, why: str | None) -> None:
        """From now on for this reason; None: for none. One that was refused is asked for again with the next work."""
        self._assertion.check()
        if why is None:
            await self.let_go()
        elif self._why is None:
            self._why = why
            if command := self._command(why):
                await self._assertion.hold(command)
                log.info("kept awake", why=why)
        else:
            self._why = why

    async def let_go(self) -> None:
        if self._why is not None:
            self._why = None
            log.info("may sleep")
        await self._assertion.release()
