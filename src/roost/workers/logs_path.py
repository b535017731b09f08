"""File names of workers' logs: readable, unique, and never a path."""

from __future__ import annotations

import hashlib
import re


def worker_log_name(model_id: str) -> str:
    """`org/Name:Q4` becomes `org-Name-Q4.1a2b3c`; the digest keeps similar ids apart. No suffix. Idempotent callers:
    the result of this function is a worker id."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", model_id).strip(".-")[:60]
    return f"{readable}.{hashlib.sha256(model_id.encode()).hexdigest()[:6]}"
