"""What a start has beside its process tree: kernels that an earlier one compiled, or the container of its server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from roost.engines.types import LaunchPlan, WorkerPlace
from roost.host.types import Host
from roost.workers.containers import CannotAsk, Client, container_id, make_room
from roost.workers.kernels import bring, take
from roost.workers.reap import ContainerTrace, WorkerRecord, end_container, keep_for_later

log = structlog.get_logger(__name__)


class Beside:
    """Of one start. The methods block; without a container there is the record of the start alone."""

    def __init__(self, plan: LaunchPlan, place: WorkerPlace, model_id: str, host: Host, records: Path) -> None:
        self._container, self._kernels, self._home = plan.container, plan.kernels, place.home
        self._client = Client.of(plan.container, plan.env) if plan.container else None
        self._model_id, self._host, self._records = model_id, host, records
        self._id: str | None = None
        home, socket = str(place.home), str(place.socket_path)
        self._record = WorkerRecord(place.nonce, model_id, None, home, socket, self._trace())

    def _trace(self) -> ContainerTrace | None:
        if self._container is None or self._client is None:
            return None
        return ContainerTrace(self._client, volumes=self._container.takes_volumes_along)

    def begin(self, say: Callable[[str], None]) -> None:
        """Writes the record, removes what earlier starts left. Raises WorkerFailed when the name is somebody else's."""
        # The record comes first: a daemon killed in between leaves nothing that the next one cannot find.
        self._record.write(self._records)
        if self._kernels is not None:
            bring(self._kernels, self._home)
        self._make_room(say)

    def _make_room(self, say: Callable[[str], None]) -> None:
        if self._container is None or self._client is None:
            return
        living = {path.stem for path in self._records.glob("*.json")}
        for line in make_room(self._model_id, self._container, self._client, living):
            log.warning("container", model=self._model_id, what=line)
        for port in self._container.open_ports:
            warning = f"port {port} is published to other machines, past roost's keys; write 127.0.0.1:{port}"
            log.warning("container", model=self._model_id, what=warning)
            say(f"roost: {warning}\n")

    def processes(self) -> tuple[int, ...]:
        """As far as this kernel knows them."""
        if self._container is None:
            return ()
        self._id = self._id or container_id(self._container)
        return self._host.in_container(self._id) if self._id else ()

    def hidden(self) -> bool:
        """There is a container, and whether it works cannot be seen from here."""
        return self._container is not None and not self.processes()

    def end(self, *, at_rest: bool) -> None:
        """Once its processes are gone or killed: nothing of it stays but what it compiled, if it was stopped at
        rest."""
        if self._kernels is not None and at_rest:
            take(self._kernels, self._home)
        try:
            for line in end_container(self._record):
                log.info("container", model=self._model_id, what=line)
        except CannotAsk as error:
            log.warning("container may be left", model=self._model_id, why=str(error))
            keep_for_later(self._record, self._records)
