"""Usage in the chat: the line under an answer, and refusals over a limit."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from datalayer.records.usage import CallFilter, Limit, Price
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.model_server import ModelServer
from tests.support.records import new_id
from tests.support.server import AppServer

pytestmark = pytest.mark.slow

NAME, PASSWORD = "alice", "a long password"
TITLE = "say:A title"


async def chat_server(start_server: StartServer, **settings: str) -> AppServer:
    server = await start_server(OPENAI_MODELS="echo,context-echo,no-usage,500", OPENAI_TITLE_MODEL=TITLE, **settings)
    await server.add_user(NAME, PASSWORD)
    return server


async def limit(server: AppServer, amount: int | str, unit: Any) -> None:
    """Set a daily limit for each user."""
    async with server.layer() as layer:
        await layer.put_limit(Limit(new_id(), "users", None, "day", unit, Decimal(amount)))


async def test_the_usage_of_an_answer_is_shown_under_it_only(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await chat_server(start_server)
    async with server.layer() as layer:
        await layer.add_price(Price(new_id(), "echo", "2020-01-01T00:00:00Z", input=Decimal(1), output=Decimal(2)))
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        assert await client.ask("hello") == "You said: hello"
        billed = next(one for one in model_server.ledger if one.model == "echo")
        cost = Decimal(billed.prompt_tokens + 2 * billed.completion_tokens) / 1_000_000
        (line,) = client.footers()
        assert line.startswith(f"echo · {billed.prompt_tokens + billed.completion_tokens} tokens · $0.0000")
        await client.ask("again", modes={"model": "no-usage"})
        assert client.footers()[1].startswith("no-usage · about ")
        assert "$" not in client.footers()[1]
        await client.ask("fail", modes={"model": "500"})
        assert len(client.footers()) == 2, "a failed question has no line"
        thread_id = client.thread_id
    async with server.layer() as layer:
        thread = await layer.get_thread(thread_id or "")
        (call,) = [row.call async for row in layer.export_calls(CallFilter(models=("echo",)))]
    answer = next(step for step in thread["steps"] if step["output"] == "You said: hello")
    assert Decimal(answer["metadata"]["usage"]["dollars"]) == cost == call.total_cost
    assert (call.step_id, call.thread_id, call.kind) == (answer["id"], thread_id, "chat")

    async with ChatClient(server.base_url, NAME, PASSWORD, thread_id=thread_id) as client:
        assert len(client.footers()) == 2
        assert client.footers()[0] == line
        assert client.answers()[0]["output"] == "You said: hello"
        context = await client.ask("what did you see?", modes={"model": "context-echo"})
    assert "tokens" not in context
    assert "·" not in context


async def test_the_usage_line_can_be_turned_off(start_server: StartServer) -> None:
    server = await chat_server(start_server, USAGE_FOOTER="false", USAGE_KEEP_PAYLOADS="false")
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask("hello")
        assert client.footers() == []
        thread_id = client.thread_id
    async with ChatClient(server.base_url, NAME, PASSWORD, thread_id=thread_id) as client:
        assert client.footers() == []
    async with server.layer() as layer:
        page = await layer.list_calls(CallFilter())
        assert [await layer.get_call(row.call.id) for row in page.rows] == [(row, None) for row in page.rows]


async def test_a_user_is_warned_and_then_refused_with_a_reason(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await chat_server(start_server)
    await limit(server, 300, "tokens")
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        refused = await until_refused(client)
        used_up = "You have reached today's limit (300 tokens)."
        assert used_up in refused or "Of today's limit (300 tokens), " in refused
        toasts = [data["message"] for name, data in client.events if name == "toast"]
        assert [toast for toast in toasts if "% of today's limit" in toast] == toasts[:1]
        asked = len(model_server.requests)
        await client.ask("and now?")
        assert len(model_server.requests) == asked, "no title is requested either"
    # A new thread has a shorter context, which can still fit.
    async with ChatClient(server.base_url, NAME, PASSWORD, language="zh-CN") as client:
        assert "上限（300 个词元）" in await until_refused(client)


async def until_refused(client: ChatClient) -> str:
    """Ask until a question is refused. Returns the message."""
    while True:
        await client.ask("one more")
        for step in client.steps.values():
            if step.get("isError"):
                return str(step["output"])
        # Title generation also reserves tokens for a moment.
        await asyncio.sleep(0.5)


async def test_two_tabs_cannot_spend_the_same_tokens(start_server: StartServer, model_server: ModelServer) -> None:
    server = await start_server(OPENAI_MODELS="slow:40:0.05", OPENAI_TITLE_MODEL=TITLE)
    await server.add_user(NAME, PASSWORD)
    await limit(server, 300, "tokens")
    async with (
        ChatClient(server.base_url, NAME, PASSWORD) as one,
        ChatClient(server.base_url, NAME, PASSWORD) as other,
    ):
        await one.send("count")
        await one.until(lambda: "word-2 " in one.answer)
        await other.ask("count too")
        refused = next(step for step in other.steps.values() if step.get("isError"))
        assert "reserved for answers in progress" in refused["output"]
        assert len(model_server.requests) == 1
        await one.until(lambda: "word-40 " in one.answer)
