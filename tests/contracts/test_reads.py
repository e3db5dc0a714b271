"""Reads take one statement each and use an index, with equal results on both engines; and failures of connections."""

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Executable, insert, text, update

import datalayer
from benchmarks.methods import quiet
from benchmarks.wire import Wire
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.schema.chat import feedbacks, steps, threads, users
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.postgres import Databases
from tests.support.records import listed, new_id, page, step, thread, user_id, vote

OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'threadkeeper'"


async def whole_list(layer: ChainlitLayer, owner: str, size: int, **filters: Any) -> list[str]:
    found, after, more = [], None, True
    while more:
        one = await page(layer, owner, first=size, after=after, **filters)
        found += [thread["id"] for thread in one.data]
        after, more = one.pageInfo.endCursor, one.pageInfo.hasNextPage
    return found


# The statements


@pytest.fixture
def postgres_url(postgres: Databases, migrated_postgres: str) -> Iterator[str]:
    # The statements and connections of these tests are counted at the server itself.
    url = postgres.direct(postgres.create(migrated_postgres))
    yield url
    postgres.drop(url)


async def test_each_read_takes_one_statement_and_one_round_trip(postgres_url: str) -> None:
    with Wire(postgres_url) as wire:
        layer = datalayer.create_data_layer(wire.url)
        await quiet(layer)
        with datalayer.acting_as("alice"):
            owner = await user_id(layer, "alice")
            for _ in range(3):
                written = step(await thread(layer, owner), metadata={"favorite": True})
                await layer.create_step(written)
                await layer.upsert_feedback(vote(written["id"], 1))
            after = (await page(layer, owner, first=1)).pageInfo.endCursor
            reads: dict[str, Callable[[], Awaitable[Any]]] = {
                "get_thread": lambda: layer.get_thread(written["threadId"]),
                "first page": lambda: page(layer, owner),
                "next page": lambda: page(layer, owner, after=after),
                "voted": lambda: page(layer, owner, feedback=1),
                "voted, next page": lambda: page(layer, owner, after=after, feedback=1),
                "favourites": lambda: layer.get_favorite_steps(owner),
            }
            counted = {}
            for name, read in reads.items():
                assert await read()  # prepares the statement
                wire.reset()
                await read()
                counted[name] = (wire.statements, wire.round_trips)
        await layer.close()
    assert counted == dict.fromkeys(reads, (1, 1))


