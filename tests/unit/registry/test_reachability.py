"""Which roles the rotation policy lets a request reach."""

from pathlib import Path

import pytest

from roost.config.settings import GroupSettings, ResidencySettings, RotationPolicy, RotationSettings
from roost.registry.file import parse
from roost.registry.reachability import Cause, RoleReach, Rotation, expected_residents, reachability, rotation_problems
from roost.registry.types import Registry

_read = parse((Path(__file__).parents[2] / "fixtures/registry-nix.json").read_bytes())
assert isinstance(_read, Registry)
NIX = _read
IDS = frozenset(NIX.roles.values())
RESIDENT = NIX.roles["default"]


def reach(
    policy: RotationPolicy,
    *residents: str,
    max_resident: int = 1,
    pinned: tuple[str, ...] = (),
    registry: Registry = NIX,
) -> dict[str, RoleReach]:
    rotation = Rotation.of(
        RotationSettings(policy=policy), ResidencySettings(max_resident=max_resident, pinned=pinned), residents
    )
    return {found.role: found for found in reachability(registry, rotation, IDS, "here")}


def test_the_stack_has_seven_roles_over_five_models() -> None:
    assert len(NIX.roles) == 7
    assert len(IDS) == 5


def test_never_leaves_only_the_roles_of_the_resident() -> None:
    found = reach(RotationPolicy.NEVER, RESIDENT)
    assert {role for role in NIX.roles if found[role].reachable} == {"default", "tool-calling"}
    assert found["oss"].cause is Cause.ROTATION
    assert found["oss"].note == (
        f'rotation.policy is "never" and {RESIDENT} is resident, so mlx-community/gpt-oss-120b-MXFP4-Q4 never loads'
    )


def test_every_role_kept_out_is_a_problem_with_a_mend() -> None:
    problems = rotation_problems(reach(RotationPolicy.NEVER, RESIDENT).values())
    assert sorted(problem.text.split()[1] for problem in problems) == [
        "coding",
        "large-context",
        "most-capable",
        "oss",
        "quickest",
    ]
    assert all(problem.mend and problem.mend.startswith("roost load mlx-community/") for problem in problems)


@pytest.mark.parametrize("policy", [RotationPolicy.IDLE, RotationPolicy.ALWAYS])
def test_a_swapping_policy_reaches_every_role(policy: RotationPolicy) -> None:
    found = reach(policy, RESIDENT)
    assert all(found[role].reachable for role in NIX.roles)
    assert rotation_problems(found.values()) == ()
    idle = "idle for 60 s" in (found["oss"].note or "")
    assert idle is (policy is RotationPolicy.IDLE)


def test_a_pinned_resident_keeps_the_others_out() -> None:
    found = reach(RotationPolicy.ALWAYS, RESIDENT, pinned=(RESIDENT,))
    assert found["coding"].cause is Cause.ROTATION
    assert "pinned" in (found["coding"].note or "")


def test_a_group_that_a_newcomer_pushes_out_is_named_with_all_its_members() -> None:
    other, third = sorted(IDS - {RESIDENT, NIX.roles["oss"]})[:2]
    groups = {"small": GroupSettings(members=(RESIDENT, other), swap=False), "big": GroupSettings(members=(third,))}
    residency = ResidencySettings(max_resident=3, groups=groups)

    def rotation(policy: RotationPolicy, *residents: str) -> Rotation:
        return Rotation.of(RotationSettings(policy=policy), residency, residents)

    role = next(role for role, model in NIX.roles.items() if model == third)
    for policy, cause in ((RotationPolicy.ALWAYS, Cause.SWAP), (RotationPolicy.NEVER, Cause.ROTATION)):
        found = {r.role: r for r in reachability(NIX, rotation(policy, RESIDENT, other), IDS, "here")}
        assert found[role].cause is cause
        if cause is Cause.SWAP:
            assert found[role].note == f"takes the place of {RESIDENT} and {other}"
    assert expected_residents(NIX, residency.model_copy(update={"preload": (third, other)}), IDS) == (RESIDENT, other)


def test_a_free_place_is_reached_whatever_the_policy() -> None:
    found = reach(RotationPolicy.NEVER, RESIDENT, max_resident=2)
    assert found["oss"].cause is Cause.FREE_PLACE
    assert reach(RotationPolicy.NEVER)["oss"].reachable


def test_auxiliary_roles_stand_beside_the_residents() -> None:
    registry = Registry(roles={"default": RESIDENT, "embedding": NIX.roles["oss"]})
    assert reach(RotationPolicy.NEVER, RESIDENT, registry=registry)["embedding"].cause is Cause.AUXILIARY


def test_a_role_without_any_entry_is_not_blamed_on_the_rotation() -> None:
    found = reach(RotationPolicy.NEVER, RESIDENT)
    assert (found["rerank"].cause, found["rerank"].model_id) == (Cause.NO_ENTRY, None)
    assert 'run "roost use rerank ID"' in (found["rerank"].note or "")
    assert not found["rerank"].reachable


def test_unknown_models_and_other_nodes_say_so() -> None:
    registry = Registry(roles={"default": "nobody/has", "coding": f"{RESIDENT}@basement", "oss": f"{RESIDENT}@here"})
    found = reach(RotationPolicy.ALWAYS, RESIDENT, registry=registry)
    assert found["default"].cause is Cause.UNKNOWN_MODEL
    assert found["quickest"].via_default
    assert found["coding"].cause is Cause.OTHER_NODE
    assert found["oss"].cause is Cause.RESIDENT


def test_a_fresh_start_is_expected_to_load_default_and_preload() -> None:
    residency = ResidencySettings(max_resident=2, preload=("embedding", "oss", "quickest"))
    assert expected_residents(NIX, residency, IDS) == (RESIDENT, NIX.roles["oss"])
    assert expected_residents(Registry(roles={"default": "nobody/has"}), residency, IDS) == ()
    assert expected_residents(Registry(), ResidencySettings(), IDS) == ()
