"""Word, Excel and OpenDocument files, written by the libraries that people write them with."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import docx
import odfdo
import openpyxl
import xlwt
from PIL import Image


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def word(*paragraphs: str, pictures: int = 0, table: Sequence[Sequence[str]] = (), header: str = "") -> bytes:
    """Paragraphs that begin with "# " are headings, those with "- " items of a list."""
    document = docx.Document()
    for paragraph in paragraphs:
        if paragraph.startswith("# "):
            document.add_heading(paragraph[2:], 1)
        elif paragraph.startswith("- "):
            document.add_paragraph(paragraph[2:], style="List Bullet")
        else:
            document.add_paragraph(paragraph)
    if table:
        made = document.add_table(len(table), len(table[0]))
        for at, row in enumerate(table):
            for place, cell in enumerate(row):
                made.cell(at, place).text = cell
    for number in range(pictures):
        document.add_picture(io.BytesIO(png(("red", "blue", "green")[number % 3])))
    if header:
        document.sections[0].header.paragraphs[0].text = header
    return _saved(document.save)


def excel(
    sheets: Mapping[str, Sequence[Sequence[Any]]],
    *,
    hidden: Sequence[str] = (),
    edit: Callable[[Any], None] | None = None,
) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if name in hidden:
            sheet.sheet_state = "hidden"
    if edit is not None:
        edit(book)
    return _saved(book.save)


def old_excel(rows: Sequence[Sequence[Any]]) -> bytes:
    """The format of Excel before 2007."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("Old")
    for at, row in enumerate(rows):
        for place, cell in enumerate(row):
            sheet.write(at, place, cell)
    return _saved(book.save)


def opendocument_text(*paragraphs: str, table: Sequence[Sequence[str]] = (), picture: bool = False) -> bytes:
    document = odfdo.Document("text")
    body = document.body
    body.clear()
    for paragraph in paragraphs:
        if paragraph.startswith("# "):
            body.append(odfdo.Header(1, paragraph[2:]))
        elif paragraph.startswith("- "):
            body.append(odfdo.List([paragraph[2:]]))
        else:
            body.append(odfdo.Paragraph(paragraph))
    if table:
        made = odfdo.Table("Table")
        made.set_values([list(row) for row in table])
        body.append(made)
    if picture:
        uri = document.add_file(io.BytesIO(png()))
        frame = odfdo.Frame.image_frame(uri, size=("2cm", "2cm"))
        body.append(odfdo.Paragraph().__class__(""))
        body.get_paragraphs()[-1].append(frame)
    return _saved(document.save)


def opendocument_slides(*slides: str) -> bytes:
    document = odfdo.Document("presentation")
    body = document.body
    body.clear()
    for number, text in enumerate(slides, 1):
        page = odfdo.DrawPage(f"page{number}", name=f"Slide {number}")
        page.append(odfdo.Frame.text_frame(text, size=("7cm", "5cm"), position=("2cm", "2cm")))
        body.append(page)
    return _saved(document.save)


def opendocument_sheets(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    document = odfdo.Document("spreadsheet")
    body = document.body
    body.clear()
    for name, rows in sheets.items():
        table = odfdo.Table(name)
        table.set_values([list(row) for row in rows])
        body.append(table)
    return _saved(document.save)


def changed(archive: bytes, changes: Mapping[str, bytes | Callable[[bytes], bytes]]) -> bytes:
    """The archive with some entries replaced or added."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name in dict.fromkeys([*source.namelist(), *changes]):
            change = changes.get(name)
            old = source.read(name) if name in source.namelist() else b""
            new = old if change is None else change(old) if callable(change) else change
            target.writestr(name, new)
    return made.getvalue()


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()
