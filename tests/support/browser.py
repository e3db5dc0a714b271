"""Drives a real browser, and checks its requests and errors.

A request to another host, an error or a warning in the console, or an exception in the page fails the test at its end,
unless the test expects it.
"""

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    FilePayload,
    Locator,
    Page,
    Request,
    WebSocket,
    async_playwright,
    expect,
)
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.support.patience import PATIENCE_SECONDS

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
WIDE = (1440, 900)
NARROW = (390, 844)
# Playwright connects Chromium to one event loop, which all tests with a browser share.
IN_THE_BROWSERS_LOOP = pytest.mark.asyncio(loop_scope="session")
# The headless shell has no windows, and takes a sixth less CPU time for the same pages.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_MILLISECONDS = PATIENCE_SECONDS * 1000
# A question that is sent leaves its box at once.
_CLICKS, _CLEARED_MILLISECONDS = 6, 5_000
_INTERRUPTED = re.compile(r"interrupted by another navigation|net::ERR_ABORTED")
# Engine.IO answers this if a page is left while its socket is upgraded from polling. The next page has its own socket.
_POLL_OF_A_SOCKET_LEFT = re.compile(r"status of 400 .*/ws/socket\.io/\?\S*transport=polling\S*&sid=")
# The PDF viewer of Chainlit's page reports so that the page was left while it opened a document.
_PDF_LEFT = re.compile(r"^Worker was terminated$")
# Chainlit's page opens a first socket and replaces it by a second one (`threadkeeper/conversation/resuming.py`).
_SOCKET_REPLACED = re.compile("WebSocket is closed before the connection is established")
# What a page reports whose server ends: a request that comes later is refused, one that waits is reset.
SERVER_ENDED = ("ERR_CONNECTION_(REFUSED|RESET)", "ERR_EMPTY", "WebSocket connection", "Failed to fetch")
_EXPECTED = (_POLL_OF_A_SOCKET_LEFT, _SOCKET_REPLACED, _PDF_LEFT)

expect.set_options(timeout=_PATIENCE_MILLISECONDS)


def find_chromium(environment: Mapping[str, str] = os.environ) -> str | None:
    """The program in CHROMIUM_PATH, otherwise the first of Chromium's usual names on PATH."""
    if named := environment.get("CHROMIUM_PATH"):
        return named
    return next(filter(None, (shutil.which(name, path=environment.get("PATH")) for name in _NAMES)), None)


