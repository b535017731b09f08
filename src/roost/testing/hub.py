"""A small model hub on loopback: listing, resolve with Range, and the faults that a real one has."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit


class StandInHub:
    """Serves repositories (name -> path -> bytes) over the hub's HTTP, each at one commit.

    `cut_after`: once, the next weights body ends after so many bytes. `corrupt`: paths served with a flipped byte.
    """

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut_after: int | None = None
        self.corrupt: set[str] = set()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandInHub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def commit(self, repository: str) -> str:
        """Changes when the files do."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.repositories[repository].items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()

    def fetched(self) -> list[str]:
        """Paths whose bodies were asked for, in order."""
        return [path for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".gguf", ".bin"))


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
    if _is_large(path):
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: StandInHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests` instead."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/").partition("/revision/")[0])
        else:
            repository, _, rest = path.lstrip("/").partition("/resolve/")
            self._file(repository, rest.partition("/")[2])

    def _list(self, repository: str) -> None:
        if repository not in self.server.hub.repositories:
            return self._fail("RepoNotFound")
        files = self.server.hub.repositories[repository]
        body = {
            "id": repository,
            "sha": self.server.hub.commit(repository),
            "siblings": [_sibling(path, content) for path, content in sorted(files.items())],
        }
        return self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, name: str) -> None:
        content = self.server.hub.repositories.get(repository, {}).get(name)
        if content is None:
            return self._fail("EntryNotFound")
        digest = hashlib.sha256(content) if _is_large(name) else hashlib.sha1(content, usedforsecurity=False)
        headers = {"X-Repo-Commit": self.server.hub.commit(repository), "ETag": f'"{digest.hexdigest()}"'}
        if name in self.server.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = self._range_start()
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(206 if start else 200, content[start:], headers, cuttable=_is_large(name))

    def _range_start(self) -> int:
        value = self.headers.get("Range", "")
        return int(value.removeprefix("bytes=").partition("-")[0] or 0) if value else 0

    def _fail(self, code: str) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cuttable: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # so that a hub that is left answers nobody any more
        self.end_headers()
        if self.command == "HEAD":
            return
        if cuttable and self.server.hub.cut_after is not None and self.server.hub.cut_after < len(body):
            body, self.server.hub.cut_after, self.close_connection = body[: self.server.hub.cut_after], None, True
        self.wfile.write(body)
