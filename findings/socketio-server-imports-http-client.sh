#!/usr/bin/env bash
# Guess: a server that is built on python-socketio imports what a server needs.
# True: `import socketio` imports the clients too, and with them aiohttp and requests, if they are installed. aiohttp
#   reads the system's certificates twice while it is imported. A process that only serves uses none of it.
#   Python's own lazy loader does not help in Python 3.11: the statement `import aiohttp` loads the lazy module at once,
#   because the import system itself asks it for an attribute.
# For a chat like ours: a twelfth of the time until Chainlit's first answer. Put a stand-in module into `sys.modules`
#   that imports the real one at its first use.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  python-socketio==5.18.1 python-engineio==4.15.1 aiohttp==3.14.5 requests==2.32.5
cd "$folder"
cat > served.py <<'PY'
import json
import ssl
import sys
import time

read = []
real = ssl.SSLContext.set_default_verify_paths
ssl.SSLContext.set_default_verify_paths = lambda self: read.append(1) or real(self)
began = time.process_time()
import socketio  # noqa: E402

socketio.AsyncServer(async_mode="asgi")
seconds = time.process_time() - began
print(json.dumps({
    "aiohttp": "aiohttp.client" in sys.modules,
    "requests": "requests" in sys.modules,
    "certificates read": len(read),
    "seconds": round(seconds, 2),
}))
PY
cat > lazy.py <<'PY'
import importlib.util
import sys

spec = importlib.util.find_spec("aiohttp")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = importlib.util.module_from_spec(spec)
sys.modules["aiohttp"] = module
spec.loader.exec_module(module)
before = "aiohttp.client" in sys.modules
import aiohttp  # noqa: E402, F401

print(before, "aiohttp.client" in sys.modules)
PY
"$folder/venv/bin/python" served.py > with.json
"$folder/venv/bin/python" lazy.py > lazy.txt
"$folder/venv/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check aiohttp requests
"$folder/venv/bin/python" served.py > without.json
"$folder/venv/bin/python" - <<'PY'
import json
import sys
from importlib.metadata import version
from pathlib import Path

full, bare = (json.loads(Path(name).read_text()) for name in ("with.json", "without.json"))
lazy = Path("lazy.txt").read_text().split()
print("python", sys.version.split()[0], " python-socketio", version("python-socketio"), end=" ")
print(" python-engineio", version("python-engineio"))
print("guess: a server loads no HTTP client, and reads no certificates")
print("seen:  aiohttp and requests installed    ", full)
print("seen:  the same server, neither installed", bare)
print(f"seen:  with the lazy loader, loaded before the statement `import aiohttp`: {lazy[0]}, after it: {lazy[1]}")
expected = full["aiohttp"] and full["requests"] and full["certificates read"] == 2
expected = expected and not bare["aiohttp"] and bare["seconds"] < full["seconds"] and lazy[0] == "False"
if sys.version_info < (3, 12):
    expected = expected and lazy[1] == "True"
if not expected:
    sys.exit("The behaviour has changed.")
PY
