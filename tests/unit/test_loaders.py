"""Each loader keeps the same contract: text, what was left out, and a reason in place of an empty success."""

from __future__ import annotations

import asyncio
import codecs
import csv
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args

import pytest

from tests.support.office_files import changed, excel, old_excel, opendocument_sheets, opendocument_text, word
from tests.unit.test_attachments import pdf
from tests.unit.test_documents import ENTITY
from threadkeeper.documents import process
from threadkeeper.documents.worker.reading import Refusal
from threadkeeper.knowledge.columns import Sheet, sheets_of
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.formats import VERSIONS, SourceKind, is_current, loader_for
from threadkeeper.knowledge.loading import Load, LoadLimits, LoadRefused
from threadkeeper.knowledge.wording import say_refused, say_taken

ROWS: list[list[Any]] = [["name", "city", "tip"], ["Ada", "London", "Who is Ada?"], ["李雷", "北京", ""]]
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
CSV = "\n".join(",".join(map(str, row)) for row in ROWS).encode()
PAIRS = "question,answer\nWhen do you open?,At nine.\n几点关门？,晚上六点。\n".encode()
API_RECORDS = [{"id": 7, "name": "Ada", "in": {"city": "London"}}, {"id": 8, "name": "李雷", "in": {"city": "北京"}}]
API = json.dumps({"pages": [API_RECORDS[:1], API_RECORDS[1:]], "cut": False}).encode()
HTML = """<!DOCTYPE html><html><head><title>Opening hours</title></head><body><nav><a href="/">Home</a></nav>
<article><h1>Opening hours</h1><p>The library opens at nine o'clock on every working day of the year.</p>
<p>On Sundays it is closed, because nobody reads on Sundays in this small town by the sea.</p>
<table><tr><th>Day</th><th>Hours</th></tr><tr><td>Monday</td><td>9–18</td></tr></table></article></body></html>"""


def load(name: str, data: bytes, kind: SourceKind = "file", **options: Any) -> tuple[list[LoadedDocument], Taken]:
    taken = Taken()
    documents = list(loader_for(kind, name, data).load(data, LoadOptions(**options), taken))
    return documents, taken


@dataclass(frozen=True)
class Case:
    name: str
    data: Callable[[], bytes]
    contains: tuple[str, ...]
    kind: SourceKind = "file"
    unit: str | None = None

    @property
    def is_told_by_name(self) -> bool:
        """Whether the name decides between formats of text."""
        return self.kind == "file" and self.name.endswith((".csv", ".json", ".jsonl", ".md", ".txt"))


