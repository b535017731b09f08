"""What people read of a verdict."""

from __future__ import annotations

from datetime import datetime

from roost.cli.verify_text import lines, shares, tools_line
from roost.store.verdicts import Basis, Verdict
from roost.verify.types import Arm, Group, Outcome, Result

BASIS = Basis(weights="", texts="", engine="", engine_version=None, quantization=None, settings="")
NOON = datetime(2026, 11, 26, 12).timestamp()
RESULTS = [
    *(Result(Group.SINGLE, str(n), Arm.ENGINE, Outcome.LEAKED) for n in range(4)),
    *(Result(Group.SINGLE, str(n), Arm.SERVED, Outcome.OK) for n in range(3)),
    Result(Group.SINGLE, "3", Arm.SERVED, Outcome.WRONG_NAME),
    *(Result(Group.REPLAY, str(n), Arm.SERVED, Outcome.OK) for n in range(6)),
]


def verdict(word: str, reasons: tuple[str, ...] = ()) -> Verdict:
    values = {"model": "m", "basis": BASIS, "word": word, "tools": "full", "at": NOON, "version": "1"}
    return Verdict.model_validate({**values, "reasons": reasons, "groups": tuple(shares(RESULTS))})


def test_engine_and_served_stand_side_by_side_with_their_intervals() -> None:
    said = lines(verdict("unfit", ("single: 3 of 4 right, 90% needed",)), kept=True)
    single = next(line for line in said if line.startswith("single "))
    assert "0/4 (0.00-0.49)" in single and "3/4 (0.30-0.95)" in single and single.endswith("1 wrong name")
    assert any(line.startswith("replay") and "6/6 (0.61-1.00)" in line for line in said)
    assert said[-2:] == ["  single: 3 of 4 right, 90% needed", "m: unfit for tools"]


def test_a_quick_look_says_that_nothing_is_kept() -> None:
    said = lines(verdict("fit-with-repair"), kept=False)[-1]
    assert said.startswith("m: fit-with-repair for tools; roost looks for its calls in mode full")
    assert said.endswith("nothing was kept")


def test_the_line_of_models_show() -> None:
    passed = verdict("fit")
    assert tools_line("m", passed, passed) == "tools         fit, verified 2026-11-26"
    void = tools_line("m", None, passed)
    assert "it was fit on 2026-11-26" in void and 'run "roost models verify m"' in void
    assert tools_line("m", None, None).startswith('tools         unverified; run "roost models verify m"')
