"""Serves one model folder with vllm-mlx on a unix socket. Runs inside the engine's own interpreter, alone:

    ENGINE_PYTHON -I vllm_mlx.py MODEL_FOLDER < configuration.json

or, as a spare, without a folder: see spare.py. The configuration is `{folder, socket, served_name, context_length,
arguments, log_level}`, the arguments those of `vllm-mlx serve`. What it adds to that server: the socket, a health that
asks the engine's loop, the context as a limit of prompt and reply together, a count of prompt tokens, an end at once on
SIGTERM. It keeps prompts from the log (vllm-mlx 0.6.0 writes the first 300 characters of the last message at INFO) and
from places that nobody bounds (it saves KV and token ids below HOME at each stop): they are saved on request, into the
folder that roost names.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import uvicorn
from vllm_mlx import cli, server
from vllm_mlx.api.tool_calling import convert_tools_for_template
from vllm_mlx.scheduler import Scheduler

# roost itself is not installed here: its folder is visible for these imports and nothing else is taken from it.
sys.path.append(str(Path(__file__).parents[3]))
from roost.engines.launchers.mlx_requests import DROP_ROUTE
from roost.engines.launchers.spare import JsonObject, told
from roost.host.heap import give_back

sys.path.pop()

#: What the engine and uvicorn import on the way to their first request.
LATER_IMPORTS = (
    "vllm_mlx.engine_core",
    "mlx_vlm",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "anyio._core._streams",
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Uncountable(Exception):
    """The prompt's tokens cannot be told without computing (images)."""


def end_process(what: str, reason: str) -> None:
    """Not sys.exit: threads of the engine would keep a failed process alive, and its memory with it."""
    print(f"{what}: {' '.join(reason.split())[:500]}", file=sys.stderr, flush=True)
    os._exit(1)


def generation_is_alive() -> bool:
    batched = getattr(server._engine, "_engine", None)
    return batched is not None and bool(batched.engine.is_healthy())


def prompt_of(body: JsonObject) -> str:
    """The text that the engine would tokenize for this request."""
    if "messages" not in body:
        return str(body.get("prompt", ""))
    request = server.ChatCompletionRequest(**body)
    prepared = server._prepare_chat_completion_invocation(server._engine, request, 1)
    values = prepared.chat_kwargs
    if values.get("images") or values.get("videos"):
        raise Uncountable
    tools = values.get("tools")
    prompt = server._engine._apply_chat_template(
        prepared.messages,
        convert_tools_for_template(tools) if tools else None,
        chat_template_kwargs=values.get("chat_template_kwargs"),
        enable_thinking=values.get("enable_thinking"),
    )
    return str(prompt)


def limit_to_context(context_length: int) -> None:
    """The engine knows no context: it answers with noise once the trained positions are used up."""
    engine_adds = Scheduler.add_request

    def add_request(scheduler: Any, request: Any) -> None:
        if request.prompt_token_ids is None and isinstance(request.prompt, str):
            request.prompt_token_ids = list(scheduler.tokenizer.encode(request.prompt))
            request.num_prompt_tokens = len(request.prompt_token_ids)
        room = context_length - len(request.prompt_token_ids or ())
        if room < 1:
            # The gateway counts before it sends; here a stream is under way already and can only break.
            raise server.HTTPException(400, f"the prompt leaves no room in the context of {context_length} tokens")
        request.sampling_params.max_tokens = min(request.sampling_params.max_tokens, room)
        engine_adds(scheduler, request)

    Scheduler.add_request = add_request


def refuse_tokens_beyond(vocabulary_size: int) -> None:
    """A bias on a token that is not there writes outside the logits and kills the process (0.6.0)."""
    engine_attaches = server._attach_logit_bias_processor

    def is_beyond(token: str) -> bool:
        return token.lstrip("-").isdecimal() and not 0 <= int(token) < vocabulary_size

    def attach(chat_kwargs: JsonObject, logit_bias: Any) -> None:
        if isinstance(logit_bias, dict) and any(is_beyond(str(token)) for token in logit_bias):
            raise server.HTTPException(400, f"logit_bias: token ids are below {vocabulary_size}")
        engine_attaches(chat_kwargs, logit_bias)

    server._attach_logit_bias_processor = attach


def vocabulary_size(folder: str) -> int | None:
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    size = config.get("text_config", config).get("vocab_size")
    return size if isinstance(size, int) else None


