"""What the clients ask: a seeded mix of requests, each with what must come of it. Pure."""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
#: Shares of the mix; the rest are streams.
WHOLE, BATCH, INVALID = 0.25, 0.10, 0.05
LEAVING = 0.08
#: Of all requests: those for slow models.
SELDOM = 0.03
SLOW = 0.02
#: Of the streams of stand-ins: those whose engine breaks off, or says that it failed.
MISBEHAVING = 0.10


@dataclass(frozen=True)
class Cast:
    """The models of a run."""

    #: Real models: id to the word by which its answer is known.
    real: Mapping[str, str]
    #: Stand-ins that chat.
    stand_ins: tuple[str, ...]
    #: Real ones that are too slow on a small machine to be asked often.
    slow: frozenset[str]
    #: A stand-in that embeds.
    embedding: str
    #: Role to the models that it may mean in the course of the run.
    roles: Mapping[str, frozenset[str]]

    def mark_of(self, text: str) -> frozenset[str]:
        """The models whose mark is in the text."""
        spoken = {model for model, word in self.real.items() if word in text}
        return frozenset(spoken | {model for model in self.stand_ins if f"{model} read request" in text})


@dataclass(frozen=True)
class Leaving:
    """Where a client goes away: after a share of its bytes, or some time later, or after some pieces of the answer."""

    sent_share: float = 1.0
    after_s: float = 0.0
    pieces: int | None = None
    #: By a reset instead of a close.
    aborts: bool = False


@dataclass(frozen=True)
class Asked:
    """One request before it is sent."""

    id: str
    consumer: str
    kind: str
    name: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    streams: bool
    #: The code that must come; None: an answer.
    expects: str | None = None
    #: The text that must come; None: it is the model's own.
    text: str | None = None
    nonce: str = ""
    leaving: Leaving | None = None
    #: Seconds between two reads of a slow reader.
    pause_s: float = 0.0

    def wire(self, port: int) -> bytes:
        """The bytes of the request."""
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(self.body)),
            "x-request-id": self.id,
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(frozen=True)
class Refusal:
    """A request that must be refused: how it is spoilt, and the code of the answer."""

    code: str
    headers: Mapping[str, str]
    spoil: str = ""


#: Behaviours of a stand-in, and what must be told of them.
MISDEEDS: tuple[tuple[Mapping[str, Any], str], ...] = (
    ({"tokens": 12, "abort_after_tokens": 5}, "upstream_disconnected"),
    ({"tokens": 12, "eof_without_done": True}, "upstream_disconnected"),
    ({"tokens": 12, "error_frame_after": 6}, "internal_error"),
)
#: In the head, in the body, before the answer, in the answer.
PLACES_TO_LEAVE = (
    Leaving(sent_share=0.2, after_s=0.05),
    Leaving(sent_share=0.95, after_s=0.05, aborts=True),
    Leaving(after_s=0.02, aborts=True),
    Leaving(after_s=0.02),
    Leaving(after_s=30.0, pieces=5),
    Leaving(after_s=30.0, pieces=5, aborts=True),
)
REFUSALS = (
    Refusal("host_not_allowed", {"Host": "evil.example:80"}),
    Refusal("origin_not_allowed", {"Origin": "https://evil.example"}),
    Refusal("invalid_api_key", {"Authorization": "Bearer roost-000000000000-" + 64 * "0"}),
    Refusal("unsupported_media_type", {"Content-Type": "text/plain"}),
    Refusal("invalid_json", {}, spoil="cut"),
    Refusal("invalid_json", {}, spoil="twice"),
    Refusal("model_not_found", {}, spoil="name"),
    Refusal("missing_required_parameter", {}, spoil="no name"),
    Refusal("unsupported_parameter", {}, spoil="field"),
)


