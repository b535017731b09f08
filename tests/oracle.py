"""An engine that knows every answer of the battery. `--how` says in which form it gives them.

structured   as an engine whose parser works
fenced       as text: a JSON fence, which no engine's parser takes for a call
wrong        the right tools, other arguments
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from roost.verify import cases
from roost.verify.loops import Loop, loops
from roost.verify.types import Call, Case

EVERY: dict[str, Case] = {
    str(case.messages[-1]["content"]): case
    for listed in (cases.single, cases.choose, cases.no_tool, cases.fidelity, cases.parallel, cases.nested)
    for case in listed()
}


def calls_due(body: Mapping[str, Any]) -> tuple[Call, ...]:
    """What a perfect model would call now."""
    messages, tools = body["messages"], body.get("tools") or ()
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return ()
    if loop := _loop_of(messages):
        made = sum(1 for message in messages if message["role"] == "assistant")
        return (loop.call(made + 1),)
    case = EVERY.get(messages[-1]["content"] if messages[-1]["role"] == "user" else "")
    if case is not None:
        return case.expected
    return (_anything(tools, choice),) if choice == "required" or isinstance(choice, dict) else ()


def _loop_of(messages: list[dict[str, Any]]) -> Loop | None:
    rounds = 40
    return next((loop for loop in loops(rounds) if messages[0]["content"] == loop.system), None)


def _anything(tools: Any, choice: Any) -> Call:
    wanted = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
    values = {"set_lamp": {"room": "hall", "brightness": 1}, "get_weather": {"city": "Bern", "unit": "celsius"}}
    return Call(wanted, values[wanted])


class Engine:
    def __init__(self, how: str) -> None:
        self.how = how

    def message(self, body: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]], str]:
        """Content, calls, finish_reason."""
        calls = calls_due(body)
        if self.how == "wrong":
            calls = tuple(Call(call.name, {"nothing": True}) for call in calls)
        if (body.get("max_tokens") or 4096) < 40:
            return "The sea is", [], "length"
        if not calls:
            return "There is nothing to call here.", [], "stop"
        if self.how == "fenced":
            objects = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
            text = json.dumps(objects[0] if len(objects) == 1 else objects, ensure_ascii=False)
            return f"```json\n{text}\n```", [], "stop"
        return "", [_made(number, call) for number, call in enumerate(calls)], "tool_calls"

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        content, calls, finish = self.message(body)
        usage = {"prompt_tokens": len(json.dumps(body)) // 4, "completion_tokens": 9, "total_tokens": 9}
        if not body.get("stream"):
            message = {"role": "assistant", "content": content or None} | ({"tool_calls": calls} if calls else {})
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pieces: list[dict[str, Any]] = [{"role": "assistant"}]
        pieces += [{"content": content[start : start + 7]} for start in range(0, len(content), 7)]
        pieces += [{"tool_calls": [{"index": number, **call}]} for number, call in enumerate(calls)]
        for piece in pieces:
            await self._send(response, {"index": 0, "delta": piece, "finish_reason": None})
        await self._send(response, {"index": 0, "delta": {}, "finish_reason": finish})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, choice: dict[str, Any]) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())


def _made(number: int, call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": f"call_{number}", "type": "function", "function": function}


async def _healthy(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--how", choices=("structured", "fenced", "wrong"), default="structured")
    options = parser.parse_args()
    app = web.Application()
    app.router.add_get("/health", _healthy)
    app.router.add_post("/v1/chat/completions", Engine(options.how).chat)
    web.run_app(app, host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
