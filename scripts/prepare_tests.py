#!/usr/bin/env python3
"""Put what the tests need outside the tree, and do nothing when it is there already.

    prepare_tests.py [--cache FOLDER] [--models FOLDER] [--tool-model] [ENGINE ...]

The embedded model's GGUF, the environment of each named engine (pinned and hash-checked, as `roost engines install`
makes it), and for the MLX engines a float32 folder of the same model. `--tool-model`: also the larger model (469 MB) of
the tests of tool calls.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from tool_model import ensure_tool_model

from roost.catalog.embedded import ensure_embedded
from roost.config.paths import Paths
from roost.engines.environments import install
from roost.errors import RoostError

CONVERTER = Path(__file__).with_name("make_mlx_model.py")
FOLDER_NAME = "smollm2-135m-f32"


def main() -> int:
    options = _parser().parse_args()
    paths = Paths.from_environment({"ROOST_STATE": str(options.cache), "ROOST_MODELS": str(options.models)})
    try:
        gguf = ensure_embedded(paths)
        print(f"model: {gguf}")
        if options.tool_model:
            print(f"model: {ensure_tool_model(options.models)}")
        interpreters = [install(paths, engine, print).python for engine in options.engines]
    except RoostError as error:
        print(error.message, file=sys.stderr)
        return 1
    if interpreters:
        print(f"float32 folder: {_float32_folder(gguf, options.models / FOLDER_NAME, interpreters[0])}")
    return 0


def _float32_folder(gguf: Path, folder: Path, python: Path) -> Path:
    """Convert once for each version of the converter; its digest lies beside the folder."""
    stamp = folder.with_name(f".{folder.name}.converter")
    sources = (CONVERTER, CONVERTER.with_name("gguf_reader.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if folder.is_dir() and stamp.is_file() and stamp.read_text() == digest:
        return folder
    subprocess.run([python, CONVERTER, gguf, folder], check=True)
    stamp.write_text(digest)
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/roost-test", help="engines/NAME go here")
    parser.add_argument("--models", type=Path, default=Path.home() / ".cache/roost-models")
    parser.add_argument("--tool-model", action="store_true", help="fetch the model of the tests of tool calls")
    parser.add_argument("engines", nargs="*", metavar="ENGINE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
