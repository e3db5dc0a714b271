from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support import missing
from tests.support.browser import find_chromium, launch


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium. Where there is none, the test is skipped; with CI set, the run ends as a failure."""
    program = find_chromium()
    if program is None:
        missing.tell(
            "CHROMIUM: none found, so the browser tests were skipped; install the package chromium or set CHROMIUM_PATH"
        )
    async with launch(program) as browser:
        yield browser
