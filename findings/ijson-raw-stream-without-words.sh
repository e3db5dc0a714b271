#!/usr/bin/env bash
# Guess: ijson reads any object with a method `read`, which is what its documentation asks for, so a subclass of
#   `io.RawIOBase` that defines `read` will do, as it does for `json`, `csv` behind a wrapper, and `shutil.copyfileobj`.
# True: a plain class with `read` works. The same method on a subclass of `io.RawIOBase` fails: the base class has
#   `readinto` too, ijson's C backend prefers it, and the inherited one is not implemented. What arrives is an error
#   without a word about it; the pure Python backend reads the same object.
# For a chat like ours: a stream that counts what an import reads works in a test and fails on the machine whose wheel has
#   the C backend. Give ijson a plain class, or define `readinto`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ijson==3.6.0
"$folder/venv/bin/python" - <<'PY'
import importlib
import io
import sys
from importlib.metadata import version

TEXT = b'[{"title": "One"}, {"title": "Two"}]'


class Plain:
    def __init__(self):
        self._stream = io.BytesIO(TEXT)

    def read(self, size=-1):
        return self._stream.read(size)


class Raw(io.RawIOBase):
    def __init__(self):
        self._stream = io.BytesIO(TEXT)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._stream.read(size)


def found(backend, stream):
    try:
        return len(list(importlib.import_module(f"ijson.backends.{backend}").items(stream, "item")))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)!r}"


seen = {(backend, kind.__name__): found(backend, kind()) for backend in ("python", "yajl2_c") for kind in (Plain, Raw)}
print("ijson", version("ijson"))
print("guess: 2 records, four times")
for (backend, kind), what in seen.items():
    print(f"seen:  {backend}, {kind}: {what}")
raw = seen["yajl2_c", "Raw"]
if [seen["python", "Plain"], seen["python", "Raw"], seen["yajl2_c", "Plain"]] != [2, 2, 2] or isinstance(raw, int):
    sys.exit("The behaviour has changed.")
PY
