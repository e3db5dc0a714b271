#!/usr/bin/env bash
# Guess: a table of HTML is a table of Markdown, and its caption stands above it.
# True: with a `<caption>` and without a `<thead>`, markdownify leaves out the line of dashes, so that what follows is text
#   with bars and no table. With a `<tfoot>` before the body, which HTML allows, an empty heading and the sum stand in the
#   middle of it. The options of a `<select>` and the two parts of `<details>` run together. Text that begins with "> " or
#   "1. " is a quotation or a list after it; only `escape_misc=True` prevents that.
# For a chat like ours: tables of fees have captions; their rows reach a model as one paragraph, and columns are guessed.
#   Move captions out of tables and sums to the end before the conversion, and use `escape_misc` for what people wrote.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check markdownify==1.2.3 markdown-it-py==4.3.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from markdown_it import MarkdownIt
from markdownify import markdownify

ROWS = "<tr><th>Fee</th></tr><tr><td>5</td></tr>"
HEAD, BODY = "<thead><tr><th>Fee</th></tr></thead>", "<tbody><tr><td>5</td></tr></tbody>"
TABLES = {
    "plain": f"<table>{ROWS}</table>",
    "caption": f"<table><caption>Fees of 2026</caption>{ROWS}</table>",
    "caption and thead": f"<table><caption>Fees of 2026</caption>{HEAD}{BODY}</table>",
    "sum before the body": f"<table>{HEAD}<tfoot><tr><td>Sum</td></tr></tfoot>{BODY}</table>",
}
TEXTS = {
    "options": "<select><option>red</option><option>blue</option></select>",
    "details": "<details><summary>How long?</summary>Five days</details>",
    "greater": "<p>&gt; 5 euro</p>",
    "number": "<p>1. May is a holiday</p>",
}
page = MarkdownIt("commonmark").enable("table")


def tags(markdown):
    """The kinds of blocks in what a reader of Markdown makes of this."""
    return [token.tag for token in page.parse(markdown) if token.nesting == 1 and token.tag in ("table", "blockquote", "ol")]


tables = {name: markdownify(html).strip() for name, html in TABLES.items()}
texts = {name: markdownify(html).strip() for name, html in TEXTS.items()}
print("markdownify", version("markdownify"))
print("guess: a table for each; two words, two lines, and no quotation and no list")
for name, markdown in (tables | texts).items():
    print(f"seen:  {name}: {markdown!r} {tags(markdown)}")
if (
    {name: tags(markdown) for name, markdown in tables.items()}
    != {"plain": ["table"], "caption": [], "caption and thead": ["table"], "sum before the body": ["table"]}
    or tables["sum before the body"].count("---") != 2
    or texts != {"options": "redblue", "details": "How long?Five days", "greater": "> 5 euro", "number": "1. May is a holiday"}
    or [tags(texts[name]) for name in ("greater", "number")] != [["blockquote"], ["ol"]]
    or tags(markdownify(TEXTS["greater"], escape_misc=True))
):
    sys.exit("The behaviour has changed.")
PY
