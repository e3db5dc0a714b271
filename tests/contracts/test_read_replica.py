"""Reads from a real standby: never behind one's own writes, and from the primary if the standby is behind or away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

import datalayer
from datalayer import CallFilter, ConfigurationError, acting_as, read_replica
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerFilter
from tests.support.calls import call
from tests.support.patience import until
from tests.support.postgres import Databases
from tests.support.records import listed, step, thread, user_id
from tests.support.reviewing import account, reviewing, talk
from tests.support.standby import Pair, primary_and_standby
from threadkeeper.commands.check import check_parts
from threadkeeper.settings.settings import Settings
from threadkeeper.web.health import health_router

pytestmark = [pytest.mark.slow, pytest.mark.without_pooler, pytest.mark.xdist_group("standby")]

# The other parts of the check are left out.
_OTHERS = ("BLOB_URL", "CHAINLIT_AUTH_SECRET", "OPENAI_API_KEY")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with primary_and_standby(synchronous=False) as pair:
        yield pair


@pytest.fixture(scope="module")
def databases(pair: Pair) -> Iterator[Databases]:
    databases = Databases(pair.primary.url)
    yield databases
    databases.close()


@pytest.fixture(scope="module")
def template(databases: Databases) -> str:
    """A migrated database."""

    made = databases.create()

    async def migrate() -> None:
        layer = datalayer.create_data_layer(made)
        await layer.migrate()
        await layer.close()

    asyncio.run(migrate())
    return made


@pytest.fixture
async def url(pair: Pair, databases: Databases, template: str) -> AsyncIterator[str]:
    """A migrated database that the standby has."""
    url = databases.create(template)
    await until(lambda: has_replayed(pair))
    yield url
    databases.drop(url)


@pytest.fixture
async def elsewhere(url: str) -> AsyncIterator[ChainlitLayer]:
    """The layer of another process, without a read replica."""
    layer = datalayer.create_data_layer(url)
    yield layer
    await layer.close()


@pytest.fixture
async def layer(pair: Pair, url: str, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    layer = datalayer.create_data_layer(url, f"file://{tmp_path}", read_url=f"{pair.on_standby(url)}?command_timeout=5")
    yield layer
    await layer.close()


async def has_replayed(pair: Pair) -> bool:
    connections = [await asyncpg.connect(one.url) for one in (pair.primary, pair.standby)]
    try:
        written = await connections[0].fetchval("SELECT pg_current_wal_flush_lsn()::text")
        return bool(await connections[1].fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))
    finally:
        for connection in connections:
            await connection.close()


@asynccontextmanager
async def paused(pair: Pair) -> AsyncIterator[None]:
    """The standby has replayed everything so far, and replays nothing more."""
    await until(lambda: has_replayed(pair))
    connection = await asyncpg.connect(pair.standby.url)
    try:
        await connection.execute("SELECT pg_wal_replay_pause()")
        while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":
            await asyncio.sleep(0.01)
        yield
    finally:
        await connection.execute("SELECT pg_wal_replay_resume()")
        await connection.close()


async def test_lists_usage_and_the_rest_are_read_from_the_standby(
    pair: Pair, layer: ChainlitLayer, elsewhere: ChainlitLayer
) -> None:
    ann = await user_id(elsewhere, "ann")
    await thread(elsewhere, ann)
    await until(lambda: has_replayed(pair))

    async def counts() -> tuple[int, ...]:
        with acting_as("ann"):
            totals = await layer.usage_totals(CallFilter())
            by = await layer.usage_by(CallFilter(), "model")
            calls = await layer.list_calls(CallFilter())
            return len(await listed(layer, ann)), totals.calls, len(by), len(calls.rows)

    assert await counts() == (1, 0, 0, 0)
    async with paused(pair):
        with acting_as("ann"):
            await thread(elsewhere, ann)
            await elsewhere.record_call(call(user_id=ann))
        assert await counts() == (1, 0, 0, 0), "read from the primary"
    await until(lambda: has_replayed(pair))
    assert await counts() == (2, 1, 1, 1)


async def test_a_read_is_never_behind_ones_own_writes(
    pair: Pair, layer: ChainlitLayer, elsewhere: ChainlitLayer
) -> None:
    ann, ben = await user_id(layer, "ann"), await user_id(layer, "ben")
    for actor, owner in (("ann", ann), ("ben", ben)):
        with acting_as(actor):
            assert await listed(layer, owner) == []
    async with paused(pair):
        with acting_as("ann"):
            own = await thread(layer, ann)
            assert await listed(layer, ann) == [own]
            found = step(own, "a word that is searched")
            await layer.create_step(found)
            assert await listed(layer, ann, search="searched") == [own]
            await layer.delete_thread(own)
            assert await listed(layer, ann) == []
            await layer.record_call(call(user_id=ann))
            assert (await layer.usage_totals(CallFilter())).calls == 1
        with acting_as("ben"):
            await thread(elsewhere, ben)
            assert await listed(layer, ben) == [], "a standby that is behind serves those who wrote nothing"
    await until(lambda: has_replayed(pair))
    with acting_as("ben"):
        assert len(await listed(layer, ben)) == 1


async def test_who_comes_from_another_process_sees_what_was_stored_there(
    pair: Pair, layer: ChainlitLayer, elsewhere: ChainlitLayer
) -> None:
    ann = await user_id(elsewhere, "ann")
    async with paused(pair):
        with acting_as("ann"):
            own = await thread(elsewhere, ann)
            assert await listed(layer, ann) == [own]


async def test_a_read_waits_a_moment_for_the_standby(
    pair: Pair, layer: ChainlitLayer, elsewhere: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_replica, "WAIT_SECONDS", 60.0)
    ann = await user_id(elsewhere, "ann")
    with acting_as("ann"):
        assert await listed(layer, ann) == []
        async with paused(pair):
            own = await thread(layer, ann)
            reading = asyncio.create_task(listed(layer, ann))
            assert not (await asyncio.wait([reading], timeout=0.3))[0]
        assert await reading == [own]


async def test_the_primary_serves_while_the_standby_is_behind_or_away(
    pair: Pair, layer: ChainlitLayer, elsewhere: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_replica, "PROBE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(read_replica, "AWAY_SECONDS", 0.0)
    ann = await user_id(elsewhere, "ann")
    with acting_as("ann"):
        assert await listed(layer, ann) == []
        async with paused(pair):
            own = [await thread(elsewhere, ann)]
            # The first look after it learns how far the primary is, and the second one that the standby is not.
            await listed(layer, ann)
            assert await listed(layer, ann) == own
            assert await says(layer) == "behind"
        await until(lambda: has_replayed(pair))
        await until(lambda: is_used(layer, ann))
        await asyncio.to_thread(pair.standby.halt)
        try:
            own.insert(0, await thread(elsewhere, ann))
            assert await listed(layer, ann) == own
            assert await says(layer) == "away"
        finally:
            await asyncio.to_thread(pair.standby.resume)
        await until(lambda: is_used(layer, ann))
        assert await listed(layer, ann) == own


async def is_used(layer: ChainlitLayer, owner_id: str) -> bool:
    await listed(layer, owner_id)
    return await says(layer) == "used"


async def says(layer: ChainlitLayer) -> str:
    """What `/ready` says of the read replica."""
    app = FastAPI()
    app.include_router(health_router(layer))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/ready")
    assert answer.status_code == 200
    return str(answer.json()["read_replica"])


async def test_check_tells_how_far_the_standby_is(pair: Pair, url: str) -> None:
    settings = Settings(database_url=url, database_read_url=pair.on_standby(url))
    [database] = [part for part in await check_parts(settings, _OTHERS) if part.part == "database"]
    assert "read replica: " in database.finding
    assert "bytes behind" in database.finding
    wrong = settings.model_copy(update={"database_read_url": url})
    [database] = [part for part in await check_parts(wrong, _OTHERS) if part.part == "database"]
    assert (database.ok, database.finding) == (None, "reachable, but DATABASE_READ_URL does not name a standby")
    for query, words in (("sslmode=REQUIRE", "`sslmode` parameter must be"), ("sslcrl=/none", "has sslcrl=/none")):
        wrong = settings.model_copy(update={"database_read_url": f"{pair.on_standby(url)}?{query}"})
        [database] = [part for part in await check_parts(wrong, _OTHERS) if part.part == "database"]
        assert (database.ok, "DATABASE_READ_URL cannot be used: " in database.finding) == (False, True)
        assert words in database.finding


async def test_another_database_is_never_read(
    pair: Pair, url: str, databases: Databases, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its position says nothing: the log of one server is that of all its databases."""
    other = databases.create(template)
    await until(lambda: has_replayed(pair))
    for name, elsewhere in (("ann", pair.on_standby(other)), ("bob", other)):
        layer = datalayer.create_data_layer(url, read_url=elsewhere)
        ann = await user_id(layer, name)
        with acting_as(name):
            await thread(layer, ann)
            assert len(await listed(layer, ann)) == 1
        assert layer.read_replica is not None
        assert layer.read_replica.state == "away"
        await layer.close()
        assert "it is not a standby of the database, but another database" in caplog.text
        settings = Settings(database_url=url, database_read_url=elsewhere)
        [database] = [part for part in await check_parts(settings, _OTHERS) if part.part == "database"]
        assert (database.ok, "but another database" in database.finding) == (None, True)
        caplog.clear()
    databases.drop(other)
    # A login that may do little can tell them apart, too.
    role = await asyncpg.connect(url)
    await role.execute("CREATE ROLE reader")
    assert await role.fetchval("SELECT has_function_privilege('reader', 'pg_control_system()', 'EXECUTE')")
    await role.execute("DROP ROLE reader")
    await role.close()


async def test_reviewers_read_from_the_standby_what_this_process_has_stored(pair: Pair, layer: ChainlitLayer) -> None:
    await account(layer, "rita", "reviewer")
    await talk(layer, "ann")
    with reviewing():
        assert (await layer.count_answers(AnswerFilter())).count == 1
        async with paused(pair):
            await talk(layer, "ann")
            assert (await layer.count_answers(AnswerFilter())).count == 2
    assert await says(layer) == "used"


async def test_an_engine_without_standbys_has_no_read_replica(url: str) -> None:
    with pytest.raises(ConfigurationError, match="only Postgres has read replicas"):
        datalayer.create_data_layer("sqlite:////tmp/any.db", read_url=url)
