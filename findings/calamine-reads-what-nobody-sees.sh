#!/usr/bin/env bash
# Guess: the cells of a workbook are read as people see them: 19 %, 01067, +49 351 123.
# True: python-calamine gives the stored number and no format: 0.19, 1067.0, 49351123.0. The zero of a postcode, the
#   percent sign, the currency and the plus are in the format alone. Hidden rows and columns are among the others, and
#   only a hidden sheet can be told (`sheets_metadata`). mammoth, too, takes hidden text of a Word document for text.
# For a chat like ours: "What is the VAT?" is answered with 0.19, a postcode has four digits, and a purchase price in a
#   hidden column is quoted to a customer. Leave hidden sheets out, and tell who uploads that the rest is read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  python-calamine==0.9.1 openpyxl==3.1.5 mammoth==1.13.0 python-docx==1.2.0
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

from docx import Document
from mammoth import extract_raw_text
from openpyxl import Workbook
from python_calamine import load_workbook

CELLS = [(0.19, "0%"), (1067, "00000"), (49351123, '"+"0'), (1234.5, '#,##0.00 "EUR"')]
SHOWN = ["19%", "01067", "+49351123", "1,234.50 EUR"]
workbook = Workbook()
sheet = workbook.active
for column, (value, form) in enumerate(CELLS, 1):
    sheet.cell(1, column, value).number_format = form
sheet["A2"] = "hidden row"
sheet.row_dimensions[2].hidden = True
sheet["F1"] = "hidden column"
sheet.column_dimensions["F"].hidden = True
file = io.BytesIO()
workbook.save(file)
file.seek(0)
first, second = load_workbook(file).get_sheet_by_index(0).to_python()

document = Document()
document.add_paragraph("Shown. ").add_run("Hidden.").font.hidden = True
word = io.BytesIO()
document.save(word)
word.seek(0)
text = extract_raw_text(word).value.strip()

print("python-calamine", version("python-calamine"), "mammoth", version("mammoth"))
print("guess:", SHOWN)
print("seen: ", first[:4])
print("guess: neither the hidden row, nor the hidden column, nor the hidden words")
print("seen: ", second[0], "|", first[5], "|", text)
if first != [0.19, 1067.0, 49351123.0, 1234.5, "", "hidden column"] or second[0] != "hidden row":
    sys.exit("The behaviour has changed.")
if text != "Shown. Hidden.":
    sys.exit("The behaviour has changed.")
PY
