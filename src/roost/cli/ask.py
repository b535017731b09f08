"""`roost ask`: one question, one streamed answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from roost.cli.doors import ask_daemon
from roost.cli.output import note

if TYPE_CHECKING:
    from roost.client import DaemonClient

#: In `ask` and `chat` alike.
ROLE_HELP = "Role or model id that answers."
TOKENS_HELP = "Longest answer, in tokens."
CUT = "note: the answer was cut at its token limit"


@dataclass(frozen=True)
class Answer:
    """What was said, and why it ended: stop, length, tool_calls."""

    text: str
    finish: str


def ask(
    prompt: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="The question.")] = None,
    role: Annotated[str, typer.Option("--model", "-m", metavar="ROLE", help=ROLE_HELP)] = "default",
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="How it shall answer.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help=TOKENS_HELP)] = None,
    local: Annotated[bool, typer.Option("--local", help="Never at a provider, whatever the settings say.")] = False,
) -> None:
    """Ask once; the answer streams to standard output and nothing else does.

    What comes in on standard input follows the prompt.

    \b
    Examples:
      roost ask "What is 2+2?"
      git diff | roost ask "commit message" -m coding
      roost ask -s "Answer in French." < letter.txt
    """
    text = question(" ".join(prompt or ()), piped_text(sys.stdin))
    if not text:
        raise typer.BadParameter('nothing to ask: give a prompt, as in roost ask "What is 2+2?", or pipe text in')
    messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]

    async def converse(client: DaemonClient) -> Answer:
        return await stream_answer(client, role, messages, max_tokens=max_tokens, is_local=local)

    if ask_daemon(converse).finish == "length":
        note(CUT)


async def stream_answer(
    client: DaemonClient,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    max_tokens: int | None = None,
    is_local: bool = False,
    reasoning: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Write the answer to standard output as it comes, ending in a line break, also when it breaks off."""
    said, finish = "", ""
    headers = {"x-roost-local-only": "1"} if is_local else None
    try:
        async for delta in client.chat(model, messages, max_tokens=max_tokens, headers=headers):
            reasoning(delta.reasoning)
            sys.stdout.write(delta.text)
            sys.stdout.flush()
            said, finish = said + delta.text, delta.finish or finish
    finally:
        if said and not said.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
    return Answer(said, finish)


def question(prompt: str, piped: str) -> str:
    """The prompt first, the piped text under it; one of both is enough."""
    return "\n\n".join(part for part in (prompt.strip(), piped.strip()) if part)


def piped_text(stream: TextIO | None) -> str:
    """What is piped in; nothing on a terminal. Bytes that are no UTF-8 (a diff of old files) become marks."""
    if stream is None or stream.closed or stream.isatty():
        return ""
    return stream.buffer.read().decode("utf-8", errors="replace")
