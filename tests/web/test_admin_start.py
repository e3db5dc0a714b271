"""The first steps at `/admin/start`, and how a new operator gets there."""

from http import HTTPStatus

import pytest

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HTML = {"accept": "text/html"}


async def test_a_new_operator_is_sent_to_the_first_steps_once(layer: ChainlitLayer, browser_of: Browser) -> None:
    await layer.note_first_steps("begun")
    visitor, uma, ada = [await browser_of(role) for role in (None, "user", "admin")]
    assert (await visitor.get("/", headers=HTML)).headers["location"] == "/login?next=/admin"
    assert (await uma.get("/", headers=HTML)).status_code == HTTPStatus.OK
    assert (await uma.get("/admin")).headers["location"] == "/"
    assert (await ada.get("/", headers=HTML)).headers["location"] == "/admin/start"
    page = await page_at(ada, "/admin/start")
    assert [item.one("h2").text for item in page.one("ol").all("li")] == [
        *("Connect a model", "✓ Add people – done", "Set a limit", "Make an assistant", "Back up")
    ]
    assert "Done: 1 of 5 steps." in page.text
    assert (await ada.get("/", headers=HTML)).status_code == HTTPStatus.OK
    assert (await visitor.get("/", headers=HTML)).headers["location"] == "/login?next=/"


async def test_the_first_steps_are_hidden_and_shown_again(layer: ChainlitLayer, browser_of: Browser) -> None:
    ada = await browser_of("admin")
    assert (await ada.get("/", headers=HTML)).status_code == HTTPStatus.OK, "the installation is older"
    assert (await ada.get("/admin")).headers["location"] == "/admin/start"
    await posted(ada, await page_at(ada, "/admin/start"), "/admin/start/hide")
    assert (await ada.get("/admin")).headers["location"] == "/admin/people"
    await posted(ada, await page_at(ada, "/admin/start"), "/admin/start/show")
    assert (await ada.get("/admin")).headers["location"] == "/admin/start"
