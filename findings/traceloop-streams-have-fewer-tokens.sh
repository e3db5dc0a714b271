#!/usr/bin/env bash
# Guess: the instrumentation of OpenAI's client that Chainlit installs (traceloop's, for OpenTelemetry) writes the same
#   usage into a span whether an answer was streamed or not; a stream that breaks is an error, one that somebody stops is
#   a span with what came.
# True: of a streamed answer it leaves out the reasoning tokens, which it writes for an answer in one piece. A stream that
#   ends without a `finish_reason` has the status OK. One that is closed early, as a stop button does it, has no span while
#   anybody holds the stream; `close()` does not end it, its last reference does; and then it is OK too.
# For a chat like ours: streaming is the rule, so a dashboard shows no reasoning, no errors, and stopped answers late or
#   never. Count from the chunks, and store how an answer ended oneself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  opentelemetry-instrumentation-openai==0.62.4 opentelemetry-sdk==1.45.1 openai==3.52.0 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import gc
import json
import sys
from importlib.metadata import version

import httpx
import openai
from opentelemetry import trace
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 50,
    "total_tokens": 1050,
    "completion_tokens_details": {"reasoning_tokens": 40},
}
ASK = [{"role": "user", "content": "?"}]
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()


def frame(choices, usage=None):
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, "usage": usage}
    return f"data: {json.dumps(body)}\n\n"


TEXT = frame([{"index": 0, "delta": {"role": "assistant", "content": "five"}, "finish_reason": None}])
END = frame([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + frame([], USAGE) + "data: [DONE]\n\n"
STREAMS = {"whole": TEXT + END, "broken": TEXT}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "five"}, "finish_reason": "stop"}
ANSWER = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [MESSAGE], "usage": USAGE}


def answer(request):
    asked = json.loads(request.content)
    if not asked.get("stream"):
        return httpx.Response(200, json=ANSWER)
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=STREAMS[asked["model"]])


def ended():
    """Status, output tokens and reasoning tokens of the spans that have ended since the last call."""
    spans = exporter.get_finished_spans()
    exporter.clear()
    names = ("gen_ai.usage.output_tokens", "gen_ai.usage.reasoning_tokens")
    return [(span.status.status_code.name, *(span.attributes.get(name) for name in names)) for span in spans]


transport = httpx.MockTransport(answer)
client = openai.OpenAI(api_key="none", base_url="http://localhost/v1", http_client=httpx.Client(transport=transport))
seen = {}
client.chat.completions.create(model="whole", messages=ASK)
seen["in one piece"] = ended()
for model in STREAMS:
    for _ in client.chat.completions.create(model=model, messages=ASK, stream=True):
        pass
    seen[f"streamed, {model}"] = ended()
stream = client.chat.completions.create(model="whole", messages=ASK, stream=True)
next(iter(stream))
stream.close()
seen["streamed, closed early"] = ended()
del stream
gc.collect()
seen["the same, let go"] = ended()
print("opentelemetry-instrumentation-openai", version("opentelemetry-instrumentation-openai"), " openai", openai.__version__)
print("guess: 50 and 40 tokens for both whole answers; ERROR for the broken one; a span after close()")
for name, spans in seen.items():
    print(f"seen:  {name}: {spans}")
if seen != {
    "in one piece": [("UNSET", 50, 40)],
    "streamed, whole": [("OK", 50, None)],
    "streamed, broken": [("OK", None, None)],
    "streamed, closed early": [],
    "the same, let go": [("OK", None, None)],
}:
    sys.exit("The behaviour has changed.")
PY
