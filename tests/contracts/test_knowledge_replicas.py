"""Two processes change what an assistant knows at the same moment: one does it, and the other is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import AlreadyExists, DataSource, NotFound, SourceChanged
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import BlobNotFound
from datalayer.knowledge import sources, trainings
from tests.support.knowledge import SETTINGS, document, source
from tests.support.patience import until
from tests.support.records import new_id


@pytest.fixture
async def other(layer: ChainlitLayer, database_url: str, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    """The data layer of a second process."""
    made = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}")
    yield made
    await made.close()


class Replicas:
    """Two processes, of which the second writes while a transaction of the first is open."""

    def __init__(self, layer: ChainlitLayer, other: ChainlitLayer, engine: str) -> None:
        self.layer, self.other, self._engine = layer, other, engine

    async def at_once(self, first: Callable[[AsyncConnection], Awaitable[Any]], second: Awaitable[Any]) -> Any:
        """What the second gives or raises, which begins after the first has written and before that is committed."""
        async with self.layer.database.write() as connection:
            await first(connection)
            waiting = asyncio.ensure_future(second)
            if self._engine == "postgres":
                await until(self._waits)
            else:
                await asyncio.sleep(0.1)
            assert not waiting.done()
        return (await asyncio.gather(waiting, return_exceptions=True))[0]

    async def _waits(self) -> bool:
        locks = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with self.layer.database.read() as connection:
            return bool((await connection.execute(locks)).scalar_one())


@pytest.fixture
def replicas(layer: ChainlitLayer, other: ChainlitLayer, engine: str) -> Replicas:
    return Replicas(layer, other, engine)


async def test_a_file_that_another_process_replaces_is_not_replaced_again(replicas: Replicas) -> None:
    stored = await replicas.layer.put_source(source(), b"first")
    changed = replace(stored, sha256="of another process")

    async def put(connection: AsyncConnection) -> None:
        await sources.put(connection, changed, has_file=True, replaces=stored.sha256)

    given = await replicas.at_once(put, replicas.other.put_source(stored, b"second", replaces=stored.sha256))
    assert isinstance(given, SourceChanged)
    found = await replicas.layer.get_source(stored.id)
    assert found is not None
    assert found.sha256 == changed.sha256


async def test_what_was_fetched_of_an_address_is_not_stored_under_another(replicas: Replicas) -> None:
    old = await replicas.layer.put_source(replace(source(options={"address": "https://old.example"}), kind="url"))
    new = replace(old, options={"address": "https://new.example"})

    async def put(connection: AsyncConnection) -> None:
        await sources.put(connection, new, has_file=False, replaces=None)

    given = await replicas.at_once(put, replicas.other.keep_fetched(old, {"at": "now"}, b"of the old address"))
    assert isinstance(given, SourceChanged)
    found = await replicas.layer.get_source(old.id)
    assert found is not None
    assert (found.options, found.object_key, found.fetched) == (new.options, None, None)


async def test_a_source_that_another_process_deletes_is_not_deleted_again_and_is_stored_anew(
    replicas: Replicas,
) -> None:
    async def remove(connection: AsyncConnection) -> None:
        await sources.remove(connection, stored.id)

    stored = await replicas.layer.put_source(source(), b"first")
    given = await replicas.at_once(remove, replicas.other.delete_source(stored.id))
    assert isinstance(given, NotFound)
    stored = await replicas.layer.put_source(source(), b"first")
    given = await replicas.at_once(remove, replicas.other.put_source(stored, b"second"))
    assert isinstance(given, DataSource)
    assert (await replicas.layer.read_source(stored.id))[1] == b"second"


async def test_a_file_that_is_put_back_while_it_is_deleted_stays(
    layer: ChainlitLayer, other: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await layer.put_source(source(), b"first")
    delete, put_back = layer.blobs.delete, asyncio.Event()

    async def put_back_and_delete(object_key: str) -> None:
        if not put_back.is_set():
            put_back.set()
            await other.put_source(stored, b"first")
        await delete(object_key)

    monkeypatch.setattr(layer.blobs, "delete", put_back_and_delete)
    await layer.put_source(stored, b"second")
    assert put_back.is_set()
    assert (await layer.read_source(stored.id))[1] == b"first"


async def test_a_file_that_is_replaced_while_its_assistant_is_deleted_is_deleted_too(replicas: Replicas) -> None:
    stored = await replicas.layer.put_source(source(), b"first")
    key = "knowledge/new-file"
    await replicas.layer.blobs.put(key, b"second", "text/plain", name="new")

    async def put(connection: AsyncConnection) -> None:
        changed = replace(stored, object_key=key, sha256="of the second")
        await sources.put(connection, changed, has_file=True, replaces=None)

    assert await replicas.at_once(put, replicas.other.delete_knowledge("librarian")) is None
    assert await replicas.layer.list_sources("librarian") == []
    with pytest.raises(BlobNotFound):
        await replicas.layer.blobs.read(key)


async def test_one_training_at_a_time_whichever_process_starts_it(replicas: Replicas) -> None:
    dialect = replicas.layer.database.dialect

    async def start(connection: AsyncConnection) -> None:
        await trainings.start(connection, dialect, new_id(), "librarian", None)

    given = await replicas.at_once(start, replicas.other.start_training("librarian"))
    assert isinstance(given, AlreadyExists)
    assert [one.number for one in await replicas.layer.list_trainings("librarian")] == [1]


async def test_a_training_goes_on_without_a_source_that_is_deleted_between_two_pieces_of_its_document(
    layer: ChainlitLayer, other: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = [await layer.put_source(source(title=title), b"x") for title in ("Gone", "Kept")]
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 2)
    write, transactions = layer.database.write, 0

    @asynccontextmanager
    async def deleting(**options: bool) -> AsyncIterator[AsyncConnection]:
        nonlocal transactions
        transactions += 1
        if transactions == 3:
            await other.delete_source(gone.id)
        async with write(**options) as connection:
            yield connection

    monkeypatch.setattr(layer.database, "write", deleting)
    large = document(gone.id, "large", [f"part {at}" for at in range(150)])
    await layer.keep_documents(training.id, [large, document(kept.id, "last", ["one"])])
    assert transactions == 4, "the rows, two pieces, and the end"
    assert await layer.finish_training(training.id, 0.3, b"")
    done = await layer.current_training("librarian")
    assert done is not None
    assert (done.counts.documents, done.counts.passages, done.counts.vectors) == (1, 1, 1)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_large_training_answers_while_its_index_is_built_and_when_that_fails(
    pgvector_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    layer = pgvector_layer
    monkeypatch.setattr("datalayer.knowledge.passage_search._EXACT_VECTORS", 50)
    await layer.prepare_vectors()
    handbook = await layer.put_source(source(), b"x")
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 1)
    await layer.keep_documents(training.id, [document(handbook.id, "a", [f"part {at}" for at in range(60)])])
    async with layer.database.write() as connection:
        # The build waits for the end of this transaction.
        await connection.execute(text("LOCK TABLE passage_vectors IN ROW EXCLUSIVE MODE"))
        finishing = asyncio.create_task(layer.finish_training(training.id, 0.3, b""))
        await until(lambda: layer.current_training("librarian"))
        assert not finishing.done()
        if fails:
            build = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'"

            async def is_ended() -> bool:
                # In a transaction of its own, because one sees the same activity to its end.
                async with layer.database.read() as watching:
                    return bool((await watching.execute(text(build))).scalar_one())

            await until(is_ended)
            assert await finishing
    assert await finishing
    assert ("is not built" in caplog.text) is fails
    found = await layer.current_training("librarian")
    assert found is not None
    assert len(await layer.nearest_passages(found, document("", "a", ["one"]).passages[0].vectors[0], 10)) == 10
