"""A worker that is started before anybody knows its model: it does its imports and waits to be told the rest. Runs in
an engine's environment; nothing but the standard library is imported at the top.

    ENGINE_PYTHON -I LAUNCHER --standby ROOM     standard input: nothing for as long as it is a spare, then what a
                                                 worker gets

It computes nothing before that: two processes must not use one Metal device, and no weights are here yet.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]

#: Stands in argv where a worker has its folder.
STANDBY = "--standby"
#: Written over when the folder is known: a command line cannot grow.
ROOM_FOR_FOLDER = " " * 1024
#: The line that says that the imports are done.
STANDING_BY = "standing by"

#: The smallest tokenizer that transformers takes, with a template for Jinja to compile.
_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
}


def told(argument: str, later_imports: Iterable[str] = ()) -> tuple[str, JsonObject]:
    """The model folder and the configuration of this worker. A spare waits here, and ends when it is not needed.

    `later_imports`: modules that the engine imports only while it starts.
    """
    if argument != STANDBY:
        return argument, json.load(sys.stdin.buffer)
    for module in later_imports:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    try:
        import_what_tokenizers_need()
    except Exception as error:
        # Worth a second or two, not a spare: another transformers may refuse so small a tokenizer.
        print(f"a first tokenizer could not be made: {type(error).__name__}: {error}", file=sys.stderr)
    print(STANDING_BY, file=sys.stderr, flush=True)
    raw = sys.stdin.buffer.read()
    if not raw:
        # Not sys.exit: an engine's threads and handlers have nothing to clean up.
        os._exit(0)
    configuration = json.loads(raw)
    folder = str(configuration["folder"])
    show_folder(folder)
    return folder, configuration


def import_what_tokenizers_need() -> None:
    """transformers imports much of itself only when it makes its first tokenizer."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        (folder / "tokenizer.json").write_text(json.dumps(_TOKENIZER))
        (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}])


def show_folder(folder: str) -> None:
    """From here on ps shows what this process is, as if it had been started so."""
    sys.path.append(str(Path(__file__).parents[3]))
    from roost.host.command_line import replace_command_line

    sys.path.pop()
    replace_command_line([*(part for part in sys.orig_argv if part not in (STANDBY, ROOM_FOR_FOLDER)), folder])
