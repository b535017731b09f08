"""Command lines that start a container: what they say, and how roost marks the container as its own. Pure.

docker, podman and nerdctl take the same words. What stands behind the image belongs to the container and is not read.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from roost.engines.types import Container, WorkerPlace
from roost.errors import BadConfiguration

#: The three whose `run`, `ps`, `inspect`, `logs`, `wait`, `stop` and `rm` roost speaks.
PROGRAMS = ("docker", "podman", "nerdctl")
#: Labels by which roost knows its containers: the start, and the state folder that it belongs to.
WORKER_LABEL = "roost.worker"
OWNER_LABEL = "roost.owner"
MODEL_LABEL = "roost.model"
_OWN_LABELS = "roost."
#: Grace of `docker stop`, within what every worker gets.
STOP_S = 8
_KEEPER = Path(__file__).parent / "launchers" / "container.py"
#: What the client itself needs of the user's environment; nothing of it is given to the container.
CLIENT_ENVIRONMENT = (
    *("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"),
    *("CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"),
    *("REGISTRY_AUTH_FILE", "CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE", "NERDCTL_TOML"),
)

#: Options without a value, before `run` and behind it; every other one takes a value. From `--help` of docker 28,
#: podman 4.3 and 5 and nerdctl 2.
GLOBAL_SWITCHES = frozenset(
    {
        *("debug", "tls", "tlsverify", "version", "help"),
        *("noout", "remote", "syslog", "transient-store"),
        *("debug-full", "experimental", "insecure-registry", "kube-hide-dupe"),
        *("D", "v", "r"),
    }
)
RUN_SWITCHES = frozenset(
    {
        *("detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck", "oom-kill-disable"),
        *("privileged", "publish-all", "quiet", "read-only", "rm", "sig-proxy", "tty", "use-api-socket"),
        *("env-host", "http-proxy", "no-hostname", "no-hosts", "passwd", "read-only-tmpfs", "replace", "rmi"),
        *("rootfs", "tls-verify", "unsetenv-all"),
        *("d", "i", "P", "q", "t"),
    }
)
_LONG_NAMES = {
    "d": "detach",
    "i": "interactive",
    "t": "tty",
    "q": "quiet",
    "l": "label",
    "p": "publish",
    "P": "publish-all",
}
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True)
class RunCommand:
    """`docker … run … IMAGE …`, taken apart."""

    #: The program with its own options: what every other question to it begins with.
    client: tuple[str, ...]
    #: `run`, or `container run`.
    verb: tuple[str, ...]
    #: All that is behind it.
    rest: tuple[str, ...]
    #: Long option -> its values in order; a switch has `true` or `false`.
    options: Mapping[str, tuple[str, ...]]

    @property
    def program(self) -> str:
        """docker, podman or nerdctl, wherever it lies."""
        return PurePath(self.client[0]).name

    @property
    def name(self) -> str | None:
        return self.options["name"][-1] if "name" in self.options else None

    @property
    def id_file(self) -> str | None:
        """The file that the command itself asks the id to be written to."""
        return self.options["cidfile"][-1] if "cidfile" in self.options else None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.options.get("label", ())

    @property
    def published(self) -> tuple[str, ...]:
        """Ports as they were written: `[ADDRESS:][PORT:]PORT`."""
        return self.options.get("publish", ())

    def says(self, switch: str) -> bool:
        """Whether a switch is on: `rm`, `detach`, `replace`."""
        return switch in self.options and self.options[switch][-1] not in _FALSE

    def open_ports(self) -> tuple[str, ...]:
        """Published ports that other machines reach too: the engine behind them asks nobody for a key."""
        return tuple(port for port in self.published if not port.startswith(("127.", "localhost:", "[::1]:")))


def parse_run(words: tuple[str, ...]) -> RunCommand | None:
    """None for every command that does not run a container by one of the three."""
    if not words or PurePath(words[0]).name not in PROGRAMS:
        return None
    at = _end_of_options(words, 1, GLOBAL_SWITCHES)
    size = 2 if words[at : at + 2] == ("container", "run") else 1
    if words[at : at + size] not in (("run",), ("container", "run")):
        return None
    options: dict[str, tuple[str, ...]] = {}
    for name, value in _options(words, at + size, RUN_SWITCHES):
        long = _LONG_NAMES.get(name, name)
        options[long] = (*options.get(long, ()), value)
    return RunCommand(words[:at], words[at : at + size], words[at + size :], options)


def _end_of_options(words: tuple[str, ...], at: int, switches: frozenset[str]) -> int:
    """Where the first word stands that is neither an option nor the value of one."""
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += len(_words_of(words, at, switches)[1])
    return at


def _options(words: tuple[str, ...], at: int, switches: frozenset[str]) -> Iterator[tuple[str, str]]:
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        found, taken = _words_of(words, at, switches)
        yield from found
        at += len(taken)


def _words_of(
    words: tuple[str, ...], at: int, switches: frozenset[str]
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The options in one word, and the one or two words that they take."""
    word = words[at]
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        if equals or name in switches:
            return [(name, value if equals else "true")], (word,)
        return [(name, "".join(words[at + 1 : at + 2]))], words[at : at + 2]
    return _short_options(words, at, switches)