class Plans:
    """Records the statements of a layer, and asks the database for their plans."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Executable, Mapping[str, Any]]] = []
        fetch = Database.fetch

        async def noted(database: Database, statement: Executable, values: Mapping[str, Any]) -> Any:
            self.asked.append((statement, values))
            return await fetch(database, statement, values)

        monkeypatch.setattr(Database, "fetch", noted)

    def _last(self, database: Database) -> tuple[str, list[Any]]:
        statement, values = self.asked[-1]
        compiled: Any = statement.compile(dialect=database.engine.dialect)  # type: ignore[attr-defined]
        values = compiled.construct_params(dict(values))
        return compiled.string, [values[name] for name in compiled.positiontup]

    async def effort_of_last(self, database: Database, url: str) -> int:
        """The blocks that Postgres touches, or the instructions that SQLite runs."""
        sql, values = self._last(database)
        if url.startswith("sqlite"):
            run = itertools.count()
            with contextlib.closing(sqlite3.connect(str(database.engine.url.database))) as file:
                file.set_progress_handler(lambda: next(run) and 0, 1)
                file.execute(sql, values).fetchall()
            return next(run)
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                # As with tables of many users.
                await connection.execute("SET LOCAL enable_seqscan = off")
                explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values)
        finally:
            await connection.close()
        plan = json.loads(explained)[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    async def of_last(self, database: Database, url: str) -> str:
        sql, values = self._last(database)
        if url.startswith("sqlite"):
            async with database.read() as connection:
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", tuple(values))
                return "\n".join(str(row._mapping["detail"]) for row in plan)
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            # In one transaction, because a pooler may be in between.
            async with connection.transaction():
                await connection.execute(
                    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
                )
                await connection.execute(f"PREPARE asked AS {sql}")
                given = ", ".join("'{}'".format(str(value).replace("'", "''")) for value in values)
                found = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked({given})"))
                await connection.execute("DEALLOCATE asked")
                return found
        finally:
            await connection.close()


async def history(
    layer: ChainlitLayer, voted: Mapping[int, int], count: int, *, favorites: int = 0
) -> tuple[str, list[str]]:
    """A user with this number of threads of one step, the oldest first; `votes` by the number of the thread."""
    owner = await user_id(layer, "alice")
    ids = [new_id() for _ in range(count)]
    moments = [f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000Z" for n in range(count)]
    step_ids = [new_id() for _ in range(count)]
    async with layer.database.write() as connection:
        await connection.execute(
            insert(threads),
            [
                {"id": one, "userId": owner, "userIdentifier": "alice", "createdAt": at, "updatedAt": at}
                for one, at in zip(ids, moments, strict=True)
            ],
        )
        await connection.execute(
            insert(steps),
            [
                {
                    **{"id": step_ids[n], "threadId": ids[n], "name": "", "type": "run", "createdAt": moments[n]},
                    "metadata": {"favorite": True} if n < favorites else {},
                }
                for n in range(count)
            ],
        )
        if voted:
            await connection.execute(
                insert(feedbacks),
                [
                    {"id": new_id(), "forId": step_ids[n], "threadId": ids[n], "userId": owner, "value": value}
                    for n, value in voted.items()
                ],
            )
    return owner, ids


THREADS_OF_MANY_USERS = (
    """INSERT INTO users (id, identifier, metadata) SELECT md5('u' || n)::uuid, 'user' || n, '{}'
    FROM generate_series(0, 99) n""",
    """INSERT INTO threads (id, "userId", "userIdentifier", "createdAt", "updatedAt")
    SELECT md5('t' || i)::uuid, md5('u' || i % 100)::uuid, 'user' || i % 100, at, at
    FROM generate_series(1, 20000) i,
        to_char(timestamp '2026-01-01' + i * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI') at
    ORDER BY md5('o' || i)""",
    """INSERT INTO search_texts ("threadId", words)
    SELECT id, to_tsvector('simple', right(id::text, 2)) FROM threads""",
    """UPDATE threads SET "votedUp" = true WHERE right(id::text, 2) < '03'""",
    "ANALYZE threads, search_texts",
)


async def test_a_page_of_one_of_many_users_is_read_in_its_order(
    layer: ChainlitLayer, database_url: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite plans without statistics")
    async with layer.database.write() as connection:
        for statement in THREADS_OF_MANY_USERS:
            await connection.exec_driver_sql(statement)
    plans = Plans(monkeypatch)
    with datalayer.acting_as("user7"):
        owner = await user_id(layer, "user7")
        first = await page(layer, owner)
        found = [await plans.of_last(layer.database, database_url)]
        await page(layer, owner, after=first.pageInfo.endCursor)
        found.append(await plans.of_last(layer.database, database_url))
        await page(layer, owner, feedback=1)
        found.append(await plans.of_last(layer.database, database_url))
        await page(layer, owner, search="word")
        looked_up = await plans.of_last(layer.database, database_url)
    assert len(first.data) == 20
    # Postgres would take the user's id and name for independent, and sort all threads of the user.
    assert not [plan for plan in found if "Sort" in plan]
    assert "threads_voted_up" in found[-1]
    # Few threads are looked up by their ids alone: together with the user's, all of these would be read.
    assert "threads_pkey" in looked_up
    assert "BitmapAnd" not in looked_up, looked_up
    # The words are asked of the index once, and not again for each thread that is checked.
    assert looked_up.count("search_texts_words") == 1, looked_up
    assert "Filter: CASE WHEN (words @@" in looked_up


async def test_every_read_uses_an_index(
    layer: ChainlitLayer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_sqlite = database_url.startswith("sqlite")
    owner, ids = await history(layer, dict.fromkeys(range(0, 2000, 4), 1), 2000, favorites=5)
    async with layer.database.write() as connection:
        archived, tagged = threads.c.id.in_(ids[101::2]), threads.c.id.in_(ids[200::8])
        await connection.execute(update(threads).where(archived).values(archivedAt=utc_now()))
        await connection.execute(update(threads).where(tagged).values(tags=["work"]))
        await connection.execute(update(threads).where(threads.c.id == ids[0]).values(pinnedAt=utc_now()))
        if not is_sqlite:
            # SQLite plans without statistics, as in an installation.
            await connection.execute(text("ANALYZE"))
    plans, found = Plans(monkeypatch), {}
    with datalayer.acting_as("alice"):
        assert len((await layer.get_thread(ids[7]))["steps"]) == 1
        found["get_thread"] = await plans.of_last(layer.database, database_url)
        first = await page(layer, owner)
        found["first page"] = await plans.of_last(layer.database, database_url)
        await page(layer, owner, after=first.pageInfo.endCursor)
        found["next page"] = await plans.of_last(layer.database, database_url)
        assert len((await page(layer, owner, feedback=1)).data) == 20
        found["voted"] = await plans.of_last(layer.database, database_url)
        assert len(await layer.get_favorite_steps(owner)) == 5
        found["favourites"] = await plans.of_last(layer.database, database_url)
        assert len((await layer.own_threads(owner)).threads) == 50
        found["own threads"] = await plans.of_last(layer.database, database_url)
        assert len((await layer.own_threads(owner, datalayer.ThreadChoice(is_pinned=True))).threads) == 1
        found["pinned"] = await plans.of_last(layer.database, database_url)
        assert len((await layer.own_threads(owner, datalayer.ThreadChoice(is_archived=True))).threads) == 50
        found["archived"] = await plans.of_last(layer.database, database_url)
        assert len((await layer.own_threads(owner, datalayer.ThreadChoice(tag="work"))).threads) == 50
        found["folder"] = await plans.of_last(layer.database, database_url)
        assert await layer.folders(owner) == [datalayer.Folder("work", 225)]
        found["folders"] = await plans.of_last(layer.database, database_url)
        await layer.create_step(step(ids[7], "a pangolin"))
        assert len((await page(layer, owner, search="pangolin")).data) == 1
        found["a rare word"] = await plans.of_last(layer.database, database_url)
    wanted = {
        "get_thread": ["steps_in_order", "threads"],
        "first page": ["listed_threads"],
        "next page": ["listed_threads"],
        "voted": ["threads_voted_up"],
        "favourites": ["favorite_steps"],
        "own threads": ["listed_threads"],
        "pinned": ["pinned_threads"],
        "archived": ["archived_threads"],
        "folder": ["tagged_threads"],
        "folders": ["folder_counts_of_user"],
        "a rare word": ["VIRTUAL TABLE INDEX" if is_sqlite else "search_texts_words"],
    }
    for read, indexes in wanted.items():
        for index in indexes:
            assert index in found[read], f"{read}:\n{found[read]}"
        for scan in ("Seq Scan on steps", "Seq Scan on threads", "SCAN steps\n", "SCAN threads\n"):
            assert scan not in found[read] + "\n", f"{read}:\n{found[read]}"
    if is_sqlite:
        # A few threads are looked up by their ids, and not by a walk through all of the user's.
        assert "USING INDEX sqlite_autoindex_threads_1 (id=?)" in found["a rare word"], found["a rare word"]
    for read in ("first page", "next page", "voted"):
        assert "Sort" not in found[read]
        assert "TEMP B-TREE" not in found[read]
    next_page = found["next page"]
    assert "ROW(" in next_page.partition("Index Cond")[2] or "(userId=? AND " in next_page, next_page


async def test_voted_threads_and_folders_read_no_more_of_a_history_ten_times_as_long(
    layer: ChainlitLayer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, read = Plans(monkeypatch), dict[str, list[int]]()
    for count in (400, 3600):
        owner, ids = await history(layer, dict.fromkeys(range(0, count, 4), 0), count)
        async with layer.database.write() as connection:
            for first in range(7):
                tagged, archived = threads.c.id.in_(ids[first::50]), threads.c.id.in_(ids[first + 7 :: 50])
                await connection.execute(update(threads).where(tagged).values(tags=[f"tag {first}", "work"]))
                await connection.execute(update(threads).where(archived).values(archivedAt=utc_now()))
        with datalayer.acting_as("alice"):
            # This adds the counts up.
            await layer.folders(owner)
        if not database_url.startswith("sqlite"):
            connection = await asyncpg.connect(database_url)
            await connection.execute("VACUUM ANALYZE threads, feedbacks, folder_counts")
            await connection.close()
        with datalayer.acting_as("alice"):
            assert len(await layer.folders(owner)) == 8
            read.setdefault("folders", []).append(await plans.effort_of_last(layer.database, database_url))
            assert len((await page(layer, owner, feedback=0)).data) == 20
            read.setdefault("voted", []).append(await plans.effort_of_last(layer.database, database_url))
    for what, (short, long) in read.items():
        # A few blocks more: the counts were added up among those of before.
        assert long <= short * 1.3 + 4, f"{what}: {read}"


@pytest.mark.parametrize(
    ("what", "voted"),
    [
        ("many", {n: n % 2 for n in range(1500)}),
        ("few, long ago", {3: 1, 5: 1, 7: 0}),
        ("many, long ago", dict.fromkeys(range(200), 1)),
        ("now and then", dict.fromkeys(range(0, 1500, 70), 1)),
    ],
)
async def test_threads_are_found_by_frequent_and_by_rare_votes(
    layer: ChainlitLayer, what: str, voted: dict[int, int]
) -> None:
    owner, ids = await history(layer, voted, 1500)
    other = await user_id(layer, "bob")
    async with layer.database.write() as connection:
        # Votes of other users do not count.
        moment = {"forId": new_id(), "threadId": ids[1], "userId": other, "value": 1}
        await connection.execute(insert(feedbacks).values(id=new_id(), **moment))
    for value in (0, 1):
        expected = [ids[n] for n in sorted(voted, reverse=True) if voted[n] == value]
        assert await whole_list(layer, owner, 50, feedback=value) == expected
        with datalayer.acting_as("bob"):
            assert await listed(layer, owner, feedback=value) == []


async def test_pages_contain_every_thread_while_threads_change(layer: ChainlitLayer) -> None:
    """No thread is listed twice; a thread that changed before its page was read is at the top of the list."""
    owner = await user_id(layer, "alice")
    made = [await thread(layer, owner, name=str(number)) for number in range(40)]
    chance, touched = random.Random(7), set()
    stop = asyncio.Event()

    async def touch() -> None:
        while not stop.is_set():
            one = chance.choice(made)
            touched.add(one)
            await layer.create_step(step(one, createdAt=utc_now()))

    touching = asyncio.create_task(touch())
    try:
        seen: list[str] = []
        after, more = None, True
        while more:
            found = await page(layer, owner, first=3, after=after)
            seen += [one["id"] for one in found.data]
            after, more = found.pageInfo.endCursor, found.pageInfo.hasNextPage
    finally:
        stop.set()
        await touching
    assert len(seen) == len(set(seen))
    assert set(made) - touched <= set(seen)
    assert sorted(await whole_list(layer, owner, 3)) == sorted(made)
    newest = (await whole_list(layer, owner, 40))[: len(touched)]
    assert set(seen) | set(newest) == set(made)


async def test_a_thread_is_read_with_the_writes_just_before(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    for number in range(20):
        writing = [asyncio.create_task(layer.create_step(step(thread_id))) for _ in range(5)]
        await asyncio.sleep(0)
        assert len((await layer.get_thread(thread_id))["steps"]) == 5 * (number + 1)
        await asyncio.gather(*writing)


async def test_invalid_json_in_metadata_does_not_fail_the_list_of_favourites(layer: ChainlitLayer, engine: str) -> None:
    owner = await user_id(layer, "alice")
    written = step(await thread(layer, owner), metadata={"favorite": True})
    await layer.create_step(written)
    if engine == "sqlite":
        async with layer.database.write() as connection:
            values = {"id": new_id(), "thread": written["threadId"]}
            odd = (
                """INSERT INTO steps (id, "threadId", name, type, metadata) VALUES (:id, :thread, '', 'run', '{odd')"""
            )
            await connection.execute(text(odd), values)
    assert [one["id"] for one in await layer.get_favorite_steps(owner)] == [written["id"]]


# The connections


@pytest.fixture(params=[PATIENCE_SECONDS])
async def reader(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[ChainlitLayer]:
    """A layer with two reading connections; the parameter is its `pool_timeout`."""
    layer = datalayer.create_data_layer(postgres_url, pool_size=2, pool_timeout=request.param)
    yield layer

    async def is_none_in_use() -> bool:
        # What was written is indexed in the background.
        return layer.database.in_use == 0

    try:
        await until(is_none_in_use)
    finally:
        await layer.close()


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def test_connections_are_opened_on_demand_up_to_the_limit(reader: ChainlitLayer, server: Any) -> None:
    assert await server.fetchval(COUNT) == 0
    for _ in range(5):
        await reader.get_thread(new_id())
    assert await server.fetchval(COUNT) == 1
    await asyncio.gather(*(reader.get_thread(new_id()) for _ in range(50)))
    assert await server.fetchval(COUNT) == 2
    await reader.close()

    async def are_closed() -> bool:
        return not await server.fetchval(COUNT)

    await until(are_closed)


async def test_a_read_survives_killed_connections(reader: ChainlitLayer, server: Any) -> None:
    thread_id = await thread(reader, None, name="still there")
    for _ in range(10):
        await asyncio.gather(*(reader.get_thread(thread_id) for _ in range(4)))
        # The driver has not noticed it yet when the next reads begin.
        await server.execute(OTHERS)
        found = await asyncio.gather(*(reader.get_thread(thread_id) for _ in range(4)))
        assert [one["name"] for one in found] == ["still there"] * 4


async def test_a_read_that_is_killed_is_repeated_once(reader: ChainlitLayer, server: Any) -> None:
    slow = text("SELECT pg_sleep(0.5), 1")
    reading = asyncio.create_task(reader.database.fetch(slow, {}))
    await asyncio.sleep(0.2)
    await server.execute(OTHERS)
    assert (await reading)[0][1] == 1


async def test_an_unreachable_database_is_reported(
    reader: ChainlitLayer, postgres: Databases, postgres_url: str, server: Any
) -> None:
    await reader.get_thread(new_id())
    name = await server.fetchval("SELECT current_database()")
    other = await asyncpg.connect(postgres.server_url)
    try:
        await other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await server.execute(OTHERS)
        with pytest.raises(datalayer.StorageUnavailable):
            await reader.get_thread(new_id())
        await other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert await reader.get_thread(new_id()) is None
    finally:
        await other.close()


@pytest.mark.parametrize("reader", [0.3], indirect=True)
async def test_when_every_connection_is_in_use_a_read_fails_in_time(reader: ChainlitLayer) -> None:
    slow = [asyncio.create_task(reader.database.fetch(text("SELECT pg_sleep(600)"), {})) for _ in range(2)]
    await until(lambda: reader.database.in_use == 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(datalayer.StorageUnavailable, match="in use"):
            await reader.get_thread(new_id())
    for one in slow:
        one.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert await reader.get_thread(new_id()) is None


async def test_a_cancelled_read_releases_its_connection(reader: ChainlitLayer) -> None:
    for _ in range(4):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.database.fetch(text("SELECT pg_sleep(5)"), {})
    assert reader.database.in_use == 0
    assert await reader.get_thread(new_id()) is None


@pytest.mark.parametrize(
    ("query", "works"),
    [("sslmode=disable", True), ("ssl=prefer", True), ("sslmode=require", False), ("ssl=require", False)],
)
async def test_reads_use_the_encryption_of_the_url(postgres_url: str, server: Any, query: str, works: bool) -> None:
    if await server.fetchval("SHOW ssl") == "on":
        works = True
    url = postgres_url.replace("postgresql:", "postgresql+asyncpg:") if query.startswith("ssl=") else postgres_url
    layer = datalayer.create_data_layer(f"{url}?{query}")
    try:
        if works:
            assert await layer.get_thread(new_id()) is None
        else:
            with pytest.raises(datalayer.StorageUnavailable):
                await layer.get_thread(new_id())
    finally:
        await layer.close()


async def test_a_kept_statement_does_not_keep_the_acting_user(layer: ChainlitLayer) -> None:
    """Compiled statements are kept, but without the acting user."""
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    owned = {"alice": await thread(layer, alice), "bob": await thread(layer, bob)}
    async with layer.database.read() as connection:
        assert len((await connection.execute(users.select())).all()) == 2
    for actor in ("alice", "bob", None, "alice"):
        with datalayer.acting_as(actor):
            seen = await listed(layer, alice) + await listed(layer, bob)
        assert seen == ([owned[actor]] if actor else [])
    assert await listed(layer, alice) + await listed(layer, bob) == [owned["alice"], owned["bob"]]
