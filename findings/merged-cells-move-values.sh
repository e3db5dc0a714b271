#!/usr/bin/env bash
# Guess: a cell that goes over two rows leaves an empty place in the second row, or is repeated there.
# True: markdownify knows `colspan`, and fills up with empty cells, but not `rowspan`: the second row begins with the
#   next value. "2 GB" stands in the column of the plans. mammoth writes `rowspan` for merged cells of a Word document,
#   so that its tables are hit too. trafilatura leaves an empty cell, and the values stay below their headings.
# For a chat like ours: price lists and duty rosters are written like this. A model reads a name in the column of prices,
#   or a price of the wrong size, and nothing is missing. Divide merged cells before the conversion.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mammoth==1.13.0 markdownify==1.2.3 python-docx==1.2.0 trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.5
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import mammoth
from docx import Document
from markdownify import markdownify
from trafilatura import extract

PLANS = [("Plan", "Size", "Price"), ("Basic", "1 GB", "5"), (None, "2 GB", "8")]
WORDS = "Here is what each of the plans has, in full sentences, and what it costs for the whole of the year. " * 3


def cells(text):
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.lstrip().startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if "---" not in row[0]]


page = "<table>" + "".join(
    "<tr>" + "".join(f"<td{' rowspan=2' if cell == 'Basic' else ''}>{cell}</td>" for cell in row if cell) + "</tr>"
    for row in PLANS
) + "</table>"
document = Document()
table = document.add_table(rows=3, cols=3)
for row, values in enumerate(PLANS):
    for column, value in enumerate(values):
        table.cell(row, column).text = value or ""
table.cell(1, 0).merge(table.cell(2, 0)).text = "Basic"
word = io.BytesIO()
document.save(word)
whole = f"<html><body><main><h1>Plans</h1><p>{WORDS}</p>{page}<p>{WORDS}</p></main></body></html>"
seen = {
    "markdownify": cells(markdownify(page, table_infer_header=True)),
    "mammoth, markdownify": cells(markdownify(mammoth.convert_to_html(word).value, table_infer_header=True)),
    "trafilatura": cells(extract(whole, output_format="markdown")),
}
print(*(f"{name} {version(name)}" for name in ("mammoth", "markdownify", "trafilatura")))
print("guess:", ["", "2 GB", "8"], "or", ["Basic", "2 GB", "8"])
for name, rows in seen.items():
    print(f"seen:  {name}: {rows[2]}")
if [rows[2] for rows in seen.values()] != [["2 GB", "8"], ["2 GB", "8"], ["", "2 GB", "8"]]:
    sys.exit("The behaviour has changed.")
PY
