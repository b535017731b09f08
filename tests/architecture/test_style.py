"""Sizes, tasks, broad excepts and OS code: habits that no linter holds."""

import ast
import re
import statistics

from tests.architecture import rules
from tests.architecture.source import functions, length, modules, plain_strings
from tests.helpers import ROOT


def product_files():
    for folder in ("src", "scripts", "benchmarks", "docs"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_file_is_longer_than_one_can_hold_in_mind():
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in product_files()}
    assert not {path: size for path, size in sizes.items() if size > rules.LARGEST_FILE_LINES}


def test_functions_are_short():
    sizes = [
        (length(function), module.name, function.name) for module in modules() for function in functions(module.tree)
    ]
    assert not [entry for entry in sizes if entry[0] > rules.LARGEST_FUNCTION_LINES]
    long = sorted(entry for entry in sizes if entry[0] > rules.LONG_FUNCTION_LINES)
    assert len(long) <= len(sizes) / 20, long
    assert statistics.median(size for size, *_ in sizes) <= rules.LARGEST_MEDIAN_FUNCTION_LINES


def test_every_room_says_what_it_is_in_five_lines():
    for module in modules():
        if not module.is_package or module.name.count(".") != 1:
            continue
        assert ast.get_docstring(module.tree), f"{module.name} does not say what it is"
        assert len((ast.get_docstring(module.tree) or "").splitlines()) <= rules.LARGEST_INIT_LINES, module.name
        if module.name not in rules.INIT_EXCEPTIONS:
            assert len(module.tree.body) == 1, f"{module.name}/__init__.py holds code"


def bare_tasks(tree):
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in ("create_task", "ensure_future")):
            continue
        owner = ast.unparse(node.value)
        if owner in ("asyncio", "loop", "self._loop") or owner.endswith(("get_running_loop()", "get_event_loop()")):
            yield node.lineno


def test_every_task_lives_in_a_group():
    assert not [(module.name, line) for module in modules() for line in bare_tasks(module.tree)]


def broad_handlers(tree):
    """Handlers of Exception and wider that do not raise again."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            yield node.lineno


def _is_broad(kind):
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(name is None or ast.unparse(name) in ("Exception", "BaseException") for name in names)


def _raises_again(handler):
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_any_exception_is_caught_at_the_borders_only():
    found = {
        (module.name, line)
        for module in modules()
        for line in broad_handlers(module.tree)
        if module.name not in rules.BROAD_EXCEPT and not module.name.startswith(rules.BROAD_EXCEPT_ROOMS)
    }
    assert not found


def test_every_border_is_in_use():
    names = {module.name for module in modules() if any(broad_handlers(module.tree))}
    assert set(rules.BROAD_EXCEPT) <= names


#: What tells one operating system from another; `platform.python_version` does not.
OS_QUESTIONS = re.compile(
    r"sys\.platform|os\.(uname|name)|platform\.(system|machine|release|mac_ver|uname|platform|node)"
)


def os_code(module):
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and OS_QUESTIONS.fullmatch(ast.unparse(node)):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Import) and any(alias.name == "ctypes" for alias in node.names):
            yield node.lineno, "import ctypes"
        elif isinstance(node, ast.ImportFrom) and node.module in ("platform", "ctypes"):
            yield node.lineno, f"from {node.module}"
    for text in plain_strings(module.tree):
        if text.value.startswith(("/proc/", "/sys/")):
            yield text.lineno, text.value


def test_only_host_and_service_ask_which_system_this_is():
    found = [
        (module.name, *place)
        for module in modules()
        if module.room not in rules.OS_ROOMS and module.name not in rules.OS_EXCEPTIONS
        for place in os_code(module)
    ]
    assert not found


def test_the_checks_see_what_they_look_for():
    tree = ast.parse("import asyncio\nasyncio.create_task(x())\ntry:\n  pass\nexcept Exception:\n  y = 1\n")
    assert list(bare_tasks(tree)) == [2]
    assert list(broad_handlers(tree)) == [5]
