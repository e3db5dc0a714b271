#!/usr/bin/env bash
# Guess: a client of Socket.IO that has no websocket sends what has gathered since its last request in the next one, and
#   the server handles all of it.
# True: python-engineio takes 16 packets of one request. Of 17 it handles none; it answers 200 and "OK", so that the
#   client, whose protocol has no other limit than the `maxPayload` in bytes that it was told, believes them delivered.
#   The session goes on, and the next message arrives. Only the server's log has a ValueError.
# For a chat like ours: behind a proxy that lets no websocket through, a page that sends in a burst (audio, keystrokes,
#   acknowledgements after a pause) loses the whole burst. Demand an acknowledgement for what must arrive, or raise
#   `Payload.max_decode_packets`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  python-socketio==5.18.1 python-engineio==4.15.1 uvicorn==0.54.0 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import logging
import socket
import sys
from importlib.metadata import version

import httpx
import socketio
import uvicorn

logging.getLogger("engineio.server").setLevel(logging.CRITICAL)
server = socketio.AsyncServer(async_mode="asgi")
received = []
server.on("*", lambda event, *_: received.append(event))


async def send(http, session, count, name):
    """Send so many events in one request; give the answer, and how many the server has handled."""
    packets = "\x1e".join(f'42["{name}"]' for _ in range(count))
    answer = await http.post(session, content=packets)
    await asyncio.sleep(0.3)
    return answer.status_code, answer.text, received.count(name)


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(socketio.ASGIApp(server), lifespan="off", log_level="critical"))
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.05)
    path = "/socket.io/?EIO=4&transport=polling"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False) as http:
        opened = json.loads((await http.get(path)).text[1:])
        session = f"{path}&sid={opened['sid']}"
        await http.post(session, content="40")
        await http.get(session)
        seen = [await send(http, session, 16, "first"), await send(http, session, 17, "second")]
        seen.append(await send(http, session, 1, "third"))
    running.should_exit = True
    await serving
    return opened["maxPayload"], seen


most, seen = asyncio.run(main())
print("python-socketio", version("python-socketio"), " python-engineio", version("python-engineio"))
print(f"guess: 16, 17 and 1 are handled; the client was told a limit of {most} bytes, and no other")
for count, (status, text, handled) in zip((16, 17, 1), seen, strict=True):
    print(f"seen:  {count} in one request: answered {status} {text}, handled {handled}")
if seen != [(200, "OK", 16), (200, "OK", 0), (200, "OK", 1)]:
    sys.exit("The behaviour has changed.")
PY
