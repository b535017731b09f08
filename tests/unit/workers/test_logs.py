from __future__ import annotations

import stat
from pathlib import Path

import pytest

from roost.workers.logs import WorkerLog, redact
from roost.workers.logs_path import worker_log_name


def test_what_users_wrote_is_taken_out() -> None:
    line = b"INFO request: last user message: 'my password is hunter2' (14 tokens)"
    assert b"hunter2" not in redact(line)
    assert redact(b'{"prompt": "the secret plan", "n": 1}') == b'{"prompt":  [redacted]'


def test_what_users_wrote_is_taken_out_without_quotes_too() -> None:
    assert redact(b"INFO prompt: the secret plan") == b"INFO prompt:  [redacted]"
    assert b"secret" not in redact(b"DEBUG request content=secret plan")
    assert redact(b"slot 0: prompt: 37 tokens") == b"slot 0: prompt: 37 tokens"


def test_timings_and_errors_stay() -> None:
    line = b"prompt eval time =     282.22 ms /    37 tokens"
    assert redact(line) == line
    assert redact(b"error: failed to load model '/models/x.gguf'") == b"error: failed to load model '/models/x.gguf'"


def test_control_characters_cannot_play_with_a_terminal() -> None:
    assert redact(b"a\x1b[2Jb\x07c") == b"a[2Jbc"


def test_lines_cut_by_reads_are_put_together(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", 10_000)
    for piece in (b"first li", b"ne\nsecond", b" line\nrest"):
        log.feed(piece)
    log.close()
    assert (tmp_path / "w.log").read_bytes() == b"first line\nsecond line\nrest\n"
    assert log.last_line() == "rest"


def test_the_file_is_private_and_stays_below_its_cap(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", 20_000)
    for number in range(5000):
        log.feed(f"line {number} of a flood\n".encode())
    log.close()
    files = list(tmp_path.iterdir())
    assert sum(file.stat().st_size for file in files) <= 20_000 + 4096
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert log.last_line() == "line 4999 of a flood"


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", 10_000)
    for _ in range(100):
        log.feed(b"x" * 10_000)
    log.close()
    assert all(len(line) <= 4096 for line in log.last_lines(40))


def test_a_prompt_longer_than_a_line_may_be_is_not_written_from_its_second_piece_on(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", 1_000_000)
    log.feed(b"INFO prompt: '" + b"secret " * 1000)
    for _ in range(3):
        log.feed(b"secret " * 1000)
    log.feed(b"secret' done\nnext line\nlast")
    log.close()
    assert (tmp_path / "w.log").read_bytes() == b"INFO prompt:  [redacted]\nnext line\nlast\n"


def test_a_disk_that_cannot_be_written_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = WorkerLog(tmp_path / "file" / "w.log", 10_000)
    log.feed(b"still here\n")
    assert log.last_line() == "still here"


def test_an_assertion_counts_before_a_line_of_another_thread_that_came_after_it(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", 10_000)
    log.feed(b"llama-vocab.cpp:12: GGML_ASSERT(a == b) failed\n0.00.004.426 I srv load_model: loading model\n")
    log.close()
    assert log.last_line() == "llama-vocab.cpp:12: GGML_ASSERT(a == b) failed"


def test_similar_ids_have_different_log_names_and_none_is_a_path() -> None:
    names = {worker_log_name(text) for text in ("org/a:Q4", "org-a-Q4", "../../etc/passwd", "org/a/Q4")}
    assert len(names) == 4
    assert not any("/" in name or name.startswith(".") for name in names)


@pytest.mark.parametrize(
    "ending",
    [
        "Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information\n",
        "See 'podman run --help'\n",
        "See 'docker run --help'.\n",
        "\n\n",
    ],
)
def test_a_hint_at_help_is_not_the_last_line_that_says_something(tmp_path: Path, ending: str) -> None:
    log = WorkerLog(tmp_path / "w.log", 4096)
    log.feed(b"unknown flag: --no-such-option\n" + ending.encode())
    assert log.last_line() == "unknown flag: --no-such-option"
    log.close()
