"""The download of a receipt that is too long for a data: URL, in a browser."""

import json
from pathlib import Path

import pytest
from fastapi import Request
from playwright.async_api import Browser, Route

from datalayer import Receipt
from tests.support.browser import IN_THE_BROWSERS_LOOP
from tests.support.server import ROOT
from threadkeeper.web.pages.shell import PageWriter

pytestmark = [pytest.mark.slow, IN_THE_BROWSERS_LOOP, pytest.mark.timeout(120)]


async def test_a_receipt_of_100000_rows_is_a_download(browser: Browser, tmp_path: Path) -> None:
    pages = PageWriter(ROOT / "public/theme.json")
    ids = [f"00000000-0000-4000-8000-{at:012}" for at in range(100_000)]
    contents = json.dumps({"owner": "<b>ada</b> 文", "row_ids": ids}, ensure_ascii=False)
    scope = {"type": "http", "method": "POST", "path": "/me/delete", "query_string": b"", "headers": [], "state": {}}
    receipt = Receipt("user", None, "ada", None, "2026-11-29T10:00:00Z", {}, threads=("x",) * 25, messages=129)
    values = {"receipt": receipt, "votes": 16, "others": 3, "file_link": None, "contents": contents}
    page_of_server = pages.page(Request(scope), "me/deleted.html", values, person=None, saves=True)
    script = pages.assets.receipt

    async def answer(route: Route) -> None:
        if route.request.url.endswith("/me/delete"):
            headers = dict(page_of_server.headers)
            await route.fulfill(body=bytes(page_of_server.body), headers=headers)
        elif route.request.url.endswith(script.url):
            await route.fulfill(body=script.content, content_type="text/javascript")
        else:
            await route.fulfill(status=404)

    context = await browser.new_context()
    try:
        await context.route("**/*", answer)
        page = await context.new_page()
        await page.goto("http://threadkeeper.test/me/delete")
        assert await page.locator("p.counts").inner_text() == "25 threads, 129 messages, 16 votes, 0 files deleted."
        async with page.expect_download() as started:
            await page.get_by_role("link", name="Download the receipt").click()
        download = await started.value
        assert download.suggested_filename == "receipt.json"
        await download.save_as(tmp_path / "receipt.json")
        assert json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8")) == json.loads(contents)
        assert await page.locator("pre").count() == 0, "nothing of it is on the page"
    finally:
        await context.close()
