"""What `doctor` makes of what it sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.cli.checks import (
    Check,
    Verdict,
    judge_clock,
    judge_disk,
    judge_memory,
    judge_mode,
    judge_port,
    judge_standby,
)
from roost.cli.doctor import check_lines
from roost.cli.output import Paint

GB = 10**9


@pytest.mark.parametrize(
    ("free_bytes", "verdict"), [(0, Verdict.FAIL), (GB // 4, Verdict.FAIL), (GB, Verdict.WARN), (50 * GB, Verdict.OK)]
)
def test_a_full_disk_is_seen(free_bytes: int, verdict: Verdict) -> None:
    assert judge_disk("models", Path("/m"), free_bytes).verdict is verdict


def test_swap_in_use_is_a_warning() -> None:
    assert judge_memory(64 * GB, 1 * GB, 20 * GB).verdict is Verdict.WARN
    assert judge_memory(64 * GB, 1 * GB, 0).verdict is Verdict.OK


def test_standby_is_advised_where_there_is_room_for_a_spare() -> None:
    check = judge_standby("mlx-lm", GB, 8 * GB, 16 * GB, on=False)
    assert check.verdict is Verdict.OK and "set standby = true in [engines.mlx-lm]" in check.text
    assert "1.0 GB" in check.text and "8.0 GB are free" in check.text
    assert "it is on" in judge_standby("mlx-lm", GB, 8 * GB, 16 * GB, on=True).text


def test_without_room_standby_is_not_advised_and_a_warning_where_it_is_on() -> None:
    off = judge_standby("mlx-lm", GB, 2 * GB, 16 * GB, on=False)
    assert off.verdict is Verdict.OK and "set standby" not in off.text
    on = judge_standby("mlx-lm", GB, 2 * GB, 16 * GB, on=True)
    assert on.verdict is Verdict.WARN and "set standby = false in [engines.mlx-lm]" in (on.mend or "")


def test_a_clock_behind_roosts_own_files_is_a_warning() -> None:
    assert judge_clock(1000.0, 5000.0).verdict is Verdict.WARN
    assert judge_clock(1000.0, 1100.0).verdict is Verdict.OK


def test_a_taken_port_names_who_holds_it() -> None:
    found = judge_port("127.0.0.1:11434", "the port is taken", "Ollama 0.9.1")
    assert found.verdict is Verdict.FAIL
    assert found.text == "cannot listen on 127.0.0.1:11434: Ollama 0.9.1 answers there"


def test_a_port_held_by_somebody_unseen_says_why() -> None:
    assert judge_port("h:1", "the port is taken", None).text == "cannot listen on h:1: the port is taken"


def test_a_file_that_others_can_read_is_named_with_its_mend(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.touch(mode=0o644)
    keys.chmod(0o644)
    found = judge_mode(keys, 0o600)
    assert found is not None
    assert found.mend == f"chmod 0600 {keys}"


def test_a_private_or_absent_file_is_no_finding(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    assert judge_mode(keys, 0o600) is None
    keys.touch()
    keys.chmod(0o400)
    assert judge_mode(keys, 0o600) is None


def test_each_line_has_its_verdict_as_a_word_and_mends_only_where_needed() -> None:
    lines = check_lines(
        [Check("port", Verdict.OK, "free", "never shown"), Check("disk", Verdict.FAIL, "full", "free space")],
        Paint(enabled=False),
    )
    assert lines == ["ok    port      free", "fail  disk      full", f"{'':16}mend: free space"]
