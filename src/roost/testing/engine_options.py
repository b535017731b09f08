"""What the stand-in engine does: for the whole process (flags) and for one request (the field `x_stand_in`)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from roost.testing.engine_memory import Appetite


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered. Set by the body's `x_stand_in`, over the process's `--behave`."""

    #: Length of the reply in tokens; None: the deterministic sentence.
    tokens: int | None = None
    #: The reply's text instead of the deterministic sentence.
    text: str | None = None
    #: The reply's tokens as they are: a text in pieces of any length.
    pieces: tuple[str, ...] | None = None
    #: A scripted agent: the reply's text by how many results of tools a request with tools brings.
    turns: tuple[str, ...] | None = None
    #: Changes to all this by how many messages a request brings: what is asked again is answered otherwise.
    by_messages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Arguments of calls in the messages that are not the text of a JSON object are 500, as with chat templates.
    strict_history: bool = False
    #: Silence before the first token, on top of the process's prefill delay.
    delay_s: float = 0.0
    #: Like `delay_s`, but the CPU works: a long prefill.
    busy_s: float = 0.0
    #: Silence before each token; None: the process's.
    token_delay_s: float | None = None
    #: SIGKILL to itself after so many tokens (0: before the first byte). In-process: the connection is aborted.
    die_after_tokens: int | None = None
    #: The connection alone is aborted, the process lives.
    abort_after_tokens: int | None = None
    #: Never another byte, while /health stays 200.
    hang_after_tokens: int | None = None
    #: Wait for `POST /stand-in/release`.
    hold_after_tokens: int | None = None
    #: Wait for `POST /stand-in/release` between `[DONE]` and the end of the body.
    hold_after_done: bool = False
    #: A clean end of the body after the tokens, without `[DONE]`.
    eof_without_done: bool = False
    #: `data: {"error": …}` under status 200 after so many tokens.
    error_frame_after: int | None = None
    #: The answer's status and body as they are, without any generation.
    status: int | None = None
    body: str | None = None
    content_type: str = "application/json"
    #: Answer headers added to any answer.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The body of a 200 as it is: any stream grammar a test can think of.
    raw: str | None = None
    #: Each token is the monotonic time in nanoseconds at which it was sent: for measuring what lies between.
    stamp_tokens: bool = False
    #: Each token is so long.
    huge_token_bytes: int | None = None
    #: The answer is written in pieces of so many bytes.
    split_bytes: int | None = None
    #: `[DONE]` without a finish_reason.
    no_finish: bool = False
    #: finish_reason instead of stop or length.
    finish_reason: str | None = None
    #: SSE lines end in CRLF.
    crlf: bool = False
    #: So many SSE comments before the first token, as mlx-lm sends for prefill progress.
    comments: int = 0
    #: Nothing but SSE comments, as fast as they are taken, instead of a reply.
    chatter: bool = False
    #: So many `100 Continue` before the answer; -1: nothing else, for ever.
    interim: int = 0
    #: The answer is a list of numbers of about so many bytes, in chunks; -1: without an end.
    body_bytes: int | None = None
    #: Text of the reasoning field, sent before the content.
    reasoning: str | None = None
    #: So many bytes of log lines are written before the answer.
    log_bytes: int = 0
    #: Memory taken before the first token and given back with the reply's end; kept for ever.
    borrow_mib: int = 0
    keep_mib: int = 0
    #: `{"name": …, "arguments": "…"}`: answered as a tool call instead of content.
    tool_call: Mapping[str, str] | None = None

    def updated(self, changes: Mapping[str, Any]) -> Behaviour:
        """This behaviour with some fields replaced. An unknown name is a mistake in the test: TypeError."""
        return replace(self, **changes)

    def for_messages(self, count: int) -> Behaviour:
        """How a request with so many is answered."""
        return self.updated(self.by_messages.get(str(count), {}))


