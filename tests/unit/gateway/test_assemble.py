from __future__ import annotations

from typing import Any

from roost.gateway.assemble import Assembler


def assembled(*chunks: dict[str, Any]) -> dict[str, Any]:
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return assembler.answer()


def chat(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, **more}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}


def test_text_reasoning_and_usage_are_joined() -> None:
    answer = assembled(
        chat({"role": "assistant", "content": None}),
        chat({"reasoning_content": "h"}),
        chat({"reasoning_content": "m", "content": "a"}),
        chat({"content": "b"}, finish_reason="stop"),
        {"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}},
    )
    assert answer["object"] == "chat.completion"
    assert answer["usage"] == {"total_tokens": 3}
    assert answer["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "ab", "reasoning_content": "hm"},
        }
    ]


def test_tool_calls_are_put_together_by_index() -> None:
    answer = assembled(
        chat({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]}),
        chat(
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}
        ),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, finish_reason="tool_calls"),
    )
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"type": "function", "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"type": "function", "id": "b", "function": {"name": "g", "arguments": ""}},
    ]


def test_several_choices_and_their_logprobs_are_kept_apart() -> None:
    answer = assembled(
        chat({"content": "a"}, 1, logprobs={"content": [1]}),
        chat({"content": "x"}, 0, logprobs=None),
        chat({"content": "b"}, 1, logprobs={"content": [2]}, finish_reason="length"),
        chat({}, 0, finish_reason="stop"),
    )
    first, second = answer["choices"]
    assert (first["message"]["content"], first["finish_reason"]) == ("x", "stop")
    assert (second["message"]["content"], second["logprobs"]) == ("ab", {"content": [1, 2]})


def test_completions_are_joined() -> None:
    first = {"index": 0, "text": "a", "logprobs": {"tokens": ["a"]}}
    second = {"index": 0, "text": "b", "finish_reason": "stop", "logprobs": {"tokens": ["b"]}}
    answer = assembled(
        {"object": "text_completion", "choices": [first]}, {"object": "text_completion", "choices": [second]}
    )
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [
        {"index": 0, "finish_reason": "stop", "text": "ab", "logprobs": {"tokens": ["a", "b"]}}
    ]


def test_what_providers_send_in_pieces_besides_text_is_put_together_too() -> None:
    answer = assembled(
        chat({"audio": {"id": "a", "transcript": "He", "data": "QU"}, "annotations": [1], "function_call": None}),
        chat({"audio": {"transcript": "llo", "data": "JD"}, "annotations": [2]}),
        chat({"function_call": {"name": "f", "arguments": "{"}, "audio": {"expires_at": 9}}),
        chat({"function_call": {"arguments": "}"}, "refusal": "n"}),
        chat({"refusal": "o"}, finish_reason="stop"),
    )
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "audio": {"id": "a", "transcript": "Hello", "data": "QUJD", "expires_at": 9},
        "annotations": [1, 2],
        "function_call": {"name": "f", "arguments": "{}"},
        "refusal": "no",
    }


def test_calls_that_a_provider_did_not_number_stay_apart() -> None:
    for index in ({}, {"index": None}, {"index": 0}):
        calls = [
            {**index, "id": one, "type": "function", "function": {"name": "f", "arguments": f'{{"a":"{one}"}}'}}
            for one in "xyz"
        ]
        answer = assembled(chat({"tool_calls": calls[:2]}), chat({"tool_calls": calls[2:]}))
        told = answer["choices"][0]["message"]["tool_calls"]
        assert [(call["id"], call["function"]["arguments"]) for call in told] == [
            (one, f'{{"a":"{one}"}}') for one in "xyz"
        ]