def keep_prompts_out_of_logs() -> None:
    """A filter of a handler sees the records of all loggers, those made later included."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(without_prompts)


def without_prompts(record: logging.LogRecord) -> bool:
    if not record.name.startswith("vllm_mlx"):
        return True
    return record.levelno > logging.DEBUG and "preview" not in record.getMessage()


class Front:
    """The engine's application behind our own health, models and count."""

    def __init__(self, app: Any, served_name: str, context_length: int | None) -> None:
        self.app, self.served_name, self.context_length = app, served_name, context_length
        self.failure = ""
        self.waking = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, functools.partial(self.note_failure, send))
        elif scope["path"] == "/health":
            await reply(send, *self.health())
        elif scope["path"] == "/roost/count":
            await reply(send, *self.count(await read_body(receive)))
        elif scope["path"] == "/roost/sizes":
            await reply(send, 200, sizes())
        elif scope["path"] == "/roost/park":
            await park()
            await reply(send, 200, {})
        elif scope["path"] == "/roost/wake":
            self.waking = True
            await reply(send, 202, {})
            # The answer is whole: nobody waits for what follows.
            await wake()
            self.waking = False
        elif scope["path"] == DROP_ROUTE:
            await drop_caches()
            await reply(send, 200, {})
        elif scope["path"] in CACHE_ACTIONS:
            folder = json.loads(await read_body(receive))["folder"]
            await reply(send, *await move_cache(CACHE_ACTIONS[scope["path"]], folder))
        else:
            await self.app(scope, receive, send)

    async def note_failure(self, send: Send, message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.failure = (message.get("message", "").strip().splitlines() or ["startup failed"])[-1]
        await send(message)

    def health(self) -> tuple[int, JsonObject]:
        if self.waking:
            return 503, refusal("loading again")
        if not generation_is_alive():
            return 500, {"status": "dead"}
        return 200, {"status": "ok", "model": self.served_name, "context_length": self.context_length}

    def count(self, raw: bytes) -> tuple[int, JsonObject]:
        try:
            return 200, {"prompt_tokens": len(server._engine.tokenizer.encode(prompt_of(json.loads(raw))))}
        except Uncountable:
            return 501, refusal("the tokens of an image are not known before it is computed")
        except Exception as error:
            # Its text may hold the request: the kind of the error is all that is told.
            return 400, refusal(f"cannot make a prompt of this request: {type(error).__name__}")


#: Makes the engine anew as it was first made. The engine's own way of loading late forgets its share of GPU memory.
HOW_IT_IS_MADE: list[Callable[[], Any]] = []


def remember_how_it_is_made() -> None:
    made = server.BatchedEngine

    def make(**arguments: Any) -> Any:
        HOW_IT_IS_MADE[:] = [functools.partial(made, **arguments)]
        return made(**arguments)

    server.BatchedEngine = make


async def park() -> None:
    """Nothing runs now. The engine collects its own garbage and empties MLX's cache of buffers."""
    engine, server._engine = server._engine, None
    await engine.stop()
    del engine
    gc.collect()
    mx.clear_cache()
    give_back()


async def drop_caches() -> None:
    """Prompts that were kept, and MLX's cache of buffers; what runs goes on. A parked worker has none."""
    if server._engine is not None:
        await server._engine._clear_runtime_caches_on_owner()
    gc.collect()
    mx.clear_cache()
    give_back()


async def wake() -> None:
    try:
        engine = HOW_IT_IS_MADE[0]()
        await engine.start()
        server._activate_engine(engine)
    except Exception as error:
        end_process("cannot load the model again", f"{type(error).__name__}: {error}")


def sizes() -> JsonObject:
    """What bounds its memory; MLX tells a limit only to whoever sets another."""
    engine = server._engine
    found = {"share": engine._gpu_memory_utilization, "scheduler": repr(engine._scheduler_config)}
    for name in ("set_cache_limit", "set_memory_limit"):
        change = getattr(mx, name)
        found[name] = change(2**50)
        change(found[name])
    return found


#: Path -> what the batched engine calls it; both run in the thread that owns the model.
CACHE_ACTIONS = {
    "/roost/cache/save": "_save_cache_to_disk_on_owner",
    "/roost/cache/restore": "_load_cache_from_disk_on_owner",
}


async def move_cache(action: str, folder: str) -> tuple[int, JsonObject]:
    """Between the engine's prefix cache and a folder; entries of it when restored, whether there were any when saved.

    The engine compares model, quantization and versions itself before it takes an entry.
    """
    return 200, {"entries": int(await getattr(server._engine, action)(folder))}


def refusal(message: str) -> JsonObject:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_request"}}


async def read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def reply(send: Send, status: int, value: JsonObject) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class UnixServer(uvicorn.Server):  # type: ignore[misc]  # untyped here
    """Leaves SIGTERM to the kernel: the gateway has drained already, a step of the engine may take minutes, and a
    stop in order would save KV and token ids of every cached prompt below HOME."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def serve(configuration: JsonObject, app: Any, host: str, port: int, log_level: str) -> None:
    """Stands in for uvicorn.run, which `vllm-mlx serve` calls at its end; host and port are not used."""
    keep_prompts_out_of_logs()
    front = Front(app, configuration["served_name"], configuration["context_length"])
    # Bound here and not by uvicorn, which would open it to everybody; it listens once the model is loaded.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(configuration["socket"])
    running = UnixServer(uvicorn.Config(front, lifespan="on", log_level=log_level, access_log=False))
    with contextlib.suppress(SystemExit):
        running.run(sockets=[listener])
    if not running.started:
        end_process("cannot load the model", front.failure)


def main(argument: str) -> None:
    os.umask(0o077)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.excepthook = lambda failed: end_process("a thread ended", repr(failed.exc_value))
    folder, configuration = told(argument, LATER_IMPORTS)
    # The engine prints its reasons for not starting; the log of a worker is its stderr.
    sys.stdout = sys.stderr
    uvicorn.run = functools.partial(serve, configuration)
    remember_how_it_is_made()
    if configuration["context_length"] is not None:
        limit_to_context(configuration["context_length"])
    if (tokens := vocabulary_size(folder)) is not None:
        refuse_tokens_beyond(tokens)
    served_name = configuration["served_name"]
    sys.argv = ["vllm-mlx", "serve", folder, "--served-model-name", served_name, *configuration["arguments"]]
    keep_prompts_out_of_logs()
    logging.getLogger().setLevel(configuration["log_level"].upper())
    # Its comments come by the clock, whether anything is computed or not; a client that left is noticed without them.
    server._disconnect_guard = functools.partial(server._disconnect_guard, heartbeat_interval=float("inf"))
    try:
        cli.main()
    except Exception as error:
        traceback.print_exc()
        end_process(f"cannot load {folder}", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
