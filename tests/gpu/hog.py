"""Takes memory of the GPU and keeps it until its standard input ends. Runs inside mlx-lm's own interpreter:

ENGINE_PYTHON -I hog.py BYTES
"""

from __future__ import annotations

import sys

import mlx.core as mx

PIECE_BYTES = 2**30


def main(size_bytes: int) -> None:
    pieces = []
    for _ in range(size_bytes // PIECE_BYTES):
        pieces.append(mx.zeros((PIECE_BYTES,), dtype=mx.uint8))
        mx.eval(pieces[-1])
    print("taken", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