class Chromium:
    """One Chromium for all tests of a run, until the end of the `with` block. Each visit has a new profile."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._browser: Browser | None = None

    async def __aenter__(self) -> Self:
        self._playwright = await async_playwright().start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._browser is not None:
            await self._browser.close()
        await self._playwright.stop()

    async def browser(self) -> Browser:
        """The running browser, or a new one if it has crashed."""
        if self._browser is None or not self._browser.is_connected():
            arguments = ["--disable-gpu", "--disable-dev-shm-usage"]
            if os.geteuid() == 0:
                arguments.append("--no-sandbox")
            self._browser = await self._playwright.chromium.launch(executable_path=self._program, args=arguments)
        return self._browser


@dataclass
class Watch:
    """Collects the unexpected requests and errors of one browser profile."""

    host: str
    store: str | None = None
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(
        default_factory=lambda: [_POLL_OF_A_SOCKET_LEFT, _SOCKET_REPLACED, _PDF_LEFT]
    )

    def over(self, context: BrowserContext) -> None:
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._on_error(str(error.error)))
        context.on("page", lambda page: page.on("websocket", self._on_websocket))

    @contextmanager
    def expecting(self, *patterns: str) -> Iterator[None]:
        """Within the block, errors that match one of the patterns are expected."""
        before = self._expected
        self._expected = [*before, *(re.compile(pattern, re.IGNORECASE) for pattern in patterns)]
        try:
            yield
        finally:
            self._expected = before

    def verify(self) -> None:
        assert not self.foreign, f"the page asked other hosts: {self.foreign}"
        assert not self.errors, f"the browser complained: {self.errors}"

    def _on_request(self, request: Request) -> None:
        self._judge(request.url)

    def _on_websocket(self, socket: WebSocket) -> None:
        self._judge(socket.url)

    def _judge(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc not in (self.host, self.store):
            self.foreign.append(url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._on_error(f"{message.text} ({message.location.get('url', '')})")

    def _on_error(self, text: str) -> None:
        if not any(pattern.search(text) for pattern in self._expected):
            self.errors.append(text)


class Visitor:
    """One user of Chainlit's page in one browser."""

    def __init__(self, page: Page, watch: Watch, base_url: str, name: str) -> None:
        self.page = page
        self.watch = watch
        self._base_url = base_url
        self._name = name
        self._shots = 0

    # Parts of the page

    @property
    def questions(self) -> Locator:
        return self.page.locator('[data-step-type="user_message"]')

    @property
    def answers(self) -> Locator:
        return self.page.locator('[data-step-type="assistant_message"]')

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog").or_(self.page.get_by_role("alertdialog"))

    @property
    def toast(self) -> Locator:
        return self.page.locator("[data-sonner-toast]")

    @property
    def threads(self) -> Locator:
        """The threads in the side bar."""
        return self.page.locator('#thread-history li[id^="thread-"]')

    def thread(self, thread_id: str) -> Locator:
        return self.page.locator(f"#thread-history li#thread-{thread_id}")

    async def thread_id(self) -> str:
        """The id in the address bar. A new thread appears there a moment after its first question."""
        await self.page.wait_for_url("**/thread/*")
        return urlsplit(self.page.url).path.removeprefix("/thread/")

    # Actions

    async def arrive(self, path: str = "/") -> None:
        """Open the page without a login. Chainlit's page detects that by an error, which is expected here."""
        with self.watch.expecting("401", "Unauthorized"):
            await self.open(path)
            await expect(self.page.locator("#email")).to_be_visible()

    async def open(self, path: str = "/") -> None:
        """Open the path. Tries again if Chainlit's page was redirecting to the login, as during a restart."""
        for tries_left in (2, 1, 0):
            try:
                await self.page.goto(f"{self._base_url}{path}")
            except Error as error:
                if not tries_left or not _INTERRUPTED.search(error.message):
                    raise
            else:
                return

    async def log_in(self, identifier: str, password: str) -> None:
        await self.page.locator("#email").fill(identifier)
        await self.page.locator("#password").fill(password)
        await self.page.locator("button[type=submit]").click()

    async def get_cookie(self, identifier: str, password: str) -> None:
        """Log in without the form, whose page takes as long to load as the chat."""
        login: dict[str, str | float | bool] = {"username": identifier, "password": password}
        answer = await self.page.request.post(f"{self._base_url}/login", form=login)
        assert answer.ok, f"the login was answered with {answer.status}"

    async def enter(self, identifier: str, password: str, path: str = "/") -> None:
        """Log in without the form, and open the path."""
        await self.get_cookie(identifier, password)
        await self.open(path)

    async def connected(self) -> None:
        """Wait until a question can be typed."""
        await expect(self.page.locator("#chat-settings-open-modal")).to_be_visible()

    async def new_chat(self) -> None:
        await self.page.locator("#new-chat-button").first.click()
        await self.page.locator("#confirm").click()
        await expect(self.questions).to_have_count(0)

    async def ask(self, text: str, *, model: str | None = None) -> Locator:
        """Send a question. Returns the locator of its answer without waiting for it."""
        if model:
            await self.choose_model(model)
        number = await self.answers.count()
        box = self.page.locator("#chat-input")
        await box.fill(text)
        # A page that connects anew, as after the choice of an assistant, ignores the click and keeps the text.
        for _ in range(_CLICKS):
            await self.page.locator("#chat-submit").click()
            try:
                await expect(box).not_to_have_value(text, timeout=_CLEARED_MILLISECONDS)
                break
            except AssertionError:
                continue
        answer = self.answers.nth(number)
        # Wait for the start of the answer, because `answered` would be true before it.
        await expect(self.page.locator("#stop-button").or_(answer)).not_to_have_count(0)
        return answer

    async def answered(self) -> None:
        """Wait until no answer is in progress."""
        await expect(self.page.locator("#stop-button")).to_have_count(0)
        await expect(self.page.locator("#chat-submit")).to_be_visible()

    async def choose_model(self, name: str) -> None:
        option = self.page.locator("#mode-picker-popover-model").get_by_role("option", name=name, exact=True)
        for _ in range(_CLICKS):
            if not await option.is_visible():
                await self.page.locator("#mode-picker-trigger-model").click()
            # The models of a new chat may come after the click, and close the picker.
            with contextlib.suppress(PlaywrightTimeout):
                await option.click(timeout=_CLEARED_MILLISECONDS)
                return
        raise AssertionError(f"the model {name} could not be picked")

    async def attach(self, *files: FilePayload) -> None:
        await self.page.locator("#upload-button-input").set_input_files(list(files))

    async def vote(self, answer: Locator, thumb: str, comment: str) -> None:
        """Vote "positive" or "negative", with a comment."""
        await answer.locator(f".{thumb}-feedback-off").click()
        await self.dialog.locator("textarea").fill(comment)
        await self.dialog.locator("#submit-feedback").click()
        await expect(answer.locator(f".{thumb}-feedback-on")).to_be_visible()
        await expect(self.dialog).to_have_count(0)

    async def edit(self, question: Locator, text: str) -> None:
        await question.hover()
        await question.locator(".edit-message").click()
        await question.locator("#edit-chat-input").fill(text)
        await question.locator(".confirm-edit").click()

    async def favorite(self, question: Locator) -> None:
        await question.hover()
        await question.locator("button:has(.lucide-star)").click()

    async def choose(self, thread_id: str, action: str) -> None:
        """Choose an action in the menu of a thread in the side bar: rename, share or delete."""
        await self.thread(thread_id).hover()
        await self.thread(thread_id).locator("#thread-options").click()
        await self.page.locator(f"#{action}-thread").click()

    async def search(self, words: str) -> Locator:
        """Search from the side bar. Returns the locator of the results."""
        await self.page.locator("#search-chats-button").click()
        await self.dialog.get_by_role("combobox").fill(words)
        return self.dialog.get_by_role("option")

    async def header_fits(self) -> None:
        """Nothing of the header is cut, and the page does not scroll sideways."""
        ends = "[...document.querySelectorAll('#header :is(button, a)')].map(one => one.getBoundingClientRect().right)"
        assert await self.page.evaluate(f"Math.max(...{ends}) - window.innerWidth") <= 0
        assert await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0

    async def screenshot(self, name: str, *, whole: bool = False) -> None:
        """What the window shows, or the whole page."""
        self._shots += 1
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(
            path=SCREENSHOTS / f"{self._name}-{self._shots:02}-{name}.png", animations="disabled", full_page=whole
        )


@asynccontextmanager
async def visit(
    browser: Browser,
    base_url: str,
    name: str,
    *,
    size: tuple[int, int] = WIDE,
    dark: bool = False,
    locale: str = "en-US",
    cookies: Iterable[Any] = (),
    store: str | None = None,
) -> AsyncIterator[Visitor]:
    """A visitor with a new browser profile. `name` is the prefix of the screenshots.

    Requests to `store` (host and port) are allowed as well.
    """
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        locale=locale,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(_PATIENCE_MILLISECONDS)
    await context.add_cookies(list(cookies))
    watch = Watch(urlsplit(base_url).netloc, store)
    watch.over(context)
    page = await context.new_page()
    visitor = Visitor(page, watch, base_url, name)
    try:
        yield visitor
    except BaseException as failure:
        try:
            await visitor.screenshot("failed")
        except Error as error:
            # The page is as busy as when it failed. The failure itself is what the reader needs.
            failure.add_note(f"no screenshot of it: {error.message}")
        print(f"{name}: {watch}")
        raise
    finally:
        await context.close()
    watch.verify()
