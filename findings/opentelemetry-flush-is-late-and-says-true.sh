#!/usr/bin/env bash
# Guess: `force_flush(timeout_millis=500)` returns within half a second, and True means that the spans were sent.
# True: with a collector that is away it returns after some seconds, when the exporter has given up its retries, and it
#   returns True although every span was dropped. The time that is given is not read; with a full queue it is many times
#   longer, because each batch is tried as long.
# For a chat like ours: a server that flushes before it ends keeps its orchestrator waiting until it is killed, in the
#   middle of storing what people wrote. Flush in a daemon thread and wait for that one as long as you like; ask the
#   exporter, not the flush, whether spans were taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  opentelemetry-sdk==1.45.1 opentelemetry-exporter-otlp-proto-http==1.45.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import socket
import sys
import time
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logging.disable(logging.CRITICAL)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
# Nobody listens there any more.
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")))
with provider.get_tracer("finding").start_as_current_span("lost"):
    pass
began = time.monotonic()
said = provider.force_flush(timeout_millis=500)
took = time.monotonic() - began
print("opentelemetry-sdk", version("opentelemetry-sdk"))
print("guess: False within 0.5 s")
print(f"seen:  {said} after {took:.1f} s")
if said is not True or took < 2:
    sys.exit("The behaviour has changed.")
PY
