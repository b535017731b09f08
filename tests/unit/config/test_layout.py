"""Who may be loaded beside whom: groups, expressions of sets, and the places of max_resident over both."""

from __future__ import annotations

import pytest

from roost.config.combinations import BadExpression, combinations, most_at_once, parse_sets
from roost.config.layout import UNGROUPED, BadLayout, Combined, Grouped, Unlimited, layout_of, make_room, together
from roost.config.settings import GroupSettings, MatrixSettings, ResidencySettings


def everything(name: str) -> bool:
    return True


def expanded(**sets: str) -> list[set[str]]:
    """All combinations of all sets, over one-letter models."""
    nodes = parse_sets(sets, lambda name: name if len(name) == 1 else None)
    return [set(found) for node in nodes for found in combinations(node, "abcdefgh")]


@pytest.mark.parametrize(
    ("expression", "meaning"),
    [
        ("a", ["a"]),
        ("a & b", ["ab"]),
        ("a|b", ["a", "b"]),
        ("(a | b) & c", ["ac", "bc"]),
        ("a | b & c", ["a", "bc"]),
        ("(a|b) & (c|d)", ["ac", "ad", "bc", "bd"]),
        ("((a))", ["a"]),
        ("a & (b | a)", ["ab"]),
        ("  a\n&\tb ", ["ab"]),
    ],
)
def test_an_expression_means_its_combinations_in_the_order_of_writing(expression: str, meaning: list[str]) -> None:
    assert expanded(one=expression) == [set(models) for models in meaning]


def test_a_set_may_stand_in_another_wherever_it_is_written() -> None:
    # What is referred to comes first, as it is needed first.
    assert expanded(one="+two & c", two="a | b") == [{"a"}, {"b"}, {"a", "c"}, {"b", "c"}]


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ({"s": ""}, "ends where a model is expected"),
        ({"s": "a &"}, "ends where a model is expected"),
        ({"s": "& a"}, '"&" stands where a model is expected'),
        ({"s": "(a"}, "a closing parenthesis is missing"),
        ({"s": "a)"}, "should end"),
        ({"s": "a b"}, "should end"),
        ({"s": "a/b"}, "give the model a short one in vars"),
        ({"s": "aa"}, 'no model "aa"'),
        ({"s": "+t"}, 'no set "t"'),
        ({"s": "+"}, "is no part of a name"),
        ({"s": "+t", "t": "+s"}, "refers to itself"),
        ({"s": "(" * 60 + "a" + ")" * 60}, "nested too deep"),
        ({f"s{n}": f"+s{n + 1}" for n in range(60)} | {"s60": "a"}, "nested too deep"),
    ],
)
def test_an_expression_that_means_nothing_is_refused_with_the_reason(sets: dict[str, str], problem: str) -> None:
    with pytest.raises(BadExpression) as caught:
        expanded(**sets)
    assert problem in str(caught.value)


def test_many_alternatives_are_never_written_out() -> None:
    everybody = "(" + " | ".join("abcdefgh") + ")"
    doubled = {"s0": everybody} | {f"s{n}": f"+s{n - 1} & +s{n - 1}" for n in range(1, 30)}
    nodes = parse_sets(doubled, lambda name: name)
    assert combinations(nodes[-1], "abc") == [frozenset("abc")]
    assert most_at_once(nodes[-1], everything) == 2**29


