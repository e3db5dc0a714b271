#!/usr/bin/env bash
# Guess: `@cl.step` around a function that yields its answer piece by piece records the pieces, and lasts until the last.
# True: the step ends before the first piece, and its output is the text of the generator object, with its address in
#   memory: "<async_generator object ...>" is stored and shown. The pieces reach the caller, and an exception among them is
#   in no step. An input that is not quite JSON (a set in it) is stored as Python writes it, beside inputs that are JSON.
# For a chat like ours: the history of a tool that streams has no answer, no error and no duration, and what is stored
#   differs each time. Open the step by `async with cl.Step()`, and set its output after the loop.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import re
import sys
from importlib.metadata import version

import chainlit as cl
import chainlit.data
from chainlit.context import init_http_context
from chainlit.data.base import BaseDataLayer

calls = []


def recorder(name):
    async def record(self, step, *_):
        calls.append((name, step))

    return record


chainlit.data._data_layer = type(
    "Recorder", (BaseDataLayer,), {name: recorder(name) for name in BaseDataLayer.__abstractmethods__}
)()
chainlit.data._data_layer_initialized = True


@cl.step(type="tool")
async def in_one_piece(question):
    return "five days"


@cl.step(type="tool")
async def in_pieces(question):
    yield "five "
    await asyncio.sleep(0.2)
    raise ValueError("The order does not exist.")


@cl.step(type="tool")
async def with_a_set(question):
    return "five days"


async def stored():
    """Input, output and error of the step that was stored last."""
    await asyncio.sleep(0.1)
    name, step = calls[-1]
    return step["input"], re.sub("0x[0-9a-f]+", "0x...", step["output"]), step["isError"]


async def main():
    init_http_context()
    seen = {}
    await in_one_piece("?")
    seen["in one piece"] = await stored()
    pieces, error = [], None
    try:
        async for piece in in_pieces("?"):
            pieces.append(piece)
    except ValueError as raised:
        error = str(raised)
    seen["in pieces"] = await stored()
    seen["the caller"] = (pieces, error)
    await with_a_set({"order", })
    seen["with a set"] = await stored()
    return seen


seen = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: 'in pieces' has the output 'five ' and is an error")
for name, values in seen.items():
    print(f"seen:  {name}: {values}")
question = '{\n    "question": "?"\n}'
if seen != {
    "in one piece": (question, "five days", False),
    "in pieces": (question, "<async_generator object in_pieces at 0x...>", False),
    "the caller": (["five "], "The order does not exist."),
    "with a set": ("{'question': {'order'}}", "five days", False),
}:
    sys.exit("The behaviour has changed.")
PY
