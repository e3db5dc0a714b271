#!/usr/bin/env bash
# Guess: a package that a chat does not import costs it nothing, and Chainlit's tracing is loaded when a key is set.
# True: `import chainlit` imports literalai, which imports traceloop's SDK, key or no key. That SDK imports pandas if it
#   is installed. So one more package in the environment (for a notebook, an export) makes every Chainlit process
#   larger by tens of megabytes, although neither Chainlit nor the chat calls it.
# For a chat like ours: keep pandas out of the environment that serves, or put an empty stand-in for `traceloop` into
#   `sys.modules` before Chainlit is imported and while no Literal key is set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cat > "$folder/measure.py" <<'PY'
import json
import resource
import sys

import chainlit  # noqa: F401

print(json.dumps({
    "traceloop": "traceloop.sdk" in sys.modules,
    "pandas": "pandas" in sys.modules,
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
}))
PY
cd "$folder"
unset LITERAL_API_KEY
"$folder/venv/bin/python" measure.py > without.json
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pandas==2.3.3 numpy==2.3.5
"$folder/venv/bin/python" measure.py > with.json
"$folder/venv/bin/python" - <<'PY'
import json
import sys
from importlib.metadata import version
from pathlib import Path

without, with_pandas = (json.loads(Path(name).read_text().splitlines()[-1]) for name in ("without.json", "with.json"))
print("chainlit", version("chainlit"), " traceloop-sdk", version("traceloop-sdk"), " pandas", version("pandas"))
print("guess: the same after `pip install pandas`, and no traceloop without a key")
print("seen:  without pandas", without)
print("seen:  with pandas   ", with_pandas)
grown = with_pandas["megabytes"] - without["megabytes"]
print(f"larger by {grown} MB")
if not (without["traceloop"] and not without["pandas"] and with_pandas["pandas"] and grown >= 20):
    sys.exit("The behaviour has changed.")
PY
