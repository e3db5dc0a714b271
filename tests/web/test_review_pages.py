"""The pages of the review: contents, forms, access, and that stored text does not run on them."""

import codecs
import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from pyarrow import parquet
from sqlalchemy import update

from datalayer import StorageUnavailable, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import answers
from datalayer.records.review import Verdict
from datalayer.schema.chat import elements
from datalayer.schema.review import review_items, verdicts
from tests.contracts.test_elements import text_element
from tests.support.calls import call
from tests.support.pages import Element, read_page
from tests.support.records import new_id, step, thread, user_id, vote
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser
from tests.web.test_files import store, thread_of
from threadkeeper.language.catalogue import PAGES
from threadkeeper.web.rendering.markdown import as_html
from threadkeeper.web.review import exports

NOVEMBER = "period=custom&from=2026-11-01&to=2026-11-30"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
MARKUP = (
    f"**bold** {HOSTILE}\n\n[bad](javascript:alert(1)) [good](https://example.org) ![far](https://evil.example/x.png)"
)


@dataclass
class Kept:
    """A thread of uma with hostile texts and a thumbs-down on its answer."""

    thread_id: str
    question_id: str
    answer_id: str


@pytest.fixture
async def kept(layer: ChainlitLayer, people: dict[str, User]) -> Kept:
    owner = people["user"].id
    thread_id = await thread(layer, owner, f"A thread {HOSTILE}", tags=[HOSTILE])
    question = step(thread_id, f"How long? {HOSTILE}", name="uma", createdAt="2026-11-20T10:00:00Z")
    tool = step(thread_id, HOSTILE, type="tool", name=HOSTILE, input=HOSTILE, createdAt="2026-11-20T10:00:01Z")
    answer = step(thread_id, MARKUP, type="assistant_message", name=HOSTILE, createdAt="2026-11-20T10:00:02Z")
    for one in (question, tool, answer):
        await layer.create_step(one)
    made = call("2026-11-20T10:00:01Z", thread_id=thread_id, step_id=answer["id"], user_id=owner, model=HOSTILE)
    await layer.record_call(made)
    with acting_as("uma"):
        await layer.upsert_feedback(vote(answer["id"], 0, f"No! {HOSTILE}"))
        await layer.give_reasons(answer["id"], ["incorrect"])
    return Kept(thread_id, question["id"], answer["id"])


@pytest.fixture
async def rita(browser_of: Browser) -> AsyncIterator[httpx.AsyncClient]:
    yield await browser_of("reviewer")


async def test_the_pages_say_when_the_newest_answers_may_be_missing(
    layer: ChainlitLayer,
    kept: Kept,
    rita: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object) -> bool:
        raise StorageUnavailable("the database gives no answer")

    addresses = ("/review", "/review/export", f"/review/numbers?{NOVEMBER}")
    with monkeypatch.context() as broken:
        broken.setattr(answers, "is_behind", fail)
        for address in addresses:
            page = await page_at(rita, address)
            assert [one.text for one in page.all("p", class_="notice")] == [PAGES.say("answers_behind", "en")]
    assert "the newest may be missing: the database gives no answer" in caplog.text
    for address in addresses:
        assert (await page_at(rita, address)).all("p", class_="notice") == []
    assert kept.answer_id in (await rita.get("/review")).text


@pytest.mark.parametrize(
    ("left", "language", "shown"),
    [
        (12_345, "en", "index is being built: 12,345 texts are left"),
        (1, "en", "index is being built: 1 text is left"),
        (12_345, "zh-CN", "正在建立搜索索引，还剩 12,345 条文本"),
    ],
)
async def test_the_pages_say_how_many_texts_the_words_cannot_find_yet(
    layer: ChainlitLayer,
    kept: Kept,
    rita: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    left: int,
    language: str,
    shown: str,
) -> None:
    async def many() -> int:
        return left

    async def of_all() -> int:
        raise AssertionError("the pages show the number of their own search")

    rita.headers["Accept-Language"] = language
    monkeypatch.setattr(layer, "texts_to_index", of_all)

    searches = ("/review?words=bold", "/review/export?words=bold", f"/review/numbers?{NOVEMBER}")
    for address in searches:
        assert (await page_at(rita, address)).all("p", class_="notice") == []
    monkeypatch.setattr(layer.search_indexer, "all_left", many)
    for address in searches:
        (notice,) = (await page_at(rita, address)).all("p", class_="notice")
        assert shown in notice.text
    for address in ("/review", "/review/export", "/review/queue"):
        assert (await page_at(rita, address)).all("p", class_="notice") == []
    # An export without a record gives its page again.
    page = await page_at(rita, "/review/export?words=nowhere")
    form = {"query": "words=nowhere", "kind": "conversations", "format": "jsonl"}
    answer = await posted(rita, page, "/review/export", **form)
    assert [shown in one.text for one in read_page(answer.text).all("p", class_="notice")] == [True, False]


