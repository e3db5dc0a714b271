"""The promises of docs/promises.md, each with a test of its name, through the public layer."""

import asyncio
import os
import re
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import chainlit as cl
import httpx
import pytest
from aiohttp import web
from chainlit.element import ElementDict
from chainlit.step import StepDict
from fastapi import FastAPI
from sqlalchemy import func, insert, select, text

import datalayer
from datalayer import Login, create_data_layer
from datalayer.adoption.adopt import adopt
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.database import Database
from datalayer.history import search_index
from datalayer.history.feedback import changes_of_step
from datalayer.records.usage import CallFilter, LlmCallPayload
from datalayer.schema.chat import deleted_threads, feedbacks, metadata, migrations, steps, threads
from tests.conftest import StartServer
from tests.support import program, stock
from tests.support.calls import call
from tests.support.chat_client import ChatClient
from tests.support.command_line import CommandLine
from tests.support.patience import until
from tests.support.records import listed, new_id, opened, page, step, thread, user_id, vote, without_search
from tests.support.server import ROOT
from threadkeeper.web.files import file_url, files_router

PASSWORD = "correct horse battery"
# Writes steps one by one and prints each acknowledged one.
WRITE_ON = """
import asyncio, sys, uuid, datalayer

async def write():
    layer, thread_id = datalayer.create_data_layer(sys.argv[1]), sys.argv[2]
    while True:
        steps = [{"id": str(uuid.uuid4()), "threadId": thread_id, "name": "x", "type": "tool"} for _ in range(3)]
        await asyncio.gather(*(layer.create_step(step) for step in steps))
        print("\\n".join(step["id"] for step in steps))

asyncio.run(write())
"""


class Talk:
    """Alice's thread with a step, a vote and a file."""

    def __init__(self, thread_id: str, step_id: str, vote_id: str, element: dict[str, Any]) -> None:
        self.thread_id, self.step_id, self.vote_id, self.element = thread_id, step_id, vote_id, element


async def talk(layer: ChainlitLayer) -> Talk:
    owner = await user_id(layer, "alice")
    await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id, "a secret", metadata={"favorite": True})
        await layer.create_step(written)
        vote_id = await layer.upsert_feedback(vote(written["id"], 1, "good"))
        file: Any = cl.File(thread_id=thread_id, for_id=written["id"], name="notes.txt", content=b"a file")
        await layer.create_element(file)
        (element,) = (await layer.get_thread(thread_id))["elements"]
    return Talk(thread_id, written["id"], vote_id, element)


@pytest.mark.slow
async def test_01_no_acknowledged_write_is_lost(layer: ChainlitLayer, database_url: str, tmp_path: Path) -> None:
    thread_id = await thread(layer, None)
    log = tmp_path / "log"
    writer = program.start(program.PROGRAM, [WRITE_ON, database_url, thread_id], directory=tmp_path, log=log)
    await until(lambda: log.read_text().count("\n") >= 90 or writer.returncode is not None)
    assert writer.returncode is None, log.read_text()
    writer.kill()
    await writer.wait()
    # The last line may be incomplete.
    acknowledged = log.read_text().split("\n")[:-1]
    kept = {one["id"] for one in (await layer.get_thread(thread_id))["steps"]}
    assert set(acknowledged) <= kept


async def test_02_order_holds(layer: ChainlitLayer) -> None:
    written = [step(await thread(layer, None), "0") for _ in range(5)]
    calls: list[Any] = []
    for number in range(1, 41):
        calls += [layer.update_step({**one, "output": str(number)}) for one in written]
        if number == 20:
            # A refused write, and creates that arrive late.
            calls += [layer.update_thread(new_id(), user_id=new_id()), *map(layer.create_step, written)]
    tasks = [asyncio.create_task(call) for call in calls]
    seen: list[int] = []
    while not all(task.done() for task in tasks):
        found = (await layer.get_thread(written[0]["threadId"]))["steps"]
        seen += [int(one["output"]) for one in found]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in results if one is not None] == [datalayer.InvalidRecord]
    assert seen == sorted(seen)
    for one in written:
        (kept,) = (await layer.get_thread(one["threadId"]))["steps"]
        assert kept["output"] == "40"


