"""A small container engine whose containers are plain processes: what docker does, without its isolation.

    python container_engine.py serve FOLDER          the engine: parent of all containers, as dockerd is
    python container_engine.py client FOLDER WORDS…  its client: run, ps, container inspect, logs, wait, stop, rm

Containers are children of the engine, not of the client: they outlive it, as docker's do. It knows the options that
roost uses and those that the tests give to `run`; everything else is refused, as docker refuses it. Standard library
only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_S = 0.02
#: docker's own: the engine refused.
REFUSED = 125


class Refusal(Exception):
    pass


@dataclass
class Container:
    id: str
    name: str
    labels: dict[str, str]
    removes_itself: bool
    log: Path
    process: subprocess.Popen[bytes] | None = None
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Engine:
    """All containers. Each method is one request of a client; they run in threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.containers: dict[str, Container] = {}

    def find(self, named: str) -> Container:
        for container in self.containers.values():
            if named in (container.id, container.id[:12], container.name):
                return container
        raise Refusal(f"Error response from daemon: No such container: {named}")

    def create(self, name: str | None, labels: list[str], rm: bool, command: list[str]) -> dict[str, Any]:
        container_id = secrets.token_hex(32)
        name = name or f"unnamed_{container_id[:6]}"
        for other in self.containers.values():
            if other.name == name:
                raise Refusal(
                    f'docker: Error response from daemon: Conflict. The container name "/{name}" is already in use '
                    f'by container "{other.id}".'
                )
        pairs = (label.partition("=") for label in labels)
        container = Container(container_id, name, {k: v for k, _, v in pairs}, rm, self.folder / container_id)
        self.containers[container_id] = container
        return {"id": container_id, "command": command}

    def start(self, id: str, command: list[str]) -> dict[str, Any]:
        container = self.find(id)
        with container.log.open("wb") as log:
            try:
                container.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_inside()
                )
            except OSError as error:
                raise Refusal(f"docker: Error response from daemon: {command[0]}: {error.strerror}") from error
        threading.Thread(target=self._reap, args=(container,), daemon=True).start()
        return {"log": str(container.log)}

    def _reap(self, container: Container) -> None:
        assert container.process is not None
        container.process.wait()
        container.gone.set()
        if container.removes_itself:
            # Whoever waits for it is answered first.
            time.sleep(POLL_S)
            self.containers.pop(container.id, None)

    def wait(self, id: str) -> dict[str, Any]:
        container = self.find(id)
        container.gone.wait()
        assert container.process is not None
        code = container.process.returncode
        return {"code": code if code >= 0 else 128 - code}

    def running(self, id: str) -> dict[str, Any]:
        return {"running": self.find(id).running, "log": str(self.find(id).log)}

    def kill(self, id: str, number: int) -> dict[str, Any]:
        container = self.find(id)
        if container.process is not None and container.running:
            os.killpg(container.process.pid, number)
        return {}

    def stop(self, id: str, grace_s: float) -> dict[str, Any]:
        container = self.find(id)
        if container.process is not None and container.running:
            os.kill(container.process.pid, signal.SIGTERM)
            if not container.gone.wait(grace_s):
                self.kill(id, signal.SIGKILL)
                container.gone.wait()
        return {}

    def rm(self, id: str) -> dict[str, Any]:
        container = self.find(id)
        self.kill(id, signal.SIGKILL)
        if container.process is not None:
            container.gone.wait()
        self.containers.pop(container.id, None)
        return {}

    def ps(self, label: str | None) -> dict[str, Any]:
        wanted = label.partition("=") if label else None
        return {
            "rows": [
                [one.id, one.name]
                for one in self.containers.values()
                if wanted is None or one.labels.get(wanted[0]) == wanted[2]
            ]
        }

    def inspect(self, id: str) -> dict[str, Any]:
        one = self.find(id)
        pid = one.process.pid if one.process is not None and one.running else 0
        state = {"Running": one.running, "Pid": pid}
        return {
            "text": json.dumps(
                [{"Id": one.id, "Name": f"/{one.name}", "Config": {"Labels": one.labels}, "State": state}]
            )
        }


def _inside() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "HOME": "/", "IN_CONTAINER": "1"}


