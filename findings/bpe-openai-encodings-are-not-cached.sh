#!/usr/bin/env bash
# Guess: `get_encoding` gives the one encoding of that name, as in tiktoken, whose interface bpe-openai has; its tokens
#   are counted in Rust, so the Python process holds little.
# True: every call of `get_encoding` makes a new object with Python copies of the whole vocabulary, in tens of
#   milliseconds and megabytes: three calls for o200k_base hold three of them. The import alone takes tens of megabytes.
# For a chat like ours: code that asks for the encoding where it counts grows with every place that keeps one, and is
#   slow in each request. Ask once, in a thread, keep it in one place, and import it only when a count is needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check bpe-openai==0.1.4
"$folder/venv/bin/python" - <<'PY'
import gc
import sys
import time
from importlib.metadata import version
from pathlib import Path


def megabytes():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


start = megabytes()
import bpe_openai  # noqa: E402

imported = megabytes()
kept = [bpe_openai.get_encoding("o200k_base")]
first = megabytes()
began = time.perf_counter()
kept += [bpe_openai.get_encoding("o200k_base") for _ in range(2)]
seconds = (time.perf_counter() - began) / 2
third = megabytes()
print("bpe-openai", version("bpe-openai"))
print(f"import: {imported - start:.0f} MB; first get_encoding: {first - imported:.0f} MB")
print("guess: the second and third call give the same object and take nothing")
print(f"seen:  same object: {kept[0] is kept[1]}; each takes {seconds * 1000:.0f} ms and {(third - first) / 2:.0f} MB")
if kept[0] is kept[1] or third - first < 10 or imported - start < 20:
    sys.exit("The behaviour has changed.")
PY
