"""Answers the bench's requests for a peer that is a library.

`POST /steps/10` awaits `works["steps"](10)` and answers `{"result":10}`; `GET /effects` tells how many steps were
executed, `GET /ready` that the peer is ready.
"""

import asyncio
import os
import traceback

effects = 0


def effect():
    """Every step says that it was executed."""
    global effects
    effects += 1


async def _answer(works, what, number):
    if what == "ready":
        return "200 OK", '{"result":0}'
    if what == "effects":
        return "200 OK", '{"result":%d}' % effects
    if what not in works:
        return "404 Not Found", "no such path"
    try:
        return "200 OK", '{"result":%d}' % await works[what](number)
    except Exception:
        return "500 Failed", traceback.format_exc()


async def _converse(works, reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            for line in head.splitlines():
                if line.startswith("content-length: "):
                    await reader.readexactly(int(line.split()[1]))
            parts = head.split(" ")[1].split("/")
            number = int(parts[2]) if len(parts) > 2 else 0
            status, body = await _answer(works, parts[1], number)
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body.encode())}\r\n\r\n{body}".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(works):
    """Serves until the process is ended; `works` has coroutine functions by the first word of their path."""
    serving = await asyncio.start_server(
        lambda reader, writer: _converse(works, reader, writer), "127.0.0.1", int(os.environ["PORT"]), backlog=1024
    )
    await serving.serve_forever()
