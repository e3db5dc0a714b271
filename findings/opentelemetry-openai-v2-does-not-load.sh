#!/usr/bin/env bash
# Guess: the instrumentation of OpenAI's client that the OpenTelemetry project itself publishes works with the client and the
#   helper package that pip chooses for it; pip reports a conflict otherwise.
# True: `pip install openai opentelemetry-instrumentation-openai-v2` succeeds, and its import raises, for two reasons, one
#   after the other. It imports httpx, which it does not require and which came with OpenAI's client until that went over to
#   httpx2. And it imports a module that its helper package, for which it names no upper bound, has lost. Loaded by
#   `opentelemetry-instrument`, as usual, that is a line in the log, and there are no spans. With httpx and
#   opentelemetry-util-genai 1.0b0 it loads; its spans have neither cached nor reasoning tokens, which others have.
# For a chat like ours: the traces of all calls end with an update that has nothing to do with them. Pin the helper package,
#   require httpx, and test that a call makes a span.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  openai==3.57.0 opentelemetry-instrumentation-openai-v2==2.4b0 opentelemetry-util-genai==1.3b0 \
  opentelemetry-instrumentation==0.66b2
load() { "$folder/venv/bin/python" -c "import opentelemetry.instrumentation.openai_v2" 2>&1 | tail -n 1 || true; }
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import requires, version

for name in ("openai", "opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai"):
    print(name, version(name), end="  ")
print()
print("requires:", requires("opentelemetry-instrumentation-openai-v2"))
PY
echo "guess: it loads"
"$folder/venv/bin/python" -m pip check > check || true
echo "seen:  pip check: $(tail -n 1 check)"
first=$(load)
echo "seen:  as installed: $first"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check httpx==0.28.1
second=$(load)
echo "seen:  with httpx: $second"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check opentelemetry-util-genai==1.0b0
third=$(load)
echo "seen:  with opentelemetry-util-genai 1.0b0: ${third:-it loads}"
case "$first/$second/$third" in
  *"No module named 'httpx'/"*"No module named 'opentelemetry.util.genai.instruments'/") ;;
  *) echo "The behaviour has changed." >&2; exit 1 ;;
esac
