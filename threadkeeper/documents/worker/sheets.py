"""Reads the cells of a spreadsheet as CSV, sheet by sheet."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from itertools import islice

from python_calamine import (
    CalamineError,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    load_workbook,
)

from threadkeeper.documents.worker.archive import entry_of
from threadkeeper.documents.worker.reading import Reading, Refused

MOST_SHEETS = 50
MOST_ROWS = 50_000
# A formula whose result the program that wrote the file did not store.
_FORMULA = re.compile(rb"<f[^>]*(?:/>|>[^<]*</f>)\s*(?:</c>|<v\s*/>|<v></v>)")
_ANY_FORMULA = re.compile(rb"<f[ />]")
# A formula with the result 0: XlsxWriter stores it for each formula, and asks Excel to compute.
_ZERO = re.compile(rb"(<f[^>]*(?:/>|>[^<]*</f>)\s*)<v>0</v>")
_IS_TO_BE_COMPUTED = re.compile(rb"<calcPr[^>]*fullCalcOnLoad=\"(?:1|true)\"")
_WORKSHEET = re.compile(r"xl/worksheets/[^/]+\.xml")


def read_sheets(data: bytes, *, max_characters: int, archive: zipfile.ZipFile | None = None) -> Reading:
    """Raises Refused.

    Args:
        archive: of a format that is a zip archive; what is not in cells is counted in it.
    """
    if archive is not None:
        data, archive = without_placeholders(data, archive)
    workbook = open_workbook(data)
    reading = Reading(unit="rows")
    shown, hidden = sheet_names(workbook)
    out = io.StringIO()
    for name in shown[:MOST_SHEETS]:
        _write(workbook, name, out, reading, max_characters)
    text = out.getvalue().strip()
    if not reading.total:
        raise Refused("without_text")
    # A text that is cut is cut between rows, except in a row that is longer than the limit.
    reading.text, reading.characters = text[:max_characters], len(text)
    reading.leave_out("part_sheets", len(shown) - MOST_SHEETS if len(shown) > MOST_SHEETS else 0, kept=MOST_SHEETS)
    reading.leave_out("part_hidden_sheets", len(hidden), names=", ".join(hidden[:10]))
    note_left_out(workbook, archive, reading)
    return reading


def open_workbook(data: bytes) -> CalamineWorkbook:
    """Raises Refused."""
    try:
        return load_workbook(io.BytesIO(data))
    except PasswordError:
        raise Refused("encrypted") from None
    except CalamineError:
        raise Refused("broken") from None


def without_placeholders(data: bytes, archive: zipfile.ZipFile) -> tuple[bytes, zipfile.ZipFile]:
    """A workbook without the zeros that stand for results in a file that was never computed; otherwise the given one.

    Such a file asks to be computed when it is opened, and the result of each of its formulas is 0 or missing.
    """
    if not _IS_TO_BE_COMPUTED.search(entry_of(archive, "xl/workbook.xml")):
        return data, archive
    worksheets = {name: entry_of(archive, name) for name in archive.namelist() if _WORKSHEET.fullmatch(name)}
    zeros = sum(len(_ZERO.findall(body)) for body in worksheets.values())
    missing = sum(len(_FORMULA.findall(body)) for body in worksheets.values())
    if not zeros or zeros + missing < sum(len(_ANY_FORMULA.findall(body)) for body in worksheets.values()):
        return data, archive
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as copy:
        for entry in archive.infolist():
            body = worksheets.get(entry.filename)
            copy.writestr(entry, archive.read(entry) if body is None else _ZERO.sub(rb"\1", body))
    return out.getvalue(), zipfile.ZipFile(out)


def sheet_names(workbook: CalamineWorkbook) -> tuple[list[str], list[str]]:
    """The sheets that are shown, and those that are hidden."""
    sheets = [one for one in workbook.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet]
    shown = [one.name for one in sheets if one.visible == SheetVisibleEnum.Visible]
    return shown, [one.name for one in sheets if one.visible != SheetVisibleEnum.Visible]


def rows_of(workbook: CalamineWorkbook, name: str) -> Iterator[list[str]]:
    """The rows of a sheet from its first filled row on, as texts, without empty cells at their ends."""
    sheet = workbook.get_sheet_by_name(name)
    if sheet.start is None:
        return
    for row in islice(sheet.iter_rows(), sheet.start[0], None):
        cells = [_text(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        yield cells


def note_left_out(workbook: CalamineWorkbook, archive: zipfile.ZipFile | None, reading: Reading) -> None:
    """Note what is not in cells. `archive`: as for `read_sheets`."""
    others = sum(one.typ != SheetTypeEnum.WorkSheet for one in workbook.sheets_metadata)
    charts = 0
    if archive is not None:
        names = archive.namelist()
        reading.leave_out("part_pictures", sum(one.startswith(("xl/media/", "Pictures/")) for one in names))
        charts = sum(one.startswith("xl/charts/chart") for one in names)
        comments = [one for one in names if re.fullmatch(r"xl/comments\d*\.xml|xl/comments/.*\.xml", one)]
        notes = sum(len(re.findall(rb"<comment ", entry_of(archive, one))) for one in comments)
        notes += len(re.findall(rb"<office:annotation[ >]", entry_of(archive, "content.xml")))
        reading.leave_out("part_comments", notes)
        worksheets = [one for one in names if _WORKSHEET.fullmatch(one)]
        reading.leave_out("part_results", sum(len(_FORMULA.findall(entry_of(archive, one))) for one in worksheets))
    reading.leave_out("part_charts", charts or others)


def _write(workbook: CalamineWorkbook, name: str, out: io.StringIO, reading: Reading, max_characters: int) -> None:
    """Write the rows of a sheet, as long as there is room; count all of them."""
    sheet = workbook.get_sheet_by_name(name)
    reading.total += sheet.height
    if out.tell() >= max_characters or reading.kept >= MOST_ROWS:
        return
    lines = csv.writer(out, lineterminator="\n")
    heading = f"\n## {name}\n\n"
    for cells in rows_of(workbook, name):
        before = out.tell()
        if cells:
            out.write(heading)
            heading = ""
            lines.writerow(cells)
        if out.tell() > max_characters and reading.kept:
            out.seek(before)
            out.truncate()
            return
        reading.kept += 1
        if reading.kept >= MOST_ROWS:
            return


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell)
