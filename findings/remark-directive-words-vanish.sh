#!/usr/bin/env bash
# Guess: a Markdown extension for blocks such as `:::note` leaves ordinary text alone: "Status:OK" is shown as it is.
# True: remark-directive also reads `:name` within a text as a directive, behind a letter too, and `::name` on a line. If
#   the page has no element of this name, remark-rehype makes an empty <div>: the word is gone, and a line is broken.
#   Chainlit's page has the extension for its boxes, and nothing for directives within a text.
# For a chat like ours: of "llama3:latest" or "版本:v2" in an answer, readers see "llama3" and "版本", and cannot know that
#   something is missing; what is stored is whole. Register the part of the extension for containers alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts unified@11.0.5 remark-parse@11.0.0 remark-directive@3.0.1 \
  remark-rehype@11.1.2 rehype-stringify@10.0.1
cat >run.mjs <<'JS'
import { unified } from "unified";
import remarkDirective from "remark-directive";
import remarkParse from "remark-parse";
import remarkRehype from "remark-rehype";
import rehypeStringify from "rehype-stringify";

const html = (text, ...plugins) =>
  plugins.reduce((reader, plugin) => reader.use(plugin), unified().use(remarkParse)).use(remarkRehype).use(rehypeStringify).processSync(text).value;
const texts = ["Status:OK, then", "llama3:latest", "版本:v2", "at 12:30"];
let lost = 0;
for (const text of texts) {
  const seen = html(text, remarkDirective);
  console.log(JSON.stringify(text), "without the extension:", html(text), " with it:", seen);
  if (seen.includes("<div></div>")) lost += 1;
}
console.log("texts that lost a word:", lost, "of", texts.length);
if (lost !== 3) {
  console.error("The behaviour has changed.");
  process.exit(1);
}
JS
node run.mjs
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps chainlit==2.12.0
venv/bin/python - <<'PY'
import re
import sys
from pathlib import Path

scripts = Path("venv").glob("lib/*/site-packages/chainlit/frontend/dist/assets/index-*.js")
found = sum(len(re.findall(r"\{text:\{58:[\w$]+\},flow:\{58:\[", script.read_text())) for script in scripts)
print("Chainlit 2.12.0: readers of directives within a text in its page:", found)
if found != 1:
    sys.exit("The behaviour has changed.")
PY
