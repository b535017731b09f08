"""The embedded llama.cpp server as a worker process: `python -I -m roost.engines.launchers.llama_cpp MODEL.gguf`.

The model stands in argv so that everybody can see what this process is; the rest comes as one JSON object on
standard input. Only the standard library and xllamacpp are imported: every import here is part of each cold start.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Attribute of the parameters -> (enumeration in xllamacpp, prefix of its members).
ENUMERATIONS = {
    "pooling_type": ("llama_pooling_type", "LLAMA_POOLING_TYPE_"),
    "cache_type_k": ("ggml_type", "GGML_TYPE_"),
    "cache_type_v": ("ggml_type", "GGML_TYPE_"),
    "reasoning_format": ("common_reasoning_format", "COMMON_REASONING_FORMAT_"),
}


def main() -> int:
    """Serves until a signal ends it. Returns 1 with the reason as the last line of stderr when it cannot load."""
    # Files that the server may ever write hold prompts.
    os.umask(0o077)
    # Loading keeps the interpreter's lock, so that a Python handler would wait for its end: the kernel acts at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    model, config = sys.argv[1], json.load(sys.stdin)
    if "data_limit_bytes" in config:
        limit_dry_run(config["data_limit_bytes"])
    import xllamacpp  # after the signals: the library takes a while

    def load() -> Any:
        server = xllamacpp.Server(parameters(xllamacpp, model, config))
        print(f"serving {model} on {server.listening_address}", file=sys.stderr, flush=True)
        return server

    try:
        obey(config.get("control"), config["socket"], load)
    except Exception as error:
        print(f"cannot load {model}: {error}", file=sys.stderr, flush=True)
    return 1


def obey(control: str | None, address: str, load: Callable[[], Any]) -> None:
    """Serves, and does what is said on the control socket: `park` ends the server and with it all its memory, `wake`
    loads it again. llama.cpp's own sleep goes by a clock that nobody else can ask or turn. Raises what `load` raises.
    """
    if control is None:
        server = load()
        signal.pause()
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(control)  # before the load: a server that takes requests is not given up for this
        listener.listen(1)
        server = load()
        while True:
            connection, _ = listener.accept()
            with connection:
                word = connection.recv(16).strip()
                if word == b"park":
                    del server
                    server = None
                    # It leaves its socket behind, and binds none that is there.
                    Path(address).unlink(missing_ok=True)
                    from roost.host.heap import give_back  # not before: every import is part of each cold start

                    give_back()
                elif word == b"wake" and server is None:
                    server = load()
                with contextlib.suppress(OSError):
                    connection.sendall(b"done\n")


def limit_dry_run(data_bytes: int | None) -> None:
    """A dry run ends itself by an abort: no core of it; and it may not load, whatever this build makes of its
    parameters."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if data_bytes is not None:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses limits below what is mapped already
            resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))


def parameters(xllamacpp: Any, model: str, config: dict[str, Any]) -> Any:
    """`CommonParams` as the configuration says."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = model
    chosen.hostnames = [config["socket"]]
    chosen.model_alias = {config["alias"]}
    for name, value in config["attributes"].items():
        setattr(chosen, name, value)
    for name, member in config["enumerations"].items():
        enumeration, prefix = ENUMERATIONS[name]
        setattr(chosen, name, getattr(getattr(xllamacpp, enumeration), prefix + member))
    if config["threads"]:
        chosen.cpuparams.n_threads = config["threads"]
        chosen.cpuparams_batch.n_threads = config["threads"]
    add_companions(xllamacpp, chosen, config)
    return chosen


def add_companions(xllamacpp: Any, chosen: Any, config: dict[str, Any]) -> None:
    """Further weight files: image projector, LoRA adapter, draft model."""
    if config["projector"]:
        chosen.mmproj.path = config["projector"]
    if config["adapter"]:
        chosen.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(config["adapter"], 1.0)]
    if config["draft"]:
        chosen.speculative.draft.mparams.path = config["draft"]
        chosen.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]


if __name__ == "__main__":
    sys.exit(main())
