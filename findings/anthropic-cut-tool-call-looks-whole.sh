#!/usr/bin/env bash
# Guess: the arguments of a tool call that was cut, by `max_tokens` or by a broken stream, cannot be read, or raise.
# True: Anthropic's SDK repairs the JSON as it grows. A cut `{"order": "A-17", "amount": 12` becomes a whole object with
#   the amount 12, although the model was about to write 12500: jiter's partial mode leaves out a string that is not
#   finished, but keeps a number that is not. `get_final_message()` gives that object as `input`, also when the stream
#   ended without any `message_stop`; only `stop_reason` differs ("max_tokens", or None). The message has no text of it.
#   The OpenAI SDK keeps the text as it came, so that a cut call cannot be read.
# For a chat like ours: an object that satisfies the tool's schema is no proof of a whole call, and the loss is in the
#   value, where no check sees it. Run a tool only if `stop_reason` is "tool_use", as the SDK's own `tool_runner` does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  anthropic==2.14.0 openai==3.52.0 jiter==0.19.0 aiohttp==3.14.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import sys
from importlib.metadata import version

import anthropic
import jiter
import openai
from aiohttp import web

ARGUMENTS = ['{"order": "A-17", "amount": 12', "500}"]
ASK = {"messages": [{"role": "user", "content": "Refund order A-17."}]}


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(text):
    return event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": text})


def stopped(reason):
    return (
        event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 9})
        + event("message_stop")
    )


MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
           "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}}
START = event("message_start", message=MESSAGE) + event(
    "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "refund", "input": {}}
)
STREAMS = {
    "whole": START + delta(ARGUMENTS[0]) + delta(ARGUMENTS[1]) + stopped("tool_use"),
    "max_tokens": START + delta(ARGUMENTS[0]) + stopped("max_tokens"),
    "broken": START + delta(ARGUMENTS[0]),
}


async def anthropics(request):
    return web.Response(body=STREAMS[(await request.json())["model"]], content_type="text/event-stream")


async def openais(request):
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "refund", "arguments": ARGUMENTS[0]}}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
    return web.Response(text=f"data: {json.dumps(chunk)}\n\n", content_type="text/event-stream")


async def main():
    application = web.Application()
    application.router.add_post("/v1/messages", anthropics)
    application.router.add_post("/v1/chat/completions", openais)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    seen = {}
    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
        for model in STREAMS:
            async with client.messages.stream(model=model, max_tokens=9, **ASK) as stream:
                message = await stream.get_final_message()
            seen[model] = (message.stop_reason, message.content[0].input)
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:
        async with client.chat.completions.stream(model="broken", **ASK) as stream:
            completion = await stream.get_final_completion()
        seen["OpenAI SDK, broken"] = completion.choices[0].message.tool_calls[0].function.arguments
    await runner.cleanup()
    return seen


seen = asyncio.run(main())
seen["jiter, number"] = jiter.from_json(b'{"amount": 12', partial_mode=True)
seen["jiter, string"] = jiter.from_json(b'{"order": "A-1', partial_mode=True)
print("anthropic", anthropic.__version__, "openai", openai.__version__, "jiter", version("jiter"))
print("guess: only 'whole' gives an object")
for name, value in seen.items():
    print(f"seen:  {name}:", value)
if seen != {
    "whole": ("tool_use", {"order": "A-17", "amount": 12500}),
    "max_tokens": ("max_tokens", {"order": "A-17", "amount": 12}),
    "broken": (None, {"order": "A-17", "amount": 12}),
    "OpenAI SDK, broken": ARGUMENTS[0],
    "jiter, number": {"amount": 12},
    "jiter, string": {},
}:
    sys.exit("The behaviour has changed.")
PY
