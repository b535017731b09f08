"""One real model, three protocols, their official SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2 as httpx
import pytest

from tests.acceptance.conftest import Roost

MakeRoost = Callable[..., Roost]
QUESTION = "What is 2+2?"


@pytest.fixture
def client(roost: Roost) -> Iterator[anthropic.Anthropic]:
    roost.start()
    with anthropic.Anthropic(
        base_url=roost.url, api_key="none", max_retries=0, http_client=httpx.Client(verify=False, timeout=120)
    ) as found:
        yield found


def test_the_same_question_has_the_same_answer_in_each(roost: Roost, client: anthropic.Anthropic) -> None:
    """Greedy, by the same weights: the words differ in nothing but their wrapping."""
    ask: Any = {"model": "default", "max_tokens": 24, "messages": [{"role": "user", "content": QUESTION}]}
    greedy: Any = {"extra_body": {"temperature": 0}}
    whole = client.messages.create(**ask, **greedy)
    with client.messages.stream(**ask, **greedy) as stream:
        streamed = stream.get_final_message()
    openai = roost.client()
    chat = openai.chat.completions.create(**ask, temperature=0)
    response = openai.responses.create(model="default", input=QUESTION, max_output_tokens=24, temperature=0)
    said = chat.choices[0].message.content
    assert said and "4" in said
    for message in (whole, streamed):
        assert [block.text for block in message.content if block.type == "text"] == [said]
        assert message.model == chat.model == response.model
        assert message.usage.output_tokens == chat.usage.completion_tokens  # type: ignore[union-attr]
    assert response.output_text == said
    used = whole.usage
    prompt = used.input_tokens + (used.cache_read_input_tokens or 0)
    assert prompt == client.messages.count_tokens(model="default", messages=ask["messages"]).input_tokens
    assert response.usage is not None and response.usage.input_tokens == prompt


def test_a_prompt_over_the_window_is_refused_in_their_words(client: anthropic.Anthropic) -> None:
    long = [{"role": "user", "content": "word " * 12_000}]
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .* window of 8,192"):
        client.messages.create(model="default", max_tokens=8, messages=long)  # type: ignore[arg-type]


def test_the_models_are_listed(client: anthropic.Anthropic) -> None:
    assert {"default", "coding"} <= {model.id for model in client.models.list()}