def _short_options(
    words: tuple[str, ...], at: int, switches: frozenset[str]
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """`-it`, `-dp 80:80`, `-p80:80`, `-d=false`: switches, of which the last letter may take a value."""
    letters = words[at][1:]
    found: list[tuple[str, str]] = []
    for index, letter in enumerate(letters):
        rest = letters[index + 1 :]
        if rest.startswith("="):
            return [*found, (letter, rest[1:])], (words[at],)
        if letter in switches:
            found.append((letter, "true"))
        elif rest:
            return [*found, (letter, rest)], (words[at],)
        else:
            return [*found, (letter, "".join(words[at + 1 : at + 2]))], words[at : at + 2]
    return found, (words[at],)


def keeper_argv(container: Container) -> tuple[str, ...]:
    """What stands before the command line of a container."""
    numbers = (str(STOP_S), str(len(container.client)))
    return (sys.executable, "-I", "-S", str(_KEEPER), str(container.id_file), *numbers, "--")


def client_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a container's client gets of the daemon's environment, beside what every worker gets."""
    found = {name: environ[name] for name in (*CLIENT_ENVIRONMENT, "TMPDIR") if environ.get(name)}
    # podman unpacks images there; the private folder of a start may lie in memory.
    return {"TMPDIR": "/var/tmp"} | found


def owner_of(run_dir: Path) -> str:
    """One roost among several on a machine, as a label's value: its run folder has one daemon at a time."""
    return hashlib.sha256(str(run_dir).encode()).hexdigest()[:16]


def owned(run: RunCommand, model_id: str, place: WorkerPlace, cwd: Path) -> tuple[Container, tuple[str, ...]]:
    """The container of this start, and the command line that starts it marked. Raises BadConfiguration."""
    if taken := [label for label in run.labels if label.startswith(_OWN_LABELS)]:
        raise BadConfiguration(
            f"cannot start {model_id}: its command sets the label {taken[0].partition('=')[0]}, and labels that begin "
            f'with "{_OWN_LABELS}" are how roost knows its containers; use another name'
        )
    owner = owner_of(place.home.parent)
    marks = {WORKER_LABEL: place.nonce, OWNER_LABEL: owner, MODEL_LABEL: model_id}
    added = [word for label, value in marks.items() for word in ("--label", f"{label}={value}")]
    if run.id_file is None:
        id_file = place.home / "container.id"
        added += ["--cidfile", str(id_file)]
    else:
        id_file = cwd / run.id_file
    container = Container(
        program=run.program,
        client=run.client,
        name=run.name,
        nonce=place.nonce,
        owner=owner,
        id_file=id_file,
        takes_volumes_along=run.says("rm"),
        replaces_namesake=run.says("replace"),
        open_ports=run.open_ports(),
    )
    return container, (*run.client, *run.verb, *added, *run.rest)
