"""A cheap digest of content: two fine-tunes of one architecture share every header byte, and differ all over."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

#: 64 blocks of 4 KiB: a few milliseconds on any disk, whatever the file's size.
SAMPLES = 64
SAMPLE_BYTES = 4096


def identity_sha256(file: BinaryIO, size_bytes: int, header_sha256: str) -> str:
    """sha256 over the header's digest and blocks spread evenly over the whole file, the last bytes included."""
    digest = hashlib.sha256(header_sha256.encode())
    span = max(0, size_bytes - SAMPLE_BYTES)
    for index in range(SAMPLES):
        file.seek(span * index // (SAMPLES - 1))
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
