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
