#!/usr/bin/env bash
# Guess: `chainlit run app.py` serves with Python's own asyncio, whose tasks are written in C.
# True: importing `chainlit.cli`, which `chainlit run` does, applies nest_asyncio: for the whole process, `asyncio.Task`
#   and `asyncio.Future` become the slower ones written in Python. `import chainlit` and `chainlit.server` do not.
# For a chat like ours: a server with many streams at once spends measurably more CPU for each await. Serve
#   `chainlit.server.app` by uvicorn directly, without importing `chainlit.cli`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
import time
from importlib.metadata import version

import chainlit.server


async def one():
    await asyncio.sleep(0)


async def twenty_at_once(times):
    start = time.process_time()
    for _ in range(times):
        await asyncio.gather(*(one() for _ in range(20)))
    return time.process_time() - start


def best():
    return min(asyncio.run(twenty_at_once(500)) for _ in range(5))


before, fast = asyncio.Task.__module__, best()
import chainlit.cli  # noqa: E402

after, slow = asyncio.Task.__module__, best()
print("chainlit", version("chainlit"), " nest-asyncio", version("nest-asyncio"))
print("guess: _asyncio (C) before and after `import chainlit.cli`")
print(f"seen:  {before} before, {after} after; 10,000 tasks: {fast:.2f} s of CPU before, {slow:.2f} s after")
if (before, after) != ("_asyncio", "asyncio.tasks") or slow < fast:
    sys.exit("The behaviour has changed.")
PY
