"""Ollama's official Python client against the installed roost."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import ollama
import pytest

from tests.acceptance.conftest import Roost

MODEL = "SmolLM2-135M-Instruct-Q4_1"
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
#: 1x1, transparent.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.fixture
def client(roost: Roost) -> Iterator[ollama.Client]:
    with ollama.Client(host=roost.start().url) as opened:
        yield opened


@pytest.fixture
def pretender(stand_in: Callable[..., Roost]) -> Iterator[tuple[Roost, ollama.Client]]:
    """A roost whose default model is a stand-in, and a client of it."""
    roost = stand_in().start()
    with ollama.Client(host=roost.url) as opened:
        yield roost, opened


def test_the_official_client_works_with_a_real_model(client: ollama.Client, roost: Roost) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"default", "coding", MODEL} <= set(listed)
    assert listed[MODEL].details and listed[MODEL].details.quantization_level == "Q4_1"
    shown = client.show("default:latest")
    assert shown.modelinfo and shown.modelinfo["llama.context_length"] == 8192
    assert shown.capabilities == ["completion"]

    options = {"temperature": 0, "num_predict": 30, "num_ctx": 4096}
    answer = client.chat("default", messages=QUESTION, options=options)
    assert answer.model == MODEL and "4" in (answer.message.content or "")
    assert answer.done_reason == "stop" and answer.eval_count and answer.eval_duration and answer.prompt_eval_duration
    parts = list(client.chat("coding", messages=QUESTION, options=options, stream=True))
    assert "".join(part.message.content or "" for part in parts) == answer.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == answer.eval_count

    raw = client.generate(MODEL, "The capital of France is", raw=True, options={"temperature": 0, "num_predict": 2})
    assert "Paris" in (raw.response or "")
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    formed = client.generate(MODEL, "A person's age as JSON", format=schema, options={"temperature": 0})
    assert '"age"' in (formed.response or "")

    roost.cli("use", "embedding", MODEL)
    vectors = client.embed("embedding", ["hello", "a longer text"])
    assert [len(vector) for vector in vectors.embeddings] == [576, 576]

    assert [model.model for model in client.ps().models] == [MODEL]
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert client.ps().models == []
    assert client.generate(MODEL).done_reason == "load"
    assert [model.context_length for model in client.ps().models] == [8192]


def test_the_official_client_shows_refusals_as_they_are_meant(client: ollama.Client) -> None:
    def refused(call: Callable[[], Any]) -> ollama.ResponseError:
        with pytest.raises(ollama.ResponseError) as caught:
            call()
        return caught.value

    def chat(**more: Any) -> ollama.ResponseError:
        return refused(lambda: client.chat(**{"model": "default", "messages": QUESTION, **more}))

    unknown = chat(model="llama3")
    assert unknown.status_code == 404 and "cannot serve 'llama3'" in unknown.error
    assert "8,192" in chat(options={"num_ctx": 9000}).error
    assert "does not support thinking" in chat(think=True).error
    assert "cannot see images" in chat(messages=[{**QUESTION[0], "images": [PIXEL]}]).error
    too_long = refused(lambda: list(client.generate("default", "many words " * 9000, stream=True)))
    assert too_long.status_code == 400 and "8,192" in too_long.error
    assert "roost models add" in refused(lambda: client.pull("llama3")).error
    assert "roost models rm" in refused(lambda: client.delete(MODEL)).error


def behave(roost: Roost, told: str) -> None:
    request = urllib.request.Request(
        f"{roost.url}/upstream/a/stand-in/behave", told.encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_a_tool_call_comes_as_an_object_and_its_result_goes_back(pretender: tuple[Roost, ollama.Client]) -> None:
    roost, client = pretender
    behave(roost, '{"text": "a b c", "tool_call": {"name": "weather", "arguments": "{\\"city\\": \\"Paris\\"}"}}')

    def weather(city: str) -> str:
        """The weather in a city.

        Args:
          city: its name
        """
        return f"rain in {city}"

    messages: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    for part in client.chat("default", messages=messages, tools=[weather], stream=True):
        messages += [part.message] if part.message.tool_calls else []
    [call] = messages[-1].tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Paris"})
    behave(roost, '{"text": "It rains."}')
    messages.append({"role": "tool", "tool_name": "weather", "content": weather(**call.function.arguments)})
    assert client.chat("default", messages=messages, tools=[weather]).message.content == "It rains."


def test_a_worker_that_dies_in_mid_stream_is_an_error_after_the_first_lines(
    pretender: tuple[Roost, ollama.Client],
) -> None:
    roost, client = pretender
    behave(roost, '{"tokens": 9, "die_after_tokens": 3}')
    parts: list[str] = []
    with pytest.raises(ollama.ResponseError) as broken:
        for part in client.chat("default", messages=QUESTION, stream=True):
            parts.append(part.message.content or "")
    assert len(parts) == 3 and "a" in broken.value.error
