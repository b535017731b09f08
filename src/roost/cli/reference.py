"""Writes the CLI reference from the application itself: `python -m roost.cli.reference > docs/reference/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from roost.cli.app import build_app

TITLE = """# Command line

Generated from the application by `python -m roost.cli.reference`; do not edit.

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration, 130 interrupted. Answers go to standard output,
everything else to standard error. `NO_COLOR` switches colour off. `roost --install-completion` sets up completion
of commands and flags in your shell. `ROOST_TRACEBACK=1` shows where an unforeseen error happened.

`up`, `use`, `import`, `models`, `plan`, `config`, `engines`, `doctor`, `keys` and the daemon's own `logs` work without
a running roost; the others talk to it over the control socket in the state folder, which needs no key.
"""
#: Bookkeeping of the shell, not of roost.
LEFT_OUT = ("--help", "--install-completion", "--show-completion")


def reference() -> str:
    """The whole page as Markdown."""
    root: Any = typer.main.get_command(build_app())
    sections = [
        TITLE,
        *(block for name, command in root.commands.items() for block in _blocks(f"roost {name}", command)),
    ]
    return "\n".join(sections)


def _blocks(path: str, command: Any) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _blocks(f"{path} {name}", child)
        return
    yield f"## `{path}`\n"
    yield f"```\n{' '.join([path, *_usage(command)])}\n```\n"
    yield _prose(command.help or "")
    if rows := [_row(parameter) for parameter in command.params if _shown(parameter)]:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _usage(command: Any) -> list[str]:
    return [piece for parameter in command.params if _shown(parameter) for piece in _usage_of(parameter)]


def _usage_of(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        name = _metavar(parameter)
        return [name if parameter.required else f"[{name}]"]
    return [f"[{_option(parameter)}]"]


def _option(parameter: Any) -> str:
    longest = max(parameter.opts, key=len)
    return longest if parameter.is_flag else f"{longest} {_metavar(parameter)}"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar).strip("[]")


def _prose(text: str) -> str:
    """The help's paragraphs; what stands after a `\\b` keeps its lines, as code."""
    parts = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b\n"):
            heading, *lines = paragraph.removeprefix("\b\n").splitlines()
            parts.append(f"{heading}\n\n```\n" + "\n".join(line.strip() for line in lines) + "\n```")
        else:
            parts.append(paragraph)
    return "\n\n".join(parts) + "\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = _metavar(parameter)
    else:
        name = ", ".join([*sorted(parameter.opts, key=len)[:-1], _option(parameter)])
    return f"| `{name.replace('|', chr(92) + '|')}` | {parameter.help or ''}{_default(parameter)} |"


def _default(parameter: Any) -> str:
    default = parameter.default
    return "" if default in (None, False, ()) or callable(default) else f" Default: {default}."


def _shown(parameter: Any) -> bool:
    return not parameter.hidden and not set(parameter.opts) & set(LEFT_OUT)


if __name__ == "__main__":
    sys.stdout.write(reference())
