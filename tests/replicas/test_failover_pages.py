"""The primary dies while pages of two replicas receive answers, and its standby is promoted."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from datalayer import create_data_layer
from tests.replicas.test_failover import doubled_votes
from tests.support.chat_client import ChatClient
from tests.support.cheap_passwords import CHEAP_HASHER
from tests.support.model_server import ModelServer
from tests.support.postgres import Databases
from tests.support.shared_server import model_settings
from tests.support.standby import primary_and_standby
from tests.support.topology import two_replicas
from threadkeeper.chat.wording import say, unmark_answer
from threadkeeper.login.passwords import Passwords

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

PASSWORD = "a long password"
ENDLESS = "slow:5000:0.5"
ECHO = {"model": "echo"}
PAGES_OF_A_KIND = 6


async def test_what_pages_ask_vote_and_receive_waits_for_the_promoted_standby_and_is_stored_once(
    tmp_path: Path, model_server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = model_settings(model_server) | {"OPENAI_MODELS": f"echo,{ENDLESS}"}
    with primary_and_standby(synchronous=True) as pair:
        databases = Databases(pair.primary.url)
        url = databases.create()
        databases.close()
        both = pair.url_of_both(url, "target_session_attrs=read-write")
        async with AsyncExitStack() as opened:
            layer = create_data_layer(both)
            opened.push_async_callback(layer.close)
            topology = await opened.enter_async_context(two_replicas(tmp_path, both, settings))
            await layer.note_first_steps("seen")
            hashed = await Passwords(CHEAP_HASHER).hash(PASSWORD)
            pages = dict[str, list[ChatClient]]()
            for kind in ("answering", "asking", "voting"):
                names = [f"{kind}{number}" for number in range(PAGES_OF_A_KIND)]
                for name in names:
                    await layer.add_account(name, hashed)
                places = [*topology.replicas] * (PAGES_OF_A_KIND // 2)
                opening = (topology.page(name, PASSWORD, at=at) for name, at in zip(names, places, strict=True))
                pages[kind] = await asyncio.gather(*map(opened.enter_async_context, opening))
            everyone = [page for of_kind in pages.values() for page in of_kind]
            await asyncio.gather(*(page.ask("before", modes=ECHO) for page in everyone))
            for page in pages["answering"]:
                await page.send("Count", modes={"model": ENDLESS})
            await asyncio.gather(*(words(page, 5) for page in pages["answering"]))

            await asyncio.to_thread(pair.primary.halt)
            died = time.monotonic()
            turns = [ends(page) for page in pages["asking"]]
            for page in pages["asking"]:
                await page.send("while it is away", modes=ECHO)
            votes = [asyncio.create_task(vote(page)) for page in pages["voting"]]
            waits = [*pages["answering"], *pages["asking"]]
            await asyncio.gather(*(page.until(lambda page=page: is_told(page), what="the notice") for page in waits))  # type: ignore[misc]
            told = time.monotonic() - died
            await asyncio.gather(*(words(page, 5, more=True) for page in pages["answering"]))
            await asyncio.to_thread(pair.standby.promote)
            promoted = time.monotonic()
            for name in topology.replicas:
                await topology.until_ready(name)
            took = time.monotonic() - promoted
            # A vote whose account could not be looked up was refused, so the page shows it as not cast.
            for page, code in zip(pages["voting"], await asyncio.gather(*votes), strict=True):
                assert code in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)
                assert code == httpx.codes.OK or await vote(page) == httpx.codes.OK
            for page, before in zip(pages["asking"], turns, strict=True):
                await page.until(lambda page=page, before=before: ends(page) > before, what="the end of the turn")  # type: ignore[misc]
                assert "after" in await page.ask("after", modes=ECHO)
            for page in pages["answering"]:
                await page.emit("stop")
                await page.until(lambda page=page: status(page), what="the end of the answer")  # type: ignore[misc]
            assert all(page.connected for page in everyone)
            assert not any(say("not_saved", "en-US") in toasts(page) for page in everyone)
            asked = {"answering": ["before", "Count"], "asking": ["before", "while it is away", "after"]}
            for kind, of_kind in pages.items():
                for page in of_kind:
                    steps = (await page.stored())["steps"]
                    questions = [step["output"] for step in steps if step["type"] == "user_message"]
                    assert questions == asked.get(kind, ["before"])
                    shown = {step["id"]: step["output"] for step in page.answers()}
                    stored = {step["id"]: step["output"] for step in steps if step["type"] == "assistant_message"}
                    assert stored == shown
                    if kind == "voting":
                        assert [step["feedback"]["value"] for step in steps if step["feedback"]] == [1]
            assert all(len(unmark_answer(page.answer).split()) >= 8 for page in pages["answering"])
            assert await doubled_votes(pair.on_standby(url)) == 0
    with capsys.disabled():
        print(f"pages were told after {told:.1f} s; the replicas were ready {took:.1f} s after the promotion")


async def words(page: ChatClient, count: int, *, more: bool = False) -> None:
    """Wait until the answer has so many words, or so many more."""

    def shown() -> int:
        return len(page.answer.split()) if page.answer.startswith("word-") else 0

    wanted = count + (shown() if more else 0)
    await page.until(lambda: shown() >= wanted, what=f"word {wanted}")


async def vote(page: ChatClient) -> int:
    value = {"feedback": {"forId": page.answers()[-1]["id"], "value": 1}, "sessionId": page.session_id}
    return (await page.http.put("/feedback", json=value)).status_code


def ends(page: ChatClient) -> int:
    """How many turns have ended."""
    return [name for name, _ in page.events].count("task_end")


def toasts(page: ChatClient) -> list[str]:
    return [data["message"] for name, data in page.events if name == "toast"]


def is_told(page: ChatClient) -> bool:
    """Whether the page says that the server cannot save at the moment."""
    return say("saving_waits", "en-US") in toasts(page)


def status(page: ChatClient) -> Any:
    """How the last answer ended; None while it goes on."""
    return (page.answers()[-1].get("metadata") or {}).get("status")
