#!/usr/bin/env bash
# Guess: when a streamed answer breaks, an HTTP client first returns all bytes that it has received, then raises.
# True: httpx does so. aiohttp raises on the next read, whatever its buffer holds: a reader that was busy for half a
#   second loses all that came in that time. `iter_any`, `iter_chunked`, `iter_chunks` and the reading of lines are
#   alike. There is no public way to get the bytes afterwards: `read_nowait` raises too.
# For a chat like ours: the end of a broken answer is missing, and how much depends on how busy the server is. A reader
#   that stores or sends each token before it reads on loses the most. Read without a pause and keep the bytes yourself,
#   or leave them in the socket (`transport.pause_reading`), where the end of the connection comes after them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aiohttp==3.14.5 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys

import aiohttp
import httpx

FRAMES = [f"data: {number}\n\n".encode() for number in range(1, 6)]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def answer(reader, writer):
    """Send five frames within a quarter of a second, then close without the last chunk, as a broken server does."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD)
    for frame in FRAMES:
        writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


async def read(blocks, pause):
    """Read the blocks, busy for `pause` seconds with each; count the frames that were read before the error."""
    received, raised = b"", None
    try:
        async for block in blocks:
            received += block
            await asyncio.sleep(pause)
    except (aiohttp.ClientError, httpx.HTTPError) as error:
        raised = type(error).__name__
    return received.count(b"data:"), raised


async def by_aiohttp(url, way, pause):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        content = response.content
        ways = {
            "iter_any": content.iter_any,
            "iter_chunked": lambda: content.iter_chunked(4096),
            "iter_chunks": lambda: (block async for block, _ in content.iter_chunks()),
            "lines": lambda: content,
        }
        return await read(ways[way](), pause)


async def by_httpx(url, pause):
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        return await read(response.aiter_bytes(), pause)


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    seen = {}
    for pause in (0, 0.5):
        seen["httpx", pause] = await by_httpx(url, pause)
        for way in ("iter_any", "iter_chunked", "iter_chunks", "lines"):
            seen[f"aiohttp {way}", pause] = await by_aiohttp(url, way, pause)
    server.close()
    return seen


seen = asyncio.run(main())
print("aiohttp", aiohttp.__version__, "httpx", httpx.__version__)
print("guess: 5 frames of 5 before the error, with each client and each pause")
for (client, pause), (frames, raised) in seen.items():
    print(f"seen:  {client}, busy for {pause} s with each block: {frames} of 5, then {raised}")
for (client, pause), (frames, raised) in seen.items():
    lost = client.startswith("aiohttp") and pause > 0
    if raised is None or (frames >= 5 if lost else frames != 5):
        sys.exit("The behaviour has changed.")
PY
