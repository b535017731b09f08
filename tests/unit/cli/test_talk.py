"""What `ask` and `chat` make of what is typed."""

from __future__ import annotations

import io

import pytest

from roost.cli.ask import piped_text, question
from roost.cli.chat import Conversation, obey


class Piped(io.StringIO):
    def __init__(self, raw: bytes, terminal: bool = False) -> None:
        super().__init__()
        self.buffer = io.BytesIO(raw)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_piped_text_follows_the_prompt() -> None:
    assert question("commit message", "diff --git a b\n") == "commit message\n\ndiff --git a b"


def test_piped_text_alone_is_a_question() -> None:
    assert question("", "hello\n") == "hello"


def test_a_terminal_is_not_waited_for() -> None:
    assert piped_text(Piped(b"never read", terminal=True)) == ""


def test_bytes_that_are_no_text_become_marks() -> None:
    assert piped_text(Piped(b"caf\xe9")) == "caf�"


def test_no_standard_input_at_all_is_no_question() -> None:
    assert piped_text(None) == ""


def test_a_conversation_carries_the_system_prompt_and_what_was_said() -> None:
    conversation = Conversation("default", "Be brief.")
    conversation.remember("hi", "hello")
    assert [message["role"] for message in conversation.messages("and?")] == ["system", "user", "assistant", "user"]


def test_reset_forgets() -> None:
    conversation = Conversation("default")
    conversation.remember("hi", "hello")
    assert obey("/reset", conversation)
    assert conversation.messages("hi") == [{"role": "user", "content": "hi"}]


def test_model_changes_who_answers_and_keeps_what_was_said() -> None:
    conversation = Conversation("default")
    conversation.remember("hi", "hello")
    assert obey("/model coding", conversation)
    assert conversation.model == "coding"
    assert len(conversation.said) == 2


def test_model_without_a_name_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation("default")
    assert obey("/model", conversation)
    assert conversation.model == "default"
    assert "talking to default" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["/quit", "/exit", "/bye"])
def test_quit_leaves(word: str) -> None:
    assert not obey(word, Conversation("default"))


def test_a_misspelt_command_is_no_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert obey("/rest", Conversation("default"))
    assert 'did you mean "/reset"?' in capsys.readouterr().err
