#!/usr/bin/env bash
# Guess: when a server streams although no stream was asked for (Unsloth, KAITO and mini-sglang do), the OpenAI SDK
#   raises, or gives a completion.
# True: `create()` returns the body as a string, where its type says ChatCompletion; the first access to `.choices`
#   fails, far away from the request. JSON with `data: [DONE]` behind it, as 9router sends it, raises a JSONDecodeError,
#   which is no `openai.APIError`.
# For a chat like ours: titles and other small questions fail with an AttributeError that nobody catches. Read the body
#   ourselves: as JSON, else as events.
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

WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    }
)
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
EVENTS = "".join(
    f"data: {json.dumps({**CHUNK, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"
    for delta, finish in (({"content": "Hi"}, None), ({}, "stop"))
)
BODIES = {
    "JSON": (WHOLE, "application/json"),
    "a stream": (EVENTS + "data: [DONE]\n\n", "text/event-stream"),
    "JSON and [DONE]": (WHOLE + "\n\ndata: [DONE]\n\n", "application/json"),
}


async def answer(request):
    body, kind = BODIES[(await request.json())["model"]]
    return web.Response(text=body, content_type=kind)


async def ask(client, model):
    try:
        return type(
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}])
        ).__name__
    except Exception as error:
        return f"raised {type(error).__name__}, an APIError: {isinstance(error, openai.APIError)}"


async def main():
    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
        seen = {model: await ask(client, model) for model in BODIES}
    await runner.cleanup()
    return seen


seen = asyncio.run(main())
print("openai", openai.__version__)
print("guess: a ChatCompletion, or an APIError")
for model, outcome in seen.items():
    print(f"seen:  {model}: {outcome}")
if seen != {
    "JSON": "ChatCompletion",
    "a stream": "str",
    "JSON and [DONE]": "raised JSONDecodeError, an APIError: False",
}:
    sys.exit("The behaviour has changed.")
PY
