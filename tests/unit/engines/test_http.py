from __future__ import annotations

from pathlib import Path

import pytest

from roost.engines.http import Answer, base_url, served_names, surface_of
from roost.engines.types import Endpoint, Healthy, TcpEndpoint, UnixEndpoint, UrlEndpoint


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (UnixEndpoint(Path("/run/w.sock")), "http://localhost"),
        (TcpEndpoint("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (TcpEndpoint("::1", 8080), "http://[::1]:8080"),
        (TcpEndpoint("127.0.0.1", 80), "http://127.0.0.1"),
        (UrlEndpoint("https://a.lan/v1"), "https://a.lan"),
        (UrlEndpoint("https://a.lan/v1/"), "https://a.lan"),
        (UrlEndpoint("https://a.lan/api"), "https://a.lan/api"),
    ],
)
def test_a_base_url_takes_v1_after_it(endpoint: Endpoint, url: str) -> None:
    assert base_url(endpoint) == url


def test_names_aliases_and_context_are_read_from_the_list_of_models() -> None:
    body = {"data": [{"id": "a", "aliases": ["a", "b"], "meta": {"n_ctx": 4096}}, {"id": "c"}]}
    assert served_names(body) == Healthy(("a", "b", "c"), 4096)
    assert served_names({"data": [{"id": "a", "max_model_len": 512}]}) == Healthy(("a",), 512)


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": ["a", {"id": 3, "meta": {"n_ctx": "x"}}]}])
def test_a_list_of_models_in_another_shape_says_nothing(body: object) -> None:
    assert served_names(body) == Healthy()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"error": "not found"}', "not found"),
        (b'{"detail": "Method Not Allowed"}', "Method Not Allowed"),
        (b"<html>gone</html>", "<html>gone</html>"),
        (b"", ""),
    ],
)
def test_an_engines_own_words_are_found_where_it_puts_them(body: bytes, text: str) -> None:
    assert Answer(400, body).error_text() == text


def test_a_route_is_known_by_its_path_and_by_its_name() -> None:
    assert surface_of("/v1/chat/completions") == surface_of("chat") == "chat"
    assert surface_of("/v1/rerank") == "rerank"
