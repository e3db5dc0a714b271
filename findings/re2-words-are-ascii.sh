#!/usr/bin/env bash
# Guess: google-re2 matches as Python's `re` does, and only refuses what can be slow.
# True: its \w, \d and \s are ASCII even for a str, so \w+ does not match a model with a Chinese name, and \b sees an
#   edge between a Chinese letter and a Latin one where `re` sees none. $ does not match before a line end. On the other
#   hand it takes \pL, which `re` refuses.
# For a chat like ours: price patterns that operators wrote for `re` match other models after a change to re2, without an
#   error: calls lose their price. Compile every stored pattern both ways, and compare over the known names of models.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check google-re2==1.1.20251105
"$folder/venv/bin/python" - 2> "$folder/log" <<'PY'
import re
import sys
from importlib.metadata import version

import re2

CASES = (
    (r"\w+", "通义千问"),
    (r"\d+", "٣"),
    (r"\bgpt", "模型gpt-4o"),
    (r"gpt-4o$", "gpt-4o\n"),
    (r"\pL+", "通义"),
)


def matches(module, pattern, name):
    try:
        return bool(module.search(pattern, name))
    except module.error:
        return "refused"


print("google-re2", version("google-re2"))
print("guess: the same in both")
seen = []
for pattern, name in CASES:
    seen.append((matches(re, pattern, name), matches(re2, pattern, name)))
    print(f"seen:  {pattern} in {name!r}: re {seen[-1][0]}, re2 {seen[-1][1]}")
if seen != [(True, False), (True, False), (False, True), (True, False), ("refused", True)]:
    sys.exit("The behaviour has changed.")
PY
