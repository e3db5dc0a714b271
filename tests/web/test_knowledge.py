"""The pages of the knowledge of an assistant: sources, questions and answers, columns, trainings, and who gets them."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from datalayer import DataSource, SourceResult, Training, User
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.knowledge import SETTINGS, document, trained
from tests.support.office_files import excel, word
from tests.support.pages import Element, read_page, table
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import KNOWLEDGE_LIMITS, Browser
from tests.web.test_assistants import made
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.knowledge.pairs import Pair, read_pairs, written
from threadkeeper.web.assistants.knowledge import routes, trainings
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.sentences import Say

KNOWLEDGE_MAX = int(KNOWLEDGE_LIMITS.megabytes * 1024 * 1024)
HERE = "/assistants/travel/knowledge"
HOSTILE = '"><script>alert(1)</script>'
CITIES = b"city,country,question,note\nRome,Italy,What is in Italy?,a\nParis,France,,b\n"


@pytest.fixture
async def ada(browser_of: Browser, layer: ChainlitLayer) -> httpx.AsyncClient:
    """An admin, and the assistant "travel"."""
    browser = await browser_of("admin")
    await made(layer)
    return browser


async def token_of(browser: httpx.AsyncClient, address: str = HERE) -> str:
    page = await page_at(browser, address)
    return page.all("input", name="form_token")[0].attributes["value"]


async def upload(
    browser: httpx.AsyncClient, *files: tuple[str, bytes], to: str = f"{HERE}/files", **fields: str
) -> httpx.Response:
    """The response to a form with files, named as their browsers name them."""
    data = {"form_token": await token_of(browser), "kind": "file", **fields}
    chosen = [("files", (name, content)) for name, content in files]
    return await browser.post(to, data=data, files=chosen or {"files": ("", b"")})


async def only(layer: ChainlitLayer) -> DataSource:
    (found,) = await layer.list_sources("travel")
    return found


def outcomes(answer: httpx.Response) -> list[str]:
    page = read_page(answer.text)
    runs_nothing(page)
    return [one.text for one in page.one("ul", class_="outcomes").all("li")]


# Files


async def test_files_are_uploaded_listed_and_downloaded(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    assert "No sources yet." in (await page_at(ada, HERE)).text
    handbook = word("The library opens at nine.")
    answer = await upload(ada, ("C:\\docs\\手册.docx", handbook), ("hours.md", b"# Hours\n\nNine to six."))
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HERE}?stored=2#sources")
    stored = {one.title: one for one in await layer.list_sources("travel")}
    assert {title: (one.kind, one.byte_size) for title, one in stored.items()} == {
        "手册.docx": ("file", len(handbook)),
        "hours.md": ("file", 21),
    }
    rows = table(await page_at(ada, f"{HERE}?stored=2"), "sources")
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("hours.md", "File", "just now", "Not trained yet"),
        ("手册.docx", "File", "just now", "Not trained yet"),
    ], "the newest first"
    file = await ada.get(f"{HERE}/sources/{stored['手册.docx'].id}/file")
    assert file.content == handbook
    assert {name: file.headers[name] for name in ("content-type", "x-content-type-options", "cache-control")} == {
        "content-type": "application/octet-stream",
        "x-content-type-options": "nosniff",
        "cache-control": "private, no-store",
    }
    assert file.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert file.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''%E6%89%8B%E5%86%8C.docx" in file.headers["content-disposition"]
    again = await upload(ada, ("hours.md", b"# Hours\n\nTen to six."))
    assert again.status_code == 303
    assert len(await layer.list_sources("travel")) == 2, "a file of the same name is replaced"


async def test_sources_and_results_are_shown_in_pages_and_found_by_their_titles(
    layer: ChainlitLayer, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (routes, trainings):
        monkeypatch.setattr(part, "SOURCES_A_PAGE", 2)
    titles = [f"{at} & b.txt" for at in range(5)]
    sources = [await layer.put_source(DataSource(new_id(), "travel", "file", one), b"Text") for one in titles]
    texts = [document(one.id, "", [one.title]) for one in sources]
    training = await finished(
        layer, [SourceResult(one.id, one.title, one.sha256, "text 1", None, None, 1) for one in sources], texts
    )
    for address, name, wanted in (
        (f"{HERE}?title=b.t", "sources", titles[::-1]),
        (HERE, "sources", titles[::-1]),
        (f"{HERE}/trainings/{training.id}", "results", titles),
    ):
        pages, following = [], address
        while following:
            page = await page_at(ada, following)
            pages.append([row[0] for row in table(page, name)])
            links = page.one("section", id=name).all("a", rel="next")
            following = links[0].attributes["href"].partition("#")[0] if links else ""
        assert pages == [wanted[:2], wanted[2:4], wanted[4:]]
        assert page.one("section", id=name).all("a")[-1].text == "First page"
    found = await page_at(ada, f"{HERE}?title=%26 B")
    assert found.one("form", class_="find").one("input").attributes["value"] == "& B"
    nothing = await page_at(ada, f"{HERE}?title={HOSTILE}")
    assert "No source is found here." in nothing.text
    runs_nothing(nothing)
    for wrong in (f"{HERE}?after=nothing", f"{HERE}/trainings/{training.id}?sources=nothing"):
        assert (await ada.get(wrong)).status_code == 400, wrong


async def test_each_file_that_is_not_taken_is_told_and_the_others_are_stored(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    picture, big = b"\x89PNG\r\n\x1a\n" + bytes(64), b"x" * (KNOWLEDGE_MAX + 1)
    files = (
        ("a.png", picture),
        ("big.txt", big),
        ("empty.txt", b" "),
        (f"{HOSTILE}.txt", b"\x00\x01"),
        ("ok.txt", b"Text."),
    )
    answer = await upload(ada, *files)
    assert answer.status_code == 400
    told = outcomes(answer)
    assert [one.partition(" :")[0] for one in told][:3] == ["a.png", "big.txt", "empty.txt"]
    assert "cannot be read. PDF, Word" in told[0]
    assert "is larger than 1 MB" in told[1]
    assert "contains no text" in told[2]
    assert "cannot be read" in told[3]
    assert told[4] == "ok.txt : added."
    again = await upload(ada, ("a.pdf", picture), kind="pairs")
    page = read_page(again.text)
    assert page.one("html").attributes["data-page"] == HERE, "the address that can be opened, and asked for progress"
    form = page.one("form", action=f"{HERE}/files")
    assert [one.attributes["value"] for one in form.all("input", type="radio") if "checked" in one.attributes] == [
        "pairs"
    ]
    assert [one.title for one in await layer.list_sources("travel")] == ["ok.txt"]
    chinese = await ada.post(
        f"{HERE}/files",
        data={"form_token": await token_of(ada), "kind": "file"},
        files={"files": ("a.png", picture)},
        headers={"Accept-Language": "zh-CN"},
    )
    assert "无法读取“a.png”" in chinese.text


async def test_what_is_taken_in_part_is_told_at_once(ada: httpx.AsyncClient) -> None:
    rows = "name,city\n" + "".join(f"row {number},x\n" for number in range(200))
    answer = await upload(ada, ("rows.csv", rows.encode()))
    assert answer.status_code == 200
    assert "Only 100 of 201 rows" in outcomes(answer)[0]


async def test_forms_without_a_file_or_with_too_much_are_refused(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    for fields, files, status, said in (
        ({}, (), 400, "Please choose a file."),
        ({"kind": "picture"}, (("a.txt", b"x"),), 400, "Please choose what the files are."),
        ({}, [(f"{number}.txt", b"x") for number in range(21)], 400, "more than 20 files"),
        ({}, [(f"{number}.txt", b"x" * KNOWLEDGE_MAX) for number in range(5)], 413, "larger than 4 MB together"),
        ({"form_token": "other"}, (("a.txt", b"x"),), 403, ""),
    ):
        answer = await upload(ada, *files, **fields)
        assert (answer.status_code, said in answer.text) == (status, True), said
    assert await layer.list_sources("travel") == []


async def test_a_form_that_does_not_tell_its_length_is_bounded_while_it_is_read(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    token, sent = await token_of(ada), 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        head = 'Content-Disposition: form-data; name="{}"'
        yield f"--b\r\n{head.format('form_token')}\r\n\r\n{token}\r\n--b\r\n".encode()
        yield f'{head.format("files")}; filename="a.txt"\r\n\r\n'.encode()
        for _ in range(64):
            sent += 1
            yield b"x" * 1_000_000
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        answer = await ada.post(f"{HERE}/files", content=body(), headers=headers)
        assert answer.status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        assert sent < 64, "the server ended the connection"
    assert await layer.list_sources("travel") == []


async def test_a_source_is_renamed_replaced_and_deleted(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await upload(ada, ("data.json", b'{"a": 1}'))
    source = await only(layer)
    own = f"{HERE}/sources/{source.id}"
    page = await page_at(ada, own)
    assert "The title stays." in page.one("section", id="replace").text, "a file has no columns"
    done = await posted(ada, page, f"{own}/rename", title="Numbers")
    assert done.headers["location"] == f"{own}?done=renamed"
    assert (await only(layer)).title == "Numbers.json", "the ending decides how the file is read"
    assert (await posted(ada, page, f"{own}/rename", title=" ")).status_code == 400

    async def replaced(name: str, content: bytes, based: str | None = source.sha256) -> httpx.Response:
        data = {"form_token": await token_of(ada, own), "based": based or ""}
        return await ada.post(f"{own}/replace", data=data, files={"file": (name, content)})

    answer = await replaced("other.json", b"{")
    assert (answer.status_code, "is damaged" in answer.text) == (400, True)
    answer = await replaced("other.md", b"# Two")
    assert answer.headers["location"] == f"{own}?done=replaced"
    now = await only(layer)
    assert (now.id, now.title, (await layer.read_source(now.id))[1]) == (source.id, "Numbers.md", b"# Two")
    answer = await replaced("late.md", b"# Three")
    assert answer.status_code == 409, "it was based on a file that somebody replaced"
    assert (await only(layer)) == now
    assert (await replaced("", b"")).status_code == 400
    shown = await page_at(ada, f"{own}?done=replaced")
    assert shown.one("section", id="delete").all("details"), "it is asked first"
    done = await posted(ada, shown, f"{own}/delete")
    assert done.headers["location"] == f"{HERE}#sources"
    assert await layer.list_sources("travel") == []


async def test_sources_of_other_assistants_are_not_found(
    layer: ChainlitLayer, ada: httpx.AsyncClient, browser_of: Browser
) -> None:
    await made(layer, "Garden", owner="uma")
    await upload(ada, ("a.txt", b"Text"))
    source = await only(layer)
    training = await trained(layer, [document(source.id, "a", ["Text"])], "travel")
    (one,) = await layer.list_documents(training.id)
    where = {"address": "https://docs.example.com/a"}
    link = await layer.put_source(DataSource(new_id(), "travel", "url", "Docs", where))
    parts = (
        *(f"sources/{source.id}{end}" for end in ("", "/file", "/pairs", "/columns")),
        f"trainings/{training.id}",
        f"trainings/{training.id}/documents/{one.id}",
    )
    uma = await browser_of("user")
    assert (await uma.get("/assistants/garden/knowledge")).status_code == 200
    for part in parts:
        assert (await uma.get(f"/assistants/garden/knowledge/{part}")).status_code == 404, part
        assert (await uma.get(f"{HERE}/{part}")).status_code == 404, part
    token = await token_of(uma, "/assistants/garden/knowledge")
    forms = [
        *(f"sources/{source.id}/{act}" for act in ("rename", "replace", "delete", "pairs", "columns")),
        f"sources/{link.id}/address",
        "addresses",
        "trainings",
        "trainings/cancel",
        "files",
        "pairs",
    ]
    for part in forms:
        for place in (HERE, "/assistants/garden/knowledge") if part.startswith("sources") else (HERE,):
            fields = {"form_token": token, "title": "x", "kind": "url", "address": "https://docs.example.com/b"}
            answer = await uma.post(f"{place}/{part}", data=fields)
            assert answer.status_code == 404, (place, part)
    assert await layer.list_sources("travel") == [source, link]
    assert await layer.list_sources("garden") == []
    assert "knowledge" not in (await uma.get("/assistants/travel")).text


# Questions and answers


def rows_of(page: Element) -> list[dict[str, str]]:
    """The rows of the table as a browser would send them."""
    found = []
    for row in page.one("table", class_="pairs").one("tbody").all("tr"):
        texts = ["".join(map(str, one.children)).removeprefix("\n") for one in row.all("textarea")]
        key = row.one("input", name="key").attributes["value"]
        found.append({"key": key, "question": texts[0], "answer": texts[1]})
    return found


async def send(browser: httpx.AsyncClient, address: str, rows: list[dict[str, str]], **fields: Any) -> httpx.Response:
    data = {name: [row[name] for row in rows] for name in ("key", "question", "answer")}
    token = await token_of(browser, address.partition("?")[0])
    return await browser.post(address, data={"form_token": token, "do": "save", **data, **fields})


def new(question: str, answer: str) -> dict[str, str]:
    return {"key": "", "question": question, "answer": answer}


async def pairs_in(layer: ChainlitLayer) -> list[Pair]:
    return (await read_pairs((await layer.read_source((await only(layer)).id))[1], LoadLimits()))[0]


async def begun(layer: ChainlitLayer, browser: httpx.AsyncClient, *pairs: tuple[str, str]) -> str:
    """The address of a list of these pairs."""
    answer = await send(browser, f"{HERE}/pairs", [new(*pair) for pair in pairs], title="FAQ")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].partition("?")[0]


async def test_questions_and_answers_are_written_changed_and_removed(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    page = await page_at(ada, f"{HERE}/pairs")
    assert len(rows_of(page)) == 3
    rows = [new("When do you open?", "At nine;\r\nat ten on Sundays."), new(" ", ""), new(HOSTILE, '"yes", she said')]
    more = await send(ada, f"{HERE}/pairs", rows, title="FAQ", do="more")
    assert (more.status_code, len(rows_of(read_page(more.text)))) == (200, 6)
    assert await layer.list_sources("travel") == []
    answer = await send(ada, f"{HERE}/pairs", rows, title="FAQ")
    source = await only(layer)
    own = f"{HERE}/sources/{source.id}/pairs"
    assert (answer.status_code, answer.headers["location"]) == (303, f"{own}?saved=1")
    assert (source.kind, source.title) == ("pairs", "FAQ")
    opening, hostile = Pair("When do you open?", "At nine;\nat ten on Sundays."), Pair(HOSTILE, '"yes", she said')
    assert await pairs_in(layer) == [opening, hostile]
    page = await page_at(ada, f"{own}?saved=1")
    shown = rows_of(page)
    assert [(row["question"], row["answer"]) for row in shown[:2]] == [
        (one.question, one.answer) for one in (opening, hostile)
    ]
    shown[0]["answer"] = "At eight."
    answer = await send(ada, own, [*shown, new("Who?", "Ada.")], remove=[shown[1]["key"]])
    assert answer.status_code == 303, answer.text
    assert await pairs_in(layer) == [replace(opening, answer="At eight."), Pair("Who?", "Ada.")]
    file = await ada.get(f"{HERE}/sources/{source.id}/file")
    assert 'filename="FAQ.csv"' in file.headers["content-disposition"]


@pytest.mark.parametrize(
    ("rows", "title", "said"),
    [
        ([new("Why?", " ")], "FAQ", "Please enter a question and an answer."),
        ([new("Why?", "x" * 20_001)], "FAQ", "an answer 20,000"),
        ([new("Why?", "1"), new("Why?", "2")], "FAQ", "This list has this question already."),
        ([new("", "")], "FAQ", "A list needs at least one pair."),
        ([new("Why?", "1")], " ", "Please enter a title."),
        ([new(f"{number}?", "1") for number in range(101)], "FAQ", "A list has at most 100 pairs."),
    ],
)
async def test_pairs_that_are_not_valid_are_told_and_stay_in_the_form(
    layer: ChainlitLayer, ada: httpx.AsyncClient, rows: list[dict[str, str]], title: str, said: str
) -> None:
    answer = await send(ada, f"{HERE}/pairs", rows, title=title)
    assert answer.status_code == 400
    page = read_page(answer.text)
    assert said in page.text
    assert rows_of(page) == rows
    assert await layer.list_sources("travel") == []


async def test_a_form_with_too_many_or_unequal_rows_is_refused(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    many = await send(ada, f"{HERE}/pairs", [new(f"{number}?", "1") for number in range(400)], title="FAQ")
    assert many.status_code == 400
    unequal = await send(ada, f"{HERE}/pairs", [new("a", "b")], title="FAQ", key=["", ""])
    assert unequal.status_code == 400
    large = await send(ada, f"{HERE}/pairs", [new("a", "x" * 8_100_000)], title="FAQ")
    assert large.status_code == 413
    assert await layer.list_sources("travel") == []


async def test_a_second_list_needs_another_title(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await begun(layer, ada, ("Why?", "1"))
    answer = await send(ada, f"{HERE}/pairs", [new("Other?", "2")], title="FAQ")
    assert (answer.status_code, "There is a list with the title" in answer.text) == (400, True)
    assert await pairs_in(layer) == [Pair("Why?", "1")]


async def test_two_who_edit_at_once_lose_nothing(
    layer: ChainlitLayer, ada: httpx.AsyncClient, browser_of: Browser
) -> None:
    own = await begun(layer, ada, ("A?", "1"), ("B?", "2"), ("C?", "3"))
    other = await browser_of("admin")
    hers, theirs = rows_of(await page_at(ada, own)), rows_of(await page_at(other, own))
    hers[0]["answer"], theirs[1]["answer"] = "by Ada", "by other"
    both = await asyncio.gather(send(ada, own, hers), send(other, own, [*theirs, new("D?", "4")]))
    assert [one.status_code for one in both] == [303, 303]
    assert {(one.question, one.answer) for one in await pairs_in(layer)} == {
        ("A?", "by Ada"),
        ("B?", "by other"),
        ("C?", "3"),
        ("D?", "4"),
    }


async def test_a_pair_that_somebody_changed_meanwhile_is_told_and_kept_in_the_form(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    own = await begun(layer, ada, ("A?", "1"), ("B?", "2"))
    first, second = rows_of(await page_at(ada, own)), rows_of(await page_at(ada, own))
    first[0]["answer"], second[0]["answer"] = "first", "second"
    assert (await send(ada, own, first)).status_code == 303
    answer = await send(ada, own, second)
    assert answer.status_code == 409
    page = read_page(answer.text)
    assert "someone else changed or removed one of these pairs" in page.text
    kept = rows_of(page)
    assert kept[0] == new("A?", "second")
    assert await pairs_in(layer) == [Pair("A?", "first"), Pair("B?", "2")]
    again = await send(ada, own, kept)
    assert (again.status_code, "This list has this question already." in again.text) == (400, True)
    kept[0]["question"] = "A, really?"
    assert (await send(ada, own, kept)).status_code == 303
    assert Pair("A, really?", "second") in await pairs_in(layer)


async def test_a_long_list_is_shown_in_pages_and_searched(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    many = [Pair(f"Question {number}?", f"Answer {number}") for number in range(60)]
    answer = await upload(ada, ("faq.csv", written(many)), kind="pairs")
    assert answer.status_code == 303
    own = f"{HERE}/sources/{(await only(layer)).id}/pairs"
    page = await page_at(ada, own)
    assert "60 questions" in page.text
    following = page.one("a", rel="next").attributes["href"]
    second = rows_of(await page_at(ada, following))
    assert (len(second), second[0]["question"]) == (28, "Question 25?")
    second[0]["answer"] = "Changed"
    done = await send(ada, own, second, **{"from": "25"})
    assert done.headers["location"] == f"{own}?from=25&saved=1"
    stored = await pairs_in(layer)
    assert (len(stored), stored[25].answer, stored[26]) == (60, "Changed", many[26])
    found = await page_at(ada, f"{own}?words=answer 59")
    assert [row["question"] for row in rows_of(found) if row["key"]] == ["Question 59?"]
    assert rows_of(await page_at(ada, f"{own}?from=99999"))[0]["question"] == "Question 0?"


async def test_an_uploaded_list_that_is_no_list_is_refused_and_rows_without_an_answer_are_told(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    answer = await upload(ada, ("a.csv", b"question,answer\nonly,\n"), kind="pairs")
    assert answer.status_code == 400
    await upload(ada, ("a.csv", "问,答\n几点？,九点。\n为什么？,\n".encode()), kind="pairs")
    page = await page_at(ada, f"{HERE}/sources/{(await only(layer)).id}/pairs")
    assert "rows without a question or an answer: 1" in page.text
    assert "saving removes them from the file" in page.text
    assert rows_of(page)[0]["answer"] == "九点。"


# Tables


async def test_the_columns_of_a_table_are_chosen_from_its_header(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    answer = await upload(ada, ("cities.csv", CITIES), kind="datasheet")
    source = await only(layer)
    own = f"{HERE}/sources/{source.id}/columns"
    assert answer.headers["location"] == own
    page = await page_at(ada, own)
    boxes = page.all("input", name="columns")
    assert [(one.attributes["value"], "checked" in one.attributes) for one in boxes] == [
        (name, True) for name in ("city", "country", "question", "note")
    ]
    chosen = {"columns": ["country", "city"], "record_id": "city", "suggestion": "question", "sheet": ""}
    done = await posted(ada, page, own, **chosen)
    assert done.headers["location"] == f"{HERE}/sources/{source.id}?done=columns"
    kept = (await only(layer)).options
    assert kept == {"columns": ["city", "country"], "record_id": "city", "suggestion": "question"}
    assert "city, country" in (await page_at(ada, f"{HERE}/sources/{source.id}")).text
    # The same table once more, and one that lacks a column.
    assert (await upload(ada, ("cities.csv", CITIES), kind="datasheet")).headers["location"] == own
    lacking = await upload(ada, ("cities.csv", CITIES.replace(b"country", b"land")), kind="datasheet")
    assert (lacking.status_code, "lacks the chosen columns “country”" in outcomes(lacking)[0]) == (400, True)
    again = await page_at(ada, own)
    assert [one.attributes["value"] for one in again.all("input", name="columns") if "checked" in one.attributes] == [
        "city",
        "country",
    ]
    for wrong in ({"columns": "price"}, {"record_id": "price"}, {"suggestion": HOSTILE}, {"sheet": "Two"}):
        answer = await posted(ada, page, own, **{**chosen, **wrong})
        assert answer.status_code == 400
        runs_nothing(read_page(answer.text))
    assert (await only(layer)).options == kept


async def test_a_workbook_offers_its_sheets(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await upload(ada, ("a.xlsx", excel({"One": [["a", "b"], [1, 2]], "Two": [["c", "d"], [3, 4]]})), kind="datasheet")
    own = f"{HERE}/sources/{(await only(layer)).id}/columns"
    page = await page_at(ada, f"{own}?sheet=Two")
    assert [one.attributes["value"] for one in page.all("input", name="columns")] == ["c", "d"]
    assert (await posted(ada, page, own, sheet="Two", columns="d", record_id="c")).status_code == 303
    assert (await only(layer)).options == {"columns": ["d"], "record_id": "c", "sheet": "Two"}
    assert [one.attributes["value"] for one in (await page_at(ada, own)).all("input", name="columns")] == ["c", "d"]


async def test_only_tables_have_columns_and_only_lists_pairs(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    answer = await upload(ada, ("a.docx", word("x")), kind="datasheet")
    assert answer.status_code == 400
    await upload(ada, ("a.txt", b"Text"))
    own = f"{HERE}/sources/{(await only(layer)).id}"
    for part in ("columns", "pairs"):
        assert (await ada.get(f"{own}/{part}")).status_code == 404


# Trainings


async def test_a_training_is_started_shown_and_cancelled(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    page = await page_at(ada, HERE)
    token = page.all("input", name="form_token")[0].attributes["value"]
    nothing = await ada.post(f"{HERE}/trainings", data={"form_token": token})
    assert (nothing.status_code, "Please add a source first." in nothing.text) == (400, True)
    await upload(ada, ("a.txt", b"Text"), ("b.txt", b"Text"))
    page = await page_at(ada, HERE)
    assert (await posted(ada, page, f"{HERE}/trainings")).headers["location"] == f"{HERE}#training"
    (training,) = await layer.list_trainings("travel")
    assert training.started_by == people["admin"].id
    again = await posted(ada, page, f"{HERE}/trainings")
    assert (again.status_code, "is running already" in again.text) == (400, True)
    await layer.begin_training(training.id, SETTINGS, 2)
    source = (await layer.list_sources("travel"))[0]
    await layer.keep_source_result(training.id, SourceResult(source.id, "a.txt", None, "text 1", None, None, 1), {})
    section = (await page_at(ada, HERE)).one("section", id="training")
    assert "data-again" in section.attributes
    bar = section.one("progress").attributes
    assert (bar["value"], bar["max"]) == ("1", "2")
    assert [row[:4] for row in table(section, "trainings")] == [["Training 1", "Running", "just now", "ada"]]
    assert "data-again" in (await page_at(ada, f"{HERE}/trainings/{training.id}")).one("section", id="facts").attributes
    assert "A training is running." in (await page_at(ada, "/assistants")).text
    done = await posted(ada, page, f"{HERE}/trainings/cancel")
    assert done.status_code == 303
    section = (await page_at(ada, HERE)).one("section", id="training")
    assert "data-again" not in section.attributes
    assert table(section, "trainings")[0][1] == "Cancelled"
    none = await posted(ada, page, f"{HERE}/trainings/cancel")
    assert (none.status_code, "No training of this assistant is running." in none.text) == (400, True)


async def finished(layer: ChainlitLayer, results: list[SourceResult], documents: list[Any]) -> Training:
    training = await layer.start_training("travel")
    await layer.begin_training(training.id, SETTINGS, len(results))
    await layer.keep_documents(training.id, documents)
    for result in results:
        await layer.keep_source_result(training.id, result, {})
    await layer.finish_training(training.id, 0.3, b"")
    found = await layer.get_training(training.id)
    assert found is not None
    return found


async def test_what_a_training_took_is_shown_at_its_sources(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await upload(ada, ("a.txt", b"Text"), ("b.txt", b"Text"), ("c.txt", b"Text"))
    sources = {one.title: one for one in await layer.list_sources("travel")}
    part = asdict(Taken("text 1", characters=3, cut_characters=1))
    results = [
        SourceResult(sources["a.txt"].id, "a.txt", sources["a.txt"].sha256, "text 1", part, None, 1),
        SourceResult(sources["b.txt"].id, "b.txt", sources["b.txt"].sha256, None, None, "encrypted", 0, 1),
        SourceResult(new_id(), "gone.txt", None, None, None, "deleted", 0),
    ]
    training = await finished(layer, results, [document(sources["a.txt"].id, "", ["Text"])])
    await layer.put_source(replace(sources["a.txt"]), b"Other text")
    rows = {row[0]: row[4] for row in table(await page_at(ada, HERE), "sources")}
    assert rows["a.txt"].startswith("1 document changed since Only the first 3 of 4 characters")
    assert rows["b.txt"].startswith("Nothing was taken.")
    assert "protected by a password" in rows["b.txt"]
    assert rows["c.txt"] == "Not trained yet"
    state = "1 document, trained just now. 2 sources changed since the last training."
    for address in (HERE, "/assistants", "/assistants/travel"):
        assert state in (await page_at(ada, address)).text, address
    page = await page_at(ada, f"{HERE}/trainings/{training.id}")
    results_shown = {row[0]: row[1:] for row in table(page, "results")}
    assert results_shown["gone.txt"] == ["0 documents", "“gone.txt” was deleted while the training ran."]
    assert "protected by a password" in results_shown["b.txt"][1]
    failed = await layer.start_training("travel")
    await layer.fail_training(failed.id, HOSTILE)
    page = await page_at(ada, HERE)
    assert "The last training failed." in page.text
    assert HOSTILE in page.one("section", id="training").text
    assert HOSTILE in (await page_at(ada, f"{HERE}/trainings/{failed.id}")).text
    named = await layer.start_training("travel")
    failure = {"kind": "embedding_timeout", "values": {"detail": HOSTILE}}
    await layer.fail_training(named.id, HOSTILE, failure)
    for language, said in (("en", "did not answer in time"), ("zh-CN", "没有及时响应")):
        ada.headers["Accept-Language"] = language
        for address in (HERE, f"{HERE}/trainings/{named.id}"):
            assert said in (await page_at(ada, address)).text


async def test_documents_are_shown_in_pages_with_their_passages(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await upload(ada, ("a.txt", b"Text"), ("b.txt", b"Text"))
    source, second = await layer.list_sources("travel")
    other = second.id
    many = [document(source.id, f"row {number:03}", [f"Text {number}"]) for number in range(60)]
    long = document(other, HOSTILE, [f"{HOSTILE} {number}" for number in range(45)], record_id="7", suggestion="Why?")
    training = await finished(layer, [], [*many, long])
    own = f"{HERE}/trainings/{training.id}"
    page = await page_at(ada, f"{own}?source={source.id}")
    assert [row[0] for row in table(page, "documents")] == [f"row {number:03}" for number in range(50)]
    following = page.one("a", rel="next").attributes["href"].partition("#")[0]
    rest = table(await page_at(ada, following), "documents")
    assert [row[0] for row in rest] == [f"row {number:03}" for number in range(50, 60)]
    (row,) = table(await page_at(ada, f"{own}?source={other}"), "documents")
    assert row == [HOSTILE, "–", "7", "–", "45", "90", "1,384"]
    (one,) = await layer.list_documents(training.id, other)
    page = await page_at(ada, f"{own}/documents/{one.id}")
    assert "Why?" in page.text
    passages = page.one("ol", class_="passages-of")
    assert len(passages.all("li")) == 20
    last = await page_at(ada, f"{own}/documents/{one.id}?from=40")
    assert [item.one("p", class_="said").text for item in last.one("ol", class_="passages-of").all("li")] == [
        f"{HOSTILE} {number}" for number in range(40, 45)
    ]
    assert not last.all("a", rel="next")
    for wrong in (f"{own}?after=nothing", f"{own}?source=nothing", f"{own}/documents/{new_id()}", f"{own}/documents/x"):
        assert (await ada.get(wrong)).status_code == 404, wrong


async def test_the_pages_are_in_chinese(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await upload(ada, ("a.txt", b"Text"))
    source = await only(layer)
    training = await trained(layer, [document(source.id, "a", ["Text"])], "travel")
    (one,) = await layer.list_documents(training.id)
    own = f"{HERE}/trainings/{training.id}"
    for address in (HERE, f"{HERE}/pairs", f"{HERE}/sources/{source.id}", own, f"{own}/documents/{one.id}"):
        answer = await ada.get(address, headers={"Accept-Language": "zh-CN"})
        page = read_page(answer.text)
        words = set(re.findall(r"[A-Za-z]{4,}", page.one("main").text))
        names = {"KNOWLEDGE", "HEADER", "HTTP", "https", "http", "docs", "wiki", "example", "data", "items"}
        assert words - names <= {"Text", "Travel", "Word", "Excel", "Markdown", "HTML", "JSON", "small"}, address


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((20, "just now"), (60, "a minute ago"), (300, "5 minutes ago"), (3_700, "an hour ago")),
        *((100_000, "27 hours ago"), (200_000, "2 days ago")),
    ],
)
def test_how_long_ago_a_time_is(seconds: int, said: str) -> None:
    moment = (datetime.now(UTC) - timedelta(seconds=seconds + 1)).isoformat()
    assert formats.ago(moment, Say("en-US")) == said


def test_sizes_of_files() -> None:
    assert [formats.size(number, Say("en-US")) for number in (0, 999, 1_500, 20_000, 3_210_000, 5_000_000_000)] == [
        *("0 B", "999 B", "1.5 kB", "20 kB", "3.2 MB", "5.0 GB"),
    ]
