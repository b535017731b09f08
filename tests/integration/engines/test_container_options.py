"""The options that the parser knows, against what the installed clients say of themselves."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from roost.engines.containers import GLOBAL_SWITCHES, RUN_SWITCHES

pytestmark = pytest.mark.containers
#: `  -d, --detach   Run …` has no value, `      --name string   …` has one.
OPTION = re.compile(r"^ +(?:-(\w), )?--([\w-]+)(?: (\S+))?(?: {2,}|$)", re.MULTILINE)


@pytest.mark.parametrize("program", ["docker", "podman", "nerdctl"])
@pytest.mark.parametrize(
    ("words", "switches"), [((), GLOBAL_SWITCHES), (("run",), RUN_SWITCHES)], ids=["global", "run"]
)
def test_switches_are_those_of_the_client(program: str, words: tuple[str, ...], switches: frozenset[str]) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; its options cannot be asked for")
    said = subprocess.run([program, *words, "--help"], capture_output=True, text=True).stdout
    found = OPTION.findall(said)
    assert len(found) > 5
    for short, long, value in found:
        for name in filter(None, (short, long)):
            assert (name in switches) is (not value), f"{program} {' '.join(words)} --{long} {value}"
