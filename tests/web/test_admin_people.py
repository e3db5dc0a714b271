"""The pages at `/admin/people` and `/invitation`."""

import re

import httpx
import pytest

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.pages import Element, read_page, table
from tests.support.records import thread
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser

# What differs between the engines is tested in `tests/contracts/test_people.py`.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PASSWORD = "a sentence to remember"


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


async def page_of(ada: httpx.AsyncClient, name: str) -> tuple[str, Element]:
    """The address and the page of the person with this name."""
    found = (await page_at(ada, f"/admin/people?words={name}")).one("table", class_="rows people")
    address = found.one("tbody").one("a").attributes["href"]
    return address, await page_at(ada, address)


async def logged_in(visitor: httpx.AsyncClient, name: str, password: str) -> int:
    return (await visitor.post("/login", data={"username": name, "password": password})).status_code


async def test_an_added_person_sets_the_password_by_the_link_and_signs_in(
    layer: ChainlitLayer, ada: httpx.AsyncClient, browser_of: Browser
) -> None:
    page = await page_at(ada, "/admin/people")
    shown = await posted(ada, page, "/admin/people", name="grace", role="reviewer")
    assert shown.status_code == 200
    assert "cannot be shown again" in shown.text
    assert "works on this machine alone" in shown.text
    (link,) = re.findall(r"http://[^<\s]*/invitation\?key=[\w-]+", shown.text)
    assert ["grace Invited", "Reviewer", "never", "0", "–"] in table(await page_at(ada, "/admin/people"), "rows people")
    again = await posted(ada, page, "/admin/people", name="GRACE", role="user")
    assert (again.status_code, "already" in again.text) == (400, True)
    visitor = await browser_of(None)
    form = await page_at(visitor, link)
    assert "Welcome, grace" in form.text
    assert form.one("input", name="username").attributes["value"] == "grace"
    key = form.one("input", name="key").attributes["value"]
    for password, other, told in ((PASSWORD, "another", "not the same"), ("short", "short", "needs 8 to")):
        refused = await visitor.post("/invitation", data={"key": key, "password": password, "again": other})
        assert (refused.status_code, told in refused.text) == (400, True)
    done = await visitor.post("/invitation", data={"key": key, "password": PASSWORD, "again": PASSWORD})
    assert (done.status_code, "You can sign in as grace now." in done.text) == (200, True)
    assert await logged_in(visitor, "grace", PASSWORD) == 200
    assert (await visitor.get("/admin/people")).status_code == 404
    assert (await visitor.get("/review")).status_code == 200
    for late in (
        await visitor.get(link),
        await visitor.post("/invitation", data={"key": key, "password": "x" * 8, "again": "x" * 8}),
    ):
        assert (late.status_code, "does not work any more" in late.text) == (400, True)
        assert read_page(late.text).one("a", class_="button").attributes["href"] == "/login"
    assert await logged_in(await browser_of(None), "grace", "x" * 8) == 401


async def test_an_admin_changes_role_password_logins_and_state(
    layer: ChainlitLayer, people: dict[str, User], ada: httpx.AsyncClient, browser_of: Browser
) -> None:
    uma = await browser_of("user")
    assert (await uma.get("/me")).status_code == 200
    here, page = await page_of(ada, "uma")
    assert (await posted(ada, page, f"{here}/role", role="reviewer")).headers["location"] == f"{here}?saved=1"
    assert (await uma.get("/review")).status_code == 200
    assert (await posted(ada, page, f"{here}/role", role="king")).status_code == 400
    link = await posted(ada, page, f"{here}/invite")
    assert "/invitation?key=" in link.text
    assert await logged_in(await browser_of(None), "uma", "the analytical engine") == 200, "until the link is used"
    await posted(ada, page, f"{here}/logins/end")
    assert (await uma.get("/me")).status_code == 303, "the session is over"
    assert (await posted(ada, page, f"{here}/disable")).status_code == 303
    assert await logged_in(await browser_of(None), "uma", "the analytical engine") == 401
    _, page = await page_of(ada, "uma")
    assert "Disabled" in page.one("h1").text
    assert not page.all("form", action=f"{here}/invite"), "the link would not work"
    refused = await posted(ada, page, f"{here}/invite")
    assert (refused.status_code, "Enable the account first" in refused.text) == (400, True)
    assert (await posted(ada, page, f"{here}/enable")).status_code == 303
    assert await logged_in(await browser_of(None), "uma", "the analytical engine") == 200
    audit = table(await page_at(ada, "/review/audit"), "audit")
    assert [row[1:4] for row in audit][::-1] == [
        ["ada", "changed a role", "uma reviewer"],
        ["ada", "made a link for a password", "uma"],
        ["ada", "ended all sessions", "uma"],
        ["ada", "disabled an account", "uma"],
        ["ada", "enabled an account", "uma"],
    ]