async def test_03_unknown_fields_survive(layer: ChainlitLayer, database_url: str) -> None:
    unknown = {"mood": {"of": ["the", "day", None]}, "extra": [1], "updatedAt": "ours", "indent": 3, "名": "🧵"}
    written = step(await thread(layer, None), **unknown)
    await layer.create_step(written)
    other = create_data_layer(database_url)
    await other.update_step({"id": written["id"], "threadId": written["threadId"], "output": "more", "weather": "rain"})
    await other.create_step({**written, "mood": "of a late creation"})
    await other.close()
    (kept,) = (await layer.get_thread(written["threadId"]))["steps"]
    assert {key: kept[key] for key in unknown} == unknown
    assert (kept["weather"], kept["output"]) == ("rain", "more")


STEP = {
    "name": "工具", "type": "tool", "command": "search", "modes": {"effort": "high"}, "streaming": True,
    "waitForAnswer": True, "isError": True, "metadata": {"a": [1, 2.5, None, {"b": "🧵"}]}, "tags": ["one", "三"],
    "input": "in", "output": "out 🧵", "createdAt": "2026-02-03T04:05:06.000700Z",
    "start": "2026-02-03T04:05:06.000800Z", "end": "2026-02-03T04:05:07.000000Z",
    "generation": {"model": "gpt", "tokenCount": 12}, "showInput": "json",
    "defaultOpen": True, "autoCollapse": True, "language": "python", "icon": "wrench", "parentId": new_id(),
}  # fmt: skip
ELEMENT = {
    "type": "video", "url": "https://example.org/x", "chainlitKey": "key", "name": "a film", "display": "side",
    "size": "large", "language": "python", "page": 7, "props": {"a": [1]}, "autoPlay": True,
    "playerConfig": {"youtube": {"start": 3}}, "forId": new_id(), "mime": "video/mp4",
}  # fmt: skip


async def test_04_every_key_makes_the_round_trip(layer: ChainlitLayer) -> None:
    ids = {"id", "threadId"}
    assert STEP.keys() | ids | {"feedback"} == get_type_hints(StepDict).keys()
    assert ELEMENT.keys() | ids | {"path", "objectKey"} == get_type_hints(ElementDict).keys()
    thread_id, step_id = await thread(layer, None), new_id()
    await layer.create_step({**STEP, "id": step_id, "threadId": thread_id})
    video: Any = cl.Video(thread_id=thread_id, name="to be replaced", url="https://example.org/x")
    video.to_dict = lambda: {**ELEMENT, "id": video.id, "threadId": thread_id}
    await layer.create_element(video)
    kept_id = await layer.upsert_feedback(vote(step_id, 1, "good"))
    found = await layer.get_thread(thread_id)
    (kept,), (element,) = found["steps"], found["elements"]
    ballot = {"id": kept_id, "forId": step_id, "value": 1, "comment": "good"}
    assert kept == {**STEP, "id": step_id, "threadId": thread_id, "feedback": ballot}
    assert {key: element[key] for key in ELEMENT} == ELEMENT


@pytest.mark.slow
async def test_05_start_up_migrates_or_refuses_loudly(empty_database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path / "data")}
    cli = CommandLine(tmp_path)
    replicas = await asyncio.gather(*(asyncio.to_thread(cli, "migrate", **settings) for _ in range(2)))
    assert [one.returncode for one in replicas] == [0, 0], replicas
    assert sum(one.stdout.count("applied: build_schema") for one in replicas) == 1
    database = Database(empty_database_url)
    async with database.write() as connection:
        await connection.execute(insert(migrations).values(name="from_the_future", appliedAt="2030"))
    before = await stock.dump(empty_database_url)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        settings["PORT"] = str(probe.getsockname()[1])
    refused = await asyncio.to_thread(cli, "serve", **settings)
    assert refused.returncode != 0
    assert "migrated by a newer version (from_the_future)" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    assert await stock.dump(empty_database_url) == before
    await database.close()


