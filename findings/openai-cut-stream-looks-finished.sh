#!/usr/bin/env bash
# Guess: when a streamed answer ends before the provider has said that it is finished, or when the provider sends an
#   error event in it, the OpenAI SDK raises.
# True: a body that ends without `finish_reason` and without `[DONE]` ends the loop as a whole answer does. An
#   `event: error` is passed on as a chunk without choices. A last frame without its blank line is dropped, and with it
#   the `finish_reason`. Only an `error` inside an ordinary frame raises.
# For a chat like ours: half an answer is stored as a whole one, and its tokens are not counted. An answer is complete
#   only after a `finish_reason`; everything else is an error to show.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.52.0 aiohttp==3.14.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import sys

import openai
from aiohttp import web


def frame(content=None, finish=None):
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


ENDS = {
    "whole": frame(finish="stop") + b"data: [DONE]\n\n",
    "the body just ends": b"",
    "error event": b'event: error\ndata: {"message": "overloaded"}\n\n',
    "no last blank line": frame(finish="stop")[:-1],
    "error in a frame": b'data: {"error": {"message": "overloaded"}}\n\n',
}


async def answer(request):
    end = ENDS[(await request.json())["model"]]
    return web.Response(body=frame("Refunds take") + end, content_type="text/event-stream")


async def ask(client, model):
    text, finish = "", None
    try:
        async for chunk in await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "?"}], stream=True
        ):
            for choice in chunk.choices or ():
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
    except openai.APIError as error:
        return "raised", text, str(error)
    return "ended", text, finish


async def main():
    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
        seen = {model: await ask(client, model) for model in ENDS}
    await runner.cleanup()
    return seen


seen = asyncio.run(main())
print("openai", openai.__version__)
print("guess: only 'whole' ends, the other four raise")
for model, outcome in seen.items():
    print(f"seen:  {model}:", *outcome)
if seen != {
    "whole": ("ended", "Refunds take", "stop"),
    "the body just ends": ("ended", "Refunds take", None),
    "error event": ("ended", "Refunds take", None),
    "no last blank line": ("ended", "Refunds take", None),
    "error in a frame": ("raised", "Refunds take", "overloaded"),
}:
    sys.exit("The behaviour has changed.")
PY