class Mix:
    """The requests of one consumer, one after another, the same for the same seed."""

    def __init__(self, cast: Cast, run: str, consumer: str, key: str, seed: int) -> None:
        self._cast, self._run, self._consumer, self._key = cast, run, consumer, key
        self._random = random.Random(f"{seed} {consumer}")
        self._number = 0
        self._refusals = [*REFUSALS]
        self._random.shuffle(self._refusals)

    def pause_s(self, mean_s: float) -> float:
        """Time to think before the next one."""
        return min(self._random.expovariate(1 / mean_s), 4 * mean_s)

    def next(self) -> Asked:
        draw = self._random.random()
        if draw < INVALID:
            return self.refused()
        if draw < INVALID + BATCH:
            return self._batch()
        if draw < INVALID + BATCH + WHOLE:
            return self._perhaps_leaving(self.whole())
        return self._perhaps_leaving(self._stream())

    def _stream(self) -> Asked:
        if self._random.random() < SLOW / 0.6:
            return self.slow()
        name = self._name()
        if name in self._cast.stand_ins and self._random.random() < MISBEHAVING:
            return self.misbehaving(name)
        return self.stream(name)

    def stream(self, name: str, kind: str = "stream") -> Asked:
        """A stream of a model."""
        if name in self._cast.stand_ins:
            told = {"tokens": self._random.randint(8, 40), "token_delay_s": self._random.choice([0.0, 0.01, 0.05])}
            return self._of_stand_in(name, kind, told, streams=True)
        return self._of_real(name, kind, streams=True)

    def quick(self, name: str, kind: str) -> Asked:
        """A short stream of a stand-in that loses no time."""
        return self._of_stand_in(name, kind, {"tokens": 8}, streams=True)

    def whole(self, kind: str = "whole", **headers: str) -> Asked:
        name = self._name()
        if name in self._cast.stand_ins:
            return self._of_stand_in(name, kind, {"delay_s": self._random.choice([0.0, 0.1, 0.5])}, headers=headers)
        return self._of_real(name, kind, headers=headers)

    def _batch(self) -> Asked:
        if self._random.random() < 0.5:
            return self.whole("batch", **{"x-roost-class": "batch"})
        nonce = self.nonce()
        body = {"model": self._cast.embedding, "input": f"A text to embed, {nonce}."}
        return self._asked("embedding", body, EMBEDDINGS, nonce=nonce, headers={"x-roost-class": "batch"})

    def slow(self) -> Asked:
        """A long answer, read slowly."""
        told = {"tokens": 30, "huge_token_bytes": 20_000}
        made = self._of_stand_in(self._cast.stand_ins[0], "slow", told, streams=True)
        return replace(made, pause_s=0.1, text=None)

    def misbehaving(self, name: str, which: int | None = None) -> Asked:
        """The engine breaks off, ends without an ending, or says that it failed: told as what it is."""
        told, code = MISDEEDS[self._random.randrange(len(MISDEEDS)) if which is None else which]
        made = self._of_stand_in(name, "misbehaving", told, streams=True)
        return replace(made, expects=code)

    def certain(self) -> Iterator[Asked]:
        """One of each kind that a short run must not leave to chance."""
        yield from (self.refused(refusal) for refusal in REFUSALS)
        name = self._cast.stand_ins[0]
        yield from (self.misbehaving(name, which) for which in range(len(MISDEEDS)))
        for leaving in PLACES_TO_LEAVE:
            told = {"tokens": 400, "token_delay_s": 0.05}
            yield replace(self._of_stand_in(name, "leaving", told, streams=True), leaving=leaving)
        yield self.slow()

    def leaving_the_line(self, name: str) -> Asked:
        """One that goes before a model that is not loaded can serve it."""
        aborts = self._random.random() < 0.5
        return replace(self.quick(name, "leaving"), leaving=Leaving(after_s=0.1, aborts=aborts))

    def endless(self, name: str) -> Asked:
        """A stream that is not over before the daemon is."""
        return self._of_stand_in(name, "endless", {"tokens": 10_000, "token_delay_s": 0.05}, streams=True)

    def refused(self, which: Refusal | None = None) -> Asked:
        """One that must not be answered; each kind comes up in turn."""
        if which is None:
            self._refusals.append(which := self._refusals.pop(0))
        name = self._cast.stand_ins[0]
        nonce = self.nonce()
        body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": f"Refuse this, {nonce}."}]}
        body["max_tokens"] = 8  # a real model that answers it all the same comes to an end
        if which.spoil == "name":
            body["model"] = name = f"{name}x"
        elif which.spoil == "no name":
            del body["model"]
        elif which.spoil == "field":
            body["n_discard"] = 5
        made = self._asked("invalid", body, CHAT, nonce=nonce, headers=which.headers)
        data = made.body
        if which.spoil == "cut":
            data = data[:-3]
        elif which.spoil == "twice":
            data = data.replace(b"{", b'{"model": "other", ', 1)
        return replace(made, body=data, expects=which.code, name=name)

    def nonce(self) -> str:
        """A word of this run that nobody else says. Letters alone, so that no mark is in it."""
        return f"{self._run}{''.join(self._random.choice(string.ascii_lowercase) for _ in range(10))}"

    def _name(self) -> str:
        """Half of the requests go to real models, by id or by role."""
        draw = self._random.random()
        if self._cast.slow and draw < SELDOM:
            return self._random.choice(sorted(self._cast.slow))
        if draw < 0.5:
            return self._random.choice(
                [*(model for model in self._cast.real if model not in self._cast.slow), *self._cast.roles]
            )
        return self._random.choice(self._cast.stand_ins)

    def _of_real(self, name: str, kind: str, *, streams: bool = False, headers: Mapping[str, str] = {}) -> Asked:
        nonce = self.nonce()
        if self._random.random() < 0.5:
            body: dict[str, Any] = {"prompt": f"Note {nonce}.\nThe capital of France is", "max_tokens": 4}
            path = COMPLETIONS
        else:
            question = {"role": "user", "content": "What is the capital of France?"}
            body = {"messages": [{"role": "system", "content": f"Session {nonce}."}, question], "max_tokens": 12}
            path = CHAT
        body |= {"model": name, "temperature": 0}
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return self._asked(kind, body, path, nonce=nonce, streams=streams, headers=headers)

    def _of_stand_in(
        self,
        name: str,
        kind: str,
        told: Mapping[str, Any],
        *,
        streams: bool = False,
        headers: Mapping[str, str] = {},
    ) -> Asked:
        nonce = self.nonce()
        body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": f"Say something, {nonce}."}]}
        body["x_stand_in"] = dict(told)
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        made = self._asked(kind, body, CHAT, nonce=nonce, streams=streams, headers=headers)
        return replace(made, text=stand_in_text(name, made.body, told.get("tokens")))

    def _asked(
        self,
        kind: str,
        body: Mapping[str, Any],
        path: str,
        *,
        nonce: str,
        streams: bool = False,
        headers: Mapping[str, str] = {},
    ) -> Asked:
        self._number += 1
        key = {"Authorization": f"Bearer {self._key}"}
        return Asked(
            id=f"soak-{self._consumer}-{self._number:05}",
            consumer=self._consumer,
            kind=kind,
            name=str(body.get("model", "")),
            path=path,
            body=json.dumps(body).encode(),
            headers={**key, **headers},
            streams=streams,
            nonce=nonce,
        )

    def _perhaps_leaving(self, asked: Asked) -> Asked:
        if self._random.random() >= LEAVING:
            return asked
        aborts = self._random.random() < 0.5
        leaving = self._random.choice(
            [
                Leaving(sent_share=self._random.random(), after_s=0.05, aborts=aborts),
                Leaving(after_s=self._random.expovariate(4), aborts=aborts),
                Leaving(after_s=30.0, pieces=self._random.randint(1, 6), aborts=aborts),
            ]
        )
        return replace(asked, leaving=leaving)


def stand_in_text(model: str, body: bytes, tokens: int | None) -> str:
    """What the stand-in says to this body: it names itself and the digest of the bytes that it got."""
    words = f"{model} read request {hashlib.sha256(body).hexdigest()[:16]} .".split(" ")
    said = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    if tokens is not None:
        said = [*said, *(f" t{index}" for index in range(len(said), tokens))][:tokens]
    return "".join(said)