CASES = [
    Case("a.pdf", lambda: pdf("The first page.", "The second page."), ("The first page.", "The second"), unit="pages"),
    Case("a.docx", lambda: word("# Title", "你好 text", table=[["a", "b"]]), ("# Title", "你好 text", "| a | b |")),
    Case("a.odt", lambda: opendocument_text("# Title", "你好 text"), ("# Title", "你好 text")),
    Case("a.xlsx", lambda: excel({"One": ROWS}), ("## One", "name: Ada\ncity: London", "name: 李雷"), unit="rows"),
    Case("a.xls", lambda: old_excel(ROWS), ("name: Ada", "city: 北京"), unit="rows"),
    Case("a.ods", lambda: opendocument_sheets({"One": ROWS}), ("name: Ada", "city: 北京"), unit="rows"),
    Case("a.csv", lambda: CSV, ("name: Ada\ncity: London", "name: 李雷\ncity: 北京"), unit="rows"),
    Case("semicolon.csv", lambda: CSV.replace(b",", b";"), ("name: Ada\ncity: London",), unit="rows"),
    Case("a.md", lambda: "Intro\n\n# Title\n\nText 你好".encode(), ("# Title", "Text 你好")),
    Case("a.txt", lambda: "Plain 你好\r\nsecond line".encode(), ("Plain 你好\nsecond line",)),
    Case("chinese.txt", lambda: "图书馆早上九点开门，晚上六点关门。".encode("gb18030"), ("图书馆早上九点开门",)),
    Case("a.html", lambda: HTML.encode(), ("opens at nine", "On Sundays", "| Monday | 9–18 |")),
    Case("a.json", lambda: json.dumps([{"a": {"b": 1}, "c": ["x", "你"]}]).encode(), ("a.b: 1", "c: x, 你")),
    Case("a.jsonl", lambda: '{"a": "x\u2028y"}\r\n{"a": true}\n'.encode(), ("a: x\u2028y", "a: true")),
    Case("pairs.csv", lambda: PAIRS, ("When do you open?\n\nAt nine.",), "pairs", "rows"),
    Case("sheet.csv", lambda: CSV, ("name: Ada\ncity: London\ntip: Who",), "datasheet", "rows"),
    Case("page", lambda: HTML.encode(), ("opens at nine", "| Monday | 9–18 |"), "url"),
    Case("page.pdf", lambda: pdf("The first page."), ("The first page.",), "url", "pages"),
    Case("api", lambda: API, ("id: 7\nname: Ada\nin.city: London", "name: 李雷\nin.city: 北京"), "api", "rows"),
    Case("sheet.xlsx", lambda: excel({"One": ROWS}), ("name: Ada\ncity: London\ntip: Who",), "datasheet", "rows"),
]
IDS = [f"{case.kind}-{case.name}" for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_file_becomes_text(case: Case) -> None:
    documents, taken = load(case.name, case.data(), case.kind)
    text = "\n\n".join(document.text for document in documents)
    assert all(part in text for part in case.contains), text
    assert (taken.unit, taken.kept) == (case.unit, taken.total)
    assert taken.characters == sum(len(document.text) for document in documents)
    assert say_taken(taken, case.name, "en") == []
    assert len({document.key for document in documents}) == len(documents)


@pytest.mark.parametrize("case", [case for case in CASES if not case.is_told_by_name], ids=lambda case: case.name)
def test_the_bytes_decide_and_not_the_name(case: Case) -> None:
    assert load("renamed.bin", case.data(), case.kind)[0] == load(case.name, case.data(), case.kind)[0]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_is_behind_the_limit_is_told(case: Case) -> None:
    first = load(case.name, case.data(), case.kind)[0][0].text
    limit = max(len(first) - 5, 1) if case.kind in ("file", "url") else len(first)
    documents, taken = load(case.name, case.data(), case.kind, max_characters=limit)
    assert 0 < sum(len(document.text) for document in documents) <= limit
    assert taken.is_partial
    for language in ("en", "zh"):
        assert case.name in say_taken(taken, case.name, language)[0]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_file_without_text_is_refused(case: Case) -> None:
    empty: dict[str, Callable[[], bytes]] = {
        "a.pdf": lambda: pdf(None, None),
        "a.docx": lambda: word(pictures=1),
        "a.odt": lambda: opendocument_text(),
        "a.xlsx": lambda: excel({"One": []}),
        "a.xls": lambda: old_excel([]),
        "a.ods": lambda: opendocument_sheets({"One": []}),
        "a.html": lambda: b"<!doctype html><html><body></body></html>",
        "a.json": lambda: b"[]",
        "pairs.csv": lambda: b"question,answer\nOnly a question,\n",
        "sheet.csv": lambda: b"name,city\n",
        "sheet.xlsx": lambda: excel({"One": []}),
        "page": lambda: b"<!doctype html><html><body></body></html>",
        "page.pdf": lambda: pdf(None),
        "api": lambda: b'{"pages": [[], []], "cut": false}',
    }
    data = empty[case.name]() if case.name in empty else b" \n "
    with pytest.raises(Refused) as refused:
        load(case.name, data, case.kind)
    assert refused.value.refusal == "without_text"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<h3><button aria-expanded="false">How do I return it?</button></h3>', "### How do I return it?"),
        ('<button aria-expanded="false">How do I return it?</button>', "#### How do I return it?"),
        ("<fieldset><legend>How to return it</legend></fieldset>", "#### How to return it"),
        ('<figure><img src="a.png"><figcaption>Where the label is</figcaption></figure>', "Where the label is"),
        (
            "<table><caption>Prices in euros</caption><tr><th>Weight</th><th>Price</th></tr>"
            "<tr><td>2 kg</td><td>5</td></tr></table>",
            "Prices in euros\n\n| Weight | Price |",
        ),
    ],
)
def test_what_says_what_a_part_of_a_page_is_about_is_kept(markup: str, text: str) -> None:
    page = HTML.replace("<table>", f"{markup}<p>Within thirty days, with the label, at any shop of ours.</p><table>", 1)
    (document,), _ = load("a.html", page.encode())
    assert text in document.text


