"""The stored data after the server ends during an answer, by SIGTERM or by a crash."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text, update

from datalayer.schema.turns import turn_claims
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.server import AppServer
from threadkeeper.chat.wording import say, unmark_answer

pytestmark = pytest.mark.slow

NAME, PASSWORD = "ann", "a long password"
SLOW = "slow:500:0.02"
CUT = say("mark_cut", "en")


async def test_sigterm_keeps_the_visible_part_of_an_answer(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(OPENAI_MODELS=f"{SLOW},context-echo")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.send("Count for me")
        await client.until(lambda: "word-50 " in client.answer)
        assert await server.stop() == 0
        await client.until(lambda: not client.connected)
    thread_id = client.thread_id
    assert thread_id is not None
    assert model_server.requests[0].left_early, "the request to the model was not closed"

    question, answer = await stored_messages(server, thread_id)
    assert question["output"] == "Count for me"
    assert unmark_answer(answer["output"]).startswith(unmark_answer(client.answer).rstrip())
    assert CUT in answer["output"]
    assert answer["metadata"]["status"] == "cut"
    assert not answer["streaming"]

    await server.start()
    async with ChatClient(server.base_url, NAME, PASSWORD, thread_id=thread_id) as client:
        assert client.answer == answer["output"]
        await client.until(lambda: client.button("try_again"))
        action = client.button("try_again")
        assert action is not None
        assert (action["name"], action["forId"]) == ("try_again", answer["id"])
        await client.ask("Go on", modes={"model": "context-echo"})
    context = last_context(model_server)
    assert [message["content"] for message in context if message["role"] != "system"] == [
        "Count for me",
        unmark_answer(answer["output"]),
        "Go on",
    ]


async def test_a_title_that_was_under_way_is_made_after_the_restart(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(OPENAI_MODELS="echo", OPENAI_TITLE_MODEL="hang")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask("Which rivers are long?")
        await client.until(lambda: any(request.model == "hang" for request in model_server.requests))
        assert await server.stop() == 0
        await client.until(lambda: not client.connected)
    thread_id = client.thread_id
    assert thread_id is not None
    server.environment = {**server.environment, "OPENAI_TITLE_MODEL": "say:Long Rivers"}
    await server.start()
    async with server.layer() as layer:

        async def has_its_title() -> bool:
            thread = await layer.get_thread(thread_id)
            return thread is not None and thread["name"] == "Long Rivers"

        await until(has_its_title)
        (job,) = (await layer.list_jobs(kinds=["title"])).jobs
    assert (job.owner, job.interruptions) == (NAME, 0)
    assert "Which rivers" not in str(job)


async def test_a_crash_keeps_the_question_and_the_stored_part_of_the_answer(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(OPENAI_MODELS=f"{SLOW},context-echo")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.send("Count for me")
        await client.event("first_interaction")
        thread_id = client.thread_id
        assert thread_id is not None
        await client.until(lambda: client.answer)
        stored = await stored_answer_beyond(server, thread_id, words=10)
        await server.kill()
        await client.until(lambda: not client.connected)
        shown = client.answer

    question, answer = await stored_messages(server, thread_id)
    assert question["output"] == "Count for me"
    assert answer["output"].startswith(stored)
    assert shown.startswith(answer["output"].rstrip()) or answer["output"].startswith(shown.rstrip())
    assert answer["streaming"]

    # The claim of the dead turn ends within ten seconds; until then, another process might write the answer.
    async with server.layer() as layer, layer.database.write() as connection:
        await connection.execute(update(turn_claims).values(until=turn_claims.c.until - 60))
    await server.start()
    async with ChatClient(server.base_url, NAME, PASSWORD, thread_id=thread_id) as client:
        assert client.answer == f"{answer['output'].rstrip()}\n\n*{CUT}*"
        assert not client.answers()[-1]["streaming"]
        await client.until(lambda: client.button("try_again"))
        action = client.button("try_again")
        assert action is not None
        assert action["forId"] == answer["id"]
        await client.ask("Go on", modes={"model": "context-echo"})
    context = last_context(model_server)
    assert [message["content"].rstrip() for message in context if message["role"] != "system"] == [
        "Count for me",
        answer["output"].rstrip(),
        "Go on",
    ]


async def test_sigterm_during_many_chats_loses_no_visible_message(start_server: StartServer) -> None:
    """The server is stopped during twenty chats, some of them in the middle of an answer."""
    server = await start_server(OPENAI_MODELS=f"echo,{SLOW}")
    names = [f"user-{number}" for number in range(20)]
    for name in names:
        await server.add_user(name, PASSWORD)
    clients = [ChatClient(server.base_url, name, PASSWORD) for name in names]
    try:
        await asyncio.gather(*(client.__aenter__() for client in clients))
        models = itertools.cycle(["echo", "echo", "echo", SLOW])
        talks = [asyncio.create_task(talk(client, model)) for client, model in zip(clients, models, strict=False)]
        # An answer can start before the page receives the id of its thread.
        await asyncio.gather(*(client.until(functools.partial(has_begun, client)) for client in clients))
        assert await server.stop() == 0
        await asyncio.gather(*talks)
    finally:
        await asyncio.gather(*(client.close() for client in clients))

    for client in clients:
        assert client.thread_id is not None
        messages = await stored_messages(server, client.thread_id)
        stored = {message["id"]: message for message in messages}
        for seen in client.answers():
            kept = unmark_answer(stored[seen["id"]]["output"])
            assert kept.startswith(unmark_answer(seen["output"]).rstrip())
            before = messages[[message["id"] for message in messages].index(seen["id"]) - 1]
            assert before["type"] == "user_message"
            assert SLOW in str(stored[seen["id"]]["metadata"]) or f"You said: {before['output']}".startswith(kept)


async def test_questions_in_the_queue_at_sigterm_are_stored(start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    names = [f"user-{number}" for number in range(5)]
    for name in names:
        await server.add_user(name, PASSWORD)
    clients = [ChatClient(server.base_url, name, PASSWORD) for name in names]
    try:
        await asyncio.gather(*(client.__aenter__() for client in clients))
        await asyncio.gather(*(client.ask("The first question") for client in clients))
        threads = [(await client.event("first_interaction"))["thread_id"] for client in clients]
        async with blocked_writes(server):
            for client in clients:
                client.events.clear()
                await client.send("The last question")
                await client.event("task_start")
            end = asyncio.create_task(server.stop())
            await asyncio.gather(*(client.until(functools.partial(is_disconnected, client)) for client in clients))
            # The database is blocked for longer than the server needs for everything else.
            await asyncio.sleep(1)
            assert not end.done()
        assert await end == 0
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    async with server.layer() as layer:
        stored = [await layer.get_thread(thread_id) for thread_id in threads]
    for thread in stored:
        assert thread is not None
        outputs = [step["output"] for step in thread["steps"] if step["type"].endswith("_message")]
        assert outputs[:3] == ["The first question", "You said: The first question", "The last question"]
        assert all(step["end"] for step in thread["steps"] if step["type"] == "run"), "a step was left open"


async def test_an_unavailable_database_does_not_delay_the_end(start_server: StartServer) -> None:
    """The process ends in time, and the log has the number of writes that could not be stored."""
    server = await start_server(OPENAI_MODELS="echo")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask("The first question")
        async with blocked_writes(server):
            seen = len(client.events)
            await client.send("The last question")
            await client.event("task_start", seen=seen)
            assert await server.stop() == 0
    assert "could not be stored before the end" in server.log


@contextlib.asynccontextmanager
async def blocked_writes(server: AppServer) -> AsyncIterator[None]:
    """Within the block, the server cannot write to its database."""
    async with server.layer() as layer, layer.database.write() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("LOCK TABLE threads, steps IN EXCLUSIVE MODE"))
        yield


async def talk(client: ChatClient, model: str) -> None:
    """Ask one question after another until the server disconnects."""
    for number in itertools.count():
        seen = len(client.events)
        await client.send(f"Question {number} of {client.thread_id}", modes={"model": model})
        await client.until(functools.partial(task_ended_or_disconnected, client, seen))
        if not client.connected:
            return


def has_begun(client: ChatClient) -> bool:
    return bool(client.answers()) and client.thread_id is not None


def is_disconnected(client: ChatClient) -> bool:
    return not client.connected


def task_ended_or_disconnected(client: ChatClient, seen: int) -> bool:
    return not client.connected or any(name == "task_end" for name, _ in client.events[seen:])


def last_context(model_server: ModelServer) -> list[dict[str, Any]]:
    """The messages of the last question. Requests for titles do not stream."""
    messages: list[dict[str, Any]] = next(
        request.body["messages"] for request in reversed(model_server.requests) if request.body.get("stream")
    )
    return messages


async def stored_messages(server: AppServer, thread_id: str) -> list[dict[str, Any]]:
    async with server.layer() as layer:
        thread = await layer.get_thread(thread_id)
    assert thread is not None
    return [step for step in thread["steps"] if step["type"] in ("user_message", "assistant_message")]


async def stored_answer_beyond(server: AppServer, thread_id: str, *, words: int) -> str:
    """Wait until more than this many words of the answer are stored. Returns them."""
    async with server.layer() as layer:

        async def answer() -> str | None:
            thread = await layer.get_thread(thread_id)
            outputs = [
                step["output"] for step in (thread["steps"] if thread else []) if step["type"] == "assistant_message"
            ]
            return next((str(output) for output in outputs if len(output.split()) > words), None)

        return await until(answer)
