"""How many tokens of a shared window a request may come to use: an estimate made before its tokenizer is asked.

llama.cpp's unified cache gives each request the whole window as long as nobody else needs it, and ends *all* running
requests when together they outgrow it. So a request that may not fit beside those that run waits in line.
"""

from __future__ import annotations

#: Text rarely has fewer bytes a token; code and other alphabets come near it.
BYTES_PER_TOKEN = 3


def envelope_tokens(prompt_bytes: int, max_tokens: int | None, window: int, sequences: int) -> int:
    """Prompt and reply; a request without a limit is given its fair share of the window for its reply."""
    reply = window // sequences if max_tokens is None else max_tokens
    return min(window, prompt_bytes // BYTES_PER_TOKEN + reply)
