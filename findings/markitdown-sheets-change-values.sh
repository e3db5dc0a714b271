#!/usr/bin/env bash
# Guess: a table becomes the same Markdown whether it is saved as .csv or as .xlsx, and each cell keeps its text.
# True: markitdown reads .xlsx with pandas' guesses. A cell "NA" (Namibia's code), "None", "n/a" or "null" becomes NaN, like
#   an empty one; a postcode that is stored as text, "01067", becomes 1067 as soon as its column has numbers else, and a
#   whole number beside an empty cell or a large number has the form 3.000000e+00. A "|" in a cell is not escaped, so that
#   the row has a column more and each value behind it stands under another heading. As .csv the same table keeps all of it.
# For a chat like ours: a code that is missing looks like a question that was not answered, and the model reads the value of
#   one column as that of the next. Read cells as they are stored, and write the table oneself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openpyxl==3.1.5 'markitdown[xlsx]==0.1.9'
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import csv
import sys
from importlib.metadata import version

import openpyxl
from markitdown import MarkItDown

ROWS = (
    ("Country", "Code", "Postcode", "Pieces"),
    ("Namibia", "NA", "01067", 3),
    ("None of these", "None", 80331, None),
    ("A|B", "n/a", 10115, 1_000_000_000_000_000),
)
book = openpyxl.Workbook()
for row in ROWS:
    book.active.append(row)
book.save("table.xlsx")
with open("table.csv", "w", newline="") as file:
    csv.writer(file).writerows(ROWS)


def read(path):
    return [line for line in MarkItDown().convert(path).text_content.splitlines() if line.startswith("|")][2:]


seen = {path: read(path) for path in ("table.csv", "table.xlsx")}
print("markitdown", version("markitdown"), " pandas", version("pandas"))
print("guess: the same rows from both files")
for path, rows in seen.items():
    for row in rows:
        print(f"seen:  {path}:", row)
xlsx = "\n".join(seen["table.xlsx"])
if (
    "| Namibia | NA | 01067 | 3 |" not in seen["table.csv"]
    or xlsx.count("NaN") != 4
    or "01067" in xlsx
    or "3.000000e+00" not in xlsx
    or "A|B" not in xlsx
):
    sys.exit("The behaviour has changed.")
PY
