"""The least that a proxy can do with aiohttp: the floor that roost is held against. `passthrough.py ENGINE_URL`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)
_SENT_ON = ("Content-Type", "Authorization")


def build(engine_url: str) -> web.Application:
    async def upstream(app: web.Application) -> AsyncIterator[None]:
        # As roost talks to its workers: kept connections, no cookies, nothing unpacked, no clock on an answer.
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(
            engine_url,
            connector=connector,
            timeout=timeout,
            cookie_jar=jar,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        ) as session:
            app[UPSTREAM] = session
            yield

    app = web.Application(client_max_size=32 * 2**20)
    app.cleanup_ctx.append(upstream)
    app.router.add_post("/{path:.*}", relay)
    return app


async def relay(request: web.Request) -> web.StreamResponse:
    headers = {name: request.headers[name] for name in _SENT_ON if name in request.headers}
    body = await request.read()
    async with request.app[UPSTREAM].post(request.path_qs, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
        response.content_length = answer.content_length
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def main(engine_url: str) -> None:
    runner = web.AppRunner(build(engine_url), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