async def test_an_answer_is_found_and_judged_and_its_owner_sees_the_opening(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient, browser_of: Browser
) -> None:
    inbox = await page_at(rita, "/review?thumb=down&reviewed=no")
    (row,) = inbox.one("ol", class_="answers").all("li")
    assert HOSTILE in row.text
    assert "Not correct" in row.text
    address = row.one("a", class_="cover").attributes["href"]
    assert kept.answer_id in address
    page = await page_at(rita, address)
    answer = page.one("article", id=f"answer-{kept.answer_id}")
    assert "No! " + HOSTILE in answer.text
    assert "Tool steps: 1" in answer.text
    assert [link.text for link in answer.one("div", class_="prose").all("a")] == ["good", "far"]
    before = await page_at(rita, f"/review/threads/{kept.thread_id}")
    done = await posted(
        rita,
        before,
        f"/review/threads/{kept.thread_id}/verdicts",
        step_id=kept.answer_id,
        label="wrong",
        reason=["incorrect", "not one of ours"],
        note=HOSTILE,
        better_answer=MARKUP,
    )
    assert done.status_code == 303
    page = await page_at(rita, done.headers["location"])
    verdict = page.one("div", class_="verdict")
    assert "Wrong" in verdict.text
    assert HOSTILE in verdict.text
    assert not (await page_at(rita, "/review?thumb=down&reviewed=no")).all("ol", class_="answers")
    mine = await page_at(await browser_of("user"), "/me")
    looked = mine.one("table", class_="looked").one("tbody").all("tr")
    assert len(looked) == 3, "each opening has its row"
    assert all("rita" in one.text and HOSTILE in one.text for one in looked)


async def test_a_form_without_the_token_of_its_login_is_refused(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient, browser_of: Browser
) -> None:
    address = f"/review/threads/{kept.thread_id}/verdicts"
    judgement = {"step_id": kept.answer_id, "label": "wrong"}
    ada = await page_at(await browser_of("admin"), f"/review/threads/{kept.thread_id}")
    for token in (None, "", "0" * 64, ada.all("input", name="form_token")[0].attributes["value"], "ä"):
        refused = await rita.post(address, data=judgement if token is None else {**judgement, "form_token": token})
        assert refused.status_code == 403
        assert "no longer valid" in refused.text
    with acting_as("rita"):
        assert await layer.verdict_history(kept.thread_id) == []


