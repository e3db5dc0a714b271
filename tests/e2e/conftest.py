"""One Chromium for all tests with a browser. The tests and their servers run in its event loop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests.conftest import StartServer, servers
from tests.support import missing
from tests.support.browser import Chromium, find_chromium
from tests.support.model_server import ModelServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """The program of Chromium. Without it, the test is skipped, or fails if CI is set."""
    program = find_chromium()
    if program is None:
        missing.skip_or_fail(
            "CHROMIUM: none found, so the browser tests were skipped; "
            "install the package chromium-headless-shell or chromium, or set CHROMIUM_PATH"
        )
    async with Chromium(program) as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Chromium) -> Browser:
    return await chromium.browser()


@pytest_asyncio.fixture(loop_scope="session")
async def model_server() -> AsyncIterator[ModelServer]:
    """A scripted model server."""
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def start_server(database_url: str, tmp_path: Path, model_server: ModelServer) -> AsyncIterator[StartServer]:
    """Starts the application on a migrated database without rows, on each engine, and the scripted model server."""
    async with servers(database_url, tmp_path, model_server) as start:
        yield start
