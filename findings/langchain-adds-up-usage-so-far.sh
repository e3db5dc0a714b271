#!/usr/bin/env bash
# Guess: a streamed answer has the usage that its server reported, wherever in the stream the report stands.
# True: LangChain adds the reports of all chunks. A server that sends the usage so far with each chunk, as vLLM and SGLang
#   do on request and others unasked, is counted once a chunk: 100 tokens of prompt become 500 in an answer of four
#   words, in `usage_metadata` and in the usage callback alike. A report that comes with the last words and once more at
#   the end doubles. The OpenAI SDK and LiteLLM take the last report.
#   And with a `base_url` of one's own, LangChain does not ask for the usage (`stream_options`), so that a server which
#   sends it on request only is counted as nothing: `usage_metadata` is None, without a warning.
# For a chat like ours: costs and limits are wrong by the length of the answer, or are never reached, only with the
#   server of one's own, and only while streaming. Pass `stream_usage=True`, and take the last report of the chunks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  langchain-openai==1.7.4 langchain-core==1.8.3 openai==3.57.0 litellm==1.110.2
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm
import openai
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_openai import ChatOpenAI

litellm.suppress_debug_info = True
WORDS = ["Refunds", " take", " five", " days."]
ASK = [{"role": "user", "content": "How long does a refund take?"}]
EACH = {"in each chunk", "in each chunk and at the end"}


def chunk(text=None, finish=None, *, written=None, choices=True):
    delta = {"content": text} if text else {}
    made = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    if choices:
        made["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    if written is not None:
        made["usage"] = {"prompt_tokens": 100, "completion_tokens": written, "total_tokens": 100 + written}
    return made


def stream(kind, asked):
    for number, word in enumerate(WORDS, 1):
        yield chunk(word, written=number if kind in EACH else None)
    yield chunk(finish="stop", written=None if kind in ("at the end", "on request") else 4)
    if kind not in ("in each chunk", "on request") or (kind == "on request" and asked):
        yield chunk(written=4, choices=False)


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = (request.get("stream_options") or {}).get("include_usage", False)
        frames = [json.dumps(one) for one in stream(request["model"], asked)] + ["[DONE]"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write("".join(f"data: {frame}\n\n" for frame in frames).encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
ADDRESS = {"api_key": "none", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}


def by_openai(kind):
    with openai.OpenAI(**ADDRESS).chat.completions.stream(model=kind, messages=ASK) as answer:
        usage = answer.get_final_completion().usage
    return usage and (usage.prompt_tokens, usage.completion_tokens)


def by_litellm(kind):
    chunks = litellm.completion(model=f"openai/{kind}", messages=ASK, stream=True, **ADDRESS,
                                stream_options={"include_usage": True})
    usage = litellm.stream_chunk_builder(list(chunks), messages=ASK).usage
    return usage.prompt_tokens, usage.completion_tokens


def by_langchain(kind, **options):
    counter, answer = UsageMetadataCallbackHandler(), None
    for part in ChatOpenAI(model=kind, **ADDRESS, **options).stream("Refund?", config={"callbacks": [counter]}):
        answer = part if answer is None else answer + part
    usage = answer.usage_metadata
    if (usage or {}) != counter.usage_metadata.get("m", {}):
        sys.exit("The behaviour has changed: the callback counts another usage.")
    return usage and (usage["input_tokens"], usage["output_tokens"])


KINDS = ("at the end", "in each chunk", "in each chunk and at the end", "with the last words and at the end")
seen = {kind: (by_openai(kind), by_litellm(kind), by_langchain(kind)) for kind in KINDS}
on_request = (by_langchain("on request"), by_langchain("on request", stream_usage=True))
print(*(f"{name} {version(name)}" for name in ("openai", "litellm", "langchain-openai", "langchain-core")))
print("guess: 100 tokens of prompt and 4 of answer, for all readers, wherever the report stands")
for kind, (first, second, third) in seen.items():
    print(f"seen:  {kind}: openai {first}, litellm {second}, langchain {third}")
print(f"seen:  on request: langchain {on_request[0]}; with stream_usage=True {on_request[1]}")
RIGHT = (100, 4)
if [*seen.values(), on_request] != [
    (RIGHT, RIGHT, RIGHT),
    (RIGHT, RIGHT, (500, 14)),
    (RIGHT, RIGHT, (600, 18)),
    (RIGHT, RIGHT, (200, 8)),
    (None, RIGHT),
]:
    sys.exit("The behaviour has changed.")
PY
