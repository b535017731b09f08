"""One entry of `models` as `[models."ID"]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from roost.config.llama_swap import reasons
from roost.config.llama_swap.commands import (
    command_line,
    has_relative_path,
    with_doubled_dollars,
    without_comments,
    words_of,
)
from roost.config.llama_swap.filters import filters_of
from roost.config.llama_swap.macros import Macros, check_all_known
from roost.config.llama_swap.types import Inline, Table, refuse

#: Filled in at each start, by roost itself.
_AT_START = ("PORT", "MODEL_ID")
_DEFAULT_PROXY = "http://localhost:${PORT}"
_MOST_SEQUENCES = 256
#: Unless the command says otherwise, nobody knows what a server can do: it may be asked for everything and answers.
_ANYTHING = ("chat", "completion", "embedding", "rerank", "tools", "vision")
#: Flags of servers that then do one thing only.
_ONE_THING = {
    "rerank": ("--rerank", "--reranking"),
    "embedding": ("--embedding", "--embeddings"),
}
#: Servers without any text route.
_NO_TEXT = ("whisper-server", "sd-server")


@dataclass(frozen=True)
class Surroundings:
    """What a model's entry does not say itself."""

    macros: Macros
    global_ttl_s: int
    #: Where llama-swap found its file: what relative paths most likely start from.
    folder: Path
    #: The user's own home: commands of theirs look for their caches there.
    home: str


@dataclass(frozen=True)
class Converted:
    """The model's settings and what concerns names beyond it."""

    settings: dict[str, Any]
    aliases: list[str] = field(default_factory=list)


def convert_model(model_id: str, table: Table, around: Surroundings) -> Converted:
    """Raises BadConfiguration for what llama-swap would not start with."""
    own = Macros.declared(table.at("macros"), table.table("macros").values)
    macros = own.over(around.macros)
    named = macros.with_model_id(model_id)
    filters, by_name = filters_of(table.table("filters"), named)
    words = _words(table, macros)
    aliases = list(dict.fromkeys([*_aliases(table), *(name for name in by_name if name != model_id)]))
    settings: dict[str, Any] = _shown(table, named)
    settings |= {"aliases": aliases} if aliases else {}
    settings |= {"unlisted": True} if table.flag("unlisted", False) else {}
    settings |= _abilities(table, words, macros)
    settings |= _limits(table)
    settings["command"] = _command(table, words, macros, around)
    settings["engine"] = _engine(table, around)
    settings |= {"filters": filters} if filters else {}
    settings |= {"name_filters": by_name} if by_name else {}
    table.tell_the_rest(reasons.MODEL)
    return Converted(settings, aliases)


def _shown(table: Table, macros: Macros) -> dict[str, Any]:
    found = {key: macros.text(table.text(key), table.at(key)) for key in ("name", "description")}
    for key, text in found.items():
        check_all_known(table.at(key), text, ("PORT",))
        if "${PORT}" in text:
            table.notes.add(table.at(key), "the port is a new one at each start, so ${PORT} stays as it is")
    return {key: text for key, text in found.items() if text}


def _words(table: Table, macros: Macros) -> list[str]:
    place = table.at("cmd")
    words = words_of(macros.text(without_comments(table.text("cmd")), place), place)
    if not words:
        raise refuse(place, "a model needs a command")
    check_all_known(place, words, _AT_START)
    return words


def _aliases(table: Table) -> list[str]:
    """An alias is a name, or a mapping that has one as `id`."""
    found = []
    for index, item in enumerate(table.items("aliases")):
        if isinstance(item, dict):
            entry = Table(f"{table.at('aliases')}[{index}]", item, table.notes)
            found.append(entry.text("id"))
            entry.tell_the_rest({"name": "an alias has no name of its own", "unlisted": "no alias is listed"})
        else:
            found.append(str(item))
    if "" in found:
        raise refuse(table.at("aliases"), "an alias is empty")
    return found


def _command(table: Table, words: list[str], macros: Macros, around: Surroundings) -> dict[str, Any]:
    found: dict[str, Any] = {"cmd": command_line(words)}
    place = table.at("cmdStop")
    if stop := words_of(macros.text(without_comments(table.text("cmdStop")), place), place):
        check_all_known(place, stop, (*_AT_START, "PID"))
        found["cmd_stop"] = command_line(stop)
    if (proxy := _proxy(table, words, macros)) != _DEFAULT_PROXY:
        found["proxy"] = with_doubled_dollars(proxy)
    place = table.at("checkEndpoint")
    if (endpoint := macros.text(table.text("checkEndpoint", "/health"), place)) != "/health":
        check_all_known(place, endpoint)
        found["check_endpoint"] = endpoint
    if served := table.text("useModelName"):
        found["served_name"] = served
    if has_relative_path(words):
        found["cwd"] = str(around.folder)
        table.notes.add(table.at("cmd"), f"relative paths are taken from {around.folder}; change command.cwd if not so")
    return found


def _proxy(table: Table, words: list[str], macros: Macros) -> str:
    place = table.at("proxy")
    proxy = macros.text(table.text("proxy", _DEFAULT_PROXY), place)
    check_all_known(place, proxy, _AT_START)
    if "${PORT}" in proxy and not any("${PORT}" in word for word in words):
        if table.has("proxy"):
            raise refuse(place, "it uses ${PORT}, which the command does not; set proxy to the server's address")
        table.notes.add(place, "the command does not use ${PORT}, so nobody knows where it listens; set command.proxy")
    return proxy


def _abilities(table: Table, words: list[str], macros: Macros) -> dict[str, Any]:
    place = table.at("capabilities")
    entry = Table(place, macros.value(table.raw("capabilities"), place), table.notes)
    inputs, outputs = entry.texts("in"), entry.texts("out")
    tools, context = entry.flag("tools", False), entry.whole("context", 0)
    only_ranks = entry.flag("reranker", False) and not outputs
    entry.tell_the_rest(reasons.CAPABILITIES)
    able = ["rerank"] if only_ranks else _capabilities(words, inputs, outputs, tools, bool(entry.values))
    found: dict[str, Any] = {"capabilities": able}
    return found | ({"context_length": context} if context else {})


def _capabilities(words: list[str], inputs: list[str], outputs: list[str], tools: bool, declared: bool) -> list[str]:
    for ability, flags in _ONE_THING.items():
        if any(flag in words for flag in flags):
            return [ability]
    if (outputs and "text" not in outputs) or (words and PurePath(words[0]).name in _NO_TEXT):
        return []
    if not declared:
        return list(_ANYTHING)
    left_out = {"vision"} if inputs and "image" not in inputs else set()
    return [ability for ability in _ANYTHING if ability not in left_out | (set() if tools else {"tools"})]


def _limits(table: Table) -> dict[str, Any]:
    limit = table.whole("concurrencyLimit", 0)
    return {"max_requests": limit} if limit else {}


def _engine(table: Table, around: Surroundings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if limit := table.whole("concurrencyLimit", 0):
        found["max_sequences"] = min(limit, _MOST_SEQUENCES)
    ttl = table.whole("ttl", -1, least=-1)
    if ttl >= 0 and ttl != around.global_ttl_s:
        found["idle_ttl_s"] = ttl
    return found | {"env": Inline({"HOME": around.home, **_environment(table)})}


def _environment(table: Table) -> dict[str, str]:
    found = {}
    for entry in table.texts("env"):
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise refuse(table.at("env"), "each entry is NAME=value")
        if "${" in value:
            table.notes.add(f"{table.at('env')}.{name}", "macros are not filled in here, as in llama-swap")
        found[name] = value
    return found
