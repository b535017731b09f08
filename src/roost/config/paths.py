"""Where roost's files live: the contract's table, and what moves each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM_SETTINGS = Path("/etc/roost/roost.toml")


@dataclass(frozen=True)
class Paths:
    """Resolved locations; nothing is created by looking."""

    settings: Path
    registry: Path
    state: Path
    models: Path
    system_settings: Path = SYSTEM_SETTINGS

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Paths:
        """`ROOST_HOME` moves all four, the single variables move one each and win over it."""
        user = Path(environ.get("HOME") or Path.home())
        home = environ.get("ROOST_HOME")
        base = Path(home).expanduser().absolute() if home else None

        def pick(variable: str, inside_home: str, default: Path) -> Path:
            if value := environ.get(variable):
                return Path(value).expanduser().absolute()
            return base / inside_home if base else default

        return cls(
            settings=pick("ROOST_CONFIG", "roost.toml", user / ".config/roost/roost.toml"),
            registry=pick("ROOST_REGISTRY", "registry.json", user / ".config/ai-stack/registry.json"),
            state=pick("ROOST_STATE", "state", user / ".local/state/roost"),
            models=pick("ROOST_MODELS", "models", user / ".local/share/roost/models"),
        )

    @property
    def run(self) -> Path:
        """Sockets, pid file, worker homes; mode 0700."""
        return self.state / "run"

    @property
    def control_socket(self) -> Path:
        """The daemon's own API for the CLI: a unix socket that needs no key."""
        return self.run / "roost.sock"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def saved(self) -> Path:
        """What workers had computed when they were stopped; mode 0700, for conversations are in it."""
        return self.state / "saved"

    @property
    def kernels(self) -> Path:
        """What engines compiled, from one start to the next."""
        return self.state / "kernels"

    @property
    def database(self) -> Path:
        return self.state / "roost.sqlite"

    @property
    def engine_environments(self) -> Path:
        """One virtual environment an engine: `engines/NAME`."""
        return self.state / "engines"

    @property
    def keys(self) -> Path:
        return self.state / "keys.json"

    @property
    def node(self) -> Path:
        """This machine's own key, its certificates, and the machines that are paired with it; mode 0700."""
        return self.state / "node"

    @property
    def verdicts(self) -> Path:
        """What `roost models verify` found of models and tools."""
        return self.state / "verdicts.json"

    @property
    def catalog(self) -> Path:
        """What `roost models add` was told, and digests already computed."""
        return self.state / "catalog.json"
