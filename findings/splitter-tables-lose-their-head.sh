#!/usr/bin/env bash
# Guess: a splitter that knows Markdown keeps a table readable: each chunk of its rows has the names of its columns, and
#   each chunk of a program stands in a fence.
# True: semantic-text-splitter's MarkdownSplitter gives the first chunk the head of the table and the others rows alone.
#   The line that opens a fence ("```python") becomes a chunk by itself, the program follows without one, and the fence
#   that closes it goes with the text behind the program, which is code then for whoever reads that chunk as Markdown.
# For a chat like ours: "| 120 | 5 |" answers no question about fees, because no word of the question is in it, and a model
#   that is given it guesses the columns. Repeat the head, or write rows as "name: value" before the split; close fences.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check semantic-text-splitter==0.33.1
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from semantic_text_splitter import MarkdownSplitter

TABLE = "| Weight | Fee |\n| --- | --- |\n" + "".join(f"| {10 * row} | {row} |\n" for row in range(40))
PROGRAM = "```python\n" + "".join(f"fee_{row} = {row}\n" for row in range(20)) + "```\n\nRefunds take five days."
chunks = {name: MarkdownSplitter(200).chunks(text) for name, text in {"table": TABLE, "program": PROGRAM}.items()}
print("semantic-text-splitter", version("semantic-text-splitter"))
print('guess: "Weight" in each chunk of the table, two fences in each chunk of the program')
for name, found in chunks.items():
    for chunk in found:
        print(f"seen:  {name}: {chunk[:28]!r} ... {chunk[-34:]!r}")
heads = ["Weight" in chunk for chunk in chunks["table"]]
fences = [chunk.count("```") for chunk in chunks["program"]]
last = chunks["program"][-1]
if (
    heads != [True] + [False] * (len(heads) - 1)
    or len(heads) < 3
    or chunks["program"][0] != "```python"
    or fences != [1] + [0] * (len(fences) - 2) + [1]
    or not last.endswith("```\n\nRefunds take five days.")
):
    sys.exit("The behaviour has changed.")
PY
