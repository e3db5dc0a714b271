"""Word, Excel and OpenDocument files become text; what is taken in part is told to the user and to the model."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject, TextStringObject

from tests.support.office_files import (
    changed,
    excel,
    old_excel,
    opendocument_sheets,
    opendocument_slides,
    opendocument_text,
    word,
)
from tests.support.server import ROOT
from tests.unit.test_attachments import passes_the_server, pdf, refusal, text_of
from threadkeeper.chat.attachments.reader import TextAttachment
from threadkeeper.documents.worker.pdf import is_garbled, ranges

PARAGRAPHS = ("# The title", "Grüße, 你好 *as typed*", "- one", "- two")
TABLE = [["name", "number"], ["Ada", "1"]]
ROWS: list[list[Any]] = [["name", "number"], ["Ada", 1], ["李雷", 2.5]]

CHOICES = '<w:listEntry w:val="red"/><w:listEntry w:val="blue"/>'


def word_form(kind: str, field: str) -> str:
    """A field of a form, as Word has had them since its first versions."""
    begin = f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{field}</w:ffData></w:fldChar></w:r>'
    return f'{begin}<w:r><w:instrText>{kind}</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'


def told(attachment: TextAttachment, what: str) -> bool:
    """Whether the user, in both languages, and the model are told this in English."""
    english = " ".join(notice.say("en") for notice in attachment.notices)
    chinese = [notice.say("zh-CN") for notice in attachment.notices]
    assert all(attachment.name in sentence for sentence in chinese)
    return what in english and what in attachment.text


async def test_a_word_file_is_markdown() -> None:
    attachment = await text_of("a.docx", word(*PARAGRAPHS, table=TABLE))
    assert attachment.notices == ()
    for line in ("# The title", "Grüße, 你好 *as typed*", "- one\n- two", "| name | number |", "| Ada | 1 |"):
        assert line in attachment.text
    # The bytes decide, not the name.
    assert (await text_of("renamed.txt", word(*PARAGRAPHS, table=TABLE), "text/plain")).text == attachment.text


async def test_a_raised_figure_of_a_word_file_is_no_digit_of_the_number_before_it() -> None:
    raised = b'<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>6</w:t></w:r></w:p>'
    data = changed(word("Items: 10"), {"word/document.xml": lambda body: body.replace(b"</w:p>", raised, 1)})
    assert (await text_of("a.docx", data)).text == "Items: 10<sup>6</sup>"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('<w:fldSimple w:instr=" DOCPROPERTY Number "><w:r><w:t>4711</w:t></w:r></w:fldSimple>', "Text4711"),
        ("<w:bdo><w:r><w:t>4711</w:t></w:r></w:bdo>", "Text4711"),
        ("<w:r><w:ruby><w:rt/><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby></w:r>", "Text東"),
        ("<w:r><w:cr/><w:t>next line</w:t></w:r>", "Text  \nnext line"),
        ('<w:r><w:ptab w:alignment="right"/><w:t>5</w:t></w:r>', "Text 5"),
        ('<w:r><w:br w:type="page"/><w:t>next page</w:t></w:r>', "Text  \nnext page"),
        (word_form("FORMCHECKBOX", "<w:checkBox><w:checked/></w:checkBox>"), "Text\u2612"),
        (word_form("FORMCHECKBOX", '<w:checkBox><w:default w:val="0"/></w:checkBox>'), "Text\u2610"),
        (word_form("FORMDROPDOWN", f'<w:ddList><w:result w:val="1"/>{CHOICES}</w:ddList>'), "Textblue"),
        (word_form("FORMDROPDOWN", f"<w:ddList>{CHOICES}</w:ddList>"), "Textred"),
    ],
)
async def test_fields_and_forms_of_a_word_file_are_text(content: str, text: str) -> None:
    data = changed(
        word("Text"), {"word/document.xml": lambda body: body.replace(b"</w:p>", f"{content}</w:p>".encode(), 1)}
    )
    assert (await text_of("a.docx", data)).text == text


async def test_a_cell_that_is_merged_with_the_one_above_it_keeps_its_row_in_place() -> None:
    long = "very " * 50 + "long"
    document = docx.Document()
    table = document.add_table(rows=4, cols=3)
    for row, size in enumerate(("Size", "1 GB", "2 GB", "3 GB")):
        table.cell(row, 1).text = size
    table.cell(0, 0).text = "Plan"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "Basic"
    table.cell(2, 2).merge(table.cell(3, 2)).text = long
    file = io.BytesIO()
    document.save(file)
    lines = (await text_of("a.docx", file.getvalue())).text.splitlines()
    assert lines[2:] == ["| Basic | 1 GB |  |", f"| Basic | 2 GB | {long} |", "|  | 3 GB |  |"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.xlsx", excel({"One": ROWS})), ("a.xls", old_excel(ROWS)), ("a.ods", opendocument_sheets({"One": ROWS}))],
)
async def test_a_spreadsheet_is_csv(name: str, data: bytes) -> None:
    attachment = await text_of(name, data)
    assert attachment.notices == ()
    sheet = "Old" if name == "a.xls" else "One"
    assert attachment.text == f"## {sheet}\n\nname,number\nAda,1\n李雷,2.5"


async def test_an_opendocument_text_is_read_in_order() -> None:
    attachment = await text_of("a.odt", opendocument_text(*PARAGRAPHS, table=TABLE))
    assert attachment.notices == ()
    assert attachment.text.splitlines()[0] == "# The title"
    for line in ("Grüße, 你好 *as typed*", "- one", "| name | number |\n| Ada | 1 |"):
        assert line in attachment.text


async def test_the_slides_of_an_opendocument_presentation_are_read() -> None:
    attachment = await text_of("a.odp", opendocument_slides("The first", "The second"))
    assert attachment.text == "[Slide 1]\n\nThe first\n\n[Slide 2]\n\nThe second"


async def test_pages_without_text_are_told() -> None:
    attachment = await text_of("a.pdf", pdf("The text.", *[None] * 5))
    assert told(attachment, "pages without text (scans or empty): 5 of 6 (page 2–6)")
    assert "6 页中的 5 页（第 2–6 页）" in attachment.notices[0].say("zh")
    some = await text_of("a.pdf", pdf("One.", None, "Three.", None))
    assert told(some, "2 of 4 (page 2, 4)")
    assert (await text_of("a.pdf", pdf("One.", "Two."))).notices == ()


def _with_glyphs(data: bytes, names: str) -> bytes:
    """The PDF, with fonts on its second page that name their characters so. `{}` is a number."""
    writer = PdfWriter(clone_from=io.BytesIO(data))
    fonts = writer.pages[1]["/Resources"]["/Font"]  # type: ignore[index]
    numbered = [part for at in range(32, 127) for part in (NumberObject(at), NameObject(names.format(at)))]
    for name in list(fonts):
        font = DictionaryObject(fonts[name].get_object())
        font[NameObject("/Encoding")] = DictionaryObject({NameObject("/Differences"): ArrayObject(numbered)})
        font.pop("/ToUnicode", None)
        fonts[NameObject(name)] = font
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("names", ["/g{}", "/uniE1{:02}"])
async def test_a_page_whose_font_does_not_say_its_characters_has_no_text(names: str) -> None:
    attachment = await text_of("a.pdf", _with_glyphs(pdf("One.", "Some words of the second page."), names))
    assert "One." in attachment.text
    assert "g83" not in attachment.text
    assert told(attachment, "pages without text (scans or empty): 1 of 2 (page 2)")


def test_odd_characters_in_a_text_are_no_garble() -> None:
    assert not is_garbled("")
    assert not is_garbled("a = \ue001 b, see /c1 and /g2 in the appendix")
    assert is_garbled("/g72/g69/g76 /g76 a")


async def test_pages_without_text_are_told_beside_pages_that_were_cut_off() -> None:
    attachment = await text_of("a.pdf", pdf("One.", None, "Three."), max_pdf_pages=2)
    assert told(attachment, "first 2 of")
    assert told(attachment, "pages without text (scans or empty): 1 of 3 (page 2)")


async def test_pictures_on_a_page_with_text_are_told() -> None:
    assert told(await text_of("a.pdf", pdf("One.", "Two.", pictured=True)), "pictures: 1")


def form(*fields: dict[str, Any], text: str | None = "Name of the tenant:", note: str | None = None) -> bytes:
    """A page with these fields, in the terms of the PDF standard without slashes in keys, and a note."""
    writer = PdfWriter(clone_from=io.BytesIO(pdf(text)))
    page = writer.pages[0]
    annotations = ArrayObject()
    for field in fields:
        annotations.append(writer._add_object(_pdf_object({"Subtype": "/Widget", **field})))
    if note is not None:
        annotations.append(writer._add_object(_pdf_object({"Subtype": "/FreeText", "Contents": note})))
    page[NameObject("/Annots")] = annotations
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _pdf_object(value: Any) -> Any:
    if isinstance(value, dict):
        return DictionaryObject({NameObject(f"/{key}"): _pdf_object(one) for key, one in value.items()})
    if isinstance(value, list):
        return ArrayObject(map(_pdf_object, value))
    if isinstance(value, int):
        return NumberObject(value)
    return NameObject(value) if value.startswith("/") else TextStringObject(value)


async def test_what_was_filled_into_a_form_is_read() -> None:
    data = form(
        {"FT": "/Tx", "T": "field_1", "TU": "Tenant", "V": "Ada Example"},
        {"FT": "/Tx", "T": "empty", "V": ""},
        {"FT": "/Tx", "T": "key", "V": "not for the model", "Ff": 1 << 13},
        {"FT": "/Tx", "T": "hidden", "V": "not on the page", "F": 2},
        {"FT": "/Btn", "T": "pets", "V": "/Yes", "AS": "/Yes"},
        {"FT": "/Btn", "T": "smoking", "V": "/Off", "AS": "/Off"},
        {"FT": "/Ch", "T": "rooms", "V": ["two", "three"]},
        {"AS": "/monthly", "Parent": {"FT": "/Btn", "T": "paid", "V": "/monthly"}},
        {"AS": "/Off", "Parent": {"FT": "/Btn", "T": "paid", "V": "/monthly"}},
        note="Rent: 900 a month",
    )
    attachment = await text_of("a.pdf", data)
    assert attachment.notices == ()
    lines = [line for line in attachment.text.splitlines() if line]
    filled = ["Tenant: Ada Example", "pets: Yes", "rooms: two, three", "paid: monthly", "Rent: 900 a month"]
    assert lines[lines.index("Name of the tenant:") + 1 :][: len(filled)] == filled
    for absent in ("empty", "not for the model", "not on the page", "Off", "smoking"):
        assert absent not in attachment.text


async def test_a_scanned_form_that_was_filled_in_has_text() -> None:
    attachment = await text_of("a.pdf", form({"FT": "/Tx", "T": "Tenant", "V": "Ada Example"}, text=None))
    assert "Tenant: Ada Example" in attachment.text


async def test_fields_that_cannot_be_read_are_told() -> None:
    broken = form({"FT": "/Tx", "T": "Tenant", "V": "Ada Example", "F": "/NotANumber"})
    attachment = await text_of("a.pdf", broken)
    assert "Name of the tenant:" in attachment.text
    assert told(attachment, "pages whose form fields and notes cannot be read: 1 (page 1)")


def test_page_numbers_are_ranges() -> None:
    assert ranges([2, 3, 4, 7, 9, 10]) == "2–4, 7, 9–10"


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.docx", word("Text", pictures=2), "pictures: 2"),
        ("a.docx", word("Text", header="Confidential"), "headers and footers: 1"),
        ("a.odt", opendocument_text("Text", picture=True), "pictures: 1"),
        ("a.xlsx", excel({"One": ROWS, "Hidden": ROWS}, hidden=["Hidden"]), "hidden sheets: 1 (Hidden)"),
        ("a.xlsx", excel({"One": [[1, 2, "=A1+B1"]]}), "formulas without a stored result: 1"),
        ("a.xlsx", excel({f"Sheet {n}": [[n]] for n in range(52)}), "sheets after the first 50: 2"),
    ],
)
async def test_what_is_not_in_the_text_is_told(name: str, data: bytes, what: str) -> None:
    assert told(await text_of(name, data), what)


def stored(results: Sequence[str]) -> bytes:
    """A workbook whose formulas have these results, and which asks to be computed."""
    values = iter(results)
    workbook = excel({"One": [["Desk", 300], *([f"Sum {n}", "=B1+B1"] for n in range(len(results)))]})
    cell = re.compile(rb"</f><v */?>(?:</v>)?")
    put_in = lambda body: cell.sub(lambda _: f"</f><v>{next(values)}</v>".encode(), body)  # noqa: E731
    return changed(workbook, {"xl/worksheets/sheet1.xml": put_in})


async def test_the_zeros_of_a_workbook_that_was_never_computed_are_no_results() -> None:
    attachment = await text_of("a.xlsx", stored(["0", "0"]))
    assert "Desk,300\nSum 0\nSum 1" in attachment.text
    assert told(attachment, "formulas without a stored result: 2")
    attachment = await text_of("a.xlsx", stored(["0", "600"]))
    assert "Desk,300\nSum 0,0\nSum 1,600" in attachment.text
    assert not told(attachment, "formulas without")


async def test_formulas_charts_comments_and_objects_of_a_word_file_are_told() -> None:
    formula = b'<m:oMath xmlns:m="urn:m"><m:r/></m:oMath></w:body>'
    data = changed(
        word("Text"),
        {
            "word/document.xml": lambda body: body.replace(b"</w:body>", formula),
            "word/charts/chart1.xml": b"<chart/>",
            "word/comments.xml": b'<w:comments xmlns:w="urn:w"><w:comment w:id="0"/></w:comments>',
            "word/embeddings/sheet1.xlsx": b"PK",
        },
    )
    attachment = await text_of("a.docx", data)
    for what in ("formulas: 1", "charts: 1", "comments: 1", "embedded files and objects: 1"):
        assert told(attachment, what)


def clauses(level_text: str, *, in_style: bool = False) -> bytes:
    """A paragraph with this text of its level, one without a number, and a bullet."""

    levels = "".join(
        f'<w:lvl w:ilvl="{level}"><w:numFmt w:val="decimal"/><w:lvlText w:val="{text}"/></w:lvl>'
        for level, text in enumerate(("%1.", level_text))
    )
    number = '<w:numPr><w:ilvl w:val="1"/><w:numId w:val="90"/></w:numPr>'
    document = docx.Document()
    numbering: Any = document.part.numbering_part.element
    space = nsdecls("w")
    numbering.insert(0, parse_xml(f'<w:abstractNum {space} w:abstractNumId="90">{levels}</w:abstractNum>'))
    numbering.append(parse_xml(f'<w:num {space} w:numId="90"><w:abstractNumId w:val="90"/></w:num>'))
    properties: Any = document.add_paragraph("Returns are free.", style="Heading 2")._p.get_or_add_pPr()
    if in_style:
        styled: Any = document.styles["Heading 2"].element.get_or_add_pPr()
        properties = styled
    properties.append(parse_xml(number.replace("<w:numPr>", f"<w:numPr {space}>", 1)))
    document.add_paragraph("This does not hold for food.")
    document.add_paragraph("a bullet", style="List Bullet")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


@pytest.mark.parametrize("in_style", [False, True])
async def test_clause_numbers_that_word_counts_are_told(in_style: bool) -> None:
    attachment = await text_of("a.docx", clauses("%1.%2", in_style=in_style))
    assert told(attachment, "the numbers of clauses, as 2.1, which are wrong or missing: 1")
    assert "Returns are free." in attachment.text


async def test_plain_lists_have_no_notice_about_clause_numbers() -> None:
    assert (await text_of("a.docx", clauses("%2)"))).notices == ()


async def test_rows_behind_the_limit_are_left_out_whole() -> None:
    data = excel({"One": [[number, "a row"] for number in range(100)], "Two": [["last"]]})
    attachment = await text_of("a.xlsx", data, max_characters=50)
    assert told(attachment, "first 5 of")
    assert "101 rows" in attachment.notices[0].say("en")
    assert attachment.text.splitlines()[2:7] == [f"{number},a row" for number in range(5)]
    assert "5,a row" not in attachment.text


async def test_a_long_word_file_is_cut_before_it_is_converted() -> None:
    data = word(*[f"Paragraph {number} of many." for number in range(2_000)], table=[["cell"]] * 50)
    attachment = await text_of("a.docx", data, max_characters=1_000)
    assert "Paragraph 40 of many." in attachment.text
    assert "Paragraph 100 of many." not in attachment.text
    assert attachment.notices[0].key == "notice_cut"
    assert "45," in attachment.notices[0].say("en"), "the length of the whole text"


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("a.docx", word(pictures=1), "attachment_document_without_text"),
        ("a.xlsx", excel({"One": []}), "attachment_document_without_text"),
        ("a.docx", changed(word("x"), {"word/document.xml": b"<w:document"}), "attachment_document_broken"),
        ("a.odt", changed(opendocument_text("x"), {"content.xml": b"<office"}), "attachment_document_broken"),
        ("a.zip", changed(b"PK\x05\x06" + bytes(18), {"a.txt": b"text"}), "attachment_unsupported"),
        ("a.pptx", changed(b"PK\x05\x06" + bytes(18), {"ppt/presentation.xml": b"<p/>"}), "attachment_unsupported"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "attachment_unsupported"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "attachment_document_encrypted",
        ),
        (
            "a.odt",
            changed(opendocument_text("x"), {"META-INF/manifest.xml": b"<manifest:encryption-data/>"}),
            "attachment_document_encrypted",
        ),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_with_its_reason(name: str, data: bytes, key: str) -> None:
    assert await refusal(name, data) == key


def with_doctype(data: bytes, name: str, declaration: str, encoding: str = "utf-8") -> bytes:
    return changed(data, {name: declaration.encode(encoding)})


ENTITY = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.docx", lambda: with_doctype(word("x"), "word/document.xml", ENTITY)),
        (
            "a.docx",
            lambda: with_doctype(word("x"), "word/document.xml", '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>'),
        ),
        ("a.docx", lambda: with_doctype(word("x"), "word/other.xml", ENTITY.lower(), "utf-16")),
        ("a.xlsx", lambda: with_doctype(excel({"One": ROWS}), "xl/sharedStrings.xml", ENTITY)),
        ("a.odt", lambda: with_doctype(opendocument_text("x"), "content.xml", ENTITY)),
        ("a.docx", lambda: changed(word("x"), {"word/media/bomb.bin": bytes(20_000_000)})),
        ("a.docx", lambda: changed(word("x"), {f"word/{number}.bin": b"" for number in range(10_001)})),
    ],
    ids=["entity", "address", "entity-utf-16", "sheet-entity", "text-entity", "bomb", "entries"],
)
async def test_a_hostile_archive_is_refused(name: str, make: Callable[[], bytes]) -> None:
    data = make()
    assert len(data) < 2_000_000
    assert await refusal(name, data) == "attachment_document_unsafe"


async def test_a_linked_picture_loads_nothing(tmp_path: Path) -> None:
    """A document can name files and addresses; nothing of them is opened."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    relation = f'Target="{secret.as_uri()}" TargetMode="External"'

    def link(relations: bytes) -> bytes:
        return re.sub(r'Target="media/[^"]*"', relation, relations.decode()).encode()

    data = changed(word("Text", pictures=1), {"word/_rels/document.xml.rels": link})
    attachment = await text_of("a.docx", data)
    assert attachment.text.startswith("Text\n")
    assert told(attachment, "pictures: 1")