@pytest.mark.parametrize("name", ["time", "output", "label", "meter", "progress", "slot"])
def test_dates_and_figures_in_elements_of_their_own_are_kept(name: str) -> None:
    value = f"<{name}>1 May 2026</{name}>"
    lines = f"<p>The price holds from {value} on.</p><ul><li>{value}: higher prices</li></ul>"
    row = f"<tr><td>{value}</td><td>5</td></tr></table>"
    (document,), _ = load("a.html", HTML.replace("<table>", f"{lines}<table>", 1).replace("</table>", row, 1).encode())
    for text in ("from 1 May 2026 on", "- 1 May 2026: higher", "| 1 May 2026 | 5 |"):
        assert text in document.text


@pytest.mark.parametrize(
    ("opening", "second", "lines"),
    [
        ("<ol>", "<li>", ["1. Open the box", "2. Close it again"]),
        ('<ol start="5">', "<li>", ["- (5) Open the box", "- (6) Close it again"]),
        ('<ol start="five">', '<li value="0">', ["- (1) Open the box", "- (0) Close it again"]),
        ("<ol reversed>", "<li>", ["- (2) Open the box", "- (1) Close it again"]),
        ('<ol type="a" start="26">', "<li>", ["- (z) Open the box", "- (aa) Close it again"]),
        ('<ol type="I">', '<li value="44">', ["- (I) Open the box", "- (XLIV) Close it again"]),
        ('<ol type="i" start="0">', "<li>", ["- (0) Open the box", "- (i) Close it again"]),
    ],
)
def test_a_list_has_the_numbers_that_its_page_shows(opening: str, second: str, lines: list[str]) -> None:
    items = f'{opening}<li><p><a href="#box">Open the box</a></p></li>{second}Close it again</li></ol>'
    (document,), _ = load("a.html", HTML.replace("<table>", f"{items}<table>", 1).encode())
    found = re.sub(r"\[([^]]*)\]\(#box\)", r"\1", document.text)
    assert "\n".join(lines) in found


@pytest.mark.parametrize(
    ("definitions", "text"),
    [
        ("<dt>Fee</dt><dd>5 EUR</dd><dt>Term</dt><dd>A year</dd>", "- Fee: 5 EUR\n- Term: A year"),
        ("<div><dt>Fee</dt>\n<dt>Cost</dt><dd>5</dd><dd>6</dd></div>", "- Fee, Cost: 5; 6"),
        ("<dt>A fee?</dt><dd>Yes</dd>", "- A fee? Yes"),
        ("<dt>Fee</dt><dd><p>5 EUR</p></dd><dt>Term</dt><dd>A year</dd>", "#### Fee\n\n5 EUR\n\n#### Term\n\nA year"),
        ("<dd>5 EUR</dd>", "- 5 EUR"),
    ],
)
def test_a_term_stays_with_its_meaning(definitions: str, text: str) -> None:
    (document,), _ = load("a.html", HTML.replace("<table>", f"<dl>{definitions}</dl><table>", 1).encode())
    assert text in document.text


def test_a_button_that_opens_nothing_is_no_text() -> None:
    (document,), _ = load("a.html", HTML.replace("<table>", "<button>Buy now</button><table>", 1).encode())
    assert "Buy now" not in document.text


def test_pages_of_a_pdf_begin_at_their_offsets() -> None:
    (document,), _ = load("a.pdf", pdf("One.", "Two.", "Three."))
    begins = [*document.pages, len(document.text) + 2]
    assert [document.text[begin : end - 2] for begin, end in itertools.pairwise(begins)] == [
        "One.",
        "Two.",
        "Three.",
    ]
    (cut,), taken = load("a.pdf", pdf("One.", "Two.", "Three."), max_pages=2)
    assert len(cut.pages) == 2
    assert say_taken(taken, "a.pdf", "en") == ["Only the first 2 of 3 pages of “a.pdf” were taken."]


@pytest.fixture
def broken_first_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise ValueError

    monkeypatch.setattr("threadkeeper.knowledge.loaders.pdf.read_pages", broken)


@pytest.mark.usefixtures("broken_first_reader")
def test_the_second_reader_of_pdfs_keeps_hyphens_at_the_ends_of_lines() -> None:
    (document,), _ = load("a.pdf", pdf("The deductible of the insur-\nance is 300 euros."))
    assert "insur-\nance" in document.text


