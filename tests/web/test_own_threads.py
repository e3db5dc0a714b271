"""The page at `/me/threads`, and what the script of the chat's page gets for the side bar."""

import httpx
import pytest

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.pages import Element
from tests.support.records import step, thread
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser
from threadkeeper.web.me import forks

ADDRESS = "/me/threads"


def titles(page: Element) -> list[str]:
    return [link.text for link in page.all("a", class_="title")]


async def test_threads_are_found_organized_and_deleted(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner = people["user"].id
    foreign = await thread(layer, people["admin"].id, "Not hers")
    with acting_as("uma"):
        first = await thread(layer, owner, "First <b>")
        second = await thread(layer, owner, "Second 第二")
        await layer.create_step(step(first, "a kangaroo"))
        for number in range(51):
            await thread(layer, owner, f"More {number}")
    uma = await browser_of("user")
    page = await page_at(uma, ADDRESS)
    assert titles(page)[0] == "More 50"
    assert len(titles(page)) == 50
    (link,) = page.all("a", rel="next")
    assert titles(await page_at(uma, link.attributes["href"])) == ["More 0", "First <b>", "Second 第二"]
    assert titles(await page_at(uma, f"{ADDRESS}?q=kangaroo")) == ["First <b>"]

    enter = page.one("form", class_="threads").all("button")[0].attributes["value"]
    assert enter == "tag", "the key Enter presses the first button; the form has one field, that of the folder"

    answer = await posted(uma, page, ADDRESS, act="pin", thread=[first, second, foreign])
    assert answer.headers["location"] == ADDRESS
    assert "Pinned threads: 2." in (await page_at(uma, f"{ADDRESS}?view=pinned")).text
    pinned = await page_at(uma, f"{ADDRESS}?view=pinned")
    assert titles(pinned) == ["First <b>", "Second 第二"]
    assert not pinned.all("p", class_="notice"), "it is told once"

    await posted(uma, page, ADDRESS, act="tag", folder="Reisen & Büro", thread=[second])
    found = await posted(uma, page, ADDRESS, act="archive", thread=[second], view="all", tag="Reisen & Büro")
    inside = await page_at(uma, found.headers["location"])
    assert titles(inside) == ["Second 第二"]
    assert [one.text for one in inside.all("option", selected="")] == ["Reisen & Büro"]
    assert titles(await page_at(uma, f"{ADDRESS}?view=archived")) == ["Second 第二"]
    await posted(uma, page, ADDRESS, act="untag", folder="Reisen & Büro", thread=[second])
    assert "Nothing found" in (await page_at(uma, found.headers["location"])).text

    sure = await posted(uma, page, ADDRESS, act="delete", thread=[first, second, foreign])
    assert "Delete these 2 threads for ever?" in sure.text
    assert "Not hers" not in sure.text
    # In another tab, they may be deleted already.
    await posted(uma, page, ADDRESS, act="delete", sure="1", thread=[first, foreign])
    assert "threads: 1, messages: 1, files: 0" in (await page_at(uma, f"{ADDRESS}?view=all")).text
    await posted(uma, page, ADDRESS, act="delete", sure="1", thread=[first, second])
    assert "threads: 1, messages: 0, files: 0" in (await page_at(uma, f"{ADDRESS}?view=all")).text
    for fields in ({"sure": "1"}, {}):
        assert (await posted(uma, page, ADDRESS, act="delete", thread=[second, foreign], **fields)).status_code == 303
        assert "threads: 0, messages: 0, files: 0" in (await page_at(uma, f"{ADDRESS}?view=all")).text
    assert await layer.get_thread_head(first) is None
    assert await layer.get_thread_head(foreign) is not None
    await posted(uma, page, ADDRESS, act="pin")
    assert "Select threads first." in (await page_at(uma, ADDRESS)).text


async def test_what_is_not_valid_is_refused(layer: ChainlitLayer, people: dict[str, User], browser_of: Browser) -> None:
    own = await thread(layer, people["user"].id)
    uma = await browser_of("user")
    for query in ("view=none", "cursor=none", f"cursor={'x' * 301}", f"q={'x' * 301}", f"tag={'x' * 201}"):
        assert (await uma.get(f"{ADDRESS}?{query}")).status_code == 400, query
    page = await page_at(uma, ADDRESS)
    for fields in ({"act": "other"}, {"act": "tag", "folder": " "}, {"act": "tag", "folder": "x" * 201}):
        assert (await posted(uma, page, ADDRESS, thread=[own], **fields)).status_code == 400, fields


async def test_the_side_bar_gets_pins_and_folders(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner = people["user"].id
    with acting_as("uma"):
        own = await thread(layer, owner, "Mine", tags=["work"])
    uma, ada = await browser_of("user"), await browser_of("admin")
    marks = f"/page/threads/{own}/marks"
    assert (await ada.put(marks, json={"is_pinned": True})).status_code == 404
    assert (await uma.put(marks, json={"is_pinned": True})).json() == {"success": True}
    mine = {"id": own, "name": "Mine"}
    bar: httpx.Response = await uma.get("/page/side-bar", params={"tag": "work"})
    folders = [{"tag": "work", "threads": 1}]
    assert bar.json() == {"pinned": [mine], "folders": folders, "inside": [mine], "is_more": False}
    empty = {"pinned": [], "folders": [], "inside": [], "is_more": False}
    assert (await ada.get("/page/side-bar", params={"tag": "work"})).json() == empty


async def test_a_thread_is_forked_at_a_message(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acting_as("uma"):
        own = await thread(layer, people["user"].id, "Trip <b>")
        for text, kind in (("Where to?", "user_message"), ("Lisbon", "assistant_message"), ("Why?", "user_message")):
            await layer.create_step(step(own, text, type=kind))
        for unsaid in ({"type": "run"}, {"isError": True}, {"metadata": {"status": "notice"}}):
            await layer.create_step(step(own, "No message", type="assistant_message") | unsaid)
    uma, ada = await browser_of("user"), await browser_of("admin")
    assert (await ada.get(f"{ADDRESS}/{own}/fork")).status_code == 404
    assert (await uma.get(f"{ADDRESS}/no-id/fork")).status_code == 404
    assert (await uma.get(f"{ADDRESS}/{own}/fork?before=x")).status_code == 400
    read_whole = layer.get_thread
    # A page of a long thread does not read all of it.
    monkeypatch.setattr(layer, "get_thread", None)
    page = await page_at(uma, f"{ADDRESS}/{own}/fork")
    buttons = page.all("button", name="step")
    assert len(buttons) == 3, "the newest message is first"
    monkeypatch.setattr(forks, "MESSAGES_A_PAGE", 2)
    first = await page_at(uma, f"{ADDRESS}/{own}/fork")
    (following,) = first.all("a", rel="next")
    rest = await page_at(uma, following.attributes["href"])
    newer, older = (first.all("button", name="step"), rest.all("button", name="step"))
    assert (len(newer), len(older)) == (2, 1)
    assert [one.attributes["value"] for one in newer + older] == [one.attributes["value"] for one in buttons]
    assert not rest.all("a", rel="next")
    answer = await posted(uma, page, f"{ADDRESS}/{own}/fork", step=buttons[1].attributes["value"])
    forked = await read_whole(answer.headers["location"].removeprefix("/thread/"))
    *said, told = [one["output"] for one in forked["steps"]]
    assert said == ["Where to?", "Lisbon"]
    assert "Trip <b>" in told
    assert forked["name"] == "Trip <b> (fork)"
    refused = await posted(ada, await page_at(ada, "/me"), f"{ADDRESS}/{own}/fork", step=buttons[1].attributes["value"])
    assert refused.status_code == 404


async def test_prompts_are_kept_changed_and_deleted(layer: ChainlitLayer, browser_of: Browser) -> None:
    uma, ada = await browser_of("user"), await browser_of("admin")
    page, address = await page_at(uma, "/me/prompts"), "/me/prompts"
    assert (await posted(uma, page, address, name="/short", text="Be <b>")).headers["location"] == address
    assert (await posted(uma, page, address, name="short", text="again")).status_code == 400
    for fields in ({"name": "a b", "text": "x"}, {"name": "x", "text": " "}, {"name": "/Temporary", "text": "x"}):
        assert (await posted(uma, page, address, **fields)).status_code == 400
    assert (await posted(uma, page, address, name="all", text="x", is_shared="1")).status_code == 404
    hers = await page_at(ada, address)
    await posted(ada, hers, address, name="all", text="For {everyone}", is_shared="1")
    shown = await page_at(uma, address)
    assert [one.text for one in shown.all("h2")] == ["/all Shared by ada", "/short", "New prompt"]
    assert (await uma.get("/page/prompts")).json() == {"all": "For {everyone}", "short": "Be <b>"}
    (own,) = [one.attributes["value"] for one in shown.all("input", name="prompt")]
    await posted(uma, shown, address, prompt=own, name="brief", text="Be brief")
    assert (await ada.get("/page/prompts")).json() == {"all": "For {everyone}"}
    assert (await posted(ada, hers, f"{address}/{own}/delete")).status_code == 404
    await posted(uma, shown, f"{address}/{own}/delete")
    assert (await uma.get("/page/prompts")).json() == {"all": "For {everyone}"}
