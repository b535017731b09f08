"""`roost chat`: a conversation. What is said lives in memory only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.ask import CUT, ROLE_HELP, TOKENS_HELP, Answer, stream_answer
from roost.cli.doors import ask_daemon
from roost.cli.output import note, paint_for
from roost.cli.suggest import did_you_mean
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.client import DaemonClient

COMMANDS = {
    "/model NAME": "talk to another role or model; what was said goes along",
    "/reset": "forget what was said",
    "/help": "this list",
    "/quit": "leave (Ctrl-D too)",
}


@dataclass
class Conversation:
    """Who is spoken to and what was said so far."""

    model: str
    system: str | None = None
    #: Longest answer.
    max_tokens: int | None = None
    said: list[dict[str, str]] = field(default_factory=list)

    def messages(self, text: str) -> list[dict[str, str]]:
        opening = [{"role": "system", "content": self.system}] if self.system else []
        return [*opening, *self.said, {"role": "user", "content": text}]

    def remember(self, text: str, answer: str) -> None:
        self.said += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def chat(
    role: Annotated[str, typer.Option("--model", "-m", metavar="ROLE", help=ROLE_HELP)] = "default",
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="How it shall answer.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help=TOKENS_HELP)] = None,
) -> None:
    """Talk with a model; /help lists what can be typed besides text.

    Piped in, each line is one message and the answers go to standard output. Ctrl-C stops an answer.

    \b
    Examples:
      roost chat
      roost chat -m coding -s "Be brief."
      printf 'Hello\\nAnd in French?\\n' | roost chat
    """
    conversation = Conversation(role, system, max_tokens)
    interactive = sys.stdin.isatty()
    if interactive:
        note(_greeting(role))
    for line in _lines(interactive):
        text = line.strip()
        if text.startswith("/"):
            if not obey(text, conversation):
                return
        elif text:
            _turn(conversation, text, interactive)


def obey(command: str, conversation: Conversation) -> bool:
    """Do what a line beginning with a slash says; False: leave."""
    word, _, rest = command.partition(" ")
    match word:
        case "/quit" | "/exit" | "/bye":
            return False
        case "/reset":
            conversation.said.clear()
            note("forgotten")
        case "/model" if rest.strip():
            conversation.model = rest.strip()
            note(f"talking to {conversation.model}")
        case "/model":
            note(f"talking to {conversation.model}; /model NAME changes that")
        case "/help" | "/?":
            for name, meaning in COMMANDS.items():
                note(f"  {name:<12} {meaning}")
        case _:
            note(f"cannot do {word}{did_you_mean(word, [name.split()[0] for name in COMMANDS])}; see /help")
    return True


def _greeting(role: str) -> str:
    async def resolve(client: DaemonClient) -> str | None:
        roles = (await client.status()).roles
        return next((report.resolves_to for report in roles if report.role == role), None)

    resolved = ask_daemon(resolve)
    target = f" ({resolved})" if resolved else ""
    return f"talking to {role}{target}; /help for commands, Ctrl-D to leave"


def _lines(interactive: bool) -> Iterator[str]:
    if not interactive:
        yield from sys.stdin
        return
    import readline  # noqa: F401  gives input() history and editing; nothing is written to disk

    while True:
        try:
            yield input("> ")
        except EOFError:
            note("")
            return


def _turn(conversation: Conversation, text: str, interactive: bool) -> None:
    """One question and its answer. On a terminal a refusal or Ctrl-C ends the turn, not the conversation."""
    try:
        answer = _answer(conversation, text, interactive)
    except KeyboardInterrupt:
        if not interactive:
            raise
        note("stopped")
    except RoostError as error:
        if not interactive:
            raise
        note(f"error: {error.message}")
    else:
        conversation.remember(text, answer.text)
        if answer.finish == "length":
            note(CUT)


def _answer(conversation: Conversation, text: str, interactive: bool) -> Answer:
    paint = paint_for(sys.stderr)

    def think(reasoning: str) -> None:
        if interactive and reasoning:
            sys.stderr.write(paint.faint(reasoning))

    async def converse(client: DaemonClient) -> Answer:
        messages, limit = conversation.messages(text), conversation.max_tokens
        return await stream_answer(client, conversation.model, messages, max_tokens=limit, reasoning=think)

    return ask_daemon(converse)
