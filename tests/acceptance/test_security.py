"""The endpoint as a hostile page, a hostile program on this machine and a hostile engine meet it."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from roost.gateway.auth import Scope
from roost.gateway.routes import ROUTES
from roost.store.keys import KeyFile
from roost.testing.wait import until_sync
from roost.workers.logs_path import worker_log_name
from tests.acceptance.conftest import STAND_IN, Roost, workers_of
from tests.helpers import short_folder

CHAT = "/v1/chat/completions"
SECRET = "canary-5f2a91"
PROMPT = "canary-prompt-77c1"

#: Who may call what, written down a second time on purpose: a new route, or one that opened, does not pass unseen.
ROWS: dict[Scope, str] = {
    Scope.OPEN: "GET / HEAD / GET /livez GET /readyz GET /health POST /roost/v1/peer/join",
    Scope.USE: """
        GET /metrics GET /v1/models GET /v1/models/{name:.+} GET /roost/v1/status GET /roost/v1/workers
        GET /roost/v1/openapi.json POST /v1/chat/completions POST /v1/completions POST /v1/embeddings POST /v1/rerank
        POST /v1/responses POST /v1/messages POST /v1/messages/count_tokens
        GET /api/version HEAD /api/version GET /api/tags HEAD /api/tags GET /api/ps POST /api/show POST /api/chat
        POST /api/generate POST /api/embed POST /api/embeddings POST /api/pull POST /api/push POST /api/create
        POST /api/copy DELETE /api/delete GET /running POST /v1/reranking POST /rerank POST /reranking POST /infill
        GET /api/profiles POST /completion POST /v1/audio/speech POST /v1/audio/voices GET /v1/audio/voices
        POST /v1/audio/transcriptions POST /v1/audio/translations POST /v1/images/generations POST /v1/images/edits
        POST /sdapi/v1/txt2img POST /sdapi/v1/img2img GET /sdapi/v1/loras POST /v/chat/completions POST /v/completions
        POST /v/responses POST /v/messages POST /v/messages/count_tokens POST /v/embeddings POST /v/rerank
        POST /v/reranking""",
    Scope.MANAGE: """
        GET /roost/v1/activity GET /roost/v1/decisions GET /roost/v1/explain GET /roost/v1/usage
        GET /roost/v1/logs/{worker:.+}
        POST /roost/v1/models/{name:.+}/load POST /roost/v1/models/{name:.+}/unload POST /roost/v1/workers/restart
        POST /roost/v1/workers/restart/{name:.+} PUT /roost/v1/roles/{role:.+}
        GET /upstream/{target:.+} HEAD /upstream/{target:.+} POST /upstream/{target:.+} PUT /upstream/{target:.+}
        PATCH /upstream/{target:.+} DELETE /upstream/{target:.+}
        GET /unload POST /api/models/unload POST /api/models/unload/{name:.+} GET /logs GET /logs/stream
        GET /logs/stream/{log:.+} PUT /api/profiles/active GET /roost/v1/nodes""",
    Scope.PEER: """
        GET /roost/v1/peer/status POST /roost/v1/peer/renew GET /roost/v1/peer/models/{name:.+}/files
        GET /roost/v1/peer/models/{name:.+}/files/{digest} PUT /roost/v1/peer/models/{name:.+}/files/{digest}
        POST /roost/v1/peer/models/{name:.+}/arrive""",
    Scope.CONTROL: """
        POST /roost/v1/shutdown POST /roost/v1/nodes/invites GET /roost/v1/nodes/invites/{invite}
        POST /roost/v1/nodes/join POST /roost/v1/nodes/{name}/revoke
        POST /roost/v1/models/{name:.+}/pull
        POST /roost/v1/models/{name:.+}/push""",
}
TABLE = {
    f"{method} {path}": scope
    for scope, text in ROWS.items()
    for method, path in zip(text.split()[::2], text.split()[1::2], strict=True)
}
LET_IN = 0
#: scope -> status for no key, a wrong key, a user's key, an admin's key.
ANSWERS: dict[Scope, tuple[int, int, int, int]] = {
    Scope.OPEN: (LET_IN, LET_IN, LET_IN, LET_IN),
    Scope.USE: (401, 401, LET_IN, LET_IN),
    Scope.MANAGE: (401, 401, 403, LET_IN),
    # By its certificate alone, whatever key it has: tests/integration/nodes/test_door.py.
    Scope.PEER: (401, 401, 403, 403),
    Scope.CONTROL: (401, 401, 403, 403),
}


@contextmanager
def serving(prepare: Callable[[Roost], None] = lambda roost: None, flags: str = "") -> Iterator[Roost]:
    """A daemon whose model `a` is a stand-in."""
    with short_folder() as folder:
        home = folder / "home"
        home.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ROOST_HOME": str(home),
            "CANARY_SECRET": SECRET,
        }
        roost = Roost(home, environ)
        roost.settings("\n".join(f'[models."{n}".command]\ncmd = "{STAND_IN} {flags}"\n' for n in ("a", "org/b")))
        roost.registry(default="a")
        prepare(roost)
        try:
            yield roost.start()
        finally:
            roost.end()


@pytest.fixture(scope="module")
def keyless() -> Iterator[Roost]:
    with serving() as roost:
        yield roost


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {"wrong": f"roost-{'0' * 12}-{'0' * 64}"}


@pytest.fixture(scope="module")
def guarded(keys: dict[str, str]) -> Iterator[Roost]:
    def add_keys(roost: Roost) -> None:
        file = KeyFile(roost.home / "state/keys.json")
        keys.update(user=file.add("user"), admin=file.add("admin", admin=True))

    # Before the start: the CLI's own socket needs no key, so the fixture itself never notices.
    with serving(add_keys) as roost:
        yield roost


def raw(roost: Roost, data: bytes, timeout_s: float = 3.0) -> bytes:
    """All that comes back for these bytes until the server closes or falls silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", roost.port), 5) as connection:
        connection.sendall(data)
        connection.settimeout(timeout_s)
        try:
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            return answer
    return answer


