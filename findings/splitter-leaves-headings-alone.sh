#!/usr/bin/env bash
# Guess: a splitter that knows Markdown keeps a heading with the text below it, and a table with its first row.
# True: semantic-text-splitter keeps a section together if all of it fits. If one paragraph below a heading fills a chunk,
#   the heading becomes a chunk of its own, although the paragraph is cut anyway, and none of the pieces has the heading;
#   an overlap does not help. Only the first piece of a long table has the names of its columns.
# For a chat like ours: a question in the words of a heading finds two words, which push an answer out of the list, while
#   the passages that answer do not say what they are about. Join a chunk that is only a heading to the next one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check semantic-text-splitter==0.33.1
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from semantic_text_splitter import MarkdownSplitter

SENTENCE = "The amount is paid back within five days, to the account from which it came. "
ROWS = "".join(f"| Plan {number} | {number} euros a month |\n" for number in range(1, 40))
TEXTS = {
    "short paragraph": f"# Fees\n\nFive euros.\n\n## Refunds\n\n{SENTENCE * 2}",
    "long paragraph": f"# Fees\n\nFive euros.\n\n## Refunds\n\n{SENTENCE * 12}",
    "long table": f"## Prices\n\n| Plan | Price |\n| --- | --- |\n{ROWS}",
}
print("semantic-text-splitter", version("semantic-text-splitter"))
print("guess: '## Refunds' begins a chunk that goes on; each piece of the table has '| Plan | Price |'")
alone, headed = {}, []
for overlap in (0, 80):
    splitter = MarkdownSplitter(400, overlap=overlap)
    for name, text in TEXTS.items():
        chunks = splitter.chunks(text)
        alone[name, overlap] = [chunk for chunk in chunks if chunk.startswith("#") and "\n" not in chunk]
        print(f"seen:  overlap {overlap}, {name}: chunks of {[len(chunk) for chunk in chunks]} characters,",
              f"alone: {alone[name, overlap]}")
        if name == "long table":
            headed.append([sum("| Plan | Price |" in chunk for chunk in chunks), len(chunks) > 3])
print("seen:  pieces of the table with the names of its columns:", [count for count, _ in headed])
if any(alone["long paragraph", overlap] != ["## Refunds"] for overlap in (0, 80)) or headed != [[1, True]] * 2:
    sys.exit("The behaviour has changed.")
PY
