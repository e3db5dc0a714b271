"""The page in the light and the dark theme, wide and narrow. The screenshots are for people to check."""

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.chat_client import ChatClient

pytestmark = [pytest.mark.slow, IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"
QUESTION = r"""## Rivers

| river | km |
| --- | --- |
| Nile | 6650 |

```python
print("Nile")
```

$$e^{i\pi} = -1$$

Status:OK, llama3:latest, 版本:v2.

::name

:::note
Kept apart
:::
"""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_chat_fits_in_both_themes_and_sizes(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo", OPENAI_TITLE_MODEL="say:Rivers of the world")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask(QUESTION)
        await client.event("first_interaction")
    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"looks-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            async with visit(browser, server.base_url, name, size=size, dark=dark) as visitor:
                await visitor.arrive()
                await fits(visitor, "login", dark=dark)
                await visitor.log_in(NAME, PASSWORD)
                await expect(visitor.page.get_by_text("Explain something")).to_be_visible()
                await visitor.connected()
                await fits(visitor, "welcome", dark=dark)
                await visitor.open(f"/thread/{client.thread_id}")
                await expect(visitor.answers.locator("table")).to_be_visible()
                await expect(visitor.answers.locator(".katex").first).to_be_visible()
                for words in ("Status:OK, llama3:latest, 版本:v2.", "::name", "Kept apart"):
                    await expect(visitor.answers).to_contain_text(words)
                await expect(visitor.answers).not_to_contain_text(":::")
                await fits(visitor, "thread", dark=dark)


async def fits(visitor: Visitor, name: str, *, dark: bool) -> None:
    """The page does not scroll sideways, and has the theme of the system."""
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert await visitor.page.evaluate("document.documentElement.classList.contains('dark')") == dark
