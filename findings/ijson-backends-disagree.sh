#!/usr/bin/env bash
# Guess: ijson reads a file alike whichever of its backends is installed, and `use_float` changes only how fractions
#   come back.
# True: the fast backend in C and the one in Python differ. With `use_float=True` the C one refuses an integer of more
#   than 64 bits, and reports it as IncompleteJSONError, as if the file had been cut; the Python one reads it. Half of a
#   surrogate pair becomes "?" in C and stays as it is in Python, where it cannot be encoded later. Without `use_float`,
#   every fraction is a Decimal, which `json.dumps` refuses.
# For a chat like ours: an import works on one machine and "is incomplete" on another, with the same ijson. Name the
#   backend, do not take IncompleteJSONError for a cut file, and convert Decimals before they are stored as JSON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ijson==3.6.0
"$folder/venv/bin/python" - <<'PY'
import io
import json
import sys
from importlib.metadata import version

import ijson

FILES = {
    "large integer": b'{"id": 123456789012345678901234567890}',
    "half a pair": b'{"title": "\\ud83d"}',
}


def read(backend, text, **options):
    try:
        return next(iter(ijson.get_backend(backend).items(io.BytesIO(text), "", **options)))
    except ijson.JSONError as error:
        return type(error).__name__


seen = {
    (name, backend): read(backend, text, use_float=True)
    for name, text in FILES.items()
    for backend in ("yajl2_c", "python")
}
created = read("yajl2_c", b'{"create_time": 1700000000.5}')
try:
    json.dumps(created)
    dumped = "json.dumps accepts it"
except TypeError as error:
    dumped = str(error)
print("ijson", version("ijson"))
print("guess: both backends give the same")
for key, value in seen.items():
    print("seen: ", *key, "->", repr(value))
print("seen:  without use_float ->", created, dumped)
if seen != {
    ("large integer", "yajl2_c"): "IncompleteJSONError",
    ("large integer", "python"): {"id": 123456789012345678901234567890},
    ("half a pair", "yajl2_c"): {"title": "?"},
    ("half a pair", "python"): {"title": "\ud83d"},
} or "not JSON serializable" not in dumped:
    sys.exit("The behaviour has changed.")
PY
