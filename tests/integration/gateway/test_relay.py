"""What goes through: every byte but the value of `model`, both ways."""

from __future__ import annotations

import json

import openai

from tests.integration.gateway.front import EMBEDDER, MODEL, Front


async def test_a_chat_answers_under_the_physical_id(gate: Front) -> None:
    response, body = await gate.chat()
    assert response.status == 200
    assert json.loads(body)["model"] == MODEL
    assert response.headers["x-roost-model"] == MODEL
    assert response.headers["x-roost-node"] == "here"
    assert response.headers["x-roost-route"] == "resident"
    assert response.headers["x-request-id"].startswith("req-")


async def test_only_the_value_of_model_differs_on_the_way_to_the_engine(gate: Front) -> None:
    sent = (
        '{ "temperature" : 1.0e0,\n\t"model" :"default" , "messages":[{"role":"user","content":"r\\u00fc\\u00dfe \u00fc'
        '\\ud83d\\ude00 /\\/ \\"model\\":"}] ,"top_k":1E2,"x":{"model":"mine"} , "big":12345678901234567890123 }\n'
    ).encode()
    response, _ = await gate.post("/v1/chat/completions", sent)
    assert response.status == 200
    assert gate.engine.recorder.requests[0].body == sent.replace(b'"default"', b'"stand-in"', 1)


async def test_only_the_value_of_model_differs_on_the_way_back(gate: Front) -> None:
    raw = '{"b": 1.00, "model" :\t"x" , "choices":[{"finish_reason":"stop","m":{"model":"x"}}],"u":"\\u00fc \u00fc"}\n'
    _, body = await gate.chat(x_stand_in={"raw": raw, "content_type": "application/json"})
    assert body == raw.replace('\t"x"', f'\t"{MODEL}"').encode()


async def test_a_stream_keeps_every_byte_but_the_model(gate: Front) -> None:
    async with gate.session.post(
        f"{gate.engine.url}/v1/chat/completions",
        json={"model": "stand-in", "messages": [], "stream": True, "x_stand_in": {"text": "d\u00e9j\u00e0 vu \u2713"}},
    ) as direct:
        expected = (await direct.read()).replace(b'"model": "stand-in"', f'"model": "{MODEL}"'.encode())
    for split in (None, 1, 7):
        told = {"text": "d\u00e9j\u00e0 vu \u2713"} | ({"split_bytes": split} if split else {})
        body = {"model": MODEL, "messages": [], "stream": True, "x_stand_in": told}
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as relayed:
            got = await relayed.read()
            assert relayed.content_type == "text/event-stream"
        assert _without_ids(got) == _without_ids(expected)


def _without_ids(stream: bytes) -> list[bytes]:
    """The digest in the ids differs with the request's bytes."""
    return [line.split(b'", "object"', 1)[-1] for line in stream.split(b"\n")]


async def test_a_stream_has_a_connection_to_the_engine_of_its_own(gate: Front) -> None:
    for stream in (True, False):
        await gate.chat(stream=stream)
    streamed, whole = ({name.lower(): value for name, value in r.headers} for r in gate.engine.recorder.requests)
    assert streamed["connection"] == "close" and "connection" not in whole


async def test_crlf_and_comments_are_relayed(gate: Front) -> None:
    _, body = await gate.chat(stream=True, x_stand_in={"crlf": True, "comments": 2})
    assert body.startswith(b": keepalive\n\n: keepalive\n\ndata: {")
    assert body.endswith(b"data: [DONE]\r\n\r\n")
    assert f'"model": "{MODEL}"'.encode() in body


async def test_embeddings_of_another_size_than_asked_are_refused(gate: Front) -> None:
    """An engine that does not know the field ignores it in silence."""
    body = {"model": "embedding", "input": "a"}
    _, answer = await gate.post("/v1/embeddings", json.dumps({**body, "dimensions": 8}).encode())
    assert len(answer["data"][0]["embedding"]) == 8
    response, answer = await gate.post("/v1/embeddings", json.dumps({**body, "dimensions": 4}).encode())
    assert (response.status, answer["error"]["code"]) == (400, "unsupported_parameter")
    assert answer["error"]["param"] == "dimensions" and "gives 8" in answer["error"]["message"]


async def test_a_long_answer_of_another_size_is_refused_too(gate: Front) -> None:
    body = {"model": "embedding", "input": ["a"] * 9000, "dimensions": 4}
    response, answer = await gate.post("/v1/embeddings", json.dumps(body).encode())
    assert response.status == 400 and "gives 8" in answer["error"]["message"]


async def test_the_openai_sdk_chats_streams_embeds_and_lists(gate: Front) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key="anything", max_retries=0) as client:
        answer = await client.chat.completions.create(model="coding", messages=[{"role": "user", "content": "hi"}])
        assert answer.model == MODEL
        assert answer.choices[0].finish_reason == "stop"
        stream = await client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {MODEL}
        assert chunks[-1].usage is not None and chunks[-1].choices == []
        vectors = await client.embeddings.create(model="embedding", input=["a", "b"], encoding_format="float")
        assert len(vectors.data) == 2
        assert vectors.model == EMBEDDER
        listed = [model.id async for model in client.models.list()]
        assert {MODEL, EMBEDDER, "default", "coding", "embedding"} <= set(listed)
        assert "rerank" not in listed
        completion = await client.completions.create(model=MODEL, prompt="once", max_tokens=2)
        assert completion.choices[0].finish_reason == "length"


async def test_the_row_tells_what_was_asked_and_what_answered(gate: Front) -> None:
    await gate.chat()
    row = await gate.row()
    assert (row.requested, row.resolved, row.status, row.code) == ("default", MODEL, 200, None)
    assert (row.worker_id, row.worker_pid, row.route_reason) == (f"worker-{MODEL}", 4711, "resident")
    assert (row.prompt_tokens, row.finish_reason, row.stream) == (5, "stop", False)
    assert row.ttft_s is not None and row.duration_s >= row.ttft_s
    assert gate.worker.running == 0


async def test_the_row_of_a_stream_counts_tokens_from_timings(gate: Front) -> None:
    await gate.chat(stream=True, x_stand_in={"tokens": 4})
    row = await gate.row()
    assert (row.stream, row.completion_tokens, row.prompt_tokens, row.cached_tokens) == (True, 4, 5, 0)


async def test_no_header_of_the_client_reaches_the_engine(gate: Front) -> None:
    body = b'{"model":"default","messages":[]}'
    headers = {"Authorization": "Bearer secret", "X-Conversation-Id": "7", "Cookie": "a=b"}
    await gate.post("/v1/chat/completions", body, headers)
    seen = gate.engine.recorder.requests[0]
    assert [seen.header(name) for name in headers] == [None, None, None]
