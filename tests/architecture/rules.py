"""The architecture as data: who may import whom, where OS code lives, how long things may be, and why."""

from __future__ import annotations

from dataclasses import dataclass

#: Values that every room may import: they import nothing but each other.
COMMON = frozenset(
    {
        "roost.errors",
        "roost.api",
        "roost.config.settings",
        "roost.config.section",
        "roost.config.knobs",
        "roost.config.coexistence",
        "roost.config.far",
        "roost.config.places",
        "roost.config.selecting",
        "roost.config.paths",
        "roost.catalog.spec",
        "roost.catalog.types",
        "roost",
    }
)


@dataclass(frozen=True)
class Rule:
    """What one room may import besides COMMON and itself, and why nothing else."""

    may: frozenset[str]
    because: str


def rule(*may: str, because: str) -> Rule:
    return Rule(frozenset(may), because)


#: Keys and entries are rooms, or top modules such as `client`; an entry `room.module` allows that module alone.
IMPORTS: dict[str, Rule] = {
    "errors": rule(because="everything stands on it"),
    "api": rule(because="gateway, client and cli read the same shapes: it belongs to none of them"),
    "config": rule("host", because="settings are values; whoever uses them asks for them"),
    "host": rule(because="facts about this machine, for rooms that know what they are for"),
    "catalog": rule("host", because="what a model is does not depend on its name, its engine or its worker"),
    "registry": rule(
        "config.files",
        "config.watch",
        "config.locate",
        "config.layout",
        because="what a name means does not depend on what is running; its file is handled as the settings' is",
    ),
    "memory": rule("host", "catalog", because="it decides over numbers that callers hand in"),
    "engines": rule(
        "host",
        "catalog",
        "memory.types",
        because="it describes a start and its sizes; starting, stopping and choosing is workers', deciding is memory's",
    ),
    "workers": rule(
        "host",
        "catalog",
        "memory",
        "engines",
        "config.layout",
        "config.files",
        because="it sees no HTTP request and no name: others hold its tickets",
    ),
    "routing": rule("registry", "catalog", "memory", because="pure: workers and nodes come in as status values"),
    "store": rule("config.files", because="other rooms see its protocols; it knows nothing of who records"),
    "nodes": rule(
        "config.files",
        "engines.far",
        "engines.wire",
        "store.keys",
        because="the way to a machine is a way to a server; what is asked there, and why there, is not its business",
    ),
    "cloud": rule(
        "engines.far",
        "engines.wire",
        because="the way to a provider, its words and its prices; what is asked there, and why there, is not its "
        "business",
    ),
    "toolcalls": rule(because="pure: text in, calls out; it knows neither requests nor engines"),
    "gateway": rule(
        "registry",
        "routing",
        "workers",
        "store",
        "toolcalls",
        "nodes",
        "cloud",
        because="engines are behind workers' tickets: a request must not depend on which engine answers",
    ),
    "connect": rule(
        "config.files",
        "config.locate",
        because="texts of other programs' settings: what is served, and with which key, is handed in",
    ),
    "verify": rule("client", because="it measures through the front door, as any client could"),
    "client": rule("daemon_types", because="it knows the API's shapes, not the daemon's insides"),
    "daemon_types": rule(because="the seam between cli and daemon imports neither"),
    "cli": rule(
        "client",
        "config",
        "host",
        "catalog",
        "registry",
        "memory",
        "engines",
        "service",
        "bench",
        "connect",
        "daemon_types",
        "store.keys",
        "store.verdicts",
        "verify",
        because="what concerns the running daemon goes through its API, so that scripts can do the same",
    ),
    "daemon": rule(
        "config",
        "host",
        "catalog",
        "registry",
        "memory",
        "engines",
        "workers",
        "routing",
        "store",
        "gateway",
        "nodes",
        "cloud",
        "daemon_types",
        because="it composes everything but the front ends, which start it",
    ),
    "service": rule("host", "config", because="units start the CLI; they know nothing of what it does"),
    "testing": rule(
        "host",
        "catalog",
        "registry",
        "engines",
        "workers",
        "store",
        "gateway",
        "routing",
        "config",
        "nodes",
        "cloud",
        because="fakes stand in for rooms; the composed daemon is tested as it is",
    ),
}

#: Single modules with an import that their room may not have, and why.
IMPORT_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("roost.cli.up", "roost.daemon"): "`roost up` runs the daemon; no other command may",
}

#: Nobody imports these, whatever their table says.
NEVER_IMPORTED = {
    "cli": "the front end is started, not imported",
    "testing": "a fake in the product is a fault waiting to happen",
}

#: Rooms where code may ask which operating system this is.
OS_ROOMS = frozenset({"host", "service"})
#: Modules elsewhere that must, and why.
OS_EXCEPTIONS: dict[str, str] = {}

#: Where any Exception may be caught, and why nothing finer can be.
BROAD_EXCEPT: dict[str, str] = {
    "roost.cli.main": "the CLI's border: people get a sentence, not a traceback",
    "roost.gateway.app": "the HTTP border: a client gets an error object, whatever broke",
    "roost.workers.floor": "the supervisor's loop: one worker's fault must not end the others",
}
#: A launcher runs in an engine's interpreter, beside code that raises whatever it likes.
BROAD_EXCEPT_ROOMS = ("roost.engines.launchers",)

LARGEST_FILE_LINES = 350
LARGEST_FUNCTION_LINES = 60
#: At most one function in twenty may be longer than this.
LONG_FUNCTION_LINES = 40
LARGEST_MEDIAN_FUNCTION_LINES = 11
LARGEST_INIT_LINES = 5
#: Rooms whose __init__ may hold an import besides its docstring, and why.
INIT_EXCEPTIONS = {"roost.daemon": "`roost.daemon.run` is the one name that its one caller knows"}
