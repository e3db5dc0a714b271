"""The page at `/me`: views by reviewers, shared threads, takeout, logins, deletion of the account."""

import errno
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import httpx
import jwt
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, update

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.records.review import AnswerFilter
from datalayer.records.usage import Limit, LlmCallPayload
from datalayer.schema.chat import credentials, logins, users
from tests.support.calls import call
from tests.support.job_process import TIMES
from tests.support.pages import read_page, table
from tests.support.patience import until
from tests.support.records import new_id, step, thread, vote
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import SECRET, Browser
from threadkeeper.login.accounts import Authenticator
from threadkeeper.login.passwords import Passwords
from threadkeeper.login.throttle import LoginThrottle
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.pages import receipts


@pytest.fixture
async def uma(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("user")


@pytest.fixture
async def thread_id(layer: ChainlitLayer, people: dict[str, User]) -> str:
    return await thread(layer, people["user"].id, "My thread")


class TestWithAPurpose:
    @pytest.fixture
    def review_policy(self) -> ReviewPolicy:
        return ReviewPolicy(asks_purpose=True)

    async def test_a_thread_opens_with_a_purpose_that_its_owner_can_read(
        self, layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient, browser_of: Browser
    ) -> None:
        rita, address = await browser_of("reviewer"), f"/review/threads/{thread_id}"
        answer = step(thread_id, "An answer", type="assistant_message", name="Assistant")
        await layer.create_step(answer)
        with acting_as("uma"):
            await layer.upsert_feedback(vote(answer["id"], 0, "It called me Ursula"))
        inbox = await page_at(rita, "/review")
        assert "Opens after you give a purpose" in inbox.text
        assert "An answer" not in inbox.text
        assert "My thread" not in inbox.text
        assert "Ursula" not in inbox.text
        queue = await page_at(rita, "/review/queue")
        await posted(rita, queue, "/review/queue/fill", percent="100", wanted="1")
        row = (await page_at(rita, "/review/queue")).one("table", class_="items").one("tbody").one("tr")
        assert row.one("a").text == "Opens after you give a purpose"
        assert "uma" in row.text
        assert "My thread" not in row.text
        asked = await page_at(rita, address)
        assert "Why are you opening this thread?" in asked.text
        assert "remains after the thread is deleted" in asked.text
        assert "My thread" not in asked.text
        assert (await posted(rita, asked, f"{address}/take-over")).headers["location"] == address, "nor is it copied"
        with acting_as("uma"):
            assert not (await layer.who_looked()).entries, "it was not opened"
        assert (await posted(rita, asked, f"{address}/open", purpose="  ")).status_code == 400
        going = {"answer": "x", "queue": "1", "page": "2", "back": "thumb=down"}
        refused = await posted(rita, asked, f"{address}/open", purpose="x" * 501, **going)
        assert refused.status_code == 400
        shown = read_page(refused.text)
        assert {one.attributes["name"]: one.attributes["value"] for one in shown.all("input")}.items() > going.items()
        assert (shown.one("textarea").text, shown.one("p", class_="back").one("a").attributes["href"]) == (
            "x" * 501,
            "/review?thumb=down",
        )
        opened = await posted(rita, asked, f"{address}/open", purpose="A complaint", answer="x", queue="1")
        assert opened.headers["location"] == f"{address}?queue=1&answer=x#answer-x", "where one was going"
        opened = await posted(rita, asked, f"{address}/open", purpose="A complaint 投诉 <b>")
        assert opened.headers["location"] == address
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and f"Path={address}" in cookie
        assert "My thread" in (await page_at(rita, address)).text
        rows = table(await page_at(uma, "/me"), "looked")
        assert [row[1:] for row in rows] == [["rita", "opened it", "My thread", "A complaint 投诉 <b>"]]
        numbers = await page_at(rita, "/review/numbers")
        assert "Words are not shown" in numbers.text
        assert not numbers.all("p", class_="words")
        export = await page_at(rita, "/review/export")
        assert (await posted(rita, export, "/review/export", kind="pairs", format="csv")).status_code == 400

    async def test_messages_of_another_users_call_are_hidden_without_a_purpose(
        self, layer: ChainlitLayer, people: dict[str, User], thread_id: str, browser_of: Browser
    ) -> None:
        made = call(utc_now(), thread_id=thread_id, user_id=people["user"].id)
        await layer.record_call(made, LlmCallPayload(made.id, [{"role": "user", "content": "A secret"}], "A secret"))
        page = await page_at(await browser_of("admin"), f"/usage/calls/{made.id}")
        assert "secret" not in page.text
        assert page.all("a", href=f"/review/threads/{thread_id}")
        assert "A secret" in (await page_at(await browser_of("user"), f"/usage/calls/{made.id}")).text
        with acting_as("uma"):
            assert not (await layer.who_looked()).entries

    async def test_reviewers_open_their_own_threads_without_a_purpose(
        self, layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
    ) -> None:
        own = await thread(layer, people["reviewer"].id, "Mine")
        assert "Mine" in (await page_at(await browser_of("reviewer"), f"/review/threads/{own}")).text
        with acting_as("rita"):
            assert not (await layer.who_looked()).entries


async def test_the_owner_sees_that_an_admin_read_a_call(
    layer: ChainlitLayer, people: dict[str, User], thread_id: str, uma: httpx.AsyncClient, browser_of: Browser
) -> None:
    made = call(utc_now(), thread_id=thread_id, user_id=people["user"].id)
    await layer.record_call(made, LlmCallPayload(made.id, [{"role": "user", "content": "A secret"}], "An answer"))
    unkept = call(utc_now(), thread_id=thread_id, user_id=people["user"].id)
    await layer.record_call(unkept)
    for call_id in (made.id, unkept.id):
        await page_at(uma, f"/usage/calls/{call_id}")
        await page_at(await browser_of("admin"), f"/usage/calls/{call_id}")
    rows = table(await page_at(uma, "/me"), "looked")
    assert [row[1:4] for row in rows] == [["ada", "read the messages of a call", "My thread"]]


async def test_the_first_page_lists_few_views(layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient) -> None:
    with acting_as("rita"):
        for _ in range(25):
            await layer.open_thread_for_review(thread_id)
    page = await page_at(uma, "/me")
    assert len(table(page, "looked")) == 10
    more = next(one for one in page.all("a", rel="next"))
    assert len(table(await page_at(uma, more.attributes["href"].partition("#")[0]), "looked")) == 15


async def test_sharing_is_stopped(
    layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient, browser_of: Browser
) -> None:
    await layer.update_thread(thread_id, metadata={"is_shared": True, "shared_at": "2026-11-20T10:00:00Z"})
    page = await page_at(uma, "/me")
    assert "earlier versions of edited messages" in page.one("section", id="looked").text
    assert "My thread" in page.one("ul", class_="shared").text
    rita = await browser_of("reviewer")
    stop = f"/me/shared/{thread_id}/stop"
    assert (await posted(rita, await page_at(rita, "/me"), stop)).status_code == 404, "it is not theirs"
    assert (await posted(uma, page, stop)).status_code == 303
    assert "You share no threads." in (await page_at(uma, "/me")).text
    with acting_as("rita"):
        assert await layer.get_thread(thread_id) is None


@pytest.mark.parametrize(("moment", "day"), [("2026-11-20T23:30:00Z", "2026-11-21"), ("yesterday", "")])
async def test_a_thread_was_shared_on_the_readers_day(
    layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient, moment: str, day: str
) -> None:
    await layer.update_thread(thread_id, metadata={"is_shared": True, "shared_at": moment})
    uma.cookies.set("time_zone", "Asia/Shanghai")
    assert (await page_at(uma, "/me")).one("ul", class_="shared").one("span").text == day


@pytest.fixture
async def jobs(layer: ChainlitLayer, whole_app: FastAPI) -> AsyncIterator[None]:
    """The server runs jobs."""
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


async def takeout_section(browser: httpx.AsyncClient, sentence: str) -> Any:
    """The section, as soon as it has this sentence."""

    async def section() -> Any:
        found = (await page_at(browser, "/me")).one("section", id="takeout")
        return found if sentence in found.text else None

    return await until(section)


@pytest.mark.usefixtures("jobs")
async def test_a_takeout_is_prepared_and_downloaded(
    layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient, browser_of: Browser
) -> None:
    message = step(thread_id, "What I said")
    await layer.create_step(message)
    await layer.update_step({**message, "output": "What I meant"})
    page = await page_at(uma, "/me")
    assert "earlier versions of messages" in page.one("section", id="takeout").text
    for _ in range(2):
        answer = await posted(uma, page, "/me/takeout")
        assert (answer.status_code, answer.headers["location"]) == (303, "/me#takeout")
    section = await takeout_section(uma, "The file is deleted on")
    link = section.one("a").attributes["href"]
    answer = await uma.get(link)
    assert answer.headers["content-type"] == "application/zip"
    assert "uma-" in answer.headers["content-disposition"]
    assert len(answer.content) == int(answer.headers["content-length"])
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    for text in (b"What I said", b"What I meant"):
        assert any(text in archive.read(name) for name in archive.namelist()), text
    for role in ("reviewer", "admin"):
        other = await browser_of(role)
        assert (await other.get(link)).status_code == 404
        stop = await posted(other, await page_at(other, "/me"), f"{link}/cancel")
        assert stop.status_code == 404

    (job,) = (await layer.list_jobs()).jobs
    assert job.object_key is not None
    await layer.blobs.delete(job.object_key)
    gone = await uma.get(link)
    assert gone.status_code == 400
    assert "This ZIP was deleted" in gone.text


async def test_a_takeout_waits_and_is_cancelled(layer: ChainlitLayer, uma: httpx.AsyncClient) -> None:
    await posted(uma, await page_at(uma, "/me"), "/me/takeout")
    section = await takeout_section(uma, "is being prepared")
    assert "data-again" in section.attributes
    (job,) = (await layer.list_jobs()).jobs
    assert (await uma.get(f"/me/takeout/{job.id}")).status_code == 404
    await posted(uma, await page_at(uma, "/me"), f"/me/takeout/{job.id}/cancel")
    section = await takeout_section(uma, "Prepare a ZIP")
    assert "data-again" not in section.attributes


@pytest.mark.usefixtures("jobs")
async def test_a_takeout_that_fails_says_so_and_can_be_asked_for_again(
    layer: ChainlitLayer, thread_id: str, uma: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("threadkeeper.jobs.takeouts.export_user", full)
        await posted(uma, await page_at(uma, "/me"), "/me/takeout")
        await takeout_section(uma, "could not be prepared")
    (job,) = (await layer.list_jobs()).jobs
    assert job.error == "the ZIP could not be written: No space left on device"
    await posted(uma, await page_at(uma, "/me"), "/me/takeout")
    await takeout_section(uma, "Download uma-")


PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1"
)
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"


@pytest.fixture
async def old_passwords(layer: ChainlitLayer, people: dict[str, User]) -> None:
    """Allow logins from before today."""
    async with layer.database.write() as connection:
        await connection.execute(update(credentials).values(updatedAt=utc_in(-86_400)))
        await connection.execute(update(users).values(createdAt=utc_in(-86_400)))


async def elsewhere(browser_of: Browser, role: str, agent: str, *, hours_ago: float = 1) -> httpx.AsyncClient:
    """Another browser of the person with this role, with an older login."""
    browser = await browser_of(role)
    claims = jwt.decode(browser.cookies["access_token"], SECRET, ["HS256"])
    claims["iat"] -= int(hours_ago * 3_600)
    browser.cookies.set("access_token", jwt.encode(claims, SECRET, "HS256"))
    browser.headers["User-Agent"] = agent
    return browser


async def test_this_browser_was_last_seen_now(layer: ChainlitLayer, uma: httpx.AsyncClient) -> None:
    await page_at(uma, "/me")
    before = datetime.now(UTC) - timedelta(seconds=45)
    async with layer.database.write() as connection:
        await connection.execute(update(logins).values(seenAt=before.isoformat().replace("+00:00", "Z")))
    ((_, _, seen, _),) = table(await page_at(uma, "/me"), "logins")
    assert datetime.fromisoformat(f"{seen}Z") >= before + timedelta(seconds=30)


@pytest.mark.usefixtures("old_passwords")
async def test_logins_are_listed_and_ended_one_by_one(uma: httpx.AsyncClient, browser_of: Browser) -> None:
    uma.headers["User-Agent"] = LAPTOP
    phone = await elsewhere(browser_of, "user", PHONE)
    odd = await elsewhere(browser_of, "user", "<img src=x onerror=alert(1)>", hours_ago=2)
    ritas = await browser_of("reviewer")
    for browser in (phone, odd, ritas):
        await page_at(browser, "/me")
    page = await page_at(uma, "/me")
    rows = table(page, "logins")
    assert [(row[0], row[3]) for row in rows] == [
        ("Firefox on Linux this browser", ""),
        ("Mobile Safari on iOS", "End"),
        ("Unknown browser", "End"),
    ]
    ends = [form.attributes["action"] for form in page.one("table", class_="logins").all("form")]
    assert (await posted(ritas, await page_at(ritas, "/me"), ends[0])).status_code == 404, "it is not hers"
    assert (await posted(uma, page, "/me/logins/nonsense/end")).status_code == 404
    assert (await uma.post(ends[0])).status_code == 403, "without the token of a form"
    assert (await posted(uma, page, ends[0])).headers["location"] == "/me#logins"
    assert (await phone.get("/me?cursor=3")).headers["location"] == "/login?next=/me%3Fcursor%3D3"
    assert (await phone.get("/project/settings")).status_code == 401
    assert len(table(await page_at(odd, "/me"), "logins")) == 2
    chinese = await uma.get("/me", headers={"Accept-Language": "zh-CN"})
    assert "Linux 上的 Firefox" in chinese.text


@pytest.mark.usefixtures("old_passwords")
@pytest.mark.parametrize("comes_from_elsewhere", [False, True])
async def test_logging_out_everywhere_ends_all_logins(
    uma: httpx.AsyncClient,
    browser_of: Browser,
    layer: ChainlitLayer,
    people: dict[str, User],
    comes_from_elsewhere: bool,
) -> None:
    if comes_from_elsewhere:
        async with layer.database.write() as connection:
            await connection.execute(delete(credentials).where(credentials.c.userId == people["user"].id))
    other, unseen = [await elsewhere(browser_of, "user", PHONE, hours_ago=hours) for hours in (1, 2)]
    page = await page_at(other, "/me")
    assert ("You sign in through another service" in page.text) is comes_from_elsewhere
    left = await posted(uma, await page_at(uma, "/me"), "/me/log-out")
    assert left.headers["location"] == "/login"
    assert "access_token=" in left.headers["set-cookie"], "this browser forgets its login"
    for browser in (other, unseen):
        assert (await browser.get("/me")).status_code == 303
    assert (await (await browser_of("reviewer")).get("/me")).status_code == 200


async def test_deleting_the_account_gives_a_receipt(
    layer: ChainlitLayer, people: dict[str, User], thread_id: str, uma: httpx.AsyncClient
) -> None:
    other = await thread(layer, people["user"].id, "Another thread")
    answer = step(other, "An answer", type="assistant_message", name="Assistant")
    for one in (answer, step(other, "", type="run", name="on_message")):
        await layer.create_step(one)
    with acting_as("uma"):
        await layer.upsert_feedback(vote(answer["id"], 1))
    page = await page_at(uma, "/me")
    for typed in ("", "Uma", "rita", "ümä"):
        refused = await posted(uma, page, "/me/delete", confirm=typed)
        assert refused.status_code == 400
        assert "Nothing was deleted" in refused.text
    gone = await posted(uma, page, "/me/delete", confirm="uma")
    assert gone.status_code == 200
    shown = read_page(gone.text)
    assert shown.one("p", class_="counts").text == "2 threads, 1 message, 1 vote, 0 files deleted."
    assert "other records were deleted too, such as your account" in shown.text
    assert thread_id not in shown.text, "the ids are only in the file"
    link = shown.one("a", download="receipt.json").attributes["href"]
    receipt = json.loads(unquote(link.removeprefix("data:application/json;charset=utf-8,")))
    assert (receipt["what"], receipt["owner"]) == ("user", "uma")
    assert receipt["threads"] == sorted([thread_id, other])
    assert receipt["messages"] == 1
    assert await layer.get_user("uma") is None
    assert (await uma.get("/me")).status_code == 303


async def test_a_receipt_too_long_for_a_url_is_folded_on_the_page_for_browsers_without_scripts(
    thread_id: str, uma: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "LONGEST_FILE_LINK", 100)
    gone = read_page((await posted(uma, await page_at(uma, "/me"), "/me/delete", confirm="uma")).text)
    assert "1 thread, 0 messages, 0 votes, 0 files deleted." in gone.text
    link = gone.one("a", download="receipt.json").attributes
    assert ("hidden" in link, "href" in link) == (True, False), "the script links the file"
    folded = gone.one("details", id="receipt")
    assert "save this page" in folded.one("summary").text
    assert json.loads(folded.one("pre").text)["threads"] == [thread_id]
    (script,) = [one.attributes["src"] for one in gone.all("script") if "receipt" in one.attributes["src"]]
    assert "createObjectURL" in (await uma.get(script)).text


async def test_an_export_of_several_threads_is_one_line(
    layer: ChainlitLayer, people: dict[str, User], thread_id: str, uma: httpx.AsyncClient
) -> None:
    threads = [await thread(layer, people["user"].id, f"Thread {at}") for at in range(54)]
    for one in (thread_id, *threads):
        await layer.create_step(step(one, "An answer", type="assistant_message", name="Assistant"))
    with acting_as("rita"):
        found = [one["id"] async for one in layer.export_conversations(AnswerFilter(), purpose="training")]
        assert len(found) == 55
        await layer.open_thread_for_review(thread_id)
    await layer.delete_thread(found[0])
    page = await page_at(uma, "/me")
    opened, exported = page.one("table", class_="looked").one("tbody").all("tr")
    assert "opened it My thread" in opened.text or found[0] == thread_id
    assert "rita exported 55 of your threads Show the threads deleted Thread" in exported.text.replace("My t", "T")
    assert "training" in exported.text
    *first, everything = exported.one("details").all("li")
    assert len(first) == 10
    link = everything.one("a")
    assert link.text == "All 55 threads"
    page = await page_at(uma, link.attributes["href"].removesuffix("#looked"))
    assert "Your threads in one export." in page.text
    rows = table(page, "looked")
    assert (len(rows), {row[2] for row in rows}) == (50, {"exported it"})
    further = page.one("a", rel="next").attributes["href"].removesuffix("#looked")
    rows += table(await page_at(uma, further), "looked")
    names = {f"Thread {at}" for at in range(54)} | {"My thread", "deleted"}
    assert len(rows) == 55
    assert {row[3] for row in rows} < names
    for unknown in ("nonsense", "", "x" * 5_000, thread_id):
        assert (await uma.get(f"/me?export={unknown}")).status_code == 404


async def test_owners_of_an_assistant_see_votes_but_no_contents(
    layer: ChainlitLayer, people: dict[str, User], uma: httpx.AsyncClient, browser_of: Browser
) -> None:
    theirs = await thread(layer, people["admin"].id, "A secret thread")
    answer = step(theirs, "A secret answer", type="assistant_message", name="Assistant")
    await layer.create_step(answer)
    made = call(utc_now(), thread_id=theirs, step_id=answer["id"], assistant="travel")
    await layer.record_call(made)
    with acting_as("ada"):
        await layer.upsert_feedback(vote(answer["id"], 0, "A secret comment"))
    page = await page_at(uma, "/me")
    assert table(page, "votes") == [["travel", "1", "0", "1", "0%"]]
    assert "secret" not in page.text
    assert not (await page_at(await browser_of("reviewer"), "/me")).all("table", class_="votes")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_chosen_language_stands_before_the_browsers_in_pages_and_chat(uma: httpx.AsyncClient) -> None:
    uma.headers["Accept-Language"] = "zh-CN"
    page = await page_at(uma, "/me")
    assert page.one("html").attributes["lang"] == "zh-CN"
    refused = await posted(uma, page, "/me/language", language="tlh")
    assert (refused.status_code, "tlh" in refused.text) == (400, True)
    chosen = await posted(uma, page, "/me/language", language="de-DE")
    assert chosen.headers["location"] == "/me#language"
    uma.cookies.set("broken", "a{b}")
    page = await page_at(uma, "/me")
    assert page.one("html").attributes["lang"] == "de-DE"
    assert page.one("option", selected="").attributes["value"] == "de-DE"
    assert (await uma.get("/page/texts")).json()["texts"]["act_delete"] == "Löschen"
    for asked in ("fr-FR", "pl-PL"):
        answer = await uma.get("/project/translations", params={"language": asked})
        assert answer.headers["content-language"] == "de-DE"
    await posted(uma, page, "/me/language", language="")
    assert (await page_at(uma, "/me")).one("html").attributes["lang"] == "zh-CN"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_own_password_is_changed_with_the_old_one_and_ends_the_other_logins(
    layer: ChainlitLayer, uma: httpx.AsyncClient, browser_of: Browser
) -> None:
    other = await browser_of("user")
    page, new = await page_at(uma, "/me"), "a new sentence"
    for old, again, told in (("wrong", new, "is not correct"), ("the analytical engine", "else", "not the same")):
        refused = await posted(uma, page, "/me/password", old=old, password=new, again=again)
        assert (refused.status_code, told in refused.text) == (400, True)
    assert (await other.get("/me")).status_code == 200
    old_token = uma.cookies["access_token"]
    uma.cookies.clear()
    uma.headers["cookie"] = f"access_token={old_token}"
    done = await posted(uma, page, "/me/password", old="the analytical engine", password=new, again=new)
    assert done.headers["location"] == "/me?password=1#account"
    token = done.cookies["access_token"]
    assert token != old_token
    assert (await uma.get("/me")).status_code == 303, "the old token is over"
    assert (await other.get("/me")).status_code == 303
    uma.headers["cookie"] = f"access_token={token}"
    assert "all other sessions have ended" in (await page_at(uma, "/me?password=1")).text
    for password, status in ((new, 200), ("the analytical engine", 401)):
        answer = await (await browser_of(None)).post("/login", data={"username": "uma", "password": password})
        assert answer.status_code == status


async def test_wrong_old_passwords_are_slowed_as_logins_are(layer: ChainlitLayer, passwords: Passwords) -> None:
    await layer.add_account("uma", await passwords.hash("right password"))
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    accounts = Authenticator(layer, passwords, LoginThrottle(sleep=sleep))
    for _ in range(5):
        assert not await accounts.confirm("uma", "wrong password")
    assert len(paused) == 2, "the first three are free"
    assert await accounts.confirm("UMA", "right password")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_limits_and_what_is_left_of_them_are_shown(
    layer: ChainlitLayer, people: dict[str, User], uma: httpx.AsyncClient
) -> None:
    assert "No limit applies to you." in (await page_at(uma, "/me")).text
    project = await layer.default_project()
    for scope, subject, unit, amount in (
        ("users", None, "tokens", 10_000),
        ("user", people["user"].id, "tokens", 2_000),
        ("user", people["reviewer"].id, "tokens", 7),
        ("project", project, "dollars", 5),
    ):
        await layer.put_limit(Limit(new_id(), scope, subject, "month", unit, Decimal(amount)))  # type: ignore[arg-type]
    used = {"prompt_tokens": 400, "completion_tokens": 100, "total_cost": Decimal("1.25")}
    await layer.record_call(call(utc_now(), user_id=people["user"].id, project_id=project, **used))
    rows = table(await page_at(uma, "/me"), "rows limits")
    assert sorted(row[:3] for row in rows) == [
        ["$5.00 a month of all users together", "$1.25 25%", "$3.75"],
        ["2,000 tokens a month", "500 tokens 25%", "1,500 tokens"],
    ]