async def test_limits_of_ones_own_are_set_shown_and_removed(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    here, page = await page_of(ada, "uma")
    assert "No limit applies." in page.text
    for amount, unit, period in (("nothing", "tokens", "day"), ("-1", "tokens", "day"), ("1", "euros", "day")):
        refused = await posted(ada, page, f"{here}/limits", amount=amount, unit=unit, period=period)
        assert refused.status_code == 400
    ada.headers["accept-language"] = "de"
    for amount in ("2.50", "1,000"):
        refused = await posted(ada, page, f"{here}/limits", amount=amount, unit="dollars", period="month")
        assert (refused.status_code, "Schreiben Sie sie wie 1234,5." in refused.text) == (400, True)
    done = await posted(ada, page, f"{here}/limits", amount="2,50", unit="dollars", period="month")
    del ada.headers["accept-language"]
    assert done.headers["location"] == f"{here}?saved=1#limits"
    page = await page_at(ada, here)
    limits = page.one("section", id="limits")
    assert "$2.50 a month" in limits.text
    audit = table(await page_at(ada, "/review/audit"), "audit")
    assert audit[0][1:4] == ["ada", "set a limit", "uma $2.50 a month"]
    remove = next(
        one.attributes["action"] for one in limits.all("form") if one.attributes["action"].endswith("/remove")
    )
    other, _ = await page_of(ada, "rita")
    assert (await posted(ada, page, remove.replace(here, other))).status_code == 404, "it is another person's"
    assert (await posted(ada, page, remove)).status_code == 303
    assert await layer.list_limits() == []


async def test_a_person_is_deleted_with_a_receipt_after_the_name_is_typed(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    await thread(layer, people["user"].id, "A secret")
    here, page = await page_of(ada, "uma")
    refused = await posted(ada, page, f"{here}/delete", confirm="Uma")
    assert (refused.status_code, "Nothing was deleted" in refused.text) == (400, True)
    done = await posted(ada, page, f"{here}/delete", confirm="uma")
    assert done.status_code == 200
    assert "The account of uma has been deleted" in done.text
    assert "1 thread" in done.text
    assert "%22deleted_by%22%3A%22ada%22" in done.text, "in the receipt"
    assert await layer.get_account("uma") is None
    assert (await ada.get(here)).status_code == 404
    with acting_as("ada"):
        (row,) = (await layer.list_audit()).entries
    assert (row.action, row.owner_id) == ("delete_user", people["user"].id)


async def test_the_only_admin_is_kept_and_changes_nothing_on_the_own_page(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    here, page = await page_of(ada, "ada")
    assert not page.all("section", id="delete")
    for act, fields in (("role", {"role": "user"}), ("disable", {}), ("delete", {"confirm": "ada"})):
        refused = await posted(ada, page, f"{here}/{act}", **fields)
        assert (refused.status_code, "the only administrator" in refused.text) == (400, True), act
    refused = await posted(ada, await page_at(ada, "/me"), "/me/delete", confirm="ada")
    assert (refused.status_code, "you are the only administrator" in refused.text) == (400, True)
    assert await layer.admins() == ["ada"]


async def test_a_user_of_another_provider_gets_no_password(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    from chainlit.user import User as ChainlitUser  # noqa: PLC0415

    await layer.create_user(ChainlitUser(identifier="oda", metadata={"provider": "github"}))
    here, page = await page_of(ada, "oda")
    assert "github" in page.text
    assert not [one for one in page.all("form") if one.attributes["action"].endswith("/invite")]
    assert (await posted(ada, page, f"{here}/invite")).status_code == 400


async def test_the_pages_are_paged_and_in_chinese(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    # As long as names can be: the cursor has the last one of the page in it.
    names = [f"{at:02}{'名' * 253}" for at in range(60)]
    for name in names:
        await layer.add_account(name, "hash")
    page = await page_at(ada, "/admin/people?words=名")
    assert len(table(page, "rows people")) == 50
    more = page.one("a", rel="next").attributes["href"]
    assert [row[0] for row in table(await page_at(ada, more), "rows people")] == names[50:]
    for address in ("/admin/people?words=名", (await page_of(ada, "ada"))[0], (await page_of(ada, "uma"))[0]):
        answer = await ada.get(address, headers={"accept-language": "zh"})
        assert 'lang="zh' in answer.text
        assert "管理" in answer.text
