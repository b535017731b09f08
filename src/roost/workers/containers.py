"""Containers of workers, asked for and removed through their own client. Only what carries our labels is touched: a
name, an image or a port proves nothing.

Everything here blocks: it runs in a thread, or before there is a loop.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost.engines.containers import CLIENT_ENVIRONMENT, MODEL_LABEL, OWNER_LABEL, WORKER_LABEL
from roost.engines.types import Container
from roost.errors import WorkerFailed

#: One question to a client. A removal may wait for a container's memory to be given back.
ASK_TIMEOUT_S = 10.0
REMOVE_TIMEOUT_S = 30.0
#: How long a removal that somebody else began may take.
REMOVAL_SETTLES_S = 5.0


class CannotAsk(Exception):
    """The client is not there, or its engine does not answer; the text says why."""


@dataclass(frozen=True)
class Found:
    """A container that exists, running or not."""

    container_id: str
    name: str
    labels: Mapping[str, str]

    @property
    def nonce(self) -> str:
        return self.labels.get(WORKER_LABEL, "")

    @property
    def model(self) -> str:
        return self.labels.get(MODEL_LABEL, "another model")


@dataclass(frozen=True)
class Client:
    """docker, podman or nerdctl as a start used it: enough to find its containers again after a crash."""

    command: tuple[str, ...]
    #: Only what the client itself reads; never what a user gave the server.
    env: Mapping[str, str]

    @classmethod
    def of(cls, container: Container, env: Mapping[str, str]) -> Client:
        names = ("PATH", *CLIENT_ENVIRONMENT)
        return cls(container.client, {name: env[name] for name in names if name in env})

    def labelled(self, label: str, value: str) -> list[Found]:
        """Raises CannotAsk."""
        said = self._ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}={value}")
        found = self._inspect(said.split())
        # The filter is the engine's word; the labels themselves decide.
        return [one for one in found if one.labels.get(label) == value]

    def named(self, name: str) -> Found | None:
        """Raises CannotAsk."""
        rows = self._ask("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}").splitlines()
        ids = [row.split(None, 1)[0] for row in rows if name in row.partition(" ")[2].strip().split(",")]
        return next(iter(self._inspect(ids)), None)

    def knows(self, container_id: str) -> bool:
        """Whether any container has this id. Raises CannotAsk."""
        return container_id in self._ask("ps", "--all", "--quiet", "--no-trunc").split()

    def remove(self, found: Found, *, volumes: bool) -> None:
        """Kills it, if it runs. Raises CannotAsk when it is still there afterwards."""
        more = ("--volumes",) if volumes else ()
        try:
            self._ask("rm", "--force", *more, found.container_id, timeout_s=REMOVE_TIMEOUT_S)
        except CannotAsk:
            # With --rm its engine removes it too, and refuses to do it twice.
            if not self._goes_by_itself(found.container_id):
                raise

    def _goes_by_itself(self, container_id: str) -> bool:
        deadline = time.monotonic() + REMOVAL_SETTLES_S
        while self.knows(container_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _inspect(self, ids: Sequence[str]) -> list[Found]:
        """Those of them that still exist."""
        return [found for one in ids if (found := self._look_at(one)) is not None]

    def _look_at(self, container_id: str) -> Found | None:
        try:
            said = self._ask("container", "inspect", container_id)
        except CannotAsk as error:
            if "no such" in str(error).lower():
                return None
            raise
        return _found(said)

    def _ask(self, *words: str, timeout_s: float = ASK_TIMEOUT_S) -> str:
        try:
            done = subprocess.run(
                [*self.command, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=dict(self.env),
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise CannotAsk(f"{self.command[0]} {words[0]} gave no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise CannotAsk(f"cannot start {self.command[0]}: {error.strerror}") from error
        if done.returncode != 0:
            raise CannotAsk((done.stderr.strip().splitlines() or [f"{self.command[0]} exited {done.returncode}"])[-1])
        return done.stdout


def _found(said: str) -> Found | None:
    """From `container inspect`, whose JSON the three share. None for something else."""
    try:
        value: Any = json.loads(said)[0]
        labels = value["Config"].get("Labels") or {}
        return Found(str(value["Id"]), str(value.get("Name", "")).removeprefix("/"), dict(labels))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def make_room(model_id: str, container: Container, client: Client, living: Collection[str]) -> list[str]:
    """Before a start: removes what earlier starts of this roost left (`living` are the nonces of those that run), and
    makes sure that the name is free. Returns a line for each removal. Raises WorkerFailed with the mend."""
    try:
        stale = [found for found in client.labelled(OWNER_LABEL, container.owner) if found.nonce not in living]
        for found in stale:
            client.remove(found, volumes=False)
        if container.name is not None and not container.replaces_namesake:
            _check_name(model_id, container, client.named(container.name))
        _drop_stale_id_file(container, client)
    except CannotAsk as error:
        raise WorkerFailed(
            f'cannot load {model_id}: {container.program} does not answer: {error}; see that "'
            f'{" ".join(container.client)} ps" works for the user that runs roost'
        ) from error
    return [f"removed container {found.container_id[:12]} that an earlier run of {found.model} left" for found in stale]


def _check_name(model_id: str, container: Container, taken: Found | None) -> None:
    if taken is None:
        return
    command, short = " ".join(container.client), taken.container_id[:12]
    if taken.labels.get(OWNER_LABEL) == container.owner:
        raise WorkerFailed(
            f'cannot load {model_id}: its container "{container.name}" would have the name of the one in which '
            f"{taken.model} runs ({short}); give each command a --name of its own",
            should_retry=False,
        )
    raise WorkerFailed(
        f'cannot load {model_id}: there is a container "{container.name}" ({short}) already, and it is not one of '
        f'this roost\'s; remove it with "{command} rm -f {short}", or choose another --name in the command',
        should_retry=False,
    )


def _drop_stale_id_file(container: Container, client: Client) -> None:
    """A command with a `--cidfile` of its own would be refused for the file of its last start."""
    known = container_id(container)
    if known is not None and not client.knows(known):
        container.id_file.unlink(missing_ok=True)


def container_id(container: Container) -> str | None:
    """As its client wrote it down; None: there is none yet."""
    try:
        return container.id_file.read_text().strip() or None
    except OSError:
        return None


def remove_all(client: Client, nonce: str, *, volumes: bool) -> list[str]:
    """Whatever is left of one start; the ids. Raises CannotAsk."""
    left = client.labelled(WORKER_LABEL, nonce)
    for found in left:
        client.remove(found, volumes=volumes)
    return [found.container_id for found in left]