def groups(**flags: dict[str, object]) -> Grouped:
    """Groups by the names of their members: ab={...} has the members a and b."""
    return Grouped.of({name: GroupSettings(members=tuple(name), **own) for name, own in flags.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layout", "newcomer", "going"),
    [
        (groups(), "a", "bcd"),
        (groups(ab={}), "a", "bcd"),
        (groups(ab={"swap": False}), "a", "cd"),
        (groups(ab={"swap": False, "exclusive": False}), "a", ""),
        (groups(ab={"exclusive": False}), "a", "b"),
        (groups(ab={}, cd={"persistent": True}), "a", "b"),
        (groups(ab={}, cd={"persistent": True}), "c", "abd"),
        (groups(ab={"exclusive": False}), "c", "abd"),
    ],
)
def test_a_newcomer_pushes_out_its_siblings_and_other_groups_as_their_flags_say(
    layout: Grouped, newcomer: str, going: str
) -> None:
    present = set("abcd") - {newcomer}
    assert layout.must_go(newcomer, present, ()) == frozenset(going)
    assert layout.must_go(newcomer, present, going[:1]) == (None if going else frozenset())


def test_how_many_may_be_loaded_together_at_most() -> None:
    for layout, most in (
        (groups(), 1),
        (groups(ab={}), 1),
        (groups(ab={"swap": False}), 2),
        (groups(ab={"swap": False}, cde={"swap": False, "exclusive": False}), 5),
        (groups(ab={"swap": False}, cd={"persistent": True}), 3),
        (groups(ab={"exclusive": False}), 2),
    ):
        assert layout.most(everything) == most
    assert groups(ab={"swap": False}).most(lambda name: name != "a") == 1
    assert Unlimited().most(everything) is None
    assert Combined.of(MatrixSettings(sets={"s": "a & (b | c & d)"})).most(everything) == 3


def test_the_models_in_no_group_may_be_told_to_stay_together_too() -> None:
    free = Grouped.of({UNGROUPED: GroupSettings(swap=False)})
    assert free.must_go("a", "bcd", ()) == frozenset() and free.most(everything) is None


def test_a_model_in_two_groups_is_refused_and_so_are_groups_beside_sets() -> None:
    twice = {"one": GroupSettings(members=("a",)), "two": GroupSettings(members=("b", "a"))}
    with pytest.raises(BadLayout, match='"a" is in group "one" already') as caught:
        layout_of(ResidencySettings(groups=twice))
    assert caught.value.key == ("groups", "two", "members")
    both = ResidencySettings(groups={"g": GroupSettings()}, matrix=MatrixSettings(sets={"s": "a"}))
    with pytest.raises(BadLayout, match="keep one of the two"):
        layout_of(both)
    with pytest.raises(BadLayout, match="there are no sets"):
        layout_of(ResidencySettings(matrix=MatrixSettings()))


def test_short_names_stand_for_ids_in_sets_and_costs() -> None:
    matrix = MatrixSettings(vars={"a": "org/a"}, sets={"s": "a & b", "t": "b & c"}, evict_costs={"a": 5})
    layout = Combined.of(matrix)
    assert layout.must_go("b", {"org/a", "c"}, ()) == {"c"}
    assert layout.names("org/a") and not layout.names("a")


def test_the_first_set_wins_when_two_cost_the_same() -> None:
    layout = Combined.of(MatrixSettings(sets={"s": "x & a", "t": "x & b"}))
    assert layout.must_go("x", "ab", ()) == {"b"}


def room(
    newcomer: str, present: str, places: int, fixed: str = "", layout: Grouped | Unlimited | None = None
) -> str | None:
    found = make_room(layout or Unlimited(), newcomer, present, fixed, lambda name: name != "e", places)
    return None if found is None else "".join(sorted(found))


def test_a_missing_place_is_taken_from_the_first_that_may_go() -> None:
    assert room("x", "ab", 3) == ""
    assert room("x", "ab", 2) == "a"
    assert room("x", "ab", 2, fixed="a") == "b"
    assert room("x", "ab", 1) == "ab"
    assert room("x", "ab", 1, fixed="a") is None
    # `e` takes no place and makes none.
    assert room("x", "ea", 2) == room("e", "ab", 1) == ""
    kept = groups(ab={"persistent": True, "exclusive": False, "swap": False}, x={"exclusive": False})
    assert room("x", "ab", 2, layout=kept) is None


def test_those_that_fit_together_are_taken_in_order() -> None:
    assert together("abac", Unlimited(), everything, 2) == ("a", "b")
    assert together("acbd", groups(ab={"swap": False}), everything, 4) == ("a", "b")
    # Whoever comes later may join what it would not have been pushed out by.
    assert together("ca", groups(a={"exclusive": False}), everything, 4) == ("c", "a")
    assert together("ac", groups(a={"exclusive": False}), everything, 4) == ("a",)