def status_of(roost: Roost, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """The head of the answer: some of the bodies never end."""
    content = b"{}" if method in ("POST", "PUT", "PATCH") else b""
    with (
        httpx.Client(timeout=20) as client,
        client.stream(
            method, roost.url + path, headers={"Content-Type": "application/json", **headers}, content=content
        ) as response,
    ):
        return response


def filled(path: str) -> str:
    """A real path of a route's pattern."""
    path = path.replace("{target:.+}", "a/v1/models").replace("{role:.+}", "coding")
    return re.sub(r"\{\w+(:[^}]*)?\}", "a", path)


# Keys.


def test_every_route_has_its_row_in_the_table_of_who_may_call_it() -> None:
    assert {f"{route.method} {route.path}": route.scope for route in ROUTES} == TABLE


@pytest.mark.parametrize("name", [f"{route.method} {route.path}" for route in ROUTES])
def test_a_route_lets_in_whom_it_should(guarded: Roost, keys: dict[str, str], name: str) -> None:
    method, path = name.split(" ", 1)
    callers = (None, keys["wrong"], keys["user"], keys["admin"])
    for key, expected in zip(callers, ANSWERS[TABLE[name]], strict=True):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        response = status_of(guarded, method, filled(path), headers)
        seen = response.status_code if response.status_code in (401, 403) else LET_IN
        assert seen == expected, f"{name} with {'no key' if key is None else key[:12]}: {response.status_code}"
        assert (response.status_code == 401) == ("www-authenticate" in response.headers)


def test_health_tells_a_stranger_no_more_than_that_it_lives(guarded: Roost, keys: dict[str, str]) -> None:
    assert set(guarded.get("/health")) == {"status", "version"}
    known = httpx.get(f"{guarded.url}/health", headers={"x-api-key": keys["user"]}).json()
    assert "registry" in known or set(known) == {"status", "version"}


def test_a_key_counts_the_same_in_every_header_and_a_revoked_one_nowhere(guarded: Roost, keys: dict[str, str]) -> None:
    file = KeyFile(guarded.home / "state/keys.json")
    key = file.add("guest")
    ways: list[dict[str, Any]] = [
        {"headers": {"Authorization": f"bearer {key}"}},
        {"headers": {"x-api-key": key}},
        {"auth": ("anybody", key)},
    ]

    def answers() -> set[int]:
        return {httpx.get(f"{guarded.url}/v1/models", **way).status_code for way in ways}

    until_sync(lambda: answers() == {200}, timeout_s=3, what="the new key works everywhere")
    file.revoke(key.split("-")[1])
    until_sync(lambda: answers() == {401}, timeout_s=3, what="the revoked key works nowhere")


def test_a_broken_file_of_keys_opens_no_door(guarded: Roost, keys: dict[str, str]) -> None:
    path = guarded.home / "state/keys.json"
    good = path.read_bytes()
    for bad in (b"", b"{", b"[]", good[: len(good) // 2], b"\xff\xfe"):
        path.write_bytes(bad)
        until_sync(lambda: httpx.get(f"{guarded.url}/v1/models").status_code == 401, timeout_s=3)
        assert httpx.get(f"{guarded.url}/roost/v1/activity").status_code == 401
    path.write_bytes(good)
    until_sync(
        lambda: httpx.get(f"{guarded.url}/v1/models", headers={"x-api-key": keys["user"]}).status_code == 200,
        timeout_s=3,
    )


# The page of another site.


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost:{port}.evil.example",
        "127.0.0.1:{port}@evil.example",
        "user@127.0.0.1:{port}",
        "127.0.0.1:{port}/x?",
        "localhost.:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "0.0.0.0:{port}",
        "2130706433:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "",
    ],
)
def test_a_rebound_name_gets_nothing(keyless: Roost, host: str) -> None:
    answer = raw(
        keyless,
        f"GET /v1/models HTTP/1.1\r\nHost: {host.format(port=keyless.port)}\r\nConnection: close\r\n\r\n".encode(),
    )
    assert answer.split(b" ", 2)[1] in (b"403", b"400") and b'"data"' not in answer


CHANGES = [
    ("POST", "/roost/v1/models/a/unload"),
    ("POST", "/roost/v1/models/org/b/load"),
    ("POST", "/roost/v1/workers/restart"),
    ("PUT", "/roost/v1/roles/coding"),
    ("POST", "/upstream/a/stand-in/release"),
    ("POST", CHAT),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_foreign_page_changes_nothing(keyless: Roost, method: str, path: str) -> None:
    pid = keyless.worker("a")["pid"]
    for origin in ("http://evil.example", "null", f"http://evil.example:{keyless.port}", f"http://localhost:{1}"):
        response = httpx.request(method, keyless.url + path, headers={"Origin": origin}, content=b'{"model": "org/b"}')
        assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert keyless.worker("a")["pid"] == pid and keyless.worker("org/b")["pid"] is None
    assert "coding" not in json.loads((keyless.home / "registry.json").read_text())["models"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_of_another_site_wakes_no_worker(keyless: Roost, site: str) -> None:
    got = [route for route in ROUTES if route.method == "GET" and route.path in ("/upstream/{target:.+}", "/unload")]
    for route in got:
        response = httpx.get(
            keyless.url + filled(route.path).replace("/a/", "/org/b/"), headers={"Sec-Fetch-Site": site}
        )
        assert response.status_code == 403
    assert keyless.worker("a")["pid"] and keyless.worker("org/b")["pid"] is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_form_is_no_json(keyless: Roost, kind: str | None) -> None:
    body = b'{"model": "a", "messages": []}'
    response = httpx.post(keyless.url + CHAT, content=body, headers={"Content-Type": kind} if kind else {})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_preflight_is_granted_nothing(keyless: Roost) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for path in (CHAT, "/roost/v1/models/a/unload", "/upstream/a/v1/models"):
        response = httpx.options(keyless.url + path, headers=asked)
        assert response.status_code in (403, 405)
        assert not [name for name in response.headers if name.startswith("access-control")]


# Smuggling.

_HIDDEN = "GET /roost/v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n"
_CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = {
    "length and chunks": "Content-Length: 2\r\n" + _CHUNKED + "0\r\n\r\n" + _HIDDEN,
    "two lengths": "Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + _HIDDEN,
    "a list of lengths": "Content-Length: 2, 2\r\n\r\n{}" + _HIDDEN,
    "a signed length": "Content-Length: +2\r\n\r\n{}" + _HIDDEN,
    "a negative length": "Content-Length: -2\r\n\r\n{}" + _HIDDEN,
    "a length in hex": "Content-Length: 0x2\r\n\r\n{}" + _HIDDEN,
    "a length with an underscore": "Content-Length: 0_2\r\n\r\n{}" + _HIDDEN,
    "a folded header": "X-A: b\r\n Content-Length: 2\r\n\r\n{}" + _HIDDEN,
    "a space before the colon": "Content-Length : 2\r\n\r\n{}" + _HIDDEN,
    "a bare line feed": "X-A: b\nContent-Length: 2\r\n\r\n{}" + _HIDDEN,
    "a bare carriage return": "X-A: b\rContent-Length: 2\r\n\r\n{}" + _HIDDEN,
    "a NUL": "X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}" + _HIDDEN,
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _HIDDEN,
    "chunked twice": "Transfer-Encoding: chunked\r\n" + _CHUNKED + "0\r\n\r\n" + _HIDDEN,
    "a coding after chunked": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _HIDDEN,
    "a negative chunk": _CHUNKED + "-2\r\n{}\r\n0\r\n\r\n" + _HIDDEN,
    "a chunk size with a prefix": _CHUNKED + "0x2\r\n{}\r\n0\r\n\r\n" + _HIDDEN,
    "a chunk size beyond 64 bits": _CHUNKED + "f" * 20 + "\r\n{}\r\n0\r\n\r\n" + _HIDDEN,
    "chunks ended by line feeds": _CHUNKED + "2\n{}\n0\n\n" + _HIDDEN,
    "a line feed in a chunk extension": _CHUNKED + "2;a\nb\r\n{}\r\n0\r\n\r\n" + _HIDDEN,
    "two hosts": "Host: evil.example\r\nContent-Length: 2\r\n\r\n{}" + _HIDDEN,
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_second_request_hidden_in_the_first_is_never_answered(keyless: Roost, name: str) -> None:
    host = f"127.0.0.1:{keyless.port}"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    answer = raw(keyless, (head + SMUGGLED[name].replace("{host}", host)).encode("latin-1"))
    assert re.fullmatch(rb"HTTP/1\.[01] 400 .*", answer.split(b"\r\n")[0]), answer[:200]
    assert len(re.findall(rb"HTTP/1\.[01] \d", answer)) == 1
    assert b'"code"' in answer and b"x-request-id" in answer.lower()


@pytest.mark.parametrize("coding", ["chunked", "identity", "gzip, chunked"])
def test_chunks_in_http_1_0_are_refused_and_nothing_behind_them_is_answered(keyless: Roost, coding: str) -> None:
    host = f"127.0.0.1:{keyless.port}"
    head = f"POST {CHAT} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    body = '{"model": "a", "messages": []}'
    rest = f"Transfer-Encoding: {coding}\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n" + _HIDDEN.format(host=host)
    answer = raw(keyless, (head + rest).encode())
    assert re.fullmatch(rb"HTTP/1\.[01] 400 .*", answer.split(b"\r\n")[0]), answer[:200]
    assert len(re.findall(rb"HTTP/1\.[01] \d", answer)) == 1


TWICE = {
    "Origin": ("http://allowed.example", "http://evil.example", 403),
    "Host": ("127.0.0.1:{port}", "evil.example", 400),
    "Authorization": ("Bearer {admin}", "Bearer nonsense", 400),
    "x-api-key": ("{admin}", "nonsense", 400),
    "Content-Type": ("application/json", "text/plain", 400),
    "Content-Encoding": ("identity", "gzip", 400),
    "Sec-Fetch-Site": ("same-origin", "cross-site", 403),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", TWICE)
def test_a_header_that_stands_twice_is_not_taken_by_its_better_half(
    guarded: Roost, keys: dict[str, str], name: str, turned: bool
) -> None:
    good, bad, status = TWICE[name]
    headers = [("Host", "127.0.0.1:{port}"), ("Content-Type", "application/json"), ("x-api-key", "{admin}")]
    kept = [header for header in headers if header[0] != name and (name, header[0]) != ("Authorization", "x-api-key")]
    pair = [(name, bad), (name, good)] if turned else [(name, good), (name, bad)]
    lines = "".join(f"{key}: {value}\r\n" for key, value in (*kept, *pair))
    lines = lines.format(port=guarded.port, admin=keys["admin"])
    request = (
        f"POST /upstream/a/v1/chat/completions HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    answer = raw(guarded, request.encode())
    assert answer.split(b" ", 2)[1] == str(status).encode(), answer[:300]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET http://{host}/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 400),
        ("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 400),
        ("GET /v1/models HTTP/1.1\r\n\r\n", 400),
        ("GET //evil.example/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 404),
        ("GET /livez/../roost/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 404),
        ("GET /V1/MODELS HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", 404),
        ("GET /livez HTTP/1.1\r\nHost: {host}\r\nX: " + "x" * 100_000 + "\r\n\r\n", 431),
        ("GET /livez HTTP/1.1\r\nHost: {host}\r\n" + "X: x\r\n" * 10_000 + "\r\n", 431),
        ("GET /" + "x" * 100_000 + " HTTP/1.1\r\nHost: {host}\r\n\r\n", 431),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_an_odd_request_line_or_huge_head_is_refused(keyless: Roost, head: str, status: int) -> None:
    answer = raw(keyless, head.replace("{host}", f"127.0.0.1:{keyless.port}").encode("latin-1"))
    assert answer.split(b" ", 2)[1] == str(status).encode(), answer[:200]


# Names from outside.

NAMES = [
    "..",
    "../../registry.json",
    "%2e%2e%2f%2e%2e%2froost.toml",
    "a%00",
    "a%0d%0aX-Evil:%20yes",
    "%ed%a0%80",
    "%ff%fe",
    "%zz",
    "x" * 5000,
    "%F0%9F%90%A6",
    "%e2%80%ae",
    "a@evil",
    "[::1]:80",
    "daemon.log",
    "$(id)",
    "'; DROP TABLE activity; --",
]
NAMED = [
    ("GET", "/v1/models/{}"),
    ("GET", "/roost/v1/logs/{}"),
    ("POST", "/roost/v1/models/{}/load"),
    ("POST", "/roost/v1/models/{}/unload"),
    ("POST", "/roost/v1/workers/restart/{}"),
    ("GET", "/upstream/{}/v1/models"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_strange_name_is_not_found_everywhere_and_reaches_no_file(keyless: Roost, name: str) -> None:
    escaped = name.replace(" ", "%20")
    for method, path in NAMED:
        request = f"{method} {path.format(escaped)} HTTP/1.1\r\nHost: 127.0.0.1:{keyless.port}\r\n"
        answer = raw(keyless, f"{request}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert answer.split(b" ", 2)[1] in (b"404", b"400"), (method, path, answer[:300])
        assert b"\nX-Evil" not in answer and b"[models" not in answer and b'"event"' not in answer
    assert keyless.status()["problems"] == []


@pytest.mark.parametrize("role", ["../../x", "a%0ab", "%20", "x" * 65, "-x", "org%2Fb", "a"])
def test_a_role_that_is_a_path_or_a_models_own_id_is_refused(keyless: Roost, role: str) -> None:
    before = (keyless.home / "registry.json").read_bytes()
    url = f"{keyless.url}/roost/v1/roles/{role}"
    response = httpx.put(url, content=b'{"model": "a"}', headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 404), response.text
    assert (keyless.home / "registry.json").read_bytes() == before


def test_a_request_id_and_a_name_write_no_header_and_no_line_of_the_log(keyless: Roost) -> None:
    for presented in ("a b", "x" * 65, "\u00e9", '{"event": "forged"}', "a;b"):
        headers = {b"x-request-id": presented.encode("latin-1")}
        response = httpx.get(f"{keyless.url}/livez", headers=headers)
        assert response.headers["x-request-id"].startswith("req-")
    name = 'a\n{"event": "forged", "level": "info"}\n\x1b[2J'
    assert httpx.post(keyless.url + CHAT, json={"model": name, "messages": []}).status_code == 404
    journal = (keyless.home / "state/logs/daemon.log").read_text()
    assert (
        not [line for line in journal.splitlines() if line.startswith('{"event": "forged"')] and "\x1b" not in journal
    )
    assert all(json.loads(line) for line in journal.splitlines())


# An engine that is not what it should be.


@pytest.mark.parametrize(
    "body",
    [
        '{"choices": [], "usage": {"prompt_tokens": ' + "9" * 30 + "}}",
        '{"choices": [], "usage": {"completion_tokens": -' + "9" * 30 + "}}",
        '{"choices": [{"finish_reason": "\\ud800"}]}',
        '{"choices": [{"finish_reason": "' + "z" * 100_000 + '"}]}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"choices": [], "x": ' + "9" * 5000 + "}",
        "<html>",
        "null",
        "",
    ],
)
def test_an_engine_that_answers_nonsense_costs_one_answer_and_never_the_daemon(keyless: Roost, body: str) -> None:
    told = {"model": "a", "messages": [], "x_stand_in": {"status": 200, "body": body}}
    assert httpx.post(keyless.url + CHAT, json=told, timeout=20).status_code in (200, 500, 502)
    rows = until_sync(lambda: keyless.get("/roost/v1/activity?limit=1")["activity"], timeout_s=3)
    assert len(json.dumps(rows)) < 20_000
    assert httpx.post(keyless.url + CHAT, json={"model": "a", "messages": []}, timeout=20).status_code == 200
    # Rows are written in batches, a quarter of a second later: what cannot be stored shows only then.
    until_sync(lambda: _stored(keyless) >= rows[0]["at"], timeout_s=20, what="the row is in the database")


def _stored(roost: Roost) -> float:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{roost.home}/state/roost.sqlite?mode=ro", uri=True)) as database:
        return float(database.execute("SELECT coalesce(max(at), 0) FROM activity").fetchone()[0])


# Secrets.


def everything_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def test_prompts_and_secrets_are_in_no_file_no_command_line_and_no_workers_environment() -> None:
    with serving(flags="--log-prompts") as roost:
        message = [{"role": "user", "content": PROMPT}]
        echo = {"x_stand_in": {"status": 400, "body": PROMPT}}
        for extra in ({}, {"stream": True}, {"n": 99}, {"model": "nobody"}, echo):
            httpx.post(roost.url + CHAT, json={"model": "a", "messages": message, **extra}, timeout=20)
        httpx.post(f"{roost.url}/v1/embeddings", json={"model": "a", "input": PROMPT}, timeout=20)
        httpx.post(
            roost.url + CHAT, content=f'{{"x": "{PROMPT}"'.encode(), headers={"content-type": "application/json"}
        )
        until_sync(lambda: len(roost.get("/roost/v1/activity")["activity"]) >= 5, timeout_s=20)
        assert roost.process
        for process in (psutil.Process(roost.process.pid), *workers_of(roost)):
            assert PROMPT not in " ".join(process.cmdline()) and SECRET not in " ".join(process.cmdline())
        assert workers_of(roost)
        assert not [process for process in workers_of(roost) if SECRET in process.environ().values()]
        roost.stop()
        for path, content in everything_below(roost.home):
            assert SECRET.encode() not in content and PROMPT.encode() not in content, path


def test_what_roost_keeps_is_its_owners_alone(guarded: Roost) -> None:
    state = guarded.home / "state"
    folders = [path for path in state.rglob("*") if path.is_dir() and not path.is_symlink()]
    assert not [path for path in (state, *folders) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    private = ("keys.json", "roost.sqlite", "daemon.log", "roost.sock", "daemon.lock")
    for path in state.rglob("*"):
        if path.name in private or path.suffix == ".log":
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_link_laid_where_a_log_will_be_is_not_written_through() -> None:
    def lay(roost: Roost) -> None:
        logs = roost.home / "state/logs"
        logs.mkdir(parents=True, mode=0o700)
        (roost.home / "victim").write_text("precious")
        (logs / f"{worker_log_name('a')}.log").symlink_to(roost.home / "victim")

    with serving(lay) as roost:
        assert httpx.post(roost.url + CHAT, json={"model": "a", "messages": []}, timeout=20).status_code == 200
        assert (roost.home / "victim").read_text() == "precious"
