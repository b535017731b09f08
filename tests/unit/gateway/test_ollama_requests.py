from __future__ import annotations

import json
from typing import Any

import pytest

from roost.errors import InvalidType, Refused
from roost.gateway.ollama.options import read_options
from roost.gateway.ollama.requests import asks_for_nothing, from_chat, from_embed, from_generate, unloads

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}}


def chat(**more: Any) -> dict[str, Any]:
    return from_chat({"model": "m", "messages": [USER], **more}).body


def test_a_chat_streams_unless_it_says_otherwise() -> None:
    assert chat() == {
        "model": "m",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert chat(stream=False) == {"model": "m", "messages": [USER], "stream": False}


def test_options_that_engines_know_are_passed_and_the_others_are_named() -> None:
    options = read_options(
        {"temperature": 0.5, "num_predict": 9.0, "stop": ["a"], "repeat_penalty": 1.1, "top_k": 40.0, "min_p": None}
        | {"num_thread": 4, "num_ctx": 2048, "low_vram": True}
    )
    assert options.fields == {
        "temperature": 0.5,
        "top_k": 40,
        "stop": ["a"],
        "repeat_penalty": 1.1,
        "repetition_penalty": 1.1,
        "max_tokens": 9,
    }
    assert options.window == 2048
    assert options.ignored == ("low_vram", "num_ctx", "num_thread")


@pytest.mark.parametrize("endless", [-1, -2, 0])
def test_an_endless_reply_has_no_limit(endless: int) -> None:
    assert read_options({"num_predict": endless}).fields == {}


@pytest.mark.parametrize("given", [[], {"num_predict": "9"}, {"num_ctx": 1.5}, {"num_predict": True}])
def test_options_of_another_type_are_refused(given: Any) -> None:
    with pytest.raises(InvalidType):
        read_options(given)


def test_a_format_is_json_or_a_schema() -> None:
    assert chat(format="json")["response_format"] == {"type": "json_object"}
    schema = chat(format=SCHEMA)["response_format"]
    assert schema["type"] == "json_schema" and schema["json_schema"]["schema"] == SCHEMA
    assert "response_format" not in chat(format="")
    with pytest.raises(InvalidType, match="`format`"):
        chat(format="xml")


def test_think_reaches_the_chat_template() -> None:
    assert chat(think=False)["chat_template_kwargs"] == {"enable_thinking": False}
    assert chat(think="high")["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "high"}
    assert "chat_template_kwargs" not in chat()
    with pytest.raises(InvalidType, match="`think`"):
        chat(think="hard")


@pytest.mark.parametrize(("image", "kind"), [("iVBORw0KGgo", "png"), ("/9j/4AAQ", "jpeg"), ("R0lGODlh", "gif")])
def test_an_image_becomes_a_data_url_of_its_kind(image: str, kind: str) -> None:
    message = chat(messages=[{**USER, "images": [image]}])["messages"][0]
    url = f"data:image/{kind};base64,{image}"
    assert message["content"] == [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize("images", ["iVBORw0KGgo", ["http://somewhere/x.png"], [7]])
def test_what_is_no_image_is_refused(images: Any) -> None:
    with pytest.raises(InvalidType, match="images"):
        chat(messages=[{**USER, "images": images}])


def test_tool_calls_get_text_arguments_and_their_results_find_them() -> None:
    def call(name: str, **arguments: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}}

    asked = [
        USER,
        {
            "role": "assistant",
            "thinking": "hm",
            "tool_calls": [call("time", zone="CET"), call("weather", city="Paris")],
        },
        {"role": "tool", "tool_name": "weather", "content": "rain"},
        {"role": "tool", "content": "noon"},
    ]
    _, made, weather, time = chat(messages=asked)["messages"]
    assert made["reasoning_content"] == "hm"
    assert [one["type"] for one in made["tool_calls"]] == ["function", "function"]
    assert json.loads(made["tool_calls"][0]["function"]["arguments"]) == {"zone": "CET"}
    first, second = (one["id"] for one in made["tool_calls"])
    assert (weather["tool_call_id"], time["tool_call_id"]) == (second, first)


@pytest.mark.parametrize("messages", ["Hi", [7], [{"role": "assistant", "tool_calls": [7]}]])
def test_messages_of_another_type_are_refused(messages: Any) -> None:
    with pytest.raises(InvalidType, match=r"messages|tool_calls"):
        chat(messages=messages)


def test_a_prompt_is_a_chat_of_one_turn_and_a_raw_one_goes_as_it_is() -> None:
    templated = from_generate({"model": "m", "prompt": "Hi", "system": "Be brief"})
    assert templated.surface.name == "chat"
    assert templated.body["messages"] == [{"role": "system", "content": "Be brief"}, USER]
    raw = from_generate({"model": "m", "prompt": "Hi", "raw": True, "stream": False})
    assert raw.surface.name == "completions"
    assert raw.body == {"model": "m", "prompt": "Hi", "stream": False}


@pytest.mark.parametrize("more", [{"suffix": "x"}, {"template": "x"}, {"context": [1]}, {"raw": True, "system": "x"}])
def test_what_a_prompt_cannot_have_is_refused_by_name(more: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=f"`{next(key for key in more if key != 'raw')}`"):
        from_generate({"model": "m", "prompt": "Hi", **more})


def test_embeddings_ask_for_numbers() -> None:
    body = from_embed({"model": "m", "input": ["a"], "dimensions": 8, "truncate": True}, "input").body
    assert body == {"model": "m", "input": ["a"], "dimensions": 8, "encoding_format": "float"}
    assert from_embed({"model": "m", "prompt": "a"}, "prompt").body["input"] == "a"


def test_a_request_without_words_loads_or_unloads() -> None:
    assert asks_for_nothing({"model": "m"}) and asks_for_nothing({"messages": [], "prompt": ""})
    assert not asks_for_nothing({"messages": [USER]})
    assert [unloads({"keep_alive": value}) for value in (0, "0s", 0.0)] == [True] * 3
    assert [unloads({"keep_alive": value}) for value in (None, "5m", -1, False, [])] == [False] * 5
