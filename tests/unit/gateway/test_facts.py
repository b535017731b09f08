from __future__ import annotations

from typing import Any

import pytest

from roost.gateway.facts import has_images, has_tools, prompt_tokens, texts

KEY = "sk-proj-0123456789"


def test_every_text_of_a_body_is_read_wherever_it_stands() -> None:
    body = {
        "system": "a",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "new", "words": {"x": "c"}}]}
        ],
        "tools": [{"function": {"parameters": {"properties": {"d": {"description": "e"}}}}}],
        "metadata": {"f": ["g", 1, None, True]},
    }
    assert set("abcdefg") <= set(texts(body))


def test_pictures_hold_no_words() -> None:
    picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
    source = {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQSkZJRg=="}
    body = {"messages": [{"content": [{"image_url": {"url": picture}}, {"type": "image", "source": source}]}]}
    assert not {picture, source["data"]} & set(texts(body))


def test_what_only_says_that_it_is_a_picture_is_read() -> None:
    false = f"data:image/png;base64,{KEY}"
    assert false in set(texts({"messages": [{"content": [{"image_url": {"url": false}}]}]}))


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"input": [{"type": "message", "content": [{"type": "input_image", "image_url": "x"}]}]},
        {"messages": [{"role": "user", "content": "look", "images": ["aaaa"]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
    ],
)
def test_an_image_is_seen_in_every_dialect(body: dict[str, Any]) -> None:
    assert has_images(body)
    assert not has_images({"messages": [{"role": "user", "content": "an image"}]})


def test_tokens_are_about_a_fourth_of_the_letters() -> None:
    assert prompt_tokens({"messages": [{"content": "word" * 1000}]}) == pytest.approx(1000, rel=0.02)
    assert has_tools({"tools": [{}]}) and not has_tools({"tools": []})