async def test_invalid_input_gets_a_plain_message(kept: Kept, rita: httpx.AsyncClient) -> None:
    for query in (
        *("thumb=sideways", "comment=perhaps", "since=yesterday", "until=0001-01-01", "min_cost=much", "max_cost=NaN"),
        *("since=2026-03-02&until=2026-03-01", "min_cost=2&max_cost=1"),
        *("label=splendid", "reason=weather", "label=wrong&label=splendid"),
        *("cursor=nonsense", "cursor=" + "x" * 3000, "words=" + "x" * 400, "&".join(f"tag={n}" for n in range(30))),
    ):
        answer = await rita.get(f"/review?{query}")
        assert answer.status_code == 400, query
        assert read_page(answer.text).one("h1").text == "Invalid URL"
    for address in ("/review/threads/nonsense", f"/review/threads/{new_id()}", "/review/audit"):
        assert (await rita.get(address)).status_code == 404
    assert (await rita.get("/review?words=" + "%00%22%27*%28")).status_code == 200
    for query in ("period=never", "by=weather", "interval=fortnight"):
        assert (await rita.get(f"/review/numbers?{query}")).status_code == 400
    page = await page_at(rita, f"/review/threads/{kept.thread_id}")
    verdicts = f"/review/threads/{kept.thread_id}/verdicts"
    assert (await posted(rita, page, verdicts, step_id=kept.answer_id, label="splendid")).status_code == 400
    assert (await posted(rita, page, verdicts, step_id=new_id(), label="wrong")).status_code == 404
    assert (await posted(rita, page, verdicts, step_id="x", label="wrong")).status_code == 404
    long = await posted(rita, page, verdicts, step_id=kept.answer_id, label="wrong", note="x" * 20_000)
    assert long.status_code == 400
    assert (await posted(rita, page, verdicts, note="x" * 1_200_000)).status_code == 413
    many = "&".join(f"reason={n}" for n in range(1000))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await rita.post(verdicts, content=many, headers=form)).status_code == 400
    assert (await posted(rita, page, "/review/queue/fill", percent="all", wanted="1")).status_code == 400
    assert (await posted(rita, page, "/review/queue/fill", percent="nan", wanted="1")).status_code == 400


async def test_views_are_saved_and_removed(kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, "/review?thumb=down")
    saved = await posted(rita, page, "/review/views", name=HOSTILE, query="thumb=down&evil=1", shared="yes")
    assert saved.headers["location"] == "/review?thumb=down"
    page = await page_at(rita, "/review?thumb=down")
    pill = next(one for one in page.all("a") if one.text == HOSTILE)
    assert pill.attributes["aria-current"] == "true"
    again = await posted(rita, page, "/review/views", name=HOSTILE, query="thumb=up")
    assert again.status_code == 400
    assert "You already have a view named" in again.text
    pill = next(one for one in (await page_at(rita, "/review?thumb=down")).all("a") if one.text == HOSTILE)
    assert pill.attributes["href"] == "/review?thumb=down", "it is as it was"
    remove = next(form for form in page.all("form") if form.attributes.get("action", "").endswith("/remove"))
    assert (await posted(rita, page, remove.attributes["action"])).status_code == 303
    assert HOSTILE not in [one.text for one in (await page_at(rita, "/review")).all("a")]


async def test_the_last_of_two_values_counts(kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, "/review?thumb=up&thumb=down")
    assert [one.text for one in page.one("p", class_="chips").all("a")] == ["Vote: Thumbs-down ×"]
    assert len(page.one("ol", class_="answers").all("li")) == 1


async def test_stored_labels_and_reasons_are_valid_filters(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient
) -> None:
    with acting_as("rita"):
        await layer.put_verdict(Verdict(kept.answer_id, "an old label"))
        gone = await layer.put_view("of old", "label=long+gone")
    with acting_as("uma"):
        await layer.give_reasons(kept.answer_id, ["an old reason"])
    for query in ("label=an+old+label", "reason=an+old+reason", "label=an+old+label&thumb=up", "label=wrong"):
        await page_at(rita, f"/review?{query}")
    page = await page_at(rita, "/review?label=long+gone")
    assert page.all("form", action=f"/review/views/{gone.id}/remove"), "it can still be removed"


async def test_the_queue_is_filled_taken_and_released(kept: Kept, rita: httpx.AsyncClient, browser_of: Browser) -> None:
    page = await page_at(rita, "/review/queue")
    filled = await posted(rita, page, "/review/queue/fill", percent="0", wanted="1")
    page = await page_at(rita, filled.headers["location"])
    assert "Added: 1 with a thumbs-down, " in page.one("p", class_="notice").text
    taken = await posted(rita, page, "/review/queue/next")
    assert kept.answer_id in taken.headers["location"]
    thread_page = await page_at(rita, taken.headers["location"])
    assert "reserved for you until" in thread_page.one("div", class_="notice").text
    ada = await browser_of("admin")
    theirs = await page_at(ada, "/review/queue")
    assert "rita, until" in theirs.one("table", class_="items").text
    nothing = await posted(ada, theirs, "/review/queue/next")
    assert nothing.headers["location"] == "/review/queue"
    assert "no answers for you" in (await page_at(ada, "/review/queue")).one("p", class_="notice").text
    assert not (await page_at(ada, "/review/queue?outcome=filled&added=9999&added=1")).all("p", class_="notice")
    assert (await posted(rita, page, "/review/queue/release", step_id=kept.answer_id)).status_code == 303
    assert kept.answer_id in (await posted(ada, theirs, "/review/queue/next")).headers["location"]


