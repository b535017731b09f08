"""The package's source as the architecture tests see it: modules, rooms, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.helpers import ROOT

SOURCE = ROOT / "src" / "roost"
#: What is no part of the tree: environments, caches, builds.
_LEFT_OUT = frozenset(
    {
        ".git",
        ".venv",
        "build",
        "dist",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
    }
)


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return room_of(self.name)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@cache
def modules() -> tuple[Module, ...]:
    """Every module of roost, sorted by name."""
    return tuple(_read(path) for path in sorted(SOURCE.rglob("*.py")))


def _read(path: Path) -> Module:
    parts = ["roost", *path.relative_to(SOURCE).with_suffix("").parts]
    if parts[-1] == "__init__":
        parts.pop()
    text = path.read_text(encoding="utf-8")
    return Module(".".join(parts), path, text, ast.parse(text, str(path)))


def room_of(name: str) -> str:
    """The room, or top module, of a dotted name; the package itself is `roost`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "roost"


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """The roost modules it imports, wherever in the file, with their lines. `from roost.a import b` names `roost.a.b`
    when that is a module."""
    names = {each.name for each in modules()}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in names else node.module), node.lineno


def _is_ours(name: str) -> bool:
    return name == "roost" or name.startswith("roost.")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring, which may be as long as it is useful."""
    start = function.body[0]
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if _is_docstring(start):
        lines -= (start.end_lineno or start.lineno) - start.lineno + 1
    return lines


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def plain_strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """String constants that are not docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and _is_docstring(node.body[0])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def tree_files() -> Iterator[Path]:
    """Every file that belongs to the checkout, without asking git, which a clean machine may not have."""
    pending = [ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name in _LEFT_OUT or path.name.endswith(".egg-info") or path.is_symlink():
                continue
            if path.is_dir():
                pending.append(path)
            else:
                yield path
