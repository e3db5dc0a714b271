#!/usr/bin/env bash
# Guess: `MarkdownHeaderTextSplitter` of LangChain cuts a Markdown text at its headings and leaves the words between them.
# True: it strips each line and drops each character that Python calls not printable, and those are not only control
#   characters: the tab, the no-break space and the wide space of Chinese and Japanese are among them. "19<no-break
#   space>EUR" becomes "19EUR", two columns become one word, a nested list becomes flat and code loses its indentation,
#   so that the condition of a rule is no longer seen. `strip_headers` and `return_each_line` change none of it, and there
#   is no option for it.
# For a chat like ours: chunks no longer hold the words that people search for, prices and units run together, and a model
#   reads "unless" as a point of its own beside the rule that it restricts. Cut by places in the text, and check that each
#   chunk is a part of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  langchain-text-splitters==1.1.3 langchain-core==1.8.3 semantic-text-splitter==0.33.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from langchain_text_splitters import MarkdownHeaderTextSplitter
from semantic_text_splitter import MarkdownSplitter

PARTS = {
    "no-break space": "The fee is 19\N{NO-BREAK SPACE}EUR.",
    "tab": "Berlin\t30 days",
    "wide space": "東京\N{IDEOGRAPHIC SPACE}大阪",
    "nested list": "- Refunds are paid\n    - unless the seal is broken\n- Postage is not paid",
    "code": "```python\nif order.paid:\n    refund(order)\nclose(order)\n```",
}
WANTED = {
    "no-break space": "The fee is 19EUR.",
    "tab": "Berlin30 days",
    "wide space": "東京大阪",
    "nested list": "- Refunds are paid\n- unless the seal is broken\n- Postage is not paid",
    "code": "```python\nif order.paid:\nrefund(order)\nclose(order)\n```",
}

print(*(f"{name} {version(name)}" for name in ("langchain-text-splitters", "semantic-text-splitter")))
print("guess: every part comes back as it is, without its heading")
splitter = MarkdownHeaderTextSplitter([("#", "heading")])
seen = {}
for name, part in PARTS.items():
    text = f"# Terms\n\n{part}\n"
    seen[name] = splitter.split_text(text)[0].page_content
    others = MarkdownSplitter(1000).chunks(text)
    print(f"seen:  {name}: {part!r} becomes {seen[name]!r}")
    if others != [text.strip()]:
        sys.exit(f"The behaviour has changed: semantic-text-splitter gives {others}.")
print("seen:  semantic-text-splitter leaves each part as it is")
if seen != WANTED:
    sys.exit("The behaviour has changed.")
PY
