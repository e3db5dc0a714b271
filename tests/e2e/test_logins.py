"""Logins in real browsers: one ends another, and a login returns to the requested page and to no other site."""

import re
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, Visitor, visit
from tests.support.records import step, thread, user_id
from tests.support.shared_server import PASSWORD, Chat

pytestmark = [
    pytest.mark.slow,
    IN_THE_BROWSERS_LOOP,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("shared_server", ["sqlite"], indirect=True),
]

SETTINGS = {"OPENAI_MODELS": "echo"}
ELSEWHERE = (
    *("https://example.org/me", "//example.org/me", "/\\example.org", "/me//example.org", "/me\\..", "/me\t/x"),
    *("/menu", "/logout", "javascript:alert(1)", "/share/../logout", ""),
)


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("uma")
    return chat


async def test_one_browser_ends_the_login_of_another(browser: Browser, chat: Chat) -> None:
    async with (
        visit(browser, chat.base_url, "logins-phone", size=NARROW) as phone,
        visit(browser, chat.base_url, "logins-laptop") as laptop,
    ):
        await phone.arrive("/")
        await phone.log_in(chat.name("uma"), PASSWORD)
        await phone.connected()
        # Two logins within one second have the same token.
        await laptop.page.wait_for_timeout(1_100)
        await laptop.arrive("/me")
        await laptop.log_in(chat.name("uma"), PASSWORD)
        rows = laptop.page.locator("table.logins tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("this browser")
        await laptop.page.locator("#logins").scroll_into_view_if_needed()
        await laptop.screenshot("logins")
        await phone.open("/me")
        await phone.page.locator("#logins").scroll_into_view_if_needed()
        await phone.screenshot("logins")
        assert await phone.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        await rows.get_by_role("button", name="End").click()
        await expect(rows).to_have_count(1)
        # The gate caches an account for this long.
        await laptop.page.wait_for_timeout(3_100)
        await phone.arrive("/usage")
        await laptop.open("/usage")
        await expect(laptop.page.get_by_role("heading", name="Your usage")).to_be_visible()


async def test_a_login_returns_to_the_requested_page(browser: Browser, chat: Chat) -> None:
    async with chat.layer() as layer:
        shared = await thread(layer, await user_id(layer, chat.name("grace")), "Shared", metadata={"is_shared": True})
        await layer.create_step(step(shared, "What was shared"))
    async with visit(browser, chat.base_url, "wanted") as visitor:
        await visitor.arrive("/usage?period=7d&model=a%26b")
        await expect(visitor.page).to_have_url(re.compile(r"/login\?next="))
        await visitor.log_in(chat.name("uma"), PASSWORD)
        await expect(visitor.page).to_have_url(f"{chat.base_url}/usage?period=7d&model=a%26b")
        # The requested page is used once.
        await log_out(visitor)
        await visitor.log_in(chat.name("uma"), PASSWORD)
        await visitor.connected()
        await expect(visitor.page).to_have_url(f"{chat.base_url}/")
    async with visit(browser, chat.base_url, "wanted-share") as visitor:
        await visitor.arrive(f"/share/{shared}")
        await visitor.log_in(chat.name("uma"), PASSWORD)
        await expect(visitor.page).to_have_url(f"{chat.base_url}/share/{shared}")
        await expect(visitor.page.get_by_text("What was shared")).to_be_visible()


async def test_a_login_at_another_host_returns_to_the_requested_page(browser: Browser, chat: Chat) -> None:
    async with visit(browser, chat.base_url, "wanted-oauth") as visitor:
        await visitor.arrive("/me")
        await visitor.page.goto("about:blank")
        await visitor.get_cookie(chat.name("uma"), PASSWORD)
        await visitor.page.goto(f"{chat.base_url}/login/callback?success=True")
        await expect(visitor.page).to_have_url(f"{chat.base_url}/me")


async def test_a_login_never_redirects_to_another_site(browser: Browser, chat: Chat) -> None:
    async with visit(browser, chat.base_url, "wanted-elsewhere") as visitor:
        for wanted in ELSEWHERE:
            await visitor.arrive(f"/login?next={quote(wanted, safe='')}")
            # The redirect is also refused if the URL is already in the storage of the page.
            kept = "address => sessionStorage.setItem('threadkeeper-wanted', JSON.stringify({address, at: Date.now()}))"
            assert await visitor.page.evaluate("sessionStorage.getItem('threadkeeper-wanted')") is None, wanted
            await visitor.page.evaluate(kept, wanted)
            await visitor.log_in(chat.name("uma"), PASSWORD)
            await visitor.connected()
            await expect(visitor.page).to_have_url(f"{chat.base_url}/")
            await end_login(visitor)
        await visitor.arrive("/me")
        await visitor.page.evaluate(
            """sessionStorage.setItem(
                "threadkeeper-wanted", JSON.stringify({address: "/me", at: Date.now() - 10 * 60_000 - 1}))"""
        )
        await visitor.log_in(chat.name("uma"), PASSWORD)
        await visitor.connected()
        await expect(visitor.page).to_have_url(f"{chat.base_url}/")


async def log_out(visitor: Visitor) -> None:
    await end_login(visitor)
    await visitor.arrive("/")


async def end_login(visitor: Visitor) -> None:
    """Log out as the menu of the chat does. The server ends the login."""
    await visitor.page.evaluate("fetch('/logout', {method: 'POST'})")
