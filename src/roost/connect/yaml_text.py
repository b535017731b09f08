"""Edits of YAML texts. PyYAML reads and tells where each node stands; writing through it would lose all comments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from roost.connect.layout import ended, line_end, line_start, margin, newline_of, next_line, replaced
from roost.connect.types import BrokenText, CannotEdit, Item, Path, Step, dotted
from roost.connect.values import nested
from roost.errors import BadConfiguration

if TYPE_CHECKING:
    from yaml.nodes import CollectionNode, Node

#: Written without quotes; whether it then reads as itself is asked, not known.
_PLAIN = re.compile(r"[A-Za-z0-9][\w./@+-]*(?::[\w./@+-]+)*")


class YamlText:
    def read(self, text: str) -> Any:
        import yaml

        _compose(text)
        try:
            return yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise _broken(error) from None

    def put(self, text: str, path: Path, value: Any) -> str:
        node = _compose(text)
        if node is None or _is_nothing(node):
            return ended(text) + _block(nested(path, value), text, "")
        for depth, step in enumerate(path):
            found = _find(node, step)
            if found is None:
                return _inserted(text, node, path[depth:], value)
            key, inner = found
            if _is_nothing(inner) and depth < len(path) - 1:
                return _begun(text, key, inner, nested(path[depth + 1 :], value))
            node = inner
        return replaced(text, (node.start_mark.index, _leaf_end(text, node), _flow(value)))

    def drop(self, text: str, path: Path) -> str:
        around = _compose(text)
        for step in path[:-1]:
            found = _find(around, step) if around is not None else None
            around = found[1] if found else None
        last = _find(around, path[-1]) if around is not None else None
        if around is None or last is None:
            raise CannotEdit(f'"{dotted(path)}" is not there')
        return _without(text, around, last)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise BadConfiguration(
            "cannot read settings in YAML: PyYAML is not installed; run \"pip install 'roost[import]'\""
        ) from None
    return yaml


def _compose(text: str) -> Node | None:
    yaml = _yaml()
    try:
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        return node
    except yaml.YAMLError as error:
        raise _broken(error) from None


def _broken(error: Exception) -> BrokenText:
    mark = getattr(error, "problem_mark", None)
    why = getattr(error, "problem", None) or str(error)
    return BrokenText(mark.line + 1, mark.column + 1, why) if mark else BrokenText(1, 1, why)


def _is_nothing(node: Node) -> bool:
    return str(node.tag) == "tag:yaml.org,2002:null"


def _find(node: Node, step: Step) -> tuple[Node, Node] | None:
    """The node to point at (a key, or the element itself) and the value."""
    if node.id == "mapping" and isinstance(step, str):
        return next(((key, value) for key, value in reversed(node.value) if key.value == step), None)
    if node.id == "sequence" and isinstance(step, Item):
        return next(((each, each) for each in reversed(node.value) if _named(each, step)), None)
    return None


def _named(node: Node, item: Item) -> bool:
    return node.id == "mapping" and any(key.value == item.key and value.value == item.name for key, value in node.value)


def _inserted(text: str, around: Node, path: Path, value: Any) -> str:
    wanted = "mapping" if isinstance(path[0], str) else "sequence"
    if around.id != wanted:
        raise CannotEdit(f'no place for "{dotted(path)}": what is around it is no {wanted}')
    new = nested(path, value)
    if around.flow_style:
        inside = _flow(new)[1:-1]
        close = around.end_mark.index - 1
        before = len(text[:close].rstrip().rstrip(","))
        return replaced(text, (before, close, f", {inside}" if around.value else inside))
    place = next_line(text, _leaf_end(text, around))
    above = ended(text[:place])
    return above + _block(new, text, " " * around.start_mark.column) + text[place:]


def _begun(text: str, key: Node, empty: Node, value: Any) -> str:
    """The first content of a key that has none."""
    outer = margin(text, key.start_mark.index)
    end = line_end(text, key.end_mark.index)
    if text[empty.start_mark.index : empty.end_mark.index].strip():
        return replaced(text, (empty.start_mark.index, empty.end_mark.index, _flow(value)))
    inner = outer + ("  " if isinstance(value, dict) else "")
    return text[:end] + newline_of(text) + _block(value, text, inner).rstrip("\r\n") + text[end:]


def _leaf_end(text: str, node: Node) -> int:
    """Where its last character is: the mark of a block stands before whatever comes next."""
    if node.id != "scalar" and not node.flow_style and node.value:
        last = node.value[-1]
        return _leaf_end(text, last[1] if isinstance(last, tuple) else last)
    start: int = node.start_mark.index
    return max(start, len(text[: node.end_mark.index].rstrip()))


def _without(text: str, around: CollectionNode, found: tuple[Node, Node]) -> str:
    start, end = found[0].start_mark.index, max(_leaf_end(text, node) for node in found)
    parts = [part[0] if isinstance(part, tuple) else part for part in around.value]
    index = parts.index(found[0])
    following = parts[index + 1].start_mark.index if index + 1 < len(parts) else None
    if around.flow_style:
        if following is not None:
            return replaced(text, (start, following, ""))
        opening = around.start_mark.index + 1
        before = around.value[index - 1] if index else None
        begin = (before[1] if isinstance(before, tuple) else before).end_mark.index if before else opening
        return replaced(text, (begin, around.end_mark.index - 1, ""))
    begin = line_start(text, start)
    lead = text[begin:start]
    if lead.strip() and around.id == "mapping":
        # It shares its line with the dash of a list: the next key moves up to it.
        if following is None:
            raise CannotEdit("nothing would be left behind a dash")
        return replaced(text, (start, following, ""))
    if lead.strip(" -"):
        raise CannotEdit("something else stands in its line")
    return replaced(text, (begin, next_line(text, end), ""))


def _block(value: Any, text: str, outer: str) -> str:
    return "".join(outer + line + newline_of(text) for line in _lines(value))


def _lines(value: Any) -> list[str]:
    """A mapping, or a list of mappings, in block style."""
    if isinstance(value, list):
        return [mark + line for each in value for mark, line in zip(_marks(), _lines(each), strict=False)]
    lines: list[str] = []
    for key, inner in value.items():
        if inner and isinstance(inner[0] if isinstance(inner, list) else inner, dict):
            lines += [f"{_scalar(key)}:", *(f"  {line}" for line in _lines(inner))]
        else:
            lines.append(f"{_scalar(key)}: {_flow(inner)}")
    return lines


def _marks() -> Any:
    yield "- "
    while True:
        yield "  "


def _flow(value: Any) -> str:
    """JSON is YAML; strings that read as themselves stand without quotes."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return f"[{', '.join(map(_scalar, value))}]"
    return _scalar(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scalar(value: str) -> str:
    plain = bool(_PLAIN.fullmatch(value)) and _yaml().safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)
