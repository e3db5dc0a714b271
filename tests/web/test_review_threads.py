"""Long threads under review: paging, forms, number of statements, time."""

import gc
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import httpx
import pytest
from sqlalchemy import event, insert, update

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerFilter, ReviewThread, StepVersion, Verdict, VerdictChange, Vote
from datalayer.schema.chat import steps
from tests.support.pages import Element
from tests.support.records import new_id, step, thread, vote
from tests.support.safe_pages import page_at
from tests.web.conftest import Browser
from threadkeeper.web.review.paging import MOST_CHARACTERS, MOST_MESSAGES, page_of
from threadkeeper.web.review.tool_steps import MOST_CHARACTERS as MOST_TOOL_CHARACTERS
from threadkeeper.web.review.tool_steps import MOST_STEPS, tool_steps
from threadkeeper.web.review.transcript import ShownMessage, shown_thread


@pytest.fixture
async def rita(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("reviewer")


async def talk_of(layer: ChainlitLayer, owner: str, turns: int) -> tuple[str, list[str]]:
    """A thread with this many questions and answers, and the ids of its answers."""
    thread_id = await thread(layer, owner, "A long talk")
    rows, answers = [], []
    for number in range(turns):
        at = f"2026-11-20T{10 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
        for kind, place in (("user_message", 1), ("assistant_message", 2)):
            step_id = new_id()
            values = {"id": step_id, "threadId": thread_id, "type": kind, "name": kind, "streaming": False}
            rows.append({**values, "output": f"**{kind}** {number}", "createdAt": f"{at}.{place:06}Z"})
            if kind == "assistant_message":
                answers.append(step_id)
    async with layer.database.write() as connection:
        await connection.execute(insert(steps), rows)
    return thread_id, answers


def shown_answers(page: Element) -> list[str]:
    ids = [one.attributes.get("id", "") for one in page.one("div", class_="talk").all("article")]
    return [one.removeprefix("answer-") for one in ids if one.startswith("answer-")]


def links(page: Element) -> dict[str, str]:
    nav = page.all("nav", class_="part")[0]
    return {one.text: one.attributes["href"] for one in nav.all("a")}


async def sent(browser: httpx.AsyncClient, part: Element, action: str, **values: str) -> httpx.Response:
    """Post the first form with this action, with its hidden fields."""
    form = part.all("form", action=action)[0]
    hidden = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
    return await browser.post(action, data=hidden | values)


# Pages


@pytest.mark.slow
async def test_a_long_thread_is_split_into_pages(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, answers = await talk_of(layer, people["user"].id, 120)
    address = f"/review/threads/{thread_id}"
    page = await page_at(rita, f"{address}?back=thumb%3Ddown")
    assert shown_answers(page) == answers[:50]
    assert "Messages 1–100 of 240" in page.all("nav", class_="part")[0].text
    assert len(page.all("nav", class_="part")) == 2, "above and below"
    assert list(links(page)) == ["Later →", "Last"]
    assert all("back=thumb%3Ddown" in one for one in links(page).values())
    page = await page_at(rita, links(page)["Later →"])
    assert shown_answers(page) == answers[50:100]
    assert list(links(page)) == ["First", "← Earlier", "Later →", "Last"]
    page = await page_at(rita, links(page)["Last"])
    assert shown_answers(page) == answers[100:]
    assert "Messages 201–240 of 240" in page.all("nav", class_="part")[0].text
    page = await page_at(rita, links(page)["← Earlier"])
    assert shown_answers(await page_at(rita, links(page)["First"])) == answers[:50]


async def test_the_page_has_the_wanted_answer_and_forms_lead_back_to_it(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, answers = await talk_of(layer, people["user"].id, 120)
    address, wanted = f"/review/threads/{thread_id}", answers[77]
    page = await page_at(rita, f"{address}?answer={wanted}")
    assert shown_answers(page) == answers[50:100]
    assert page.one("article", id=f"answer-{wanted}").attributes["class"].endswith(" wanted")
    judged = answers[60]
    judgement = {"label": "wrong", "better_answer": "x" * 90_000}
    done = await sent(rita, page.one("article", id=f"answer-{judged}"), f"{address}/verdicts", **judgement)
    assert done.headers["location"].endswith(f"#answer-{judged}")
    assert judged in shown_answers(await page_at(rita, done.headers["location"]))
    # What is about the thread leads back to the page as well, whatever answer one came for.
    page = await page_at(rita, f"{address}?page=1&answer={wanted}")
    done = await sent(rita, page, f"{address}/marks")
    assert shown_answers(await page_at(rita, done.headers["location"])) == answers[:50]


async def test_a_missing_page_gets_a_plain_message(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, answers = await talk_of(layer, people["user"].id, 2)
    for number in ("0", "2", "-1", "x", "1e3", "9" * 500, "1.5", "²"):
        refused = await rita.get(f"/review/threads/{thread_id}?page={number}")
        assert refused.status_code == 400, number
    page = await page_at(rita, f"/review/threads/{thread_id}?page=1&answer={new_id()}")
    assert shown_answers(page) == answers
    assert not page.all("nav", class_="part"), "a short thread has no pages to turn"
    assert not page.all("input", name="page")
    empty = await thread(layer, people["user"].id, "Nothing was said")
    assert shown_answers(await page_at(rita, f"/review/threads/{empty}")) == []


async def test_each_page_view_is_in_the_audit(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, _ = await talk_of(layer, people["user"].id, 60)
    for number in (1, 2):
        await page_at(rita, f"/review/threads/{thread_id}?page={number}")
    with acting_as("uma"):
        looked = await layer.who_looked()
    assert [(one.actor, one.action) for one in looked.entries] == [("rita", "read")] * 2


@pytest.mark.slow
async def test_slow_code_leaves_later_answers_without_highlighting(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, answers = await talk_of(layer, people["user"].id, 3)
    usual, slow = "~~~~python\ndef half(): ...\n~~~~\n", "~~~~csharp\n" + "a\n" * 4_000 + "~~~~\n"
    async with layer.database.write() as connection:
        for answer, output in zip(answers, (usual, slow * 6, usual), strict=True):
            await connection.execute(update(steps).where(steps.c.id == answer).values(output=output))
    for _ in range(2):
        page = await page_at(rita, f"/review/threads/{thread_id}")
        first, *_, last = page.all("pre")
        assert first.attributes == last.attributes == {"data-language": "python"}
        assert first.all("span") and not last.all("span"), "the time is each page's own"


def message(characters: int = 0, step_id: str = "") -> ShownMessage:
    return ShownMessage({"id": step_id, "type": "assistant_message", "output": "x" * characters})


def test_a_page_is_limited_in_messages_and_characters() -> None:
    many = [message(step_id=str(number)) for number in range(2 * MOST_MESSAGES + 1)]
    assert [len(page_of(many, "", str(number)).messages) for number in (1, 2, 3)] == [MOST_MESSAGES, MOST_MESSAGES, 1]
    for at in (0, MOST_MESSAGES - 1, MOST_MESSAGES, 2 * MOST_MESSAGES):
        found = page_of(many, str(at), "")
        assert many[at] in found.messages
        assert (found.first, found.last) == (1 + (found.number - 1) * MOST_MESSAGES, min(found.number * 100, 201))
    quarter = MOST_CHARACTERS // 4
    long = [message(quarter) for _ in range(9)]
    assert [len(page_of(long, "", str(number)).messages) for number in (1, 2, 3)] == [4, 4, 1]
    huge = [message(1), message(2 * MOST_CHARACTERS), message(1), message(1)]
    assert [len(page_of(huge, "", str(number)).messages) for number in (1, 2, 3)] == [1, 1, 2]
    assert page_of([], "", "").pages == 1


def test_everything_rendered_of_a_message_counts() -> None:
    plain = message(10)
    full = replace(
        plain,
        tools=tool_steps([tool("ab", "c")]),
        votes=(Vote("", 0, "d" * 20, (), "uma", None),),
        verdicts=(Verdict("", "wrong", note="e" * 30, better_answer="f" * 40),),
        versions=(version("", "edited", output="g" * 50),),
    )
    assert full.characters == 10 + len("searchabc") + 20 + 30 + 40 + 50


def tool(given: object = "", gave: object = "", **fields: object) -> dict[str, object]:
    return {"id": new_id(), "type": "tool", "name": "search", "input": given, "output": gave, **fields}


def test_tool_steps_are_shown_up_to_a_number_of_characters() -> None:
    many = tool_steps([tool("<" * 20_000, {"<": "<" * 90_000})] * 400)
    assert (len(many.shown), many.left_out, many.count) == (2, 398, 400)
    assert many.characters <= MOST_TOOL_CHARACTERS
    small = tool_steps([tool() for _ in range(MOST_STEPS + 50)])
    assert (len(small.shown), small.left_out) == (MOST_STEPS, 50)
    assert tool_steps([tool(name="x" * 999_999)]).characters < 1_000
    assert (tool_steps([tool("a", "b")]).left_out, tool_steps([]).count) == (0, 0)


async def test_a_page_with_many_long_tools_stays_small_and_counts_the_rest(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, _ = await talk_of(layer, people["user"].id, 1)
    fields = {"threadId": thread_id, "streaming": False}
    rows = [
        tool("<" * 20_000, "<" * 20_000, **fields, createdAt=f"2026-11-20T{hour}:00:{number:02}.000000Z")
        for hour in ("09", "11")
        for number in range(20)
    ]
    async with layer.database.write() as connection:
        await connection.execute(insert(steps), rows)
    page = await rita.get(f"/review/threads/{thread_id}")
    assert len(page.content) < 1_000_000
    before, after = (await page_at(rita, f"/review/threads/{thread_id}")).all("details", class_="tools")
    for block in (before, after):
        assert "Tool steps: 20" in block.text
        assert len(block.all("section")) == 2
        assert "Steps that are not shown: 18" in block.all("p", class_="quiet")[-1].text


# Removed messages among the others


def version(step_id: str, change: Literal["edited", "removed"] = "removed", **fields: Any) -> StepVersion:
    known = {"type": "assistant_message", "name": "a", "output": "", "created_at": "", "replaced_at": ""}
    return StepVersion(step_id, change, **(known | fields))


def laid_out(there: Sequence[tuple[str, str]], gone: Sequence[StepVersion]) -> list[str]:
    steps = [{"id": one, "type": "assistant_message", "output": "", "createdAt": at} for one, at in there]
    return [
        one.id for one in shown_thread(ReviewThread({"steps": steps, "elements": []}, versions=tuple(gone))).messages
    ]


def test_removed_messages_are_sorted_in_by_time() -> None:
    gone = [version(one, created_at=at) for one, at in (("y", "3"), ("x", "3"), ("z", "9"), ("w", "0"), ("v", "2"))]
    assert laid_out((("a", "1"), ("b", "3"), ("c", "5")), gone) == ["w", "a", "v", "b", "x", "y", "c", "z"]
    # Clocks went back: the order of the thread stays.
    assert laid_out((("a", "4"), ("b", "1"), ("c", "5")), gone[:1]) == ["y", "a", "b", "c"]
    assert laid_out((), gone[:2]) == ["x", "y"]


@pytest.mark.budget
def test_many_removed_messages_take_linear_time() -> None:
    def seconds(count: int) -> float:
        there = [(f"a{number:06}", f"{number:06}") for number in range(count)]
        gone = [version(f"b{number:06}", created_at=f"{number:06}") for number in range(count)]
        # A full garbage collection takes longer than the work, the longer the more modules other tests have loaded.
        gc.disable()
        try:
            started = time.thread_time()
            assert len(laid_out(there, gone)) == 2 * count
            return time.thread_time() - started
        finally:
            gc.enable()

    seconds(1_000)
    assert seconds(8_000) < 8 * 4 * max(min(seconds(1_000) for _ in range(3)), 0.001)


def test_the_stop_notice_of_chainlit_is_not_shown() -> None:
    notice = "Task manually stopped."
    assert laid_out((), [version("a", output=notice), version("b", output=f"{notice} "), version("c")]) == ["b", "c"]
    assert laid_out((), [version("a", output=notice, type="user_message")]) == ["a"], "somebody has asked that"


async def test_earlier_versions_of_a_removed_question_are_shown(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, _ = await talk_of(layer, people["user"].id, 2)
    with acting_as("uma"):
        first, *_, asked, _ = (await layer.get_thread(thread_id))["steps"]
        await layer.update_step({**asked, "output": "the question as it was edited"})
        await layer.cut_thread(thread_id, first["id"])
    page = await page_at(rita, f"/review/threads/{thread_id}")
    _, question, _ = page.all("details", class_="removed")
    assert "the question as it was edited" in question.text
    assert "**user_message** 1" in question.one("details", class_="version").text


# Statements


async def test_the_number_of_statements_is_independent_of_verdicts_and_copies(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, answers = await talk_of(layer, people["user"].id, 12)
    address = f"/review/threads/{thread_id}"
    with acting_as("rita"):
        await layer.take_over(thread_id)
        await layer.put_verdict(Verdict(answers[0], "wrong"))
    few = await statements(layer, rita, address)
    with acting_as("rita"):
        for answer in answers:
            await layer.put_verdict(Verdict(answer, "unclear"))
        for _ in range(5):
            await layer.take_over(thread_id)
    many = await statements(layer, rita, address)
    assert few == many
    assert (many["verdict_changes"], many["row_number"]) == (1, 1)
    page = await page_at(rita, address)
    assert page.text.count("You have a copy") == 6
    assert "History: 2 changes" in page.one("article", id=f"answer-{answers[0]}").text


async def statements(layer: ChainlitLayer, browser: httpx.AsyncClient, address: str) -> Counter[str]:
    """The number of statements of one view by table, after background work has finished."""
    await browser.get(address)
    seen: Counter[str] = Counter()
    names = re.compile(r"\b(verdict_changes|verdicts|thread_origins|step_versions|feedbacks|row_number)\b")

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.update(set(names.findall(statement)))

    engines = [layer.database.engine.sync_engine, layer.database.writing_engine.sync_engine]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    answer = await browser.get(address)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
    assert answer.status_code == 200
    return seen


async def test_a_withdrawn_verdict_stays_in_the_history(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, (answer,) = await talk_of(layer, people["user"].id, 1)
    with acting_as("rita"):
        await layer.put_verdict(Verdict(answer, "wrong"))
        await layer.remove_verdict(answer)
        changes: list[VerdictChange] = await layer.verdict_history(thread_id)
    assert [one.label for one in changes] == ["wrong", None]
    page = await page_at(rita, f"/review/threads/{thread_id}")
    assert "withdrawn" in page.one("details", class_="history").text


# Removed answers


async def test_a_replaced_answer_with_a_vote_is_shown_and_can_be_judged(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, (answer, later) = await talk_of(layer, people["user"].id, 2)
    with acting_as("uma"):
        asked, *_ = (await layer.get_thread(thread_id))["steps"]
        await layer.upsert_feedback(vote(answer, 0, "no, <b>Paris</b>"))
        await layer.give_reasons(answer, ["incorrect"])
        await layer.update_step({**asked, "output": "and of Spain"})
        await layer.cut_thread(thread_id, asked["id"])
    inbox = await page_at(rita, "/review?thumb=down")
    link = next(one.attributes["href"] for one in inbox.all("a") if answer in one.attributes.get("href", ""))
    page = await page_at(rita, link.partition("#")[0])
    wanted, unwanted = page.all("details", class_="removed")[0], page.all("details", class_="removed")[2]
    assert ("open" in wanted.attributes, "open" in unwanted.attributes) == (True, False)
    shown = wanted.one("article", id=f"answer-{answer}")
    assert shown.attributes["class"].endswith(" wanted")
    assert "data-answer" in shown.attributes
    beside = shown.one("div", class_="vote down").text
    assert [words for words in ("uma", "no, <b>Paris</b>", "Not correct") if words not in beside] == [], beside
    assert "assistant_message 0" in shown.text
    # The other one has no vote; it can be judged too once it is unfolded.
    other = unwanted.one("article", id=f"answer-{later}")
    assert "data-answer" not in other.attributes
    assert not other.all("div", class_="vote down")
    # A copy starts from the current thread, not from a removed answer.
    take_over = page.all("form", action=f"/review/threads/{thread_id}/take-over")
    assert [one.all("input", name="step_id") for one in take_over] == [[]]
    for part, label in ((shown, "wrong"), (other, "unclear")):
        done = await sent(rita, part, f"/review/threads/{thread_id}/verdicts", label=label)
        page = await page_at(rita, done.headers["location"])
        opened = next(one for one in page.all("details", class_="removed") if "open" in one.attributes)
        assert opened.all("div", class_="verdict")[0].text.startswith(label.capitalize())
    with acting_as("rita"):
        assert (await layer.list_answers(AnswerFilter(labels=("wrong",)))).rows[0].verdicts == 1


async def test_a_replaced_answer_in_the_queue_can_be_judged(
    layer: ChainlitLayer, people: dict[str, User], rita: httpx.AsyncClient
) -> None:
    thread_id, (answer,) = await talk_of(layer, people["user"].id, 1)
    with acting_as("rita"):
        await layer.enqueue_answers([answer])
        await layer.take_next()
    with acting_as("uma"):
        await layer.delete_step(answer)
    page = await page_at(rita, f"/review/threads/{thread_id}?queue=1")
    opened = page.one("details", class_="removed")
    assert "open" in opened.attributes
    await sent(rita, opened, f"/review/threads/{thread_id}/verdicts", label="wrong", then="next")
    with acting_as("rita"):
        assert await layer.list_queue() == []


async def test_the_thought_of_an_answer_is_folded_beside_it(rita: httpx.AsyncClient, layer: ChainlitLayer) -> None:
    owner = (await layer.add_account("thinker", "no real hash", "user")).id
    thread_id = await thread(layer, owner, "Thinking")
    said = [
        ("user_message", "What is 6 x 7?", {}),
        ("llm", "Six times seven <b>is</b> 42.", {"status": "thought"}),
        ("assistant_message", "It is 42.", {}),
        ("user_message", "And 7 x 8?", {}),
        ("assistant_message", "<think>56, I think.</think>It is 56.", {}),
    ]
    for number, (kind, output, metadata) in enumerate(said):
        at = f"2026-11-20T10:00:0{number}.000000Z"
        made = step(thread_id, output, type=kind, metadata=metadata, createdAt=at)
        await layer.create_step(made)
    page = await page_at(rita, f"/review/threads/{thread_id}")
    articles = page.one("div", class_="talk").all("article")
    answers = [one for one in articles if one.attributes["id"].startswith("answer-")]
    assert [one.one("div", class_="prose").text for one in answers] == ["It is 42.", "It is 56."]
    folded = [one.one("details", class_="tools") for one in answers]
    assert [one.one("summary").text for one in folded] == ["Thought", "Thought"]
    assert [one.one("pre").text for one in folded] == ["Six times seven <b>is</b> 42.", "56, I think."]
    assert all("open" not in one.attributes for one in folded)
