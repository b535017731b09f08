"""Serves one model folder with mlx_lm.server on a unix socket. Runs inside the engine's own interpreter:

    ENGINE_PYTHON -I mlx_lm.py MODEL_FOLDER < configuration.json

or, as a spare, without a folder: see spare.py. The configuration is `{folder, socket, served_name, context_length,
arguments, buffer_cache_bytes}`; `arguments` are flags of mlx_lm.server itself, `buffer_cache_bytes` is the most that
MLX keeps of freed buffers. What it adds to that server: the socket, a health that does not lie, one model only, the
context as a limit, a count of prompt tokens, cancellation of every request whose client left, and an end of the process
when generation has ended.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlx_lm import server

# roost itself is not installed here: its folder is visible for these imports and nothing else is taken from it.
sys.path.append(str(Path(__file__).parents[3]))
from roost.engines.launchers.mlx_prefixes import PrefixCache
from roost.engines.launchers.mlx_requests import COUNT_ROUTE, DROP_ROUTE, JsonObject, Refusal, checked
from roost.engines.launchers.spare import told

sys.path.pop()


class ClientGone(BaseException):
    """The client hung up: the engine's own `finally` then stops this generation."""


class ContextExceeded(ValueError):
    """More prompt tokens than the context has room for."""

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, the context is {context_length}")
        self.prompt_tokens, self.context_length = prompt_tokens, context_length


def end_process(what: str, error: BaseException) -> None:
    """A generation thread cannot be replaced: a dead process is seen at once, a dead thread only by its silence."""
    reason = " ".join(str(error).split())[:500]
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(place[0].filename).name}:{place[0].lineno})" if place else ""
    print(f"{what}: {type(error).__name__}: {reason}{where}", file=sys.stderr, flush=True)
    os._exit(1)


class OneModel(server.ModelProvider):  # type: ignore[misc]  # the engine has no types here
    """Never loads anything but the folder it was started with, whatever a request asks for."""

    is_loaded = False

    def load_default(self) -> None:
        super().load_default()
        self.is_loaded = True

    def load(self, model_path: str, adapter_path: str | None = None, draft_model_path: str | None = None) -> Any:
        return super().load("default_model", None, "default_model")


class Generator(server.ResponseGenerator):  # type: ignore[misc]
    """The engine's generation thread, with the context as a limit of prompt and reply together."""

    def __init__(self, provider: OneModel, prefix_cache: PrefixCache, context_length: int | None) -> None:
        self.context_length = context_length
        super().__init__(provider, prefix_cache)

    def _run_generate(self) -> None:
        try:
            self._generate()
        except BaseException as error:
            loaded = self.model_provider.is_loaded
            end_process("generation ended" if loaded else f"cannot load {self.cli_args.model}", error)

    def _tokenize(self, tokenizer: Any, request: Any, arguments: Any) -> Any:
        tokenized = super()._tokenize(tokenizer, request, arguments)
        prompt_tokens = len(tokenized[0])
        if prompt_tokens == 0:
            raise ValueError("the prompt is empty")
        if self.context_length is not None:
            if prompt_tokens >= self.context_length:
                raise ContextExceeded(prompt_tokens, self.context_length)
            # The engine knows no context and would go on in positions that the model never saw.
            arguments.max_tokens = min(arguments.max_tokens, self.context_length - prompt_tokens)
        return tokenized

    def count(self, body: JsonObject) -> int:
        """Tokens of this body's prompt after the chat template."""
        kind = "chat" if "messages" in body else "text"
        request = server.CompletionRequest(
            kind, body.get("prompt", ""), body.get("messages", []), body.get("tools"), body.get("role_mapping")
        )
        arguments = SimpleNamespace(chat_template_kwargs=body.get("chat_template_kwargs"))
        return len(super()._tokenize(self.model_provider.tokenizer, request, arguments)[0])


def peer_is_gone(connection: socket.socket) -> bool:
    """The only client is the gateway, which never closes one direction alone."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class Watched:
    """The generator as one connection sees it: looks at the client before each step, so that a request whose reply
    is not streamed ends with its client too."""

    def __init__(self, generator: Generator, connection: socket.socket) -> None:
        self.generator, self.connection = generator, connection
        self.cli_args = generator.cli_args

    def generate(self, request: Any, arguments: Any, progress_callback: Callable[[int, int], None]) -> Any:
        def progress(done: int, total: int) -> None:
            self.leave_if_alone()
            progress_callback(done, total)

        try:
            context, tokens = self.generator.generate(request, arguments, progress_callback=progress)
        except Exception as error:
            raise refusal_of(error) from error
        return context, self.while_wanted(tokens)

    def while_wanted(self, tokens: Iterator[Any]) -> Iterator[Any]:
        for token in tokens:
            self.leave_if_alone()
            yield token

    def leave_if_alone(self) -> None:
        if peer_is_gone(self.connection):
            raise ClientGone


def refusal_of(error: Exception) -> Refusal:
    """The engine could not make a prompt of the request: the caller's doing in all cases that are left."""
    if isinstance(error, ContextExceeded):
        numbers = {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context_length}
        return Refusal(400, str(error), "context_length_exceeded", **numbers)
    return Refusal(400, f"cannot make a prompt of this request: {type(error).__name__}: {error}")


