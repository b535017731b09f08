"""Hosts, origins, keys, error headers, engines' errors: the pure parts of the border."""

from __future__ import annotations

import json

import pytest
from multidict import CIMultiDict

from roost.errors import (
    BadRequest,
    Forbidden,
    HostNotAllowed,
    InvalidApiKey,
    ModelLoading,
    OriginNotAllowed,
    ShuttingDown,
)
from roost.gateway.auth import Scope, authorise, identify, is_loopback, presented_key
from roost.gateway.exchange import Exchange, request_id, shown_name
from roost.gateway.fields import least_prompt_bytes
from roost.gateway.hosts import allowed_hosts, check_host, check_origin, check_same_site
from roost.gateway.replies import error_headers, from_parser
from roost.gateway.upstream_errors import lost, translate
from roost.store.keys import Consumer


class NoKeys:
    def configured(self) -> bool:
        return False

    def consumer(self, presented: str) -> Consumer | None:
        return None


@pytest.mark.parametrize(
    "host", ["127.0.0.1:11434", "localhost:11434", "LOCALHOST:11434", "[::1]:11434", "gpu.lan", "gpu.lan:11434", "x:99"]
)
def test_these_hosts_pass(host: str) -> None:
    check_host((host,), allowed_hosts("127.0.0.1", 11434, ("gpu.lan", "X:99"), tls=False))


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost", "127.0.0.1", "127.0.0.1:80", "evil.example:11434", "localhost:11434@evil", "x", "x:98"),
        *("127.0.0.1:11434/x", "localhost.:11434", "127.1:11434", "[::1]", "127.0.0.1:011434"),
    ],
)
def test_these_hosts_are_refused(host: str) -> None:
    with pytest.raises(HostNotAllowed):
        check_host((host,), allowed_hosts("127.0.0.1", 11434, ("gpu.lan", "x:99"), tls=False))


def test_two_hosts_or_none_are_refused() -> None:
    hosts = allowed_hosts("127.0.0.1", 80, (), tls=False)
    check_host(("localhost",), hosts)
    for values in ((), ("localhost", "localhost")):
        with pytest.raises(HostNotAllowed):
            check_host(values, hosts)


def test_an_origin_must_be_listed_and_may_be_absent() -> None:
    check_origin((), ())
    check_origin(("http://a",), ("http://a",))
    for values in (("null",), ("http://a", "http://b"), ("http://localhost:11434",)):
        with pytest.raises(OriginNotAllowed):
            check_origin(values, ("http://a",))


@pytest.mark.parametrize(
    ("site", "passes"), [(None, True), ("none", True), ("same-origin", True), ("cross-site", False)]
)
def test_another_site_may_not_open_what_changes_state(site: str | None, passes: bool) -> None:
    sites = () if site is None else (site,)
    if passes:
        check_same_site(sites)
    for values in (*((sites,) if not passes else ()), ("none", "cross-site"), ("cross-site", "none"), ("none, none",)):
        with pytest.raises(OriginNotAllowed):
            check_same_site(values)