async def test_after_an_answer_of_the_queue_the_next_one_is_offered(kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, "/review/queue")
    await posted(rita, page, "/review/queue/fill", percent="0", wanted="1")
    taken = await posted(rita, page, "/review/queue/next")
    verdicts, judgement = f"/review/threads/{kept.thread_id}/verdicts", {"step_id": kept.answer_id, "label": "wrong"}
    page = await page_at(rita, taken.headers["location"])
    done = await posted(rita, page, verdicts, **judgement, queue="1")
    answer = (await page_at(rita, done.headers["location"])).one("article", id=f"answer-{kept.answer_id}")
    assert "Saved." in answer.text
    assert answer.one("form", action="/review/queue/next").one("button").text == "Take the next answer"
    again = (await page_at(rita, done.headers["location"])).one("article", id=f"answer-{kept.answer_id}")
    assert "Saved." not in again.text, "it is shown once"
    assert again.all("form", action="/review/queue/next")
    done = await posted(rita, page, verdicts, **judgement)
    answer = (await page_at(rita, done.headers["location"])).one("article", id=f"answer-{kept.answer_id}")
    assert "Saved." in answer.text
    assert not answer.all("form", action="/review/queue/next"), "it was found in the inbox"
    removed = await posted(rita, page, verdicts, **judgement, action="remove")
    assert "Saved." not in (await page_at(rita, removed.headers["location"])).text


async def test_a_thread_shows_locks_and_verdicts_of_other_reviewers(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient, browser_of: Browser
) -> None:
    ada, address = await browser_of("admin"), f"/review/threads/{kept.thread_id}"
    page = await page_at(ada, "/review/queue")
    await posted(ada, page, "/review/queue/fill", percent="0", wanted="2")
    await posted(ada, page, "/review/queue/next")
    page = await page_at(rita, address)
    assert "ada is reviewing this answer, until" in page.one("article", id=f"answer-{kept.answer_id}").text
    assert "ada is reviewing this answer" not in (await page_at(ada, address)).text
    verdicts = f"{address}/verdicts"
    await posted(ada, await page_at(ada, address), verdicts, step_id=kept.answer_id, label="unsafe")
    page = await page_at(rita, address)
    assert "is reviewing this answer" not in page.text
    folded = page.one("details", class_="others")
    assert "Verdicts of others: 1. Give yours first" in folded.text
    assert "Unsafe" in folded.one("div", class_="verdict").text
    assert "open" not in folded.attributes
    await posted(rita, page, verdicts, step_id=kept.answer_id, label="wrong")
    page = await page_at(rita, address)
    assert not page.all("details", class_="others")
    assert len(page.all("div", class_="verdict")) == 2
    assert "Agreement: 0%" in page.text


async def test_the_queue_lists_question_user_and_lock(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient
) -> None:
    page = await page_at(rita, "/review/queue")
    await posted(rita, page, "/review/queue/fill", percent="0", wanted="1")
    row = (await page_at(rita, "/review/queue")).one("table", class_="items").one("tbody").one("tr")
    assert row.one("a").text == f"How long? {HOSTILE}"
    assert "uma" in row.text
    await posted(rita, page, "/review/queue/next")
    assert "rita, until" in (await page_at(rita, "/review/queue")).one("table", class_="items").text
    async with layer.database.write() as connection:
        await connection.execute(update(review_items).values(lockedUntil="2026-01-01T00:00:00.000000Z"))
    items = (await page_at(rita, "/review/queue")).one("table", class_="items")
    assert "rita" not in items.text
    assert not items.all("form"), "its time is up: there is nothing to release"