class Place:
    """What this start was told."""

    def __init__(self, folder: Path, configuration: JsonObject) -> None:
        self.socket_path: str = configuration["socket"]
        self.served_name: str = configuration["served_name"]
        self.context_length: int | None = configuration["context_length"]
        self.arguments: list[str] = configuration["arguments"]
        self.buffer_cache_bytes: int | None = configuration.get("buffer_cache_bytes")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.vocabulary_size: int | None = config.get("text_config", config).get("vocab_size")


class Handler(server.APIHandler):  # type: ignore[misc]
    """The engine's routes behind the checks of mlx_requests, and `/health`, `/v1/models` and `/roost/count`."""

    response_generator: Any
    rfile: Any
    _headers_buffer: list[bytes]

    def __init__(self, place: Place, generator: Generator, *arguments: Any, **keywords: Any) -> None:
        self.place = place
        self.answering = False
        super().__init__(generator, *arguments, **keywords)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(*self.health())
        elif self.path == "/v1/models":
            model = {"id": self.place.served_name, "object": "model", "created": self.created, "owned_by": "mlx-lm"}
            self.reply(200, {"object": "list", "data": [model]})
        else:
            self.do_OPTIONS()

    def do_OPTIONS(self) -> None:
        self.reply(404, Refusal(404, "there is no such route", "not_found").body)

    def health(self) -> tuple[int, JsonObject]:
        if not self.response_generator.generation_available():
            return 500, {"status": "dead"}
        if not self.response_generator.model_provider.is_loaded:
            return 503, {"status": "loading"}
        return 200, {"status": "ok", "model": self.place.served_name, "context_length": self.place.context_length}

    def do_POST(self) -> None:
        try:
            self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except (ClientGone, ConnectionError):
            print("the client left", file=sys.stderr, flush=True)
        except Refusal as refusal:
            self.reply(refusal.status, refusal.body)
        except Exception as error:
            self.break_off(error)
        self.close_connection = True

    def answer(self, raw: bytes) -> None:
        if not self.response_generator.model_provider.is_loaded:
            raise Refusal(503, "the model is loading", "model_loading")
        if self.path == DROP_ROUTE:
            self.response_generator.prompt_cache.drop()
            return self.reply(200, {})
        body = checked(self.path, raw, self.place.served_name, self.place.vocabulary_size)
        if self.path == COUNT_ROUTE:
            return self.reply(200, {"prompt_tokens": self.count(body)})
        raw = json.dumps(body).encode()
        self.rfile = io.BytesIO(raw)
        self.headers.replace_header("Content-Length", str(len(raw)))
        self.response_generator = Watched(self.response_generator, self.connection)
        super().do_POST()
        return None

    def count(self, body: JsonObject) -> int:
        try:
            return int(self.response_generator.count(body))
        except Exception as error:
            raise refusal_of(error) from error

    def validate_model_parameters(self) -> None:
        try:
            super().validate_model_parameters()
        except (ValueError, TypeError) as error:
            raise Refusal(400, str(error), "invalid_type") from error

    def break_off(self, error: Exception) -> None:
        """Generation failed: a status if none is out, else an error frame, so that no client takes it for an end."""
        print(f"a request failed: {type(error).__name__}", file=sys.stderr, flush=True)
        body = Refusal(500, f"generation failed: {type(error).__name__}: {error}", "internal_error").body
        if not self.answering:
            self._headers_buffer = []
            self.reply(500, body)
        elif self.stream:
            self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def reply(self, status: int, body: JsonObject) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def end_headers(self) -> None:
        super().end_headers()
        self.answering = True

    def _set_cors_headers(self) -> None:
        """None: the only client is the gateway."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if self.path != "/health":
            super().log_request(code, size)


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    allow_reuse_address = False
    #: The default of 5 refuses connections of a herd.
    request_queue_size = 128

    def server_bind(self) -> None:
        """HTTPServer's own takes the address for a pair of host and port."""
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("gateway", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        print(f"a connection failed: {sys.exc_info()[0]}", file=sys.stderr, flush=True)


def without_prompts(record: logging.LogRecord) -> bool:
    """At debug level the server logs whole requests and each token."""
    return not (record.module == "server" and record.levelno <= logging.DEBUG)


def serve(place: Place, host: str, port: int, provider: OneModel) -> None:
    """Stands in for mlx_lm.server.run, so that flags keep their meaning there; host and port are not used."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(without_prompts)
    limits = provider.cli_args
    prefix_cache = PrefixCache(limits.prompt_cache_size, limits.prompt_cache_bytes)
    generator = Generator(provider, prefix_cache, place.context_length)
    handle = functools.partial(Handler, place, generator, system_fingerprint=server.get_system_fingerprint())
    UnixServer(place.socket_path, handle).serve_forever()  # type: ignore[arg-type]  # a path is an address here


def main(argument: str) -> None:
    os.umask(0o077)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.excepthook = lambda failed: end_process("a thread ended", failed.exc_value or RuntimeError())
    folder, configuration = told(argument)
    place = Place(Path(folder), configuration)
    if place.buffer_cache_bytes is not None:
        server.mx.set_cache_limit(place.buffer_cache_bytes)
    server.ModelProvider = OneModel
    server.run = functools.partial(serve, place)
    sys.argv = ["mlx_lm.server", "--model", folder, *place.arguments]
    server.main()


if __name__ == "__main__":
    main(sys.argv[1])