@pytest.mark.parametrize(
    "act",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork()",
    ],
)
def test_the_process_of_a_document_has_no_network_and_starts_no_program(act: str) -> None:
    program = f"from threadkeeper.documents.worker.limits import limit; limit(5); {act}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "PermissionError: a document may not cause" in ended.stderr


def test_the_process_of_a_document_writes_no_file(tmp_path: Path) -> None:
    act = "made = open('made', 'w'); made.write('x'); made.close()"
    program = f"from threadkeeper.documents.worker.limits import limit; limit(5); {act}"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File too large" in ended.stderr
    assert (tmp_path / "made").read_bytes() == b""


async def test_too_much_memory_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A sheet whose only two cells are at its corners is filled up by the library."""

    def corners(book: Any) -> None:
        book["One"]["A1"] = 1
        book["One"]["XFD1048576"] = 2

    with caplog.at_level(logging.WARNING):
        key = await refusal("a.xlsx", excel({"One": []}, edit=corners))
    assert key in ("attachment_document_broken", "attachment_document_unsafe")


async def test_a_slow_document_is_given_up() -> None:
    data = word(*["word " * 50] * 5_000)
    assert await refusal("a.docx", data, pdf_seconds=0.2, max_characters=10**7) == "attachment_document_slow"


async def test_documents_can_be_turned_off() -> None:
    for data in (word("x"), excel({"One": ROWS}), old_excel(ROWS), opendocument_text("x")):
        assert await refusal("a.docx", data, kinds=("picture", "pdf", "text")) == "attachment_no_document"


@pytest.mark.parametrize(
    "name", ["a.docx", "a.DOCX", "a.xlsx", "a.xls", "a.xlsm", "a.xlsb", "a.ods", "a.odt", "a.odp", "a.docm"]
)
def test_browsers_without_an_office_program_can_send_documents(name: str) -> None:
    assert passes_the_server(name, "application/octet-stream")
