"""`roost status` as text."""

from __future__ import annotations

from roost.api import CoexistenceReport, ElsewhereReport, Problem, StatusReport
from roost.cli.output import Paint
from roost.cli.status_text import status_lines
from tests.unit.cli.reports import NOW, role, spare, status, worker

PLAIN = Paint(enabled=False)


def text_of(report: StatusReport) -> str:
    return "\n".join(status_lines(report, NOW, PLAIN))


def test_problems_come_first_and_errors_before_warnings() -> None:
    problems = (
        Problem(severity="warning", text="role oss cannot be reached", mend="roost load X"),
        Problem(severity="error", text="registry.json line 3 column 5: expecting a comma", mend="roost config check"),
    )
    lines = status_lines(status(problems=problems), NOW, PLAIN)
    assert lines[:4] == [
        "error: registry.json line 3 column 5: expecting a comma",
        "  mend: roost config check",
        "warning: role oss cannot be reached",
        "  mend: roost load X",
    ]


def test_a_healthy_daemon_begins_with_its_endpoint() -> None:
    assert status_lines(status(), NOW, PLAIN)[0] == "endpoint   http://127.0.0.1:11434/v1"


def test_the_resident_shows_identity_proof_memory_and_time() -> None:
    text = text_of(status())
    for piece in (
        "fingerprint b179c9523d0e",
        "ready, proven",
        "llama.cpp 2026.10, pid 4242, Q4_1, context 8,192",
        "210 MB resident, weights 97 MB; up 3 min 10 s, stays",
        "1 running, 2 queued, 4 at once",
    ):
        assert piece in text


def test_only_twelve_digits_of_a_fingerprint_are_shown() -> None:
    assert "b179c9523d0e6" not in text_of(status())


def test_a_spare_is_shown_apart_from_what_serves() -> None:
    text = text_of(status(workers=(worker(),), spares=(spare(),)))
    assert "spare      mlx-lm 0.32.2: standby, pid 77, up 3 min 20 s, 210 MB resident" in text
    assert "nothing is loaded" in text_of(status(workers=(), spares=(spare(),)))
    assert "spare" not in text_of(status())


def test_a_spare_that_is_not_there_says_why() -> None:
    absent = spare(state="absent", pid=None, started_at=None, resident_bytes=None, problem="no room")
    text = text_of(status(spares=(absent,)))
    assert "mlx-lm 0.32.2: absent\n" in text and "problem: no room" in text


def test_an_idle_ttl_says_when_it_ends() -> None:
    assert "unloads in 5 min if idle" in text_of(status(workers=(worker(expires_at=NOW + 300),)))


def test_who_waits_is_told_for_how_long_and_when_its_turn_is() -> None:
    waiting = {"state": "queued", "pid": None, "running": 0, "waits_s": 75.0}
    text = text_of(status(workers=(worker(**waiting, place=1), worker(**waiting, model="other", place=2))))
    assert "0 running, 2 queued for 1 min 15 s (next to be loaded), 4 at once" in text
    assert "2 queued for 1 min 15 s (number 2 in line to be loaded)" in text
    assert "2 queued for 3 s, 4 at once" in text_of(status(workers=(worker(waits_s=3.0),)))


def test_a_failed_worker_says_why_and_what_mends_it() -> None:
    failed = worker(state="failed", pid=None, problem="exit code 1: no such file", mend="roost models verify X")
    assert 'problem: exit code 1: no such file; run "roost models verify X"' in text_of(status(workers=(failed,)))


def test_nothing_resident_is_said() -> None:
    assert "nothing is loaded" in text_of(status(workers=()))
    assert "nothing is loaded" in text_of(status(workers=(worker(state="stopped"),)))


def test_a_stopped_worker_with_a_problem_is_not_hidden() -> None:
    assert "problem: out of memory" in text_of(status(workers=(worker(state="stopped", problem="out of memory"),)))


def test_a_role_says_whether_it_can_be_reached_and_why_not() -> None:
    unreachable = role("oss", resolves_to="big", state="on-disk", reachable=False, note="rotation is never")
    line = next(line for line in text_of(status(roles=(unreachable,))).splitlines() if "oss" in line)
    assert line.split() == ["oss", "big", "on-disk,", "unreachable:", "rotation", "is", "never"]


def test_a_role_without_an_entry_says_that_it_means_default() -> None:
    assert "resident, as default" in text_of(status())


def test_speed_of_the_last_minute_is_shown() -> None:
    text = text_of(status())
    assert "12 in the last minute, 1 failed" in text
    assert "first token p50 0.21 s, p95 0.40 s" in text
    assert "decode 45.2 tok/s; 63 % of prompt tokens from cache" in text


def test_what_clients_left_is_told_apart_from_what_failed() -> None:
    statistics = status().statistics.model_copy(update={"errors": 0, "left": 2})
    assert "12 in the last minute, 0 failed, 2 left by their clients" in text_of(status(statistics=statistics))


def test_a_parked_worker_shows_what_its_process_has_and_no_estimate() -> None:
    text = text_of(status(workers=(worker(state="parked", grade=None, memory=None, resident_bytes=103_000_000),)))
    assert "103 MB resident still: its process without the model; a request wakes it" in text
    assert "estimate" not in text and "stays" not in text


def test_a_draining_daemon_says_so() -> None:
    assert "draining: no new requests are taken" in text_of(status(draining=True))


def test_a_usual_report_fits_into_eighty_columns() -> None:
    assert max(len(line) for line in status_lines(status(), NOW, PLAIN)) <= 80


def test_colour_changes_no_word() -> None:
    import re

    coloured = "\n".join(status_lines(status(), NOW, Paint(enabled=True)))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text_of(status())


def test_status_tells_how_models_give_way_and_why() -> None:
    mode = CoexistenceReport(
        profile="workstation",
        mode="modest",
        reasons=("on battery (62 %)",),
        idle_ttl_s=300,
        sequences=2,
        gave_way=("smol",),
    )
    text = text_of(status(coexistence=mode))
    assert "modest: on battery (62 %)" in text
    assert "models go after 5 min idle, 2 at once, none is preloaded" in text and "smol went for it" in text


def test_a_server_has_no_mode() -> None:
    off = status(coexistence=CoexistenceReport(profile="server", mode="off"))
    assert not any(line.startswith("mode") for line in status_lines(off, NOW, PLAIN))


def test_paired_machines_and_providers_have_a_line_each_and_words_for_their_state() -> None:
    others = (
        ElsewhereReport(name="basement", kind="node", state="up", latency_s=0.0012, models=3),
        ElsewhereReport(name="attic", kind="node", state="down", problem="nobody answers at attic.lan:11443"),
        ElsewhereReport(name="sky", kind="cloud", state="open", spent_today_usd=0.5, max_usd_per_day=5),
        ElsewhereReport(name="sea", kind="cloud", state="closed", problem="offline"),
    )
    text = text_of(status(elsewhere=others))
    for line in (
        "basement  up      3 models, 1.2 ms away",
        "attic     down    nobody answers at attic.lan:11443",
        "sky       open    cloud, 0.50 of 5 USD spent today",
        "sea       closed  offline",
    ):
        assert line in text
    assert "elsewhere" not in text_of(status())
