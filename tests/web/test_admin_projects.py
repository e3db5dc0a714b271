"""Projects and their providers at `/admin/money/projects`."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from datalayer import Limit, Project, Provider, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from tests.support.calls import call
from tests.support.pages import Element, read_page, table
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PROJECTS = "/admin/money/projects"


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


def filled(page: Element) -> dict[str, str]:
    """The fields of the project's form, as a browser would send them."""
    form = next(one for one in page.all("form") if one.all("input", name="version"))
    boxes = ("checkbox", "hidden")
    texts = {
        one.attributes["name"]: one.attributes["value"]
        for one in form.all("input")
        if one.attributes["type"] not in boxes
    }
    checked = {one.attributes["name"]: "1" for one in form.all("input", type="checkbox") if "checked" in one.attributes}
    return texts | checked | {"version": form.one("input", name="version").attributes["value"]}


async def test_a_project_is_made_changed_and_deleted(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", "a-very-secret-value")
    fields: dict[str, Any] = filled(await page_at(ada, "/admin/money/new-project"))
    fields |= {
        "slug": "lab",
        "name": "The lab",
        "owner": "uma",
        "tags": "a, b ,,a",
        "slug-0": "east",
        "secret-0": "LAB_KEY",
    }
    fields |= {"base_url-0": "https://east.example/v1", "passes_key-0": "1"}
    page = await page_at(ada, "/admin/money/new-project")
    done = await posted(ada, page, PROJECTS, **fields)
    assert done.headers["location"] == f"{PROJECTS}/lab?saved=1", done.text
    lab = next(one for one in await layer.list_projects() if one.slug == "lab")
    east = Provider("east", "east", "https://east.example/v1", secret="LAB_KEY", passes_key=True)
    assert (lab.name, lab.owner, lab.tags, lab.providers) == ("The lab", "uma", ("a", "b"), (east,))
    page = await page_at(ada, f"{PROJECTS}/lab")
    assert "LAB_KEY is set on this server." in page.text
    assert "a-very-secret-value" not in (await ada.get(f"{PROJECTS}/lab")).text
    more = filled(page) | {"slug-1": "west", "name-1": "The west", "secret-1": "NOT_SET_ANYWHERE", "owner": ""}
    assert (await posted(ada, page, f"{PROJECTS}/lab", **more)).status_code == 303
    page = await page_at(ada, f"{PROJECTS}/lab?saved=1")
    assert "NOT_SET_ANYWHERE is not set on this server" in page.text
    less = filled(page) | {"slug-0": ""}
    assert (await posted(ada, page, f"{PROJECTS}/lab", **less)).status_code == 303
    (lab,) = [one for one in await layer.list_projects() if one.slug == "lab"]
    assert (lab.owner, [one.name for one in lab.providers]) == (None, ["The west"])
    await layer.record_call(call(utc_now(), project_id=lab.id, prompt_tokens=1, total_cost=Decimal("1.5")))
    await layer.put_limit(Limit(new_id(), "project", lab.id, "day", "tokens", Decimal(1)))
    page = await page_at(ada, PROJECTS)
    assert table(page, "rows") == [
        ["The lab", "lab", "–", "a, b", "west", "$1.50"],
        ["Default", "default", "–", "–", "–", "–"],
    ]
    assert page.all("a", href=f"/usage?period=month&project={lab.id}")
    page = await page_at(ada, f"{PROJECTS}/lab")
    assert (await posted(ada, page, f"{PROJECTS}/lab/delete", confirm="Lab")).status_code == 400
    shown = await posted(ada, page, f"{PROJECTS}/lab/delete", confirm="lab")
    assert "Deleted lab. Providers: 1, limits: 1, revoked keys: 0." in shown.text
    assert (await ada.get(f"{PROJECTS}/lab")).status_code == 404
    assert (await posted(ada, page, f"{PROJECTS}/default/delete", confirm="default")).status_code == 404
    with acting_as("ada"):
        actions = [(one.action, one.actor) for one in (await layer.list_audit()).entries if one.actor]
    assert actions == [("delete_project", "ada"), *[("put_project", "ada")] * 3]
    assert "stored a project" in (await page_at(ada, "/review/audit")).text


async def test_what_is_not_valid_is_told_at_its_field_and_kept_but_for_a_key(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    page = await page_at(ada, "/admin/money/new-project")
    good = filled(page) | {"slug": "lab", "name": "The lab", "slug-0": "east"}
    for changes, field, told in (
        ({"slug": "The Lab"}, "slug", "Use small letters"),
        ({"slug": "default"}, "slug", "is in use"),
        ({"slug": ""}, "slug", "Fill in this field."),
        ({"name": " "}, "name", "Fill in this field."),
        ({"owner": "nobody"}, "owner", "There is no such person."),
        ({"slug-0": "East!"}, "slug-0", "Use small letters"),
        ({"slug-0": "", "base_url-0": "https://x.example"}, "slug-0", "Fill in this field."),
        ({"base_url-0": "ftp://x"}, "base_url-0", "must begin with http"),
        ({"base_url-0": "https://u:p@x.example"}, "base_url-0", "must begin with http"),
        ({"secret-0": "sk-abc-123"}, "secret-0", "not the key"),
        ({"secret-0": "CHAINLIT_AUTH_SECRET"}, "secret-0", "belongs to the server itself"),
    ):
        await layer.default_project()
        refused = await posted(ada, page, PROJECTS, **good | changes)
        assert refused.status_code == 400, changes
        shown = read_page(refused.text)
        runs_nothing(shown)
        assert told in shown.one("span", id=f"{field}-problem").text, changes
        assert shown.one("input", name=field).attributes["aria-invalid"] == "true"
        kept = {name: value.strip() for name, value in (good | changes).items()}
        if told == "not the key":
            assert "sk-abc-123" not in refused.text
            kept["secret-0"] = ""
        assert filled(shown) == kept
    assert [one.slug for one in await layer.list_projects()] == ["default"]


async def test_two_admins_who_change_a_project_at_once_are_told(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await layer.put_project(Project(new_id(), "The lab", "lab"))
    page = await page_at(ada, f"{PROJECTS}/lab")
    fields = filled(page)
    assert (await posted(ada, page, f"{PROJECTS}/lab", **fields | {"name": "First"})).status_code == 303
    late = await posted(ada, page, f"{PROJECTS}/lab", **fields | {"name": "Second"})
    assert (late.status_code, "Somebody changed the project meanwhile." in late.text) == (400, True)
    (lab,) = [one for one in await layer.list_projects() if one.slug == "lab"]
    assert lab.name == "First"
