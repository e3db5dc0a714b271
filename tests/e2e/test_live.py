"""A page shows live what programs store in its thread, also through another process."""

import asyncio

import httpx
import pytest
from playwright.async_api import Browser, expect

from datalayer import acting_as
from tests.conftest import StartServer
from tests.integration.test_background_answers import program_of
from tests.support.browser import IN_THE_BROWSERS_LOOP, visit
from tests.support.model_server import ModelServer
from tests.support.patience import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]
NAME, PASSWORD, SLOW = "ann", "a long password", "slow:20:0"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_page_shows_what_a_program_asks_through_another_process(
    browser: Browser, start_server: StartServer, model_server: ModelServer
) -> None:
    server, other = [await start_server(OPENAI_MODELS=f"echo,{SLOW}") for _ in range(2)]
    async with visit(browser, server.base_url, "live") as visitor, await program_of(other) as program:
        thread_id = (await program.post("/threads", json={"name": "Live"})).json()["id"]
        address = f"/threads/{thread_id}/messages"
        first = (await program.post(address, json={"content": "First"})).json()
        await visitor.enter(NAME, PASSWORD, f"/thread/{thread_id}")
        await expect(visitor.answers).to_contain_text(["You said: First"])

        notes = b"The library opens at nine."
        elements = f"/threads/{thread_id}/elements"
        file = (await program.post(elements, params={"name": "hours.txt"}, content=notes)).json()
        answer_whole = model_server.hold_answers(after=6)
        asking = asyncio.create_task(
            program.post(address, json={"content": "Second", "model": SLOW, "elements": [file["id"]]})
        )
        await expect(visitor.questions).to_contain_text(["First", "Second"])
        await expect(visitor.page.get_by_text("hours.txt")).to_be_visible()
        await expect(visitor.answers.last).to_contain_text("word-5 ")
        assert not asking.done(), "the answer is shown while it is written"
        assert "cut off" not in await visitor.answers.last.inner_text()
        answer_whole.set()
        turn = (await asking).raise_for_status().json()
        await expect(visitor.answers.last).to_contain_text("word-20")
        await expect(visitor.answers).to_have_count(2)
        await expect(visitor.answers.last).to_contain_text("Regenerate")

        # What is asked on the page now goes on from there, and is not sent twice.
        await visitor.ask("Third")
        await expect(visitor.answers).to_have_count(3)
        sent = [one.body["messages"] for one in model_server.requests if one.body.get("stream")][-1]
        assert [one["content"] for one in sent if one["role"] == "user"][-1] == "Third"
        assert turn["answer"]["content"] in [one["content"] for one in sent]
        # The answer is on the page before its turn has ended, and until then the thread is busy.
        await until(lambda: _was_asked(program, address, "Fourth"))
        await expect(visitor.questions).to_contain_text(["First", "Second", "Third", "Fourth"])
        await expect(visitor.answers.last).to_contain_text("You said: Fourth")
        await expect(visitor.answers).to_have_count(4)

        async with other.layer() as layer:
            with acting_as(NAME):
                await layer.delete_step(first["answer"]["id"])
        await expect(visitor.answers).to_have_count(3)
        assert "failed" not in server.log


async def _was_asked(program: httpx.AsyncClient, address: str, question: str) -> bool:
    answer = await program.post(address, json={"content": question, "model": "echo"})
    return answer.status_code != httpx.codes.CONFLICT and answer.raise_for_status().is_success
