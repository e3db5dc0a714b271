#!/usr/bin/env bash
# Guess: a cell with a formula has the value that Excel shows in it; a reader that cannot compute gives that, or nothing.
# True: a workbook that a program wrote has never been computed. XlsxWriter stores 0 as the value of each formula, also of
#   one that gives a text, and asks Excel to compute when it opens the file. python-calamine, openpyxl (`data_only=True`) and
#   markitdown read "Total: 0". openpyxl stores no value: an empty text for python-calamine, None for itself, and "NaN" in
#   markitdown. Opened and saved in Excel, the same files have their totals.
# For a chat like ours: reports come from programs, and their totals are what people ask for: "the total is 0" is then a
#   quotation. The file tells it: `fullCalcOnLoad="1"` in `xl/workbook.xml`, and formulas whose values are all 0. Say that
#   the results are missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  python-calamine==0.9.1 openpyxl==3.1.5 XlsxWriter==3.3.1 'markitdown[xlsx]==0.1.9'
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
import zipfile
from importlib.metadata import version

import openpyxl
import xlsxwriter
from markitdown import MarkItDown
from python_calamine import CalamineWorkbook

ROWS = (("Desk", 300), ("Chair", 120), ("Total", "=SUM(B1:B2)"), ("Label", '=A1&" set"'))


def by_xlsxwriter(path):
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(ROWS):
            sheet.write_row(number, 0, row)


def by_openpyxl(path):
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    book.save(path)


def read(path):
    """What each reader has in the cells of the two formulas."""
    calamine = [row[1] for row in CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()][2:]
    by_itself = [row[1] for row in openpyxl.load_workbook(path, data_only=True).active.values][2:]
    lines = MarkItDown().convert(path).text_content.strip().splitlines()[-2:]
    return calamine, by_itself, [line.split("|")[2].strip() for line in lines]


seen, asks = {}, {}
for writer in (by_xlsxwriter, by_openpyxl):
    name = writer.__name__.removeprefix("by_")
    writer(f"{name}.xlsx")
    seen[name] = read(f"{name}.xlsx")
    asks[name] = b'fullCalcOnLoad="1"' in zipfile.ZipFile(f"{name}.xlsx").read("xl/workbook.xml")
print(" ".join(f"{name} {version(name)} " for name in ("XlsxWriter", "openpyxl", "python-calamine", "markitdown")))
print("guess: 420 and 'Desk set', or nothing")
for name, (calamine, by_itself, markitdown) in seen.items():
    print(f"seen:  written by {name}: python-calamine {calamine}, openpyxl {by_itself}, markitdown {markitdown};",
          f"the file asks to be computed: {asks[name]}")
if seen != {
    "xlsxwriter": ([0.0, 0.0], [0, 0], ["0", "0"]),
    "openpyxl": (["", ""], [None, None], ["NaN", "NaN"]),
} or not all(asks.values()):
    sys.exit("The behaviour has changed.")
PY