def serve(folder: Path) -> None:
    engine = Engine(folder)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            try:
                answer = getattr(engine, request.pop("do"))(**request)
            except Refusal as refusal:
                answer = {"refused": str(refusal)}
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    def end(*_: object) -> None:
        for container in list(engine.containers.values()):
            if container.process is not None and container.running:
                os.killpg(container.process.pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    with Server(str(folder / "engine.sock"), Handler) as server:
        server.serve_forever()


class Client:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.folder / "engine.sock"))
            except OSError:
                raise Refusal("Cannot connect to the Docker daemon. Is the docker daemon running?") from None
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with connection.makefile() as lines:
                answer: dict[str, Any] = json.loads(lines.readline() or '{"refused": "the engine is gone"}')
        if "refused" in answer:
            raise Refusal(answer["refused"])
        return answer

    def run(self, words: list[str]) -> int:
        options = _run_parser().parse_args(words)
        if options.cidfile and options.cidfile.exists():
            raise Refusal(f"docker: container ID file found, delete {options.cidfile}")
        made = self.ask("create", name=options.name, labels=options.label, rm=options.rm, command=options.command)
        if options.cidfile:
            options.cidfile.write_text(made["id"])
        self.ask("start", id=made["id"], command=options.command)
        if options.detach:
            print(made["id"])
            return 0
        signal.signal(signal.SIGTERM, lambda number, _: self.ask("kill", id=made["id"], number=number))
        self.follow(made["id"], skip=False)
        return int(self.ask("wait", id=made["id"])["code"])

    def follow(self, container_id: str, *, skip: bool) -> None:
        log = Path(self.ask("running", id=container_id)["log"])
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END if skip else os.SEEK_SET)
            over = False
            while True:
                if data := file.read():
                    sys.stdout.buffer.write(data)
                    sys.stdout.flush()
                elif over:
                    return
                else:
                    time.sleep(POLL_S)
                    over = not self._runs(container_id)

    def _runs(self, container_id: str) -> bool:
        try:
            return bool(self.ask("running", id=container_id)["running"])
        except Refusal:
            return False

    def command(self, words: list[str]) -> int:
        match words:
            case ["run", *rest] | ["container", "run", *rest]:
                return self.run(rest)
            case ["ps", "--all", "--quiet", "--no-trunc"]:
                print(*(row[0] for row in self.ask("ps", label=None)["rows"]), sep="\n")
            case ["ps", "--all", "--quiet", "--no-trunc", "--filter", label]:
                print(*(row[0] for row in self.ask("ps", label=label.removeprefix("label="))["rows"]), sep="\n")
            case ["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]:
                print(*(f"{row[0]} {row[1]}" for row in self.ask("ps", label=None)["rows"]), sep="\n")
            case ["container", "inspect", named]:
                print(self.ask("inspect", id=named)["text"])
            case ["logs", "--follow", *more, named]:
                self.follow(named, skip=more == ["--tail", "0"])
            case ["wait", named]:
                print(self.ask("wait", id=named)["code"])
            case ["stop", "-t", seconds, named]:
                self.ask("stop", id=named, grace_s=float(seconds))
            case ["stop", named]:
                self.ask("stop", id=named, grace_s=10.0)
            case ["kill", named]:
                self.ask("kill", id=named, number=signal.SIGKILL)
            case ["rm", "--force", *_, named] | ["rm", "-f", named]:
                self.ask("rm", id=named)
            case _:
                raise Refusal(f"docker: unknown command: {words}")
        return 0


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="docker run")
    parser.add_argument("--name")
    parser.add_argument("--label", "-l", action="append", default=[])
    parser.add_argument("--cidfile", type=Path)
    parser.add_argument("--network")
    parser.add_argument("--volume", "-v", action="append", default=[])
    parser.add_argument("--publish", "-p", action="append", default=[])
    parser.add_argument("--detach", "-d", action="store_true")
    parser.add_argument("--rm", action="store_true")
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def main() -> int:
    what, folder, *words = sys.argv[1:]
    if what == "serve":
        serve(Path(folder))
        return 0
    try:
        return Client(Path(folder)).command(words)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED if words[:1] == ["run"] else 1


if __name__ == "__main__":
    sys.exit(main())