@pytest.mark.parametrize("made_by", ["today", "older", "asyncpg"])
async def test_06_chainlits_own_databases_are_adopted(empty_database_url: str, engine: str, made_by: str) -> None:
    if made_by != "asyncpg":
        await stock.made_by_sqlalchemy_layer(empty_database_url, made_by)
    elif engine == "postgres":
        await stock.made_by_asyncpg_layer(empty_database_url)
    else:
        pytest.skip("Chainlit's asyncpg layer knows Postgres alone")
    database, before = Database(empty_database_url), await stock.dump(empty_database_url)
    dry = await adopt(database, apply=False)
    assert await stock.dump(empty_database_url) == before
    report = await adopt(database, apply=True)
    await database.close()
    assert report.counts == dry.counts
    # The first thread has two votes on one step; the newer one counts.
    folded = {"feedbacks": 1}
    for count in report.counts:
        assert count.found == count.after + folded.get(count.table, 0)
    assert {count.table: count.after for count in report.counts}["steps"] == 2 * stock.THREADS
    layer = create_data_layer(empty_database_url)
    found = await listed(layer, await user_id(layer, "alice"))
    assert len(found) == stock.THREADS
    for one in found:
        assert len((await layer.get_thread(one))["steps"]) == 2
    await layer.close()


async def test_07_one_vote_per_user_and_step(layer: ChainlitLayer, database_url: str) -> None:
    alices = await talk(layer)
    other = create_data_layer(database_url)
    with datalayer.acting_as("alice"):
        calls = [one.upsert_feedback(vote(alices.step_id, n % 2)) for n in range(5) for one in (layer, other)]
        assert set(await asyncio.gather(*calls)) == {alices.vote_id}
        await layer.upsert_feedback(vote(alices.step_id, 0, "on second thoughts"))
        await layer.update_thread(alices.thread_id, metadata={"is_shared": True})
    await other.close()
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            for change in (layer.upsert_feedback(vote(alices.step_id, 1)), layer.delete_feedback(alices.vote_id)):
                with pytest.raises(datalayer.NotFound):
                    await change
    async with layer.database.read() as connection:
        (kept,) = (await connection.execute(select(feedbacks))).mappings()
        history = await changes_of_step(connection, alices.step_id)
    assert (kept["value"], kept["comment"]) == (0, "on second thoughts")
    assert (len(history), history[0][:2], history[-1][:2]) == (12, (1, "good"), (0, "on second thoughts"))
    with pytest.raises(datalayer.InvalidRecord):
        async with layer.database.write() as connection:
            await connection.execute(insert(feedbacks).values({**kept, "id": new_id()}))


async def test_08_every_read_is_checked_for_ownership(layer: ChainlitLayer) -> None:
    alices = await talk(layer)
    owner, element_id = await user_id(layer, "alice"), alices.element["id"]
    reads: list[Callable[[], Awaitable[Any]]] = [
        lambda: layer.get_thread(alices.thread_id),
        lambda: layer.get_thread_author(alices.thread_id),
        lambda: layer.get_element(alices.thread_id, element_id),
        lambda: opened(layer, alices.thread_id, element_id),
        lambda: listed(layer, owner),
        lambda: listed(layer, owner, search="secret"),
        lambda: listed(layer, owner, feedback=1),
        lambda: layer.get_favorite_steps(owner),
    ]
    for actor, allowed in (("alice", True), ("bob", False), (None, False)):
        with datalayer.acting_as(actor):
            assert [bool(await read()) for read in reads] == [allowed] * len(reads), actor