@pytest.mark.parametrize(
    ("peer", "local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), (None, True), ("10.0.0.1", False), ("x", False)],
)
def test_only_loopback_is_local(peer: str | None, local: bool) -> None:
    assert is_loopback(peer) is local
    if local:
        assert identify(CIMultiDict(), NoKeys(), peer) is None
    else:
        with pytest.raises(InvalidApiKey):
            identify(CIMultiDict(), NoKeys(), peer)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "bearer k"}, "k"),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic !!"}, None),
        ({"Authorization": "Basic dTprOjI="}, "k:2"),
        ({"x-api-key": "k"}, "k"),
        ({}, None),
    ],
)
def test_a_key_is_found_wherever_it_is_sent(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(CIMultiDict(headers)) == key


@pytest.mark.parametrize("name", ["Authorization", "x-api-key"])
def test_of_two_keys_none_is_chosen(name: str) -> None:
    headers = CIMultiDict([(name, "Bearer a"), (name.lower(), "Bearer a")])
    with pytest.raises(BadRequest, match="twice"):
        presented_key(headers)


def test_a_plain_key_manages_nothing_and_no_key_shuts_down() -> None:
    user, admin = Consumer("1", "user"), Consumer("2", "admin", admin=True)
    authorise(Scope.MANAGE, None, control=False)
    authorise(Scope.MANAGE, admin, control=False)
    authorise(Scope.CONTROL, None, control=True)
    for scope, consumer in ((Scope.MANAGE, user), (Scope.CONTROL, admin), (Scope.CONTROL, None)):
        with pytest.raises(Forbidden):
            authorise(scope, consumer, control=False)


@pytest.mark.parametrize(("chance", "seconds", "milliseconds"), [(0.0, "8", "8000"), (0.999, "9", "9998")])
def test_retry_after_has_jitter(chance: float, seconds: str, milliseconds: str) -> None:
    headers = error_headers(ModelLoading("x", retry_after_s=8, should_retry=True), chance)
    assert headers == {"Retry-After": seconds, "retry-after-ms": milliseconds, "x-should-retry": "true"}


def test_one_second_stays_one_second() -> None:
    assert error_headers(ModelLoading("x", retry_after_s=1), 0.999)["Retry-After"] == "1"


def test_parser_errors_are_told_apart() -> None:
    assert from_parser(400, "Got more than 8190 bytes (9000) when reading Header value is too long.").status == 431
    assert from_parser(400, "Bad status line 'x'").status == 400
    assert from_parser(408, "").status == 408


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", ("5,000", "4,096")),
        (
            "input (600 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            ("600", "512"),
        ),
    ],
)
def test_every_engines_words_for_too_long_are_known(message: str, numbers: tuple[str, str]) -> None:
    error = translate(400, json.dumps({"error": {"message": message}}).encode(), "m")
    assert error.code == "context_length_exceeded"
    assert all(number in error.message for number in numbers)


def test_a_short_prompt_is_not_repeated_either() -> None:
    error = translate(400, b'{"error":{"message":"cannot parse: pass1"}}', "m", ["pass1"])
    assert "pass1" not in error.message


@pytest.mark.parametrize(
    ("why", "draining", "started", "code"),
    [
        ("exit 1", False, False, "upstream_crashed"),
        ("exit 1", False, True, "upstream_disconnected"),
        ("stalled: x", False, True, "upstream_stalled"),
        ("out of memory", False, True, "worker_out_of_memory"),
        ("stopped", True, True, "shutting_down"),
        ("", False, False, "upstream_crashed"),
    ],
)
def test_a_lost_worker_has_a_name(why: str, draining: bool, started: bool, code: str) -> None:
    error = lost(why, draining, started, "m")
    assert error.code == code
    assert isinstance(error, ShuttingDown) is draining


def test_assistant_turns_and_white_space_prove_nothing_about_the_length() -> None:
    messages = [
        {"role": "user", "content": "  four  "},
        {"role": "assistant", "content": "x" * 100},
        {"role": "tool", "content": [{"type": "text", "text": "\u00fc"}, {"type": "image_url"}]},
    ]
    assert least_prompt_bytes("chat", {"messages": messages}) == 6
    assert least_prompt_bytes("embeddings", {"input": ["ab", "abcd"]}) == 4
    assert least_prompt_bytes("completions", {"prompt": [1, 2, 3]}) == 0


def test_request_ids_and_names_are_made_harmless() -> None:
    assert request_id("a-b.c_1") == "a-b.c_1"
    assert request_id("a\nb").startswith("req-")
    assert len(shown_name("x" * 999)) == 200
    assert shown_name("a\ud800\n").isascii()


def test_tokens_come_from_usage_and_the_rest_from_timings() -> None:
    exchange = Exchange("id", "POST", "/", "here")
    exchange.count(None, {"prompt_n": 3, "cache_n": 10, "predicted_n": 7})
    assert (exchange.prompt_tokens, exchange.completion_tokens, exchange.cached_tokens) == (13, 7, 10)
    exchange.count({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, None)
    assert (exchange.prompt_tokens, exchange.completion_tokens, exchange.cached_tokens) == (5, 2, 4)
