"""Every command as one table, and the application made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from roost import __version__
from roost.cli import (
    ask,
    chat,
    config,
    connect,
    doctor,
    engines,
    explain,
    import_,
    keys,
    logs,
    models,
    node,
    plan,
    status,
    stop,
    travel,
    up,
    use,
    verify,
    wait,
)

HELP = """Serve local models behind one honest OpenAI-shaped endpoint.

A role (default, coding, embedding, …) means exactly one model; that model answers or nobody does.

\b
First steps:
  roost up                       serve; the first time it fetches a small model
  roost ask "What is 2+2?"       ask it
  roost models discover          what else lies on this disk
  roost use coding MODEL         point a role at a model
"""


@dataclass(frozen=True)
class Row:
    """One command."""

    section: str
    name: str
    function: Callable[..., None]


@dataclass(frozen=True)
class GroupRow:
    """A command with commands of its own."""

    section: str
    name: str
    help: str
    rows: tuple[tuple[str, Callable[..., None]], ...]
    #: Runs when the group is named alone; None: that shows its help.
    default: Callable[..., None] | None


#: No first sentence is longer; beyond it typer cuts with dots.
SENTENCE_CHARACTERS = 110

SERVE, TALK, MODELS, LOOK, SET_UP = "Serve", "Talk", "Models", "Look", "Set up"

COMMANDS: tuple[Row | GroupRow, ...] = (
    Row(SERVE, "up", up.up),
    Row(SERVE, "down", stop.down),
    Row(SERVE, "restart", stop.restart),
    Row(SERVE, "wait", wait.wait),
    Row(TALK, "ask", ask.ask),
    Row(TALK, "chat", chat.chat),
    Row(MODELS, "use", use.use),
    GroupRow(
        MODELS,
        "models",
        "What is on this machine and how it gets there.",
        (
            ("add", models.models_add),
            ("list", models.models_list),
            ("discover", models.models_discover),
            ("show", models.models_show),
            ("rm", models.models_rm),
            ("verify", verify.models_verify),
            ("pull", travel.models_pull),
            ("push", travel.models_push),
        ),
        models.models_list,
    ),
    Row(MODELS, "plan", plan.plan),
    Row(MODELS, "load", stop.load),
    Row(MODELS, "unload", stop.unload),
    Row(LOOK, "status", status.status),
    Row(LOOK, "explain", explain.explain),
    Row(LOOK, "logs", logs.logs),
    Row(LOOK, "doctor", doctor.doctor),
    Row(SET_UP, "connect", connect.connect),
    GroupRow(
        SET_UP,
        "config",
        "The settings in force, and whether they hold together.",
        (("show", config.config_show), ("check", config.config_check)),
        config.config_show,
    ),
    GroupRow(
        SET_UP,
        "import",
        "Another program's configuration as roost's own.",
        (("llama-swap", import_.import_llama_swap),),
        None,
    ),
    GroupRow(
        SET_UP,
        "engines",
        "The programs that run models.",
        (("list", engines.engines_list), ("install", engines.engines_install)),
        engines.engines_list,
    ),
    GroupRow(
        SET_UP,
        "keys",
        "Who may call this endpoint.",
        (
            ("add", keys.keys_add),
            ("list", keys.keys_list),
            ("revoke", keys.keys_revoke),
            ("open-loopback", keys.keys_open_loopback),
        ),
        keys.keys_list,
    ),
    GroupRow(
        SET_UP,
        "node",
        "Other machines of yours, paired with this one.",
        (
            ("invite", node.node_invite),
            ("join", node.node_join),
            ("list", node.node_list),
            ("revoke", node.node_revoke),
            ("ca", node.node_ca),
        ),
        node.node_list,
    ),
)


class Listed(TyperGroup):
    """Lists its commands with their whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self.write_section(ctx, formatter, "Commands", list(self.commands))

    def write_section(self, ctx: Any, formatter: Any, heading: str, names: Sequence[str]) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in names]
        with formatter.section(heading):
            formatter.write_dl(
                [(name, command.get_short_help_str(SENTENCE_CHARACTERS)) for name, command in commands if command]
            )


class Sections(Listed):
    """Lists the commands under the headings of the table."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section in dict.fromkeys(row.section for row in COMMANDS):
            self.write_section(ctx, formatter, section, [row.name for row in COMMANDS if row.section == section])


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roost {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


def build_app() -> typer.Typer:
    """The application; plain text help, since it is read in pipes and in the reference as well."""
    app = typer.Typer(
        name="roost",
        cls=Sections,
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    for row in COMMANDS:
        if isinstance(row, Row):
            app.command(row.name)(row.function)
        else:
            app.add_typer(_group(row), name=row.name)
    return app


def _group(row: GroupRow) -> typer.Typer:
    default = row.default
    group = typer.Typer(cls=Listed, help=row.help, rich_markup_mode=None, no_args_is_help=default is None)

    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None and default is not None:
            default()

    help_text = f"{row.help} Alone, it is `{_default_name(row)}`." if default else row.help
    group.callback(invoke_without_command=default is not None, help=help_text)(alone)
    for name, function in row.rows:
        group.command(name)(function)
    return group


def _default_name(row: GroupRow) -> str:
    return next(f"{row.name} {name}" for name, function in row.rows if function is row.default)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; errors of the command itself pass through."""
    try:
        build_app()(list(arguments), prog_name="roost")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0