async def test_09_a_deletion_leaves_nothing_and_gives_a_receipt(layer: ChainlitLayer, tmp_path: Path) -> None:
    await layer.add_account("alice", "no real hash")
    first, second = await talk(layer), await talk(layer)
    owner = await user_id(layer, "alice")
    for number, thread_id in enumerate((first.thread_id, second.thread_id)):
        paid = call(user_id=owner, thread_id=thread_id, total_cost=Decimal(number))
        await layer.record_call(paid, LlmCallPayload(paid.id, [], "what was said"))
    with datalayer.acting_as("alice"):
        of_thread = await layer.delete_thread_with_receipt(first.thread_id)
    counts = {
        **{"threads": 1, "steps": 1, "elements": 1, "feedbacks": 1, "feedback_changes": 1},
        "llm_call_payloads": 1,
    }
    assert {name: count for name, count in without_search(of_thread.rows).items() if count} == counts
    assert of_thread.files == (first.element["objectKey"],)
    await layer.see_login(owner, Login("0" * 64, utc_now(), utc_in(60)))
    of_user = await layer.delete_user("alice")
    assert {name: count for name, count in without_search(of_user.rows).items() if count} == {
        **counts,
        "users": 1,
        "credentials": 1,
        "logins": 1,
    }
    assert (of_user.owner, of_user.files) == ("alice", (second.element["objectKey"],))
    async with layer.database.read() as connection:
        left = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
        }
    assert {name for name, count in left.items() if count} == {
        *("users", "threadkeeper_migrations", "llm_calls", "deleted_threads"),
    }
    assert left["users"] == 1
    # The marks have an id and a time, and nothing else.
    assert (left["deleted_threads"], len(deleted_threads.c)) == (2, 2)
    # The cost is kept, without the ids of user and thread.
    bill = [row.call async for row in layer.export_calls(CallFilter())]
    assert sum(one.total_cost or 0 for one in bill) == 1
    assert all((one.user_id, one.thread_id, one.step_id) == (None, None, None) for one in bill)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_10_a_files_link_never_expires_for_its_owner_and_never_works_for_anyone_else(
    layer: ChainlitLayer, database_url: str, tmp_path: Path
) -> None:
    alices = await talk(layer)
    # A year later, in another process.
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (time.time() - 366 * 86_400,) * 2)
    async with layer.database.write() as connection:
        for table in ("elements", "steps", "threads"):
            await connection.execute(text(f"""UPDATE {table} SET "createdAt" = '2025-01-01T00:00:00.000000Z'"""))
    later = create_data_layer(database_url, f"file://{tmp_path / 'blobs'}", file_url=file_url)
    application = FastAPI()
    application.include_router(files_router(later))
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with datalayer.acting_as("alice"):
            (element,) = (await later.get_thread(alices.thread_id))["elements"]
            answer = await http.get(element["url"])
        assert (answer.status_code, answer.content) == (200, b"a file")
        unknown = await http.get(f"/files/{new_id()}/{new_id()}/notes.txt")
        for actor in ("bob", None):
            with datalayer.acting_as(actor):
                answer = await http.get(element["url"])
                assert (answer.status_code, answer.content) == (404, unknown.content)
                own = await thread(later, await user_id(later, "bob")) if actor else new_id()
                forged = await http.get(f"/files/{own}/{element['id']}/notes.txt")
                assert forged.status_code == 404
    await later.close()


@pytest.mark.slow
async def test_11_the_server_fetches_no_url_that_a_user_sent(start_server: StartServer) -> None:
    fetched: list[str] = []

    async def note(request: web.Request) -> web.Response:
        fetched.append(request.path)
        return web.Response(text="fetched")

    trap = web.Application()
    trap.router.add_route("*", "/{path:.*}", note)
    runner = web.AppRunner(trap)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server = await start_server(OPENAI_MODELS="echo", OPENAI_TITLE_MODEL="say:A Fine Title")
    await server.add_user("alice", PASSWORD)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        files = [
            await client.upload("link.txt", f"{url}/in-a-text".encode(), "text/plain"),
            await client.upload("drawing.svg", f'<svg><image href="{url}/svg"/></svg>'.encode(), "image/svg+xml"),
        ]
        assert "You said" in await client.ask(f"read {url}/message and ![it]({url}/picture.png)")
        seen = len(client.events)
        await client.send("and these", files=files)
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        element = {
            "id": new_id(), "type": "custom", "name": "Card", "threadId": client.thread_id, "forId": new_id(),
            "url": f"{url}/element", "objectKey": f"{url}/key", "chainlitKey": f"{url}/chainlit", "display": "inline",
            "props": {"src": f"{url}/props"}, "mime": "application/json",
        }  # fmt: skip
        put = await client.http.put("/project/element", json={"element": element, "sessionId": client.session_id})
        assert put.json() == {"success": True}
        found = (await client.http.get(f"/project/thread/{client.thread_id}")).json()
        assert len(found["elements"]) == len(files) + 1
        for one in found["elements"]:
            await client.http.get(f"/project/thread/{client.thread_id}/element/{one['id']}")
    async with server.layer() as layer:
        image: Any = cl.Image(thread_id=found["id"], for_id=new_id(), name="x", url=f"{url}/image.png")
        await layer.create_element(image)
        assert await opened(layer, found["id"], image.id) is None
    await server.stop()
    async with httpx.AsyncClient(trust_env=False) as client_of_our_own:
        assert (await client_of_our_own.get(f"{url}/proof")).text == "fetched"
    await runner.cleanup()
    assert fetched == ["/proof"]


