#!/usr/bin/env bash
# Guess: when a call of an MCP tool runs into its time-out, or the task that waits for it is cancelled, the client tells
#   the server, as the protocol asks for (`notifications/cancelled`), and the tool is stopped.
# True: MCP's Python library, in the version that Chainlit takes, tells nothing. The tool runs to its end, its answer is
#   dropped, and a second call runs beside it. The server does stop a tool if the notification comes: written by hand, it
#   ends the same call. And a tool written as `def` runs in the event loop, not in a thread as FastAPI's would: while one
#   call computes, no other tool, user or ping is answered.
# For a chat like ours: a person presses Stop, or the waiting ends with an error, and the order is refunded all the same;
#   asked again, it is refunded twice. Give a tool that changes something a key of the request, so that a second call does
#   nothing, send the notification yourself, and write tools as `async def`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mcp==1.30.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import logging
import sys
import time
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version

from mcp import McpError, types
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_connected_server_and_client_session as connected

shop = FastMCP("shop")
logging.disable()
done = []
ORDER = {"order": "1067"}


@shop.tool()
async def refund(order: str) -> str:
    done.append("begins")
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        done.append("is stopped")
        raise
    done.append("is refunded")
    return "ok"


@shop.tool()
def compute() -> str:
    time.sleep(1)
    return "ok"


@shop.tool()
async def ready() -> float:
    return time.monotonic()


async def timed_out(session):
    with suppress(McpError):
        await session.call_tool("refund", ORDER, read_timeout_seconds=timedelta(seconds=0.2))


async def cancelled(session):
    task = asyncio.create_task(session.call_tool("refund", ORDER))
    await asyncio.sleep(0.2)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def told(session):
    # The number that the library gives to its next request.
    number = session._request_id
    task = asyncio.create_task(session.call_tool("refund", ORDER))
    await asyncio.sleep(0.2)
    params = types.CancelledNotificationParams(requestId=number)
    await session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
    with suppress(McpError):
        await task


async def main():
    seen = {}
    async with connected(shop._mcp_server) as session:
        for stop in (timed_out, cancelled, told):
            done.clear()
            await stop(session)
            await asyncio.sleep(1.5)
            seen[stop.__name__] = list(done)
        began = time.monotonic()
        _, answer = await asyncio.gather(session.call_tool("compute"), session.call_tool("ready"))
        seen["waits"] = float(answer.content[0].text) - began
    return seen


seen = asyncio.run(main())
print("mcp", version("mcp"))
print("guess: timed out, cancelled: begins, is stopped; a tool beside one that computes for 1 s runs at once")
for name in ("timed_out", "cancelled", "told"):
    print(f"seen:  {name.replace('_', ' ')}:", ", ".join(seen[name]))
print(f"seen:  the tool beside waits for {seen['waits']:.1f} s")
whole = ["begins", "is refunded"]
if [seen["timed_out"], seen["cancelled"], seen["told"]] != [whole, whole, ["begins", "is stopped"]] or seen["waits"] < 0.9:
    sys.exit("The behaviour has changed.")
PY