async def test_a_thread_is_copied_and_a_better_answer_linked(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient
) -> None:
    page = await page_at(rita, f"/review/threads/{kept.thread_id}")
    address = f"/review/threads/{kept.thread_id}"
    taken = await posted(rita, page, f"{address}/take-over", step_id=kept.answer_id)
    copy_id = taken.headers["location"].removeprefix("/thread/")
    again = await posted(rita, page, f"/review/threads/{copy_id}/take-over")
    for one in (copy_id, again.headers["location"].removeprefix("/thread/")):
        title = (await page_at(rita, f"/review/threads/{one}")).one("h1").text
        assert title == f"A thread {HOSTILE} (copy)"
    better = step(copy_id, "2,850 km.", type="assistant_message", name="Assistant")
    with acting_as("rita"):
        await layer.create_step(better)
    page = await page_at(rita, address)
    assert "You have a copy" in page.text
    linked = await posted(
        rita,
        page,
        f"{address}/better-run",
        copy_id=copy_id,
        better_step_id=better["id"],
        original_step_id=kept.answer_id,
    )
    page = await page_at(rita, linked.headers["location"])
    assert "Better answer by rita" in page.one("article", id=f"answer-{kept.answer_id}").text
    copy = await page_at(rita, f"/review/threads/{copy_id}")
    assert "Copy of" in copy.text
    assert copy.one("a", href=f"{address}?answer={kept.answer_id}#answer-{kept.answer_id}").text == "the original"


async def exported(browser: httpx.AsyncClient, kind: str, format_: str) -> httpx.Response:
    page = await page_at(browser, "/review/export?thumb=down")
    answer = await posted(browser, page, "/review/export", query="thumb=down", kind=kind, format=format_)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-disposition"].startswith("attachment; ")
    return answer


async def test_exports_are_read_back(layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient) -> None:
    import pandas  # noqa: PLC0415  slow, and few tests need it

    with acting_as("rita"):
        await layer.put_verdict(Verdict(kept.answer_id, "wrong", better_answer="=2,850 km."))
    lines = [json.loads(line) for line in (await exported(rita, "pairs", "jsonl")).text.splitlines()]
    assert [(one["chosen"], one["rejected"], one["user"]) for one in lines] == [("=2,850 km.", MARKUP, "uma")]
    table = (await exported(rita, "pairs", "csv")).content
    assert table.startswith(codecs.BOM_UTF8), "without it, a Chinese Excel garbles the text"
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    assert rows[0]["chosen"] == "'=2,850 km.", "a spreadsheet takes it for text"
    assert json.loads(rows[0]["prompt"])[0]["role"] == "user"
    columns = parquet.read_table(io.BytesIO((await exported(rita, "pairs", "parquet")).content))
    assert columns.column("chosen").to_pylist() == ["=2,850 km."]
    frame = pandas.read_parquet(io.BytesIO((await exported(rita, "conversations", "parquet")).content))
    assert list(frame["id"]) == [kept.thread_id]
    frame = pandas.read_json(io.StringIO((await exported(rita, "fine_tuning", "jsonl")).text), lines=True)
    assert frame["messages"][0][-1] == {"role": "assistant", "content": "=2,850 km.", "weight": 1}
    with acting_as("uma"):
        looked = await layer.who_looked()
    assert [entry.action for entry in looked.entries] == ["export"] * 5


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
async def test_an_empty_export_is_a_page_that_says_why(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient, format_: str
) -> None:
    async def reason(kind: str, query: str) -> str:
        page = await page_at(rita, f"/review/export?{query}")
        assert not page.all("p", class_="notice")
        values = {"query": query, "kind": kind, "format": format_, "purpose": "a “test”"}
        answer = await posted(rita, page, "/review/export", **values)
        assert (answer.status_code, "content-disposition" in answer.headers) == (200, False)
        page = read_page(answer.text)
        chosen = [one.attributes["value"] for one in page.all("input", type="radio") if "checked" in one.attributes]
        assert chosen == [kind, format_]
        assert page.one("input", name="purpose").attributes["value"] == "a “test”"
        assert page.one("input", name="query").attributes["value"] == query
        text = page.one("p", class_="notice").text
        assert text.startswith("Nothing was exported. ")
        assert text.endswith(" The audit has no row for it.")
        return text

    for kind in exports.KINDS:
        assert "No thread has an answer that matches" in await reason(kind, "thumb=up")
    assert "The selected answer has no better answer" in await reason("pairs", "thumb=down")
    assert "The selected answer cannot be an example" in await reason("fine_tuning", "thumb=down")
    answer = step(kept.thread_id, "Another one", type="assistant_message", name="Assistant")
    await layer.create_step(answer)
    with acting_as("uma"):
        await layer.upsert_feedback(vote(answer["id"], 0))
    assert "None of the 2 selected answers has a better answer" in await reason("pairs", "thumb=down")
    assert "None of the 2 selected answers can be an example" in await reason("fine_tuning", "thumb=down")
    with acting_as("uma"):
        assert (await layer.who_looked()).entries == ()


