#!/usr/bin/env bash
# Guess: a cell is the same whether its sheet was saved as .ods or as .xlsx; 30 hours are 30 hours, an error is an error.
# True: in .ods, python-calamine drops `text:line-break` and `text:tab` within a paragraph without a space: "Refund" and
#   "five days" become "Refundfive days". (Two paragraphs of a cell keep their line break, and `text:s` its spaces.) A
#   duration of a day and more is the text "PT30H00M00S", a shorter one a time of day; the same two in .xlsx are a
#   timedelta and a timedelta. A cell whose formula failed ("#DIV/0!") is empty text in both.
# For a chat like ours: words that run together are not found, a table of hours mixes two kinds of values, and a model
#   takes a failed formula for nothing. Write times oneself; say that an .ods may have lost line breaks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check python-calamine==0.9.1 openpyxl==3.1.5
"$folder/venv/bin/python" - <<'PY'
import io
import sys
import zipfile
from datetime import time, timedelta
from importlib.metadata import version

from openpyxl import Workbook
from python_calamine import load_workbook

NAMES = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "calcext": "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0",
}
TYPE = "application/vnd.oasis.opendocument.spreadsheet"
STRING = 'office:value-type="string"'
ERROR = 'table:formula="of:=1/0" office:value-type="string" office:string-value="" calcext:value-type="error"'
# The cell in .ods, as LibreOffice writes it, and the value in .xlsx.
CELLS = {
    "line break": ((STRING, "<text:p>Refund<text:line-break/>five days</text:p>"), "Refund\nfive days"),
    "tab": ((STRING, "<text:p>Refund<text:tab/>five days</text:p>"), "Refund\tfive days"),
    "paragraphs": ((STRING, "<text:p>Refund</text:p><text:p>five days</text:p>"), "Refund\nfive days"),
    "30 hours": (('office:value-type="time" office:time-value="PT30H00M00S"', "<text:p>30:00</text:p>"), timedelta(hours=30)),
    "8 hours": (('office:value-type="time" office:time-value="PT08H00M00S"', "<text:p>08:00</text:p>"), timedelta(hours=8)),
    "error": ((ERROR, "<text:p>#DIV/0!</text:p>"), "#DIV/0!"),
}


def ods():
    rows = "".join(
        f"<table:table-row><table:table-cell {attributes}>{text}</table:table-cell></table:table-row>"
        for (attributes, text), _ in CELLS.values()
    )
    spaces = " ".join(f'xmlns:{name}="{uri}"' for name, uri in NAMES.items())
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", TYPE)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<m:manifest xmlns:m="{manifest}"><m:file-entry m:full-path="/" m:media-type="{TYPE}"/></m:manifest>',
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content {spaces} office:version="1.3"><office:body><office:spreadsheet>'
            f'<table:table table:name="Sheet">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return file


def xlsx():
    workbook = Workbook()
    for row, (_, value) in enumerate(CELLS.values(), 1):
        workbook.active.cell(row, 1, value)
    file = io.BytesIO()
    workbook.save(file)
    return file


def read(file):
    file.seek(0)
    rows = load_workbook(file).get_sheet_by_index(0).to_python(skip_empty_area=False)
    return dict(zip(CELLS, (row[0] for row in rows), strict=True))


seen = {"ods": read(ods()), "xlsx": read(xlsx())}
print("python-calamine", version("python-calamine"))
print("guess: both alike, and the last one '#DIV/0!'")
for name in CELLS:
    print(f"seen:  {name}: .ods {seen['ods'][name]!r}, .xlsx {seen['xlsx'][name]!r}")
if seen["ods"] != {
    "line break": "Refundfive days",
    "tab": "Refundfive days",
    "paragraphs": "Refund\nfive days",
    "30 hours": "PT30H00M00S",
    "8 hours": time(8),
    "error": "",
} or seen["xlsx"] != {name: "" if name == "error" else value for name, (_, value) in CELLS.items()}:
    sys.exit("The behaviour has changed.")
PY