@pytest.mark.usefixtures("broken_first_reader")
def test_a_pdf_that_the_first_reader_cannot_open_is_read_by_the_second() -> None:
    (document,), taken = load("a.pdf", pdf("One.", None, "Three."))
    assert document.text == "One.\n\n\n\nThree."
    assert "pages without text (scans or empty): 1 of 3 (page 2)" in say_taken(taken, "a.pdf", "en")[0]
    with pytest.raises(Refused, match="broken"):
        load("a.pdf", b"%PDF-1.7 nothing of a PDF")


def test_a_datasheet_takes_the_chosen_columns_and_names_its_rows() -> None:
    documents, _ = load("a.csv", CSV, "datasheet", columns=("city", "name"), record_id="name", suggestion="tip")
    assert [(document.text, document.record_id, document.key, document.suggestion) for document in documents] == [
        ("city: London\nname: Ada", "Ada", "Ada", "Who is Ada?"),
        ("city: 北京\nname: 李雷", "李雷", "李雷", None),
    ]
    assert [document.title for document in documents] == ["London", "北京"]
    for named in ({"columns": ("age",)}, {"record_id": "id"}, {"suggestion": "s"}):
        with pytest.raises(Refused, match="without_column"):
            load("a.csv", CSV, "datasheet", **named)
    with pytest.raises(Refused, match="without_sheet"):
        load("a.xlsx", excel({"One": ROWS}), "datasheet", sheet="Two")


def test_an_api_takes_the_chosen_fields_and_names_its_records() -> None:
    chosen: dict[str, Any] = {"columns": ("in.city",), "title": "name", "record_id": "id", "suggestion": "name"}
    documents, _ = load("api", API, "api", **chosen)
    assert [(one.text, one.title, one.record_id, one.key, one.suggestion) for one in documents] == [
        ("London", "Ada", "7", "7", "Ada"),
        ("北京", "李雷", "8", "8", "李雷"),
    ]
    (two, _), _ = load("api", API, "api", columns=("name", "in"))
    assert (two.text, two.title, two.key) == ("name: Ada\nin.city: London", "name: Ada", "1")
    nested = json.dumps({"pages": [{"data": {"items": [*API_RECORDS, API_RECORDS[0], {"name": ""}]}}], "cut": True})
    documents, taken = load("api", nested.encode(), "api", records="data.items", record_id="id")
    assert len(documents) == 2
    said = " ".join(say_taken(taken, "Staff", "en"))
    assert "rows with an id that an earlier row has: 1" in said
    assert "records without text: 1" in said
    assert "what the API gives after its first 1 answers" in said
    for wrong in ({"columns": ("age",)}, {"records": "data"}, {"records": "items.0"}):
        with pytest.raises(Refused, match="without_field"):
            load("api", API, "api", **wrong)
    for broken in (b"[]", b"{}", b'{"pages": [', b'{"pages": 1}'):
        with pytest.raises(Refused, match="broken"):
            load("api", broken, "api")


def test_a_web_page_has_the_title_of_its_head() -> None:
    (document,), _ = load("a.html", HTML.encode())
    assert document.title == "Opening hours"
    (document,), _ = load("a.html", HTML.replace("Opening hours</title>", " </title>").encode())
    assert document.title is None


def test_a_mark_of_its_encoding_goes_before_what_a_page_declares() -> None:
    page = HTML.replace("<head>", '<head><meta charset="windows-1252">').replace("nine o'clock", "九点")
    (document,), _ = load("page", codecs.BOM_UTF8 + page.encode(), "url")
    assert "The library opens at 九点" in document.text


def test_a_small_table_does_not_bound_the_fields_of_other_readers() -> None:
    before = csv.field_size_limit()
    load("a.csv", CSV)
    assert csv.field_size_limit() == before
    long = "x" * (before + 1)
    (document,), _ = load("a.csv", f"name,city\nAda,{long}\n".encode(), max_characters=10 * before)
    assert long in document.text
    csv.field_size_limit(before)


def test_quoted_cells_do_not_decide_what_separates_cells() -> None:
    data = b'question,answer\n"Why; or how; or when?","Because;\nso;\nthen; now"\n"12"" or 5"" pipes?","Both; yes"\n'
    documents, _ = load("a.csv", data, "pairs")
    assert [one.title for one in documents] == ["Why; or how; or when?", '12" or 5" pipes?']