@dataclass(frozen=True)
class EngineOptions:
    """One stand-in process. Times in seconds."""

    model: str = "stand-in"
    uds: Path | None = None
    host: str = "127.0.0.1"
    #: 0 takes a free port.
    port: int = 0
    #: Until then every route but /stand-in is 503, as llama-server does.
    load_s: float = 0.0
    #: At the end of the load, this is the last line on stderr and the process exits with `exit_code`.
    load_fails: str | None = None
    #: Exits by itself so long after the load.
    exit_after_load_s: float | None = None
    exit_code: int = 1
    #: Exits before it listens.
    exit_at_start: bool = False
    #: Never listens.
    never_listens: bool = False
    ignore_term: bool = False
    #: A child that shares the process group and, with `ignore_term`, ignores SIGTERM too.
    fork_grandchild: bool = False
    token_delay_s: float = 0.0
    prefill_delay_s: float = 0.0
    #: /health is 404.
    no_health: bool = False
    #: /health is 200 from the start, as mlx-lm's is.
    health_lies: bool = False
    #: Bytes written to stdout in lines after the load; 0: none.
    log_flood_bytes: int = 0
    #: Prints each prompt, as vllm-mlx does at INFO.
    log_prompts: bool = False
    #: Longer prompts (in words) are 400 as llama-server answers them; None: no check.
    context: int | None = None
    #: Requests at once before the rest wait; None: no limit.
    slots: int | None = None
    #: Environment variable with the bearer token that it asks for.
    api_key_env: str | None = None
    #: Files mapped into memory for the process's life, as llama.cpp maps weights.
    map_files: tuple[Path, ...] = ()
    #: Another name in a request is 404 instead of being answered.
    strict_model: bool = False
    #: A client's disconnect does not stop a request that is not a stream, as with the MLX servers.
    ignores_disconnect: bool = False
    #: What `keep_mib` of requests may come to together, as with a cache that has a cap; None: no cap.
    cache_cap_mib: int | None = None
    appetite: Appetite = field(default_factory=Appetite)
    behave: Behaviour = Behaviour()


def parse_options(arguments: Sequence[str]) -> EngineOptions:
    """The options of a command line; exits with 2 as argparse does."""
    namespace = vars(_parser().parse_args(arguments))
    namespace["map_files"] = tuple(namespace["map_files"])
    namespace["appetite"] = Appetite(**{name.name: namespace[name.name] for name in fields(Appetite)})
    namespace["behave"] = Behaviour().updated(json.loads(namespace["behave"]))
    return EngineOptions(**{name.name: namespace[name.name] for name in fields(EngineOptions)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m roost.testing.engine", description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--uds", type=Path, default=None)
    place.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", default="stand-in")
    for name in ("--load-s", "--token-delay-s", "--prefill-delay-s"):
        parser.add_argument(name, type=float, default=0.0)
    parser.add_argument("--exit-after-load-s", type=float, nargs="?", const=0.0, default=None)
    parser.add_argument("--exit-code", type=int, default=1)
    parser.add_argument("--load-fails", default=None)
    for name in _SWITCHES:
        parser.add_argument(name, action="store_true")
    parser.add_argument("--log-flood", dest="log_flood_bytes", type=int, nargs="?", const=50 * 2**20, default=0)
    for name in ("--hold-mib", "--spike-mib", "--leak-mib-s"):
        parser.add_argument(name, type=int, default=0)
    parser.add_argument("--leak-most-mib", type=int, default=Appetite.leak_most_mib)
    parser.add_argument("--cache-cap-mib", type=int, default=None)
    parser.add_argument("--context", type=int, default=None)
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--api-key-env", default=None)
    parser.add_argument("--map-file", dest="map_files", type=Path, action="append", default=[])
    parser.add_argument("--behave", default="{}", help="JSON: the behaviour of every request")
    return parser


_SWITCHES = (
    "--exit-at-start",
    "--never-listens",
    "--ignore-term",
    "--fork-grandchild",
    "--no-health",
    "--health-lies",
    "--log-prompts",
    "--strict-model",
    "--ignores-disconnect",
    "--leaks-in-load",
)
