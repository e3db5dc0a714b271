#!/usr/bin/env bash
# Guess: a raised figure either stays recognisable in the text of a document or is left out.
# True: it becomes a digit of the number before it. "10<sup>6</sup> items" is "106 items" for markdownify, for trafilatura
#   as text, and in mammoth's Markdown and text of a Word file, where the figure is raised by its format. "30
#   days<sup>2</sup>", a footnote, is "30 days2". trafilatura as text also drops the line through a price: "20 30 euros".
#   mammoth's `messages` are empty. trafilatura as Markdown keeps the tags; markdownify has `sup_symbol`, empty by default.
# For a chat like ours: the model reads a number that is wrong by powers of ten, in a sentence that is otherwise right,
#   and quotes it. Set `sup_symbol` and `sub_symbol`, and take trafilatura's Markdown.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  markdownify==1.2.3 mammoth==1.13.0 python-docx==1.2.0 trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import mammoth
import trafilatura
from docx import Document
from markdownify import markdownify

SENTENCE = "<p>The store has 10<sup>6</sup> items and costs <s>20</s> 30 euros.</p>"
MORE = "<p>A second paragraph, so that the page has enough text to be taken for an article of its own.</p>"
PAGE = f"<html><body><article><h1>Store</h1>{SENTENCE}{MORE}</article></body></html>"
word = Document()
paragraph = word.add_paragraph("The store has 10")
paragraph.add_run("6").font.superscript = True
paragraph.add_run(" items and costs ")
paragraph.add_run("20").font.strike = True
paragraph.add_run(" 30 euros.")
file = io.BytesIO()
word.save(file)
converted = mammoth.convert_to_markdown(file)


def sentence(text):
    return next(line for line in text.splitlines() if line.startswith("The store")).replace("\\", "").strip()


seen = {
    "markdownify": sentence(markdownify(SENTENCE)),
    "markdownify, sup_symbol='^'": sentence(markdownify(SENTENCE, sup_symbol="^")),
    "trafilatura, text": sentence(trafilatura.extract(PAGE)),
    "trafilatura, Markdown": sentence(trafilatura.extract(PAGE, output_format="markdown")),
    "mammoth, Markdown": sentence(converted.value),
    "mammoth, text": sentence(mammoth.extract_raw_text(file).value),
    "mammoth, HTML, then markdownify": sentence(markdownify(mammoth.convert_to_html(file).value)),
}
print(*(f"{name} {version(name)}" for name in ("markdownify", "trafilatura", "mammoth")))
print("guess: something that can be told from 106 items")
for name, text in seen.items():
    print(f"seen:  {name}: {text}")
print("seen:  messages of mammoth:", converted.messages)
LOST, STRUCK = "The store has 106 items and costs 20 30 euros.", "The store has 106 items and costs ~~20~~ 30 euros."
if converted.messages or list(seen.values()) != [
    STRUCK,
    "The store has 10^6^ items and costs ~~20~~ 30 euros.",
    LOST,
    "The store has 10<sup>6</sup> items and costs ~~20~~ 30 euros.",
    LOST,
    LOST,
    STRUCK,
]:
    sys.exit("The behaviour has changed.")
PY
