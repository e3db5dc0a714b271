#!/usr/bin/env bash
# Guess: a message that was filled with `stream_token` and ended with `update()` is stored like one ended with `send()`.
# True: only `send()` gives a message its time. After `update()`, the step reaches the data layer as an update of a row
#   that no `create_step` made, and with `createdAt`, `start` and `end` None.
# For a chat like ours: a layer that updates rows by id stores nothing, one that upserts stores an answer without a
#   time, which sorts first or last in its thread. The layer has to fill in the time of the first write.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import chainlit as cl
import chainlit.data
from chainlit.context import init_http_context
from chainlit.data.base import BaseDataLayer

calls = []


def recorder(name):
    async def record(self, step, *_):
        times = ["none" if step[key] is None else "time" for key in ("createdAt", "start", "end")]
        calls.append((name, step["output"], times))

    return record


chainlit.data._data_layer = type(
    "Recorder", (BaseDataLayer,), {name: recorder(name) for name in BaseDataLayer.__abstractmethods__}
)()
chainlit.data._data_layer_initialized = True


async def main():
    init_http_context()
    for end in ("send", "update"):
        message = cl.Message("")
        for token in ("ended ", "with ", end):
            await message.stream_token(token)
        await getattr(message, end)()
        await asyncio.sleep(0.1)


asyncio.run(main())
print("chainlit", version("chainlit"))
for call in calls:
    print("seen: ", *call)
print("guess: create_step, and three times, for both")
if calls != [
    ("create_step", "ended with send", ["time"] * 3),
    ("update_step", "ended with update", ["none"] * 3),
]:
    sys.exit("The behaviour has changed.")
PY
