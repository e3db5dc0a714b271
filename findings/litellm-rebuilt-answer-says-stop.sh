#!/usr/bin/env bash
# Guess: `litellm.stream_chunk_builder`, which makes one answer of the chunks of a stream, leaves `finish_reason` empty
#   when no chunk had one, and gives no usage when the provider sent none.
# True: it writes "stop", and it counts the tokens itself, so that half an answer looks like a finished and
#   metered one. While it streams, LiteLLM knows better: a stream that ends early raises MidStreamFallbackError.
# For a chat like ours: whoever catches that error and stores the rebuilt answer stores half an answer as a whole one,
#   with a usage that no provider has sent. Look for `finish_reason` and `usage` in the chunks themselves.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check litellm==1.110.2 aiohttp==3.14.5
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import sys
from importlib.metadata import version

import litellm
from aiohttp import web

litellm.suppress_debug_info = True
MESSAGES = [{"role": "user", "content": "How long does a refund take?"}]


def frame(text, finish=None):
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


STREAMS = {
    "whole": frame("Refunds take five days.") + frame("", "stop") + "data: [DONE]\n\n",
    "cut at its length": frame("Refunds take") + frame("", "length") + "data: [DONE]\n\n",
    "broken": frame("Refunds take"),
}


async def answer(request):
    return web.Response(text=STREAMS[(await request.json())["model"]], content_type="text/event-stream")


async def ask(url, model):
    """Stream the answer, then rebuild it from its chunks."""
    chunks, raised = [], None
    try:
        async for chunk in await litellm.acompletion(
            model=f"openai/{model}", api_base=url, api_key="none", messages=MESSAGES, stream=True, num_retries=0
        ):
            chunks.append(chunk)
    except litellm.exceptions.MidStreamFallbackError as error:
        raised = type(error).__name__
    finish = {choice.finish_reason for chunk in chunks for choice in chunk.choices} - {None}
    rebuilt = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    return {
        "raised": raised,
        "finish in the chunks": finish or None,
        "rebuilt text": rebuilt.choices[0].message.content,
        "rebuilt finish": rebuilt.choices[0].finish_reason,
        "rebuilt tokens counted": rebuilt.usage.completion_tokens > 0,
    }


async def main():
    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    seen = {model: await ask(url, model) for model in STREAMS}
    await runner.cleanup()
    return seen


seen = asyncio.run(main())
print("litellm", version("litellm"))
print("guess: broken: no finish, no usage")
for model, outcome in seen.items():
    print(f"seen:  {model}:", outcome)
if (
    seen["whole"]["rebuilt finish"] != "stop"
    or seen["cut at its length"]["rebuilt finish"] != "length"
    or seen["broken"]
    != {
        "raised": "MidStreamFallbackError",
        "finish in the chunks": None,
        "rebuilt text": "Refunds take",
        "rebuilt finish": "stop",
        "rebuilt tokens counted": True,
    }
):
    sys.exit("The behaviour has changed.")
PY