async def test_an_unavailable_format_is_reported(
    kept: Kept, rita: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await page_at(rita, "/review/export")
    assert "pyarrow" not in page.text
    assert "lists are JSON text" in page.text
    refused = await posted(rita, page, "/review/export", query="", kind="pairs", format="excel")
    assert "Unknown format “excel”." in read_page(refused.text).text
    refused = await posted(rita, page, "/review/export", query="", kind="everything", format="csv")
    assert "Unknown value “everything”" in read_page(refused.text).text
    monkeypatch.setattr(exports, "find_spec", lambda _: None)
    page = await page_at(rita, "/review/export")
    command = "pip install 'threadkeeper[parquet]'"
    assert command in page.text
    assert not page.all("input", value="parquet")
    refused = await posted(rita, page, "/review/export", query="", kind="pairs", format="parquet")
    assert refused.status_code == 400
    assert command in read_page(refused.text).text


async def test_a_failed_form_links_back_only_to_its_own_page(kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, "/review?thumb=down")
    token = page.all("input", name="form_token")[0].attributes["value"]
    host = rita.base_url.netloc.decode()

    async def refused(referer: str | None) -> Element:
        headers = {"accept-language": "en"} if referer is None else {"referer": referer}
        answer = await rita.post("/me/language", data={"form_token": token, "language": "tlh"}, headers=headers)
        assert answer.status_code == 400
        page = read_page(answer.text)
        assert page.one("h1").text == "This could not be done"
        return page.one("section", class_="empty")

    came = f"http://{host}/review?thumb=down&words=%22%3E%3Cb%3E"
    assert (await refused(came)).one("a").attributes["href"] == "/review?thumb=down&words=%22%3E%3Cb%3E"
    for other in (
        *(None, "", "/review", f"http://{host}", f"http://{host}//evil.example/", f"http://{host}/\\evil.example/"),
        *("https://evil.example/review", f"http://{host}@evil.example/review", f"http://{host}.evil.example/review"),
        *(f"javascript://{host}/%0aalert(1)", "http://[/review"),
    ):
        assert (await refused(other)).one("a").attributes["href"] == "/", other
    data = {"form_token": token, "language": "tlh"}
    chinese = await rita.post("/me/language", data=data, headers={"accept-language": "zh-CN"})
    assert read_page(chinese.text).one("h1").text == "无法完成此操作"


async def test_files_open_only_for_reviewers_who_opened_the_thread(
    layer: ChainlitLayer, rita: httpx.AsyncClient, browser_of: Browser
) -> None:
    await user_id(layer, "alice")
    link = await store(layer, "river.png", "image/png", b"a picture")
    assert (await rita.get(link)).status_code == 404
    await page_at(rita, f"/review/threads/{thread_of(link)}")
    assert (await rita.get(link)).content == b"a picture"
    assert (await (await browser_of("admin")).get(link)).status_code == 404


async def test_the_statistics_add_up(kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, "/review/numbers?period=custom&from=2026-11-01&to=2026-11-30&by=model")
    tiles = page.one("dl", class_="tiles").text
    assert "0 up, 1 down" in tiles
    assert "0 of 1 answers, 0 of 1 thumbs-down" in tiles
    assert HOSTILE in page.one("table", class_="coverage").text


async def test_the_address_of_the_statistics_can_be_guessed(rita: httpx.AsyncClient) -> None:
    answer = await rita.get("/review/statistics", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/review/numbers")


async def test_labels_removed_from_the_settings_are_still_counted(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient, browser_of: Browser
) -> None:
    with acting_as("rita"):
        await layer.put_verdict(Verdict(kept.answer_id, "an old label"))
    with acting_as("ada"):
        await layer.put_verdict(Verdict(kept.answer_id, "wrong"))
    async with layer.database.write() as connection:
        # The agreement is that of the period in which the verdicts were given.
        await connection.execute(update(verdicts).values(updatedAt="2026-11-21T10:00:00.000000Z"))
    page = await page_at(rita, f"/review/numbers?{NOVEMBER}")
    heads = page.one("table", class_="coverage").one("thead").all("th")
    assert (heads[0].text, heads[-1].text) == ("Model", "an old label"), "there is one assistant only"
    assert page.one("table", class_="coverage").one("tbody").all("td")[-1].text == "1"
    assert "Fleiss’ κ = -1.00" in page.one("dl", class_="tiles").text
    assert page.one("table", class_="agreement").all("th")[3].text == "Cohen’s κ"
    heads = (await page_at(rita, f"/review/numbers?{NOVEMBER}&by=assistant")).one("table", class_="coverage").all("th")
    assert heads[0].text == "Assistant"


async def test_words_link_to_the_counted_answers(layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient) -> None:
    page = await page_at(rita, f"/review/numbers?{NOVEMBER}")
    word = next(one for one in page.one("p", class_="words").all("a") if one.text.startswith("bold"))
    assert word.attributes["href"] == "/review?words=bold&thumb=down"
    assert len((await page_at(rita, word.attributes["href"])).one("ol", class_="answers").all("li")) == 1
    with acting_as("uma"):
        await layer.upsert_feedback(vote(kept.answer_id, 1))
    with acting_as("rita"):
        await layer.put_verdict(Verdict(kept.answer_id, "wrong"))
    page = await page_at(rita, f"/review/numbers?{NOVEMBER}")
    word = next(one for one in page.one("p", class_="words").all("a") if one.text.startswith("bold"))
    assert len((await page_at(rita, word.attributes["href"])).one("ol", class_="answers").all("li")) == 1


def test_only_complete_file_paths_are_loaded_as_images() -> None:
    link = f"/files/{new_id()}/{new_id()}/river%20bed.png"
    assert read_page(str(as_html(f"![a]({link})"))).one("img").attributes["src"] == link
    thread_id, element_id = new_id(), new_id()
    for other in (
        f"/files/../review/threads/{thread_id}",
        f"/files/%2e%2e/review/threads/{thread_id}",
        f"/files/{thread_id}/%2E%2E/../review",
        f"/files/{thread_id}/{element_id}/../../../review",
        f"/review/threads/{thread_id}",
        "/files//evil.example/x.png",
    ):
        assert not read_page(str(as_html(f"![a]({other})"))).all("img"), other


async def test_an_element_links_only_to_files_and_the_web(
    layer: ChainlitLayer, kept: Kept, rita: httpx.AsyncClient
) -> None:
    made = text_element(kept.thread_id, kept.answer_id, "a picture")
    await layer.create_element(made)
    async with layer.database.write() as connection:
        values = {"url": "javascript:alert(1)", "objectKey": None, "mime": "image/png"}
        await connection.execute(update(elements).where(elements.c.id == made.id).values(**values))
    page = await page_at(rita, f"/review/threads/{kept.thread_id}")
    shown = page.one("ul", class_="elements")
    assert made.name in shown.text
    assert not shown.all("a") and not shown.all("img")


def test_markdown_runs_nothing() -> None:
    for text in (
        MARKUP,
        "<https://example.org/<script>>",
        "[a](<javascript:alert(1)>)",
        "[a](java\nscript:alert(1))",
        "[a](data:text/html;base64,PHNjcmlwdD4=)",
        "![a](javascript:alert(1))",
        '![a" onerror="alert(1)](https://x.example/"onerror="y)',
        "```<script>\n</code></pre><script>alert(1)</script>\n```",
        "[a]: javascript:alert(1)\n\n[a]",
        "&lt;script&gt;",
        "a" * 300_000 + HOSTILE,
    ):
        page = read_page(str(as_html(text)))
        assert not page.all("script")
        runs_nothing(page)
