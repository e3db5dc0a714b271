"""The limits at `/admin/money/limits`."""

from decimal import Decimal

import httpx
import pytest

from datalayer import Limit, Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from tests.support.calls import call
from tests.support.pages import read_page, table
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

LIMITS = "/admin/money/limits"


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


async def test_limits_are_listed_with_what_is_left_set_changed_and_removed(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    project = await layer.put_project(Project(new_id(), "The lab", "lab"))
    key, _ = await layer.create_api_key("a program", ["gateway"], user="uma", project="lab")
    uma = people["user"].id
    made = {"prompt_tokens": 60, "completion_tokens": 40, "total_cost": Decimal("0.25")}
    await layer.record_call(call(utc_now(), user_id=uma, project_id=project.id, key_id=key.id, **made))
    page = await page_at(ada, LIMITS)
    for fields in (
        {"scope": "users", "subject": "", "amount": "1,000,000", "unit": "tokens", "period": "month"},
        {"scope": "project", "subject": "lab", "amount": "2.5", "unit": "dollars", "period": "day"},
        {"scope": "key", "subject": key.prefix, "amount": "150", "unit": "tokens", "period": "day"},
    ):
        done = await posted(ada, page, LIMITS, **fields)
        assert (done.status_code, done.headers.get("location")) == (303, f"{LIMITS}?saved=1"), done.text
    await layer.put_limit(Limit(new_id(), "user", uma, "day", "dollars", Decimal(1)))
    page = await page_at(ada, f"{LIMITS}?saved=1")
    assert "Saved." in page.text
    rows = table(page, "rows limits")
    assert [row[:-1] for row in rows] == [
        ["each person", "1,000,000 tokens a month", "of each person: see the person's page"],
        ["project The lab lab", "$2.50 a day", "$0.25", "$2.25"],
        [f"API key a program {key.prefix}", "150 tokens a day", "100 tokens", "50 tokens"],
        ["uma", "$1.00 a day", "$0.25", "$0.75"],
    ]
    assert page.all("a", href=f"/admin/people/{uma}#limits"), "changed there"
    assert [row[0] for row in table(await page_at(ada, f"{LIMITS}?scope=user"), "rows limits")] == ["uma"]
    changes = [one for one in page.all("a") if "?change=" in one.attributes["href"]]
    change = next(one for one in changes if "The lab" in one.attributes["aria-label"])
    form = await page_at(ada, change.attributes["href"].removesuffix("#set"))
    given = {name: form.one("input", name=name).attributes["value"] for name in ("limit", "amount")}
    assert given["amount"] == "2.5"
    assert form.all("select") == [], "the amount alone changes"
    assert "lab" in form.one("div", id="subject").text
    before = await layer.list_limits()
    for other in ({"period": "month"}, {"unit": "tokens"}, {"scope": "key"}, {"subject": "default"}):
        refused = await posted(ada, form, LIMITS, **given | {"amount": "3"} | other)
        assert refused.status_code == 400, other
        assert "Only the amount of a limit changes." in read_page(refused.text).one("div", class_="notice").text
    assert await layer.list_limits() == before
    assert (await posted(ada, form, LIMITS, **given | {"amount": "3"})).status_code == 303
    rows = table(await page_at(ada, LIMITS), "rows limits")
    assert ["project The lab lab", "$3.00 a day"] in [row[:2] for row in rows]
    assert [one.id for one in await layer.list_limits()] == [one.id for one in before]
    for limit in await layer.list_limits():
        await posted(ada, page, f"{LIMITS}/{limit.id}/remove")
    assert await layer.list_limits() == []
    with acting_as("ada"):
        actions = [one.action for one in (await layer.list_audit()).entries if one.actor == "ada"]
    assert actions == ["remove_limit"] * 4 + ["put_limit"] * 4


async def test_what_is_not_valid_is_told_at_its_field_and_kept(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    page = await page_at(ada, LIMITS)
    good = {"scope": "users", "subject": "", "amount": "5", "unit": "tokens", "period": "day"}
    for changes, field, told in (
        ({"amount": "1.000"}, "amount", "can mean two numbers"),
        ({"amount": "1.5"}, "amount", "Tokens are whole numbers."),
        ({"amount": "-1"}, "amount", "is not a number from 0"),
        ({"amount": "100000000001"}, "amount", "is not a number from 0"),
        ({"amount": ""}, "amount", "Fill in this field."),
        ({"subject": "lab"}, "subject", "Leave this empty"),
        ({"scope": "project"}, "subject", "Fill in this field."),
        ({"scope": "project", "subject": "nothing"}, "subject", "There is no such project."),
        ({"scope": "key", "subject": "tk_unknown"}, "subject", "There is no such key."),
        ({"unit": "euros"}, "unit", "Unknown value"),
        ({"period": "year"}, "period", "Unknown value"),
    ):
        refused = await posted(ada, page, LIMITS, **good | changes)
        assert refused.status_code == 400, changes
        shown = read_page(refused.text)
        assert told in shown.one("span", id=f"{field}-problem").text, changes
        fields = [one for tag in ("input", "select") for one in shown.all(tag, name=field)]
        assert fields[0].attributes["aria-describedby"].endswith(f"{field}-problem")
        for name in ("subject", "amount"):
            assert shown.one("input", name=name).attributes["value"] == (good | changes)[name]
    assert (await posted(ada, page, LIMITS, **good | {"scope": "planet"})).status_code == 400
    assert await layer.list_limits() == []
    for bad in ("scope=planet", "cursor=x", f"cursor={'x' * 2_001}"):
        assert (await ada.get(f"{LIMITS}?{bad}")).status_code == 400, bad
    assert (await ada.get(f"{LIMITS}?change={new_id()}")).status_code == 404
    assert (await posted(ada, page, f"{LIMITS}/{new_id()}/remove")).status_code == 404
    assert (await posted(ada, page, LIMITS, limit=new_id(), amount="5")).status_code == 404
