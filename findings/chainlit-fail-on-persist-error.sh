#!/usr/bin/env bash
# Guess: with `fail_on_persist_error = True`, `message.send()` raises when the data layer cannot store the message.
# True: Chainlit starts the write as a task of its own and does not wait for it, so the `except` around it can catch
#   nothing. `send()` returns, `message.persisted` is True, and the error shows only as asyncio's notice of an
#   exception that nobody retrieved. The option has no effect on a layer that fails while it writes.
# For a chat like ours: the user sees an answer that is not stored. A layer has to report failed writes itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import gc
import sys
from importlib.metadata import version

import chainlit as cl
import chainlit.data
from chainlit.context import init_http_context
from chainlit.data.base import BaseDataLayer


async def full(self, *_):
    raise OSError("No space left on device")


methods = dict.fromkeys(BaseDataLayer.__abstractmethods__, full)
chainlit.data._data_layer = type("FullDisk", (BaseDataLayer,), methods)()
chainlit.data._data_layer_initialized = True


async def main():
    notices = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: notices.append(str(context["exception"])))
    init_http_context()
    message = cl.Message("an answer")
    message.fail_on_persist_error = True
    try:
        await message.send()
        outcome = "returned"
    except OSError as error:
        outcome = f"raised {error}"
    await asyncio.sleep(0.1)
    gc.collect()
    return outcome, message.persisted, notices


outcome, persisted, notices = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: send() raised No space left on device")
print(f"seen:  send() {outcome}; message.persisted is {persisted}; asyncio's notices: {notices}")
if (outcome, persisted, notices) != ("returned", True, ["No space left on device"]):
    sys.exit("The behaviour has changed.")
PY
