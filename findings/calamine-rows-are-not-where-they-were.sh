#!/usr/bin/env bash
# Guess: the third row of the result is row 3 of the sheet, and a whole number comes back as an int.
# True: python-calamine's `to_python` leaves out the empty rows and columns before the first value, `iter_rows` only the
#   columns: the two number rows differently, and both number columns differently from Excel. `skip_empty_area=False`
#   keeps all. Every number is a float: 42 comes back as 42.0.
# For a chat like ours: a source such as "row 3, column B" under an answer points to the wrong cell, and an order number
#   is read out as "42.0". Use `skip_empty_area=False`, or add `sheet.start`, and write whole floats as integers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check python-calamine==0.9.1 openpyxl==3.1.5
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

from openpyxl import Workbook
from python_calamine import load_workbook

workbook = Workbook()
workbook.active["B3"] = "order"
workbook.active["C3"] = 42
file = io.BytesIO()
workbook.save(file)
file.seek(0)
sheet = load_workbook(file).get_sheet_by_index(0)
ways = {
    "to_python()": sheet.to_python(),
    "iter_rows()": list(sheet.iter_rows()),
    "to_python(skip_empty_area=False)": sheet.to_python(skip_empty_area=False),
}
seen = {}
for name, rows in ways.items():
    row = next(at for at, cells in enumerate(rows) if "order" in cells)
    seen[name] = (row + 1, rows[row].index("order") + 1, rows[row][-1])
print("python-calamine", version("python-calamine"))
print('guess: "order" stands in row 3, column 2, and 42 beside it')
for name, place in seen.items():
    print(f"seen:  {name}: row {place[0]}, column {place[1]}, {place[2]!r} beside it")
if list(seen.values()) != [(1, 1, 42.0), (3, 1, 42.0), (3, 2, 42.0)] or not isinstance(seen["iter_rows()"][2], float):
    sys.exit("The behaviour has changed.")
PY