def test_a_first_line_of_excel_names_the_delimiter() -> None:
    for data in (b"sep=;\r\na;b,c\r\n1;2\r\n", b"\xef\xbb\xbfSEP=;\na;b,c\n1;2\n"):
        ((document,), _) = load("a.csv", data, "datasheet")
        assert document.text == "a: 1\nb,c: 2"


def test_a_quote_that_nobody_closes_does_not_hide_the_rows_behind_it() -> None:
    broken = b'name,city\n"Ada,London\nGrace,Paris\n'
    for kind in ("file", "datasheet", "pairs"):
        with pytest.raises(Refused, match="broken"):
            load("a.csv", broken, kind)
    ((document,), _) = load("a.csv", b'pipe,size\nlong,5"\n', "datasheet")
    assert document.text == 'pipe: long\nsize: 5"'


def test_a_datasheet_takes_the_first_sheet_with_rows_and_names_the_others() -> None:
    (document,), taken = load(
        "a.xlsx", excel({"Cover": [], "One": [["a"], [1]], "Empty": [], "Two": [["b"], [2]]}), "datasheet"
    )
    assert document.text == "a: 1"
    assert say_taken(taken, "a.xlsx", "en") == ["“a.xlsx” was read only in part. Not taken: other sheets: 1 (Two)."]
    _, taken = load("a.xlsx", excel({"One": [["a"], [1]], "Two": [["b"], [2]]}), "datasheet", sheet="Two")
    assert not taken.is_partial, "it is the chosen one"


def test_a_part_of_a_page_is_html_by_its_name_and_rich_text_is_no_text() -> None:
    (document,), taken = load("part.htm", b"<p>The library opens at nine o'clock.</p><script>no()</script>")
    assert (document.text, taken.is_partial) == ("The library opens at nine o'clock.", False)
    with pytest.raises(Refused, match="unsupported"):
        load("letter.rtf", b"{\\rtf1\\ansi Dear reader}")


async def test_the_columns_of_a_table_are_those_of_its_first_rows() -> None:
    assert await sheets_of("a.csv", b"\nname;city;;city\nAda;London;;x\n", LoadLimits()) == [
        Sheet("", ("name", "city"))
    ]
    workbook = excel({"One": ROWS, "Empty": [], "Two": [["a"], [1]]})
    assert await sheets_of("a.xlsx", workbook, LoadLimits()) == [
        Sheet("One", ("name", "city", "tip")),
        Sheet("Two", ("a",)),
    ]
    for name, data in (("a.docx", word("x")), ("a.csv", b" \n"), ("a.pdf", pdf("x"))):
        with pytest.raises(LoadRefused):
            await sheets_of(name, data, LoadLimits())


def test_repeated_rows_and_unanswered_questions_are_told() -> None:
    _, taken = load("a.csv", CSV + b"\nAda,Paris,", "datasheet", record_id="name")
    assert "rows with an id that an earlier row has: 1" in " ".join(say_taken(taken, "a.csv", "en"))
    _, taken = load("a.csv", PAIRS + b"When do you open?,At ten.\nWhy?,\n", "pairs")
    said = " ".join(say_taken(taken, "a.csv", "en"))
    assert "questions that were asked before: 1" in said
    assert "rows without a question or an answer: 1" in said
    assert len(load("a.csv", "问,答\n几点？,九点。\n".encode(), "pairs")[0]) == 1
    assert load("a.csv", b"When?,At nine.\n", "pairs")[0][0].title == "When?"


