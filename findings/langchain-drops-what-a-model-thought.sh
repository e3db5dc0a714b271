#!/usr/bin/env bash
# Guess: a library that is pointed at a server of OpenAI's format passes on what the model thought before its answer, or at
#   least keeps it in the message.
# True: servers send the thoughts as `reasoning_content` (DeepSeek, SGLang) or `reasoning` (Groq, OpenRouter), which
#   OpenAI's format does not have. `ChatOpenAI` of LangChain drops both: they are in no chunk, no content block and no
#   `additional_kwargs`, without a word. Pydantic AI, OpenAI's Agents SDK and LiteLLM keep both. Groq's client has an attribute
#   for its own name alone; OpenAI's passes on whatever came.
# For a chat like ours: a person waits for a minute before a blank page while the model thinks, and the tokens that are billed
#   have no text. Read both names from the chunks of OpenAI's client, or use a class of LangChain that is made for the server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  groq==1.7.0 langchain-openai==1.7.4 litellm==1.110.2 openai==3.57.0 openai-agents==0.24.0 pydantic-ai-slim==2.68.0
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import groq
import litellm
import openai
from agents import Agent as OpenAIAgent
from agents import OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

set_tracing_disabled(True)
litellm.suppress_debug_info = True
THOUGHT = ("Thirty days ", "are a month.")
ASK = [{"role": "user", "content": "?"}]
shown = {"field": ""}


class Model(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        deltas = [{"role": "assistant", shown["field"]: THOUGHT[0]}, {shown["field"]: THOUGHT[1]}, {"content": "Yes."}, {}]
        body = ""
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            body += f"data: {json.dumps(chunk)}\n\n"
        body += "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
WHERE = {"base_url": f"http://127.0.0.1:{server.server_port}", "api_key": "none"}


def by_langchain():
    whole = None
    for chunk in ChatOpenAI(model="m", max_retries=0, **WHERE).stream("?"):
        whole = chunk if whole is None else whole + chunk
    return [whole.content_blocks, whole.additional_kwargs, whole.response_metadata]


async def by_pydantic_ai():
    agent = Agent(OpenAIChatModel("m", provider=OpenAIProvider(**WHERE)))
    async with agent.run_stream("?") as run:
        async for _ in run.stream_text():
            pass
        return run.all_messages()


async def by_agents():
    model = OpenAIChatCompletionsModel("m", openai.AsyncOpenAI(**WHERE))
    run = Runner.run_streamed(OpenAIAgent(name="a", model=model), "?")
    async for _ in run.stream_events():
        pass
    return run.to_input_list()


def by_litellm():
    chunks = litellm.completion("openai/m", api_base=WHERE["base_url"], api_key="none", messages=ASK, stream=True)
    return litellm.stream_chunk_builder(list(chunks)).choices[0].message.model_dump()


def by(client):
    chunks = client.chat.completions.create(model="m", messages=ASK, stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    names = ("reasoning",) if isinstance(client, groq.Groq) else ("reasoning", "reasoning_content")
    return "".join(getattr(delta, name, None) or "" for delta in deltas for name in names)


READERS = {
    "langchain-openai": by_langchain,
    "pydantic-ai-slim": lambda: asyncio.run(by_pydantic_ai()),
    "openai-agents": lambda: asyncio.run(by_agents()),
    "litellm": by_litellm,
    "openai": lambda: by(openai.OpenAI(**WHERE)),
    "groq": lambda: by(groq.Groq(**WHERE)),
}
seen = {}
for field in ("reasoning_content", "reasoning"):
    shown["field"] = field
    for name, reader in READERS.items():
        seen.setdefault(name, {})[field] = "".join(THOUGHT) in str(reader())
print(" ".join(f"{name} {version(name)} " for name in READERS))
print("guess: each keeps the thought, under both names")
for name, kept in seen.items():
    print(f"seen:  {name} keeps it:", kept)
if {name: tuple(kept.values()) for name, kept in seen.items()} != {
    "langchain-openai": (False, False),
    "pydantic-ai-slim": (True, True),
    "openai-agents": (True, True),
    "litellm": (True, True),
    "openai": (True, True),
    "groq": (False, True),
}:
    sys.exit("The behaviour has changed.")
PY