@pytest.mark.slow
async def test_12_errors_reach_the_user_in_words_and_the_operator_in_logs(start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo,500", OPENAI_TITLE_MODEL="say:A Fine Title")
    await server.add_user("alice", PASSWORD)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        await client.ask("hello", modes={"model": "500"})
        words = client.steps[list(client.steps)[-1]]["output"]
        assert "failed" in words
        assert "Traceback" not in words
        assert client.thread_id
        assert client.thread_id in server.log
        # A failed write is reported too: the table is missing for a while.
        async with server.layer() as layer, layer.database.write() as connection:
            await connection.execute(text("ALTER TABLE steps RENAME TO steps_elsewhere"))
        seen = len(client.events)
        await client.send("hello again")
        await client.until(lambda: any(name == "toast" for name, _ in client.events[seen:]))
        (sentence, *_) = [data["message"] for name, data in client.events[seen:] if name == "toast"]
        assert "saved" in sentence
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
    assert "step was not stored: the database lacks a table or column" in server.log


FEW, MANY, ROUNDS = 20, 3000, 15
MOST_TIMES_SLOWER = 4.0


async def grown(layer: ChainlitLayer, identifier: str, count: int) -> tuple[str, str]:
    """A user with this number of threads of two steps, the oldest with a rare word; returns both ids."""
    owner, ids = await user_id(layer, identifier), [new_id() for _ in range(count)]
    moments = [f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000Z" for n in range(count)]
    async with layer.database.write() as connection:
        rows: list[dict[str, Any]] = [
            {"id": one, "createdAt": at, "updatedAt": at, "name": "x", "userId": owner, "userIdentifier": identifier}
            for one, at in zip(ids, moments, strict=True)
        ]
        await connection.execute(insert(threads), rows)
        texts = [{"name": "x", "type": "tool", "streaming": False, "output": "common words " * 20} for _ in range(2)]
        rows = [
            {**one, "id": new_id(), "threadId": thread_id, "createdAt": at}
            for thread_id, at in zip(ids, moments, strict=True)
            for one in texts
        ]
        await connection.execute(insert(steps), rows)
    with datalayer.acting_as(identifier):
        await layer.create_step(step(ids[0], "a pangolin"))
    return owner, ids[0]


async def compared(layer: ChainlitLayer, read: Callable[[str, str], Awaitable[Any]]) -> float:
    """The ratio of the median times with the long and the short history, measured in alternating rounds."""
    users = [await grown(layer, "few", FEW), await grown(layer, "many", MANY)]

    async def all_are_indexed() -> bool:
        return await search_index.waiting(layer.database) == 0

    # What is not indexed yet is searched directly, which takes longer the more there is of it.
    await until(all_are_indexed)
    if layer.database.dialect.name == "postgresql":
        async with layer.database.read() as connection:
            await connection.execute(text("ANALYZE"))
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for at, (owner, thread_id) in enumerate(users):
            begun = time.perf_counter()
            assert await read(owner, thread_id)
            taken[at].append(time.perf_counter() - begun)
    few, many = map(statistics.median, taken)
    return many / few


@pytest.mark.budget
class Test13ListsResumeAndSearchStayFlatAsHistoryGrows:
    """Compares a history with one that is 150 times as long, on the same database at the same time."""

    async def test_lists(self, layer: ChainlitLayer) -> None:
        async def first_page(owner: str, _thread: str) -> Any:
            return (await page(layer, owner, first=10)).data

        assert await compared(layer, first_page) < MOST_TIMES_SLOWER

    async def test_resume(self, layer: ChainlitLayer) -> None:
        assert await compared(layer, lambda _owner, thread_id: layer.get_thread(thread_id)) < MOST_TIMES_SLOWER

    async def test_search(self, layer: ChainlitLayer) -> None:
        async def search(owner: str, _thread: str) -> Any:
            return await listed(layer, owner, search="pangolin")

        assert await compared(layer, search) < MOST_TIMES_SLOWER


def test_every_promise_has_a_test_of_its_name() -> None:
    promises = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    found = re.findall(r"^(\d+)\. \*\*(.+?)\.\*\*", promises, re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, 14))

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    names = {plain(name) for name in globals() if re.match(r"(?i)test_?\d\d", name)}
    assert names == {plain(f"test{int(number):02}{sentence}") for number, sentence in found}
