"""Command lines of llama-swap as roost splits and fills them in."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

from roost.config.llama_swap.types import refuse

#: Longer lines are broken before each option.
_LINE_CHARACTERS = 100
#: A word that needs no quotes; everything else gets them.
_PLAIN = re.compile(r"[\w@%+=:,./${}^~-]+")
_DOLLAR = re.compile(r"\$(?!\{(?:PORT|MODEL_ID|PID)\})")
_RELATIVE = re.compile(r"\.{0,2}[\w@%+=,.-]*/[^\s]*")


def words_of(text: str, place: str) -> list[str]:
    """The words of a command: lines that begin with `#` are dropped, a backslash continues a line, quotes hold."""
    try:
        return shlex.split(without_comments(text).replace("\\\n", " "))
    except ValueError as error:
        raise refuse(place, f"the command cannot be split: {str(error).lower()}") from error


def without_comments(text: str) -> str:
    """To be called before macros are filled in, too: one that is named in a comment may have several lines."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def command_line(words: list[str]) -> str:
    """The words as roost reads them: every `$` but that of a placeholder is doubled, options on lines of their own."""
    quoted = [_quoted(_DOLLAR.sub("$$", word)) for word in words]
    joined = " ".join(quoted)
    if len(joined) <= _LINE_CHARACTERS:
        return joined
    return "".join(f"\n  {word}" if word.startswith("-") else f" {word}" for word in quoted).lstrip()


def with_doubled_dollars(text: str) -> str:
    """An address with placeholders, as roost fills it in."""
    return _DOLLAR.sub("$$", text)


def has_relative_path(words: list[str]) -> bool:
    """Whether a word looks like a path that depends on where the command starts."""
    return any(_is_relative(word.rpartition("=")[2] if word.startswith("-") else word) for word in words)


def _is_relative(word: str) -> bool:
    if not _RELATIVE.fullmatch(word) or PurePath(word).is_absolute() or "://" in word:
        return False
    # `org/name` and `image/name:tag` are names; what starts with a dot or ends like a model file is a path.
    return word.startswith((".", "models/", "bin/")) or word.endswith((".gguf", ".safetensors", ".bin"))


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else shlex.quote(word)
