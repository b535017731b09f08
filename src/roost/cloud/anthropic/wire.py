"""Anthropic Messages behind OpenAI's chat: what is posted and what comes back are OpenAI's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from roost.cloud.anthropic.answers import error_of, whole_chat
from roost.cloud.anthropic.requests import to_messages
from roost.cloud.anthropic.stream import BrokenStream, MessageEvents
from roost.engines.wire import Content, Posted, Poster
from roost.errors import Refused

VERSION = "2023-06-01"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
#: Whole answers; the longest that a model can say is about a megabyte.
LARGEST_ANSWER_BYTES = 32 * 2**20
LARGEST_ERROR_BYTES = 64 * 2**10
#: Of an answer that is written anew.
_OF_THE_BODY = ("Content-Length", "Content-Type", "Transfer-Encoding", "Content-Encoding")


def headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": VERSION}


@dataclass(frozen=True)
class MessagesWire:
    """Over the wire that carries the bytes."""

    wire: Poster
    cloud: str

    async def post(self, path: str, body: bytes, *, keep: bool) -> Posted:
        """Raises Refused for what Anthropic's service cannot be asked, aiohttp.ClientError or OSError; a stream that
        breaks or is none raises aiohttp.ClientPayloadError where it is read."""
        if path == MESSAGES:
            # Whoever speaks it needs no translation.
            return await self.wire.post(path, body, keep=keep)
        if path != CHAT:
            raise Refused(f"cloud {self.cloud} speaks Anthropic Messages, which has no {path}", param="model")
        asked = to_messages(json.loads(body))
        sent = json.dumps(asked.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        posted = await self.wire.post(MESSAGES, sent, keep=keep)
        try:
            if posted.status != 200:
                return await _refusal(posted)
            if asked.stream:
                events = MessageEvents(int(time.time()), asked.include_usage)
                return _answer(posted, 200, "text/event-stream", _Events(posted.content, events))
            return await _whole(posted)
        except BaseException:
            posted.close()
            raise


async def _refusal(posted: Posted) -> Posted:
    # The rest of an endless one does not matter.
    status, error = error_of(await _read(posted, LARGEST_ERROR_BYTES), posted.status)
    return _json_answer(posted, status, error)


async def _whole(posted: Posted) -> Posted:
    body = await _read(posted, LARGEST_ANSWER_BYTES)
    try:
        return _json_answer(posted, 200, whole_chat(json.loads(body), int(time.time())))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise aiohttp.ClientPayloadError("its answer is no message") from None


async def _read(posted: Posted, most_bytes: int) -> bytes:
    """The body, cut at `most_bytes`."""
    pieces: list[bytes] = []
    size = 0
    while size < most_bytes and (piece := await posted.content.readany()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _json_answer(posted: Posted, status: int, value: object) -> Posted:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return _answer(posted, status, "application/json", _Bytes(body), {"Content-Length": str(len(body))})


def _answer(posted: Posted, status: int, kind: str, content: Content, more: Mapping[str, str] | None = None) -> Posted:
    told: CIMultiDict[str] = CIMultiDict(posted.headers)
    for name in _OF_THE_BODY:
        told.popall(name, None)
    told.update({"Content-Type": kind, **(more or {})})
    return Posted(status, CIMultiDictProxy(told), content, posted)


class _Bytes:
    """A body that is here already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def readany(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def at_eof(self) -> bool:
        return not self._body


class _Events:
    """The provider's stream as OpenAI's, read as far as somebody asks."""

    def __init__(self, content: Content, events: MessageEvents) -> None:
        self._content = content
        self._events = events
        self._ended = False

    async def readany(self) -> bytes:
        while not self._ended:
            data = await self._content.readany()
            try:
                if not data:
                    self._ended = True
                    self._events.end()
                elif told := self._events.feed(data):
                    return told
            except BrokenStream as error:
                self._ended = True
                raise aiohttp.ClientPayloadError(f"the provider's stream broke: {error}") from error
        return b""

    def at_eof(self) -> bool:
        return self._ended
