"""Who watches a start sees the same things, wherever it is."""

from __future__ import annotations

import io
import json

import pytest

from roost.cli.announce import Bar, ConsoleAnnouncer, EventAnnouncer, base_url, ready_line, replay
from roost.cli.output import Paint


class Console:
    def __init__(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.announcer = ConsoleAnnouncer(self.out, self.err, Paint(enabled=False))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_ready_line_is_the_only_line_on_standard_output() -> None:
    console = Console()
    console.announcer.step("engine llama.cpp: the only one installed")
    console.announcer.problem("swap is in use", "roost doctor")
    console.announcer.ready("127.0.0.1", 11434, "smol", "llama.cpp")
    assert console.out.getvalue() == "roost ready http://127.0.0.1:11434/v1 model=smol engine=llama.cpp\n"


def test_the_curl_to_copy_follows_on_standard_error() -> None:
    console = Console()
    console.announcer.ready("127.0.0.1", 8080, "smol", "llama.cpp")
    assert "curl http://127.0.0.1:8080/v1/chat/completions" in console.err.getvalue()


def test_an_address_of_version_six_is_bracketed() -> None:
    assert ready_line("::1", 1, "m", "e") == "roost ready http://[::1]:1/v1 model=m engine=e"
    assert base_url("127.0.0.1", 1) == "http://127.0.0.1:1"


def test_with_tls_the_line_says_https_and_no_curl_without_a_key_is_offered() -> None:
    console = Console()
    console.announcer.ready("0.0.0.0", 11434, "smol", "llama.cpp", tls=True)
    assert console.out.getvalue() == "roost ready https://0.0.0.0:11434/v1 model=smol engine=llama.cpp\n"
    assert "curl" not in console.err.getvalue()
    assert "roost ask" in console.err.getvalue()


def test_a_problem_names_its_mend() -> None:
    console = Console()
    console.announcer.problem("port 11434 is taken", "roost up --port 0")
    assert console.err.getvalue() == '! port 11434 is taken; run "roost up --port 0"\n'


def test_a_fetch_without_a_terminal_writes_a_line_a_tenth() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    for done_mb in range(101):
        bar.show("smol", done_mb * 10**6, 100 * 10**6)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  smol: 10 % of 100 MB"
    assert lines[-1] == "  smol: 100 % of 100 MB"
    assert len(lines) == 10


def test_a_fetch_that_reports_its_whole_again_draws_no_second_bar() -> None:
    console, terminal = Console(), Terminal()
    announcer = ConsoleAnnouncer(console.out, terminal, Paint(enabled=False))
    for _ in range(3):
        announcer.progress("smol", 100, 100)
    assert terminal.getvalue().count("smol") == once_drawn()


def once_drawn() -> int:
    terminal = Terminal()
    bar = Bar(terminal)
    bar.show("smol", 100, 100)
    bar.close()
    return terminal.getvalue().count("smol")


def test_a_fetch_of_unknown_length_writes_what_came() -> None:
    stream = io.StringIO()
    Bar(stream).show("smol", 12 * 10**6, None)
    assert stream.getvalue() == "  smol: 12 MB\n"


def test_a_fetch_on_a_terminal_draws_a_bar() -> None:
    stream = Terminal()
    bar = Bar(stream)
    bar.show("smol", 50, 100)
    bar.close()
    assert "smol" in stream.getvalue()


def test_events_replayed_elsewhere_look_as_if_they_happened_there() -> None:
    pipe, beside, waiting = io.StringIO(), Console(), Console()
    pipe.close = lambda: None  # type: ignore[method-assign]  the test reads it afterwards
    announcer = EventAnnouncer(pipe, beside.announcer)
    announcer.step("memory: 24 GB free")
    announcer.progress("smol", 100, 100)
    announcer.problem("swap is in use")
    announcer.ready("127.0.0.1", 1, "smol", "llama.cpp")
    for line in pipe.getvalue().splitlines():
        replay(json.loads(line), waiting.announcer)
    assert waiting.out.getvalue() == beside.out.getvalue()
    assert waiting.err.getvalue() == beside.err.getvalue()


def test_a_failed_start_is_told_line_by_line() -> None:
    console = Console()
    replay({"event": "failed", "lines": ["error: a", "  - b"]}, console.announcer)
    assert console.err.getvalue() == "error: a\n  - b\n"


def test_a_waiter_that_went_away_does_not_stop_the_daemon() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    beside = Console()
    announcer = EventAnnouncer(Gone(), beside.announcer)
    announcer.step("one")
    announcer.step("two")
    assert beside.err.getvalue() == "✓ one\n✓ two\n"


@pytest.mark.parametrize("done_bytes", [0, 9])
def test_less_than_a_tenth_is_not_worth_a_line(done_bytes: int) -> None:
    stream = io.StringIO()
    Bar(stream).show("smol", done_bytes, 100)
    assert stream.getvalue() == ""


class _FullDisk(io.StringIO):
    """What a redirected standard error is on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_stream_that_cannot_be_written_costs_its_lines_and_nothing_else() -> None:
    out = io.StringIO()
    announcer = ConsoleAnnouncer(out, _FullDisk())
    announcer.step("a step")
    announcer.problem("a problem", "a mend")
    announcer.ready("127.0.0.1", 1, "m", "e")
    assert out.getvalue().startswith("roost ready ")
