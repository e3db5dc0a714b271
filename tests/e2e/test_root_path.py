"""Everything below CHAINLIT_ROOT_PATH, in a browser behind a proxy that forwards the path and one that removes it."""

import re
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser, Response, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, Visitor, visit
from tests.support.haproxy import haproxy
from tests.support.plain_http import PLAIN_HTTP
from tests.support.sample_files import text_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "rita", "a long password"
ROOT = "/chat"
OURS = ("/usage", "/me", "/review", "/review/queue", "/review/numbers", "/usage/calls")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_everything_is_below_the_root_path(
    browser: Browser, start_server: StartServer, engine: str, tmp_path: Path
) -> None:
    # With a slash at the end, as many write it.
    server = await start_server(OPENAI_MODELS="echo", CHAINLIT_ROOT_PATH=f"{ROOT}/")
    await server.add_user(NAME, PASSWORD, "reviewer")
    async with haproxy(tmp_path, ROOT, server.port) as proxies:
        for kind, address in (("forwards", proxies.forwards), ("removes", proxies.removes)):
            await probes_are_answered(address, server.base_url)
            async with visit(browser, address, f"{engine}-root-{kind}") as visitor:
                answers: list[Response] = []
                visitor.page.context.on("response", partial(list.append, answers))
                await used(visitor, address)
                outside = [one.url for one in answers if one.status in (404, 418)]
                assert not outside, "each address is below the path and exists"


async def probes_are_answered(address: str, direct: str) -> None:
    async with httpx.AsyncClient(**PLAIN_HTTP) as client:
        for base in (address + ROOT, direct + ROOT, direct):
            assert (await client.get(f"{base}/ready")).json() == {"status": "ready", "search_texts_left": 0}
            assert (await client.get(f"{base}/health")).json() == {"status": "ok"}
            assert "threadkeeper_answers" in (await client.get(f"{base}/metrics")).text
        assert (await client.get(f"{address}/ready")).status_code == 418
        for path in ("/usage", "/me", "/review"):
            sent = await client.get(address + ROOT + path)
            assert (sent.status_code, sent.headers["location"]) == (303, f"{ROOT}/login?next={ROOT}{path}")
        login = await client.post(f"{address}{ROOT}/login", data={"username": NAME, "password": PASSWORD})
        assert re.search(rf"; path={ROOT}(?:;|$)", login.headers["set-cookie"], re.IGNORECASE)
        page = (await client.get(address + ROOT)).text
        assert f'src="{ROOT}/public/threadkeeper.js"' in page
        assert f'content="{ROOT}/public/preview.png"' in page


async def used(visitor: Visitor, address: str) -> None:
    page = visitor.page
    with visitor.watch.expecting("401", "Unauthorized"):
        await page.goto(f"{address}{ROOT}/usage")
        await expect(page.locator("#email")).to_be_visible()
    await visitor.log_in(NAME, PASSWORD)
    # After the login, the page that was requested.
    await page.wait_for_url(f"{address}{ROOT}/usage")
    await page.locator("nav").get_by_role("link", name="Chat", exact=True).click()
    await visitor.connected()
    await visitor.attach(text_file("note.txt", "a stored note"))
    await visitor.ask("Is this below the path?")
    await visitor.answered()
    await page.wait_for_url(f"{address}{ROOT}/thread/*")
    thread_id = urlsplit(page.url).path.rpartition("/")[2]
    await page.wait_for_load_state("networkidle")
    await page.reload()
    await expect(visitor.questions).to_have_count(1)
    file = page.locator(f'a[href*="/files/{thread_id}/"]')
    link = await file.first.get_attribute("href")
    assert link is not None
    assert urlsplit(link).path.startswith(f"{ROOT}/files/")
    assert (await page.request.get(link if "//" in link else address + link)).status == 200

    await visitor.screenshot("chat")
    for path in ("/usage", "/me", "/review"):
        await page.locator(f'#header a[href="{ROOT}{path}"]').click()
        await page.wait_for_url(f"{address}{ROOT}{path}")
        await expect(page.locator(f'nav a[href="{ROOT}{path}"][aria-current="page"]').first).to_be_visible()
        await page.goto(f"{address}{ROOT}/")
        await visitor.connected()
    await open_our_pages(visitor, address)

    await page.goto(f"{address}{ROOT}/thread/{thread_id}")
    await visitor.choose(thread_id, "share")
    shared = f"{address}{ROOT}/share/{thread_id}"
    await expect(visitor.dialog).to_contain_text(shared)
    await visitor.dialog.locator("button").first.click()
    await expect(visitor.toast).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == shared
    await page.goto(shared)
    await expect(visitor.answers.first).to_contain_text("Is this below the path?")

    cookies = await page.context.cookies()
    assert {cookie["path"] for cookie in cookies if cookie["name"] in ("access_token", "time_zone")} <= {
        ROOT,
        f"{ROOT}/",
    }
    await page.goto(f"{address}{ROOT}/me")
    await page.locator("#confirm").fill("somebody else")
    with visitor.watch.expecting("status of 400"):
        await page.locator("#confirm").press("Enter")
        await expect(page.locator("#confirm-problem")).to_be_visible()
    # Not that of the form, which nobody can open.
    await expect(page).to_have_url(f"{address}{ROOT}/me")
    with visitor.watch.expecting("401", "Unauthorized"):
        await page.locator(f'form[action="{ROOT}/me/log-out"] button').click()
        await page.wait_for_url(f"{address}{ROOT}/login")
        await expect(page.locator("#email")).to_be_visible()


async def open_our_pages(visitor: Visitor, address: str) -> None:
    for path in OURS:
        answer = await visitor.page.goto(f"{address}{ROOT}{path}")
        assert answer is not None
        assert answer.status == 200, path
        addresses = await visitor.page.evaluate(
            "[...document.querySelectorAll('[href], [src], [action]')].flatMap(one =>"
            " ['href', 'src', 'action'].map(name => one.getAttribute(name))).filter(one => one?.startsWith('/'))"
        )
        assert addresses
        assert [one for one in addresses if not one.startswith(f"{ROOT}/")] == [], path
    await visitor.screenshot("usage")
