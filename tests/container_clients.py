"""Container engines for tests: the stand-in of this folder, and docker and podman where they can run a container."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from roost.testing.wait import until_sync
from tests import container_engine
from tests.helpers import ROOT

IMAGE = "localhost/roost-test:1"
#: What the stand-in engine needs of this machine inside a container, at the same places and read-only.
_PLACES = ("/usr", "/bin", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(ROOT))
_ASK_TIMEOUT_S = 60
#: Where Debian's runtimes differ from what a machine lets them do: the limits must be ours, and crun 1.8 wants no
#: control groups of both versions side by side.
_PODMAN_CONF = (
    '[engine]\nruntime = "runc"\n[containers]\ndefault_ulimits = ["nofile={limit}:{limit}", "nproc=4096:4096"]\n'
)


class Unusable(Exception):
    """Why containers cannot be run by this client here."""


@dataclass(frozen=True)
class ContainerClient:
    """One client, as `docker`, `podman` or a path, and what it needs to run the stand-in engine in a container."""

    program: str
    environ: Mapping[str, str]
    options: tuple[str, ...] = field(default=())

    def command(self, name: str, flags: str = "", *, model: str = "a", worker: str = "") -> str:
        """A command line for a model's settings."""
        options = " ".join(self.options)
        inside = f"{sys.executable} -m roost.testing.engine --port ${{PORT}} --model {model} {worker}"
        return f"{self.program} run {flags} --name {name} {options} {IMAGE} {inside}"

    def ask(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [self.program, *words], capture_output=True, text=True, env=dict(self.environ), timeout=_ASK_TIMEOUT_S
        )
        assert not check or done.returncode == 0, f"{self.program} {' '.join(words)}: {done.stderr}"
        return done.stdout

    def start(self, name: str, *flags: str) -> str:
        """A container of somebody else's that sleeps; its id."""
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        return self.ask("run", "--detach", "--name", name, *flags, *self.options, IMAGE, *sleeper).split()[-1]

    def containers(self) -> dict[str, str]:
        """Name -> id of all that exist."""
        rows = self.ask("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}").splitlines()
        return {name: container_id for container_id, name in (row.split() for row in rows if row.strip())}

    def clear(self, *names: str) -> None:
        for name in names:
            self.ask("rm", "-f", name, check=False)


@contextmanager
def stand_in_client(folder: Path) -> Iterator[ContainerClient]:
    """`docker` by this folder's stand-in; its program is a path."""
    program = folder / "docker"
    engine = [sys.executable, "-I", "-S", str(Path(container_engine.__file__))]
    program.write_text(f'#!/bin/sh\nexec {" ".join(engine)} client {folder} "$@"\n')
    program.chmod(0o755)
    with subprocess.Popen([*engine, "serve", str(folder)]) as process:
        try:
            until_sync((folder / "engine.sock").exists, what="the container engine's socket")
            yield ContainerClient(str(program), {"PATH": os.environ["PATH"]})
        finally:
            process.terminate()


def real_client(program: str, folder: Path) -> ContainerClient:
    """docker or podman, with an image made of nothing but folders to mount this machine's into. Raises Unusable."""
    if shutil.which(program) is None:
        raise Unusable(f"{program} is not installed; make test-containers says how to get one of the two")
    names = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINER_HOST")
    environ = {name: os.environ[name] for name in names if name in os.environ}
    mounts = [word for place in _mounted() for word in ("--volume", f"{place}:{place}:ro")]
    client = ContainerClient(program, environ, ("--network", "host", *mounts))
    try:
        _import_image(client)
        _try(client)
    except Unusable:
        if program != "podman" or "CONTAINERS_CONF" in environ:
            raise
        conf = folder / "containers.conf"
        conf.write_text(_PODMAN_CONF.format(limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        client = ContainerClient(program, {**environ, "CONTAINERS_CONF": str(conf)}, client.options)
        _try(client)
    return client


def _mounted() -> list[str]:
    """Each place once, and none that lies in another."""
    places = sorted({place for place in _PLACES if Path(place).exists()})
    return [place for place in places if not any(place.startswith(f"{other}/") for other in places)]


def _import_image(client: ContainerClient) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("proc", "sys", "dev", "etc", "tmp", "run"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    done = subprocess.run(
        [client.program, "import", "-", IMAGE], input=packed.getvalue(), capture_output=True, env=dict(client.environ)
    )
    if done.returncode:
        raise Unusable(f"{client.program} cannot import an image: {done.stderr.decode().strip()}")


def _try(client: ContainerClient) -> None:
    words = ["run", "--rm", *client.options, IMAGE, sys.executable, "-c", "print('hello')"]
    done = subprocess.run([client.program, *words], capture_output=True, text=True, env=dict(client.environ))
    if done.stdout.strip() != "hello":
        raise Unusable(f"{client.program} cannot run a container: {done.stderr.strip()}")
