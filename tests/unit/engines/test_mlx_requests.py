"""What the mlx-lm launcher lets through to the engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roost.engines.launchers.mlx_requests import COUNT_ROUTE, Refusal, checked, parse

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
VOCABULARY = 100


def let_through(path: str, body: object) -> dict[str, Any]:
    return checked(path, json.dumps(body).encode(), "smol", VOCABULARY)


def refused(path: str, body: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        let_through(path, body)
    return caught.value


def test_null_means_not_set() -> None:
    body = let_through(TEXT, {"prompt": "hi", "temperature": None, "max_tokens": None})
    assert "temperature" not in body
    assert "max_tokens" not in body


@pytest.mark.parametrize("field", ["adapters", "draft_model", "num_draft_tokens"])
def test_a_field_that_would_load_something_else_is_dropped(field: str) -> None:
    assert field not in let_through(TEXT, {"prompt": "hi", field: "other"})


def test_a_request_without_a_model_is_for_the_one_that_is_served() -> None:
    assert let_through(TEXT, {"prompt": "hi"})["model"] == "smol"


def test_another_model_is_404_and_not_loaded() -> None:
    refusal = refused(TEXT, {"prompt": "hi", "model": "other"})
    assert (refusal.status, refusal.body["error"]["code"]) == (404, "model_not_found")


def test_an_unknown_route_is_404() -> None:
    assert refused("/v1/nonsense", {"prompt": "hi"}).status == 404


@pytest.mark.parametrize("raw", [b'{"prompt": SECRET', b"[" * 100_000, b"\xff", b""])
def test_bad_json_is_400_and_never_repeated(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse(raw)
    assert caught.value.status == 400
    assert "SECRET" not in json.dumps(caught.value.body)


def test_bad_json_names_its_place() -> None:
    with pytest.raises(Refusal) as caught:
        parse(b'{"a": x}')
    assert "at character 6" in caught.value.body["error"]["message"]


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        ["hi"],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}}]}],
        [{"role": "user", "content": ["hi"]}],
    ],
)
def test_messages_that_are_no_text_are_400(messages: object) -> None:
    assert refused(CHAT, {"messages": messages}).status == 400


def test_text_parts_pass() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert let_through(CHAT, {"messages": messages})["messages"] == messages


@pytest.mark.parametrize("prompt", [None, [1, 2], ["a", "b"], 5])
def test_a_prompt_that_is_not_one_string_is_400(prompt: object) -> None:
    assert refused(TEXT, {"prompt": prompt}).status == 400


def test_a_list_of_one_prompt_is_that_prompt() -> None:
    assert let_through(TEXT, {"prompt": ["hi"]})["prompt"] == "hi"


@pytest.mark.parametrize(
    "options",
    [
        {"stop": [5]},
        {"stop": [""]},
        {"stop": 5},
        {"n": 2},
        {"stream_options": "x"},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "x"},
        {"logit_bias": {"100": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"x": 1}},
        {"logit_bias": [1]},
    ],
)
def test_an_option_that_would_end_the_generation_thread_is_400(options: dict[str, object]) -> None:
    assert refused(TEXT, {"prompt": "hi", **options}).status == 400


def test_options_within_their_bounds_pass_unchanged() -> None:
    options = {"stop": ["a"], "n": 1, "seed": 2**64 - 1, "logit_bias": {"99": 1}, "top_k": 99}
    body = let_through(TEXT, {"prompt": "hi", **options})
    assert {name: body[name] for name in options} == options


def test_a_top_k_of_the_whole_vocabulary_is_no_limit() -> None:
    assert "top_k" not in let_through(TEXT, {"prompt": "hi", "top_k": VOCABULARY})


def test_stream_options_always_say_whether_usage_is_wanted() -> None:
    assert let_through(TEXT, {"prompt": "hi", "stream_options": {}})["stream_options"] == {"include_usage": False}


def test_a_count_takes_chats_and_prompts() -> None:
    assert let_through(COUNT_ROUTE, {"messages": MESSAGES})["messages"] == MESSAGES
    assert let_through(COUNT_ROUTE, {"prompt": "hi"})["prompt"] == "hi"
