"""`roost doctor`: is this machine fit, and what mends what is not."""

from __future__ import annotations

import sys

import typer

from roost.cli.checks import CHECKS, Check, Verdict
from roost.cli.doors import here
from roost.cli.failure import FAILED
from roost.cli.models import JsonOption
from roost.cli.output import Paint, paint_for, say_all, say_json


def doctor(as_json: JsonOption = False) -> None:
    """Check Python, engines, port, registry, disk, memory; name what mends each finding.

    Exit code 1 if something fails. It needs no daemon and changes nothing.

    \b
    Examples:
      roost doctor
      roost doctor --json | jq '.[] | select(.verdict != "ok")'
    """
    place = here()
    found = [check for look in CHECKS for check in look(place)]
    if as_json:
        say_json([vars(check) for check in found])
    else:
        say_all(check_lines(found, paint_for(sys.stdout)))
    if any(check.verdict is Verdict.FAIL for check in found):
        raise typer.Exit(FAILED)


def check_lines(checks: list[Check], paint: Paint) -> list[str]:
    tones = {Verdict.OK: paint.good, Verdict.WARN: paint.careful, Verdict.FAIL: paint.bad}
    lines = []
    for check in checks:
        lines.append(f"{tones[check.verdict](f'{check.verdict.value:<4}')}  {check.name:<8}  {check.text}")
        if check.mend and check.verdict is not Verdict.OK:
            lines.append(f"{'':16}mend: {check.mend}")
    return lines
