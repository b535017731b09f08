"""Expressions over models that may be loaded together: `(a | b) & c`, `+other`. Pure.

`&` means together and binds closer than `|`, which means one or the other; `+NAME` stands for the expression of another
set. Each expression means several combinations, and every part of a combination is allowed too. They are never written
out: ten alternatives in a row of ten are ten thousand million of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_TOKEN = re.compile(r"\s*(?:(?P<name>\+?[\w.-]+)|(?P<mark>[&|()]))")
#: Parentheses and references inside each other; deeper ones would end Python's stack.
_DEEPEST = 50


class BadExpression(ValueError):
    """An expression that means nothing; the text says why."""


# Compared by identity: a set that several others refer to is one node, looked at once.


@dataclass(frozen=True, eq=False)
class Leaf:
    """One model, by its physical id."""

    model_id: str


@dataclass(frozen=True, eq=False)
class Together:
    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Either:
    parts: tuple[Node, ...]


Node = Leaf | Together | Either


def parse_sets(sets: Mapping[str, str], model_of: Callable[[str], str | None]) -> tuple[Node, ...]:
    """Each set as a tree, in the order of the mapping, but those that others refer to before these.

    `model_of` gives the physical id behind a name in an expression, None for a name that nobody knows.
    Raises BadExpression naming the set.
    """
    return tuple(_Sets(sets, model_of).all())


def combinations(node: Node, relevant: Collection[str]) -> list[frozenset[str]]:
    """The largest of the node's combinations as far as they concern `relevant` models, first written first."""
    return _fold(
        node,
        leaf=lambda model_id: [frozenset({model_id} & set(relevant))],
        either=lambda parts: _largest(found for part in parts for found in part),
        together=_joined,
    )


def models_of(node: Node) -> frozenset[str]:
    """Every model that the expression names."""

    def union(parts: list[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*parts)

    return _fold(node, leaf=lambda model_id: frozenset({model_id}), either=union, together=union)


def most_at_once(node: Node, counted: Callable[[str], bool]) -> int:
    """No combination has more counted models than that."""

    def most(parts: list[int]) -> int:
        return max(parts)

    def total(parts: list[int]) -> int:
        return sum(parts)

    return _fold(node, leaf=lambda model_id: int(counted(model_id)), either=most, together=total)


def _fold(node: Node, leaf: Callable[[str], T], either: Callable[[list[T]], T], together: Callable[[list[T]], T]) -> T:
    known: dict[Node, T] = {}

    def value(one: Node) -> T:
        if one not in known:
            match one:
                case Leaf(model_id):
                    known[one] = leaf(model_id)
                case Either(parts):
                    known[one] = either([value(part) for part in parts])
                case Together(parts):
                    known[one] = together([value(part) for part in parts])
        return known[one]

    return value(node)


def _joined(parts: list[list[frozenset[str]]]) -> list[frozenset[str]]:
    joined: list[frozenset[str]] = [frozenset()]
    for part in parts:
        joined = _largest(left | right for left in joined for right in part)
    return joined


def _largest(found: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Without those that another one contains: what may be loaded in one may be in the other."""
    kept: list[frozenset[str]] = []
    for one in found:
        if not any(one <= other for other in kept):
            kept = [*(other for other in kept if not other <= one), one]
    return kept


class _Sets:
    """Parses each set once, whatever refers to it."""

    def __init__(self, sets: Mapping[str, str], model_of: Callable[[str], str | None]) -> None:
        self._sets, self._model_of = sets, model_of
        self._done: dict[str, Node] = {}
        self._open: list[str] = []
        #: Parentheses and references that are open now.
        self._depth = 0

    def all(self) -> Iterator[Node]:
        for name in self._sets:
            self.one(name)
        yield from self._done.values()

    def one(self, name: str) -> Node:
        if name in self._open:
            raise BadExpression(f'set "{name}" refers to itself by way of "{self._open[-1]}"')
        if name not in self._done:
            self._open.append(name)
            with self.deeper(name):
                self._done[name] = _Expression(name, self._sets[name], self).parsed()
            self._open.pop()
        return self._done[name]

    @contextmanager
    def deeper(self, name: str) -> Iterator[None]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadExpression(f'set "{name}": its parentheses and references are nested too deep')
        yield
        self._depth -= 1

    def named(self, word: str, by: str) -> Node:
        """What one word of an expression stands for."""
        if not word.startswith("+"):
            model_id = self._model_of(word)
            if model_id is None:
                raise BadExpression(f'set "{by}": there is no model "{word}"')
            return Leaf(model_id)
        if word[1:] not in self._sets:
            raise BadExpression(f'set "{by}": there is no set "{word[1:]}"')
        return self.one(word[1:])


class _Expression:
    """Recursive descent over one text."""

    def __init__(self, name: str, text: str, sets: _Sets) -> None:
        self._name, self._sets = name, sets
        self._tokens = list(self._split(text))

    def parsed(self) -> Node:
        node = self._either()
        if self._tokens:
            raise self._wrong(f'"{self._tokens[0]}" stands where the expression should end')
        return node

    def _split(self, text: str) -> Iterator[str]:
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._wrong(f'"{text[at:].strip()[0]}" is no part of a name; give the model a short one in vars')
            yield found["name"] or found["mark"]
            at = found.end()

    def _either(self) -> Node:
        parts = [self._together()]
        while self._next_is("|"):
            parts.append(self._together())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _together(self) -> Node:
        parts = [self._atom()]
        while self._next_is("&"):
            parts.append(self._atom())
        return parts[0] if len(parts) == 1 else Together(tuple(parts))

    def _atom(self) -> Node:
        if self._next_is("("):
            with self._sets.deeper(self._name):
                inner = self._either()
            if not self._next_is(")"):
                raise self._wrong("a closing parenthesis is missing")
            return inner
        if not self._tokens:
            raise self._wrong("it ends where a model is expected")
        word = self._tokens.pop(0)
        if word in ("&", "|", ")"):
            raise self._wrong(f'"{word}" stands where a model is expected')
        return self._sets.named(word, self._name)

    def _next_is(self, mark: str) -> bool:
        if self._tokens[:1] != [mark]:
            return False
        del self._tokens[0]
        return True

    def _wrong(self, why: str) -> BadExpression:
        return BadExpression(f'set "{self._name}": {why}')