@pytest.mark.parametrize(
    ("name", "make", "kind", "refusal"),
    [
        ("a.txt", lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), "file", "unsupported"),
        ("a.zip", lambda: changed(b"PK\x05\x06" + bytes(18), {"a.txt": b"text"}), "file", "unsupported"),
        ("a.pdf", lambda: pdf("x", password="secret"), "file", "encrypted"),
        (
            "a.xls",
            lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "file",
            "encrypted",
        ),
        ("a.docx", lambda: changed(word("x"), {"word/media/zeros.bin": bytes(20_000_000)}), "file", "unsafe"),
        ("a.docx", lambda: changed(word("x"), {"word/document.xml": ENTITY.encode()}), "file", "unsafe"),
        ("a.xlsx", lambda: changed(excel({"One": ROWS}), {"xl/sharedStrings.xml": ENTITY.encode()}), "file", "unsafe"),
        ("a.html", lambda: b"<!DOCTYPE html [<!ENTITY a 'b'>]><html><body>&a;</body></html>", "file", "unsafe"),
        ("a.xml", lambda: ENTITY.encode(), "file", "unsafe"),
        ("a.json", lambda: b'{"a": ', "file", "broken"),
        ("a.docx", lambda: changed(word("x"), {"word/document.xml": b"<w:document"}), "file", "broken"),
        ("a.docx", lambda: word("x"), "datasheet", "unsupported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_cannot_be_read_is_refused_with_a_sentence(
    name: str, make: Callable[[], bytes], kind: SourceKind, refusal: Refusal
) -> None:
    loading = Load(kind, name, make(), LoadLimits())
    with pytest.raises(LoadRefused) as refused:
        _ = [document async for document in loading.documents()]
    assert refused.value.refusal == refusal


@pytest.mark.parametrize("refusal", get_args(Refusal))
def test_every_refusal_has_a_sentence_in_both_languages(refusal: Refusal) -> None:
    for language in ("en", "zh"):
        assert "a.pdf" in say_refused(refusal, "a.pdf", LoadLimits(), language)


async def test_documents_of_a_process_come_one_after_another() -> None:
    rows = b"name,text\n" + b"".join(b"row %d,the text of the row\n" % number for number in range(2_000))
    loading = Load("datasheet", "a.csv", rows, LoadLimits(), record_id="name", columns=("text",))
    documents = [document async for document in loading.documents()]
    assert [document.record_id for document in documents[:2]] == ["row 0", "row 1"]
    assert (len(documents), loading.taken.kept, loading.taken.loader) == (2_000, 2_000, "datasheet 3")


async def test_a_process_that_nobody_waits_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []

    async def noted(*arguments: str) -> asyncio.subprocess.Process:
        started.append(await process.start(*arguments))
        return started[-1]

    monkeypatch.setattr("threadkeeper.knowledge.loading.start", noted)
    rows = b"name\n" + b"".join(b"row %d\n" % number for number in range(20_000))
    documents = Load("datasheet", "a.csv", rows, LoadLimits()).documents()
    assert (await anext(documents)).text == "name: row 0"
    assert started[0].returncode is None
    await documents.aclose()
    assert started[0].returncode is not None


async def test_the_process_of_a_load_has_its_limits() -> None:
    big = Load("file", "a.txt", b"x" * 2_000_000, LoadLimits(megabytes=1))
    with pytest.raises(LoadRefused, match="too_large"):
        await anext(big.documents())
    slow = Load("file", "a.docx", word(*["word " * 50] * 5_000), LoadLimits(seconds=0.2))
    with pytest.raises(LoadRefused, match="slow"):
        await anext(slow.documents())


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("bytearray(3 * 1024**3)", b'{"refused": "unsafe"}'),
        ("socket.create_connection(('127.0.0.1', 9))", b"PermissionError: a document may not cause socket."),
        ("subprocess.run(['true'])", b"PermissionError: a document may not cause subprocess."),
    ],
    ids=["memory", "network", "programs"],
)
async def test_the_process_of_a_load_has_no_network_and_bounded_memory(act: str, said: bytes) -> None:
    program = f"""
import socket, subprocess
from threadkeeper.knowledge.loaders import formats, worker

class Bad:
    name, version = "bad", 1
    def load(self, data, options, taken):
        {act}
        yield

formats.loader_for = lambda kind, name, data: Bad()
worker.main()
"""
    asked = {"kind": "file", "name": "a.txt", "seconds": 20.0, "options": asdict(LoadOptions())}
    command = (sys.executable, "-c", program, json.dumps(asked))
    loaded = await asyncio.to_thread(subprocess.run, command, input=b"text", capture_output=True, check=False)
    assert said in loaded.stdout + loaded.stderr


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_table_of_versions_has_those_of_the_loaders(case: Case) -> None:
    loader = loader_for(case.kind, case.name, case.data())
    assert VERSIONS[loader.name] == loader.version
    assert is_current(f"{loader.name} {loader.version}")
    assert not is_current(f"{loader.name} {loader.version + 1}")
    assert not is_current("other 1")
