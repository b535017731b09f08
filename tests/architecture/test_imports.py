"""Who imports whom: the table of rules.py against the source."""

from tests.architecture.rules import COMMON, IMPORT_EXCEPTIONS, IMPORTS, NEVER_IMPORTED
from tests.architecture.source import imports, modules, room_of


def breaches():
    for module in modules():
        rule = IMPORTS.get(module.room)
        for target, line in imports(module):
            there = room_of(target)
            if target in COMMON or there == module.room or (module.name, target) in IMPORT_EXCEPTIONS:
                continue
            place = f"{module.path.name}:{line} ({module.name}) imports {target}"
            if there in NEVER_IMPORTED:
                yield f"{place}: {NEVER_IMPORTED[there]}"
            elif rule is None or not {there, f"{there}.{target.split('.')[-1]}"} & rule.may:
                yield f"{place}: {rule.because if rule else 'the room has no row in the table'}"


def test_every_import_is_in_the_table():
    assert not list(breaches())


def test_every_room_has_a_row():
    assert {module.room for module in modules()} - {"roost"} <= set(IMPORTS)


def test_no_exception_is_left_over():
    present = {(module.name, target) for module in modules() for target, _ in imports(module)}
    rooms = {module.room for module in modules()}
    unused = [pair for pair in IMPORT_EXCEPTIONS if pair not in present and room_of(pair[1]) in rooms]
    assert not unused


def test_common_modules_import_only_each_other():
    assert not [
        (module.name, target)
        for module in modules()
        if module.name in COMMON
        for target, _ in imports(module)
        if target not in COMMON
    ]


def test_no_two_rooms_import_each_other():
    graph = {}
    for module in modules():
        targets = {room_of(target) for target, _ in imports(module) if target not in COMMON}
        graph.setdefault(module.room, set()).update(targets - {module.room, "roost"})
    assert not cycle(graph)


def test_no_module_imports_itself_in_a_circle():
    graph = {module.name: {target for target, _ in imports(module)} - {module.name} for module in modules()}
    assert not cycle(graph)


def cycle(graph):
    """Some circle in the graph as a list of its nodes; empty when there is none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for target in sorted(graph.get(node, ())):
            if found := visit(target):
                return found
        path.pop()
        done.add(node)
        return []

    for node in sorted(graph):
        if found := visit(node):
            return found
    return []


def test_a_circle_would_be_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
