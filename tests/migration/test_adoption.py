"""Databases of Chainlit's own layers are adopted completely or not changed."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

import datalayer
from datalayer import create_data_layer
from datalayer.adoption.adopt import Adoption, adopt
from datalayer.database import Database
from datalayer.schema.chat import elements, feedback_changes, feedbacks
from tests.support.records import listed, new_id, user_id
from tests.support.stock import THREADS, dump, made_by_asyncpg_layer, made_by_sqlalchemy_layer, multiplied

DATABASE_ZONE = """DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), '{}');
END $$"""
LARGE = 12_000
LARGE_BYTES = LARGE * 1500
FOUND = {"users": 1, "threads": THREADS, "steps": 2 * THREADS, "elements": THREADS, "feedbacks": THREADS + 1}


# Chainlit's asyncpg layer supports only Postgres.
EVERY_STOCK = pytest.mark.parametrize(
    ("empty_database_url", "stock"),
    [("sqlite", "older"), ("sqlite", "today"), ("postgres", "older"), ("postgres", "today"), ("postgres", "prisma")],
    indirect=True,
)
EVERY_STOCK_KIND = pytest.mark.parametrize(
    ("empty_database_url", "kind"),
    [("sqlite", "today"), ("postgres", "today"), ("postgres", "prisma")],
    indirect=["empty_database_url"],
)
POSTGRES_ALONE = pytest.mark.parametrize("empty_database_url", ["postgres"], indirect=True)


@pytest.fixture
async def stock(request: pytest.FixtureRequest, empty_database_url: str) -> str:
    """A database of one of Chainlit's layers."""
    await made(empty_database_url, request.param)
    return empty_database_url


async def made(url: str, kind: str, *, dated_now: bool = False) -> None:
    if kind == "prisma":
        await made_by_asyncpg_layer(url, dated_now=dated_now)
    else:
        await made_by_sqlalchemy_layer(url, kind, dated_now=dated_now)


@pytest.fixture
def server_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process, in POSIX notation: zones west of Greenwich are positive."""

    def put(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


async def adopted(url: str, *, apply: bool = True) -> Adoption:
    database = Database(url)
    try:
        return await adopt(database, apply=apply)
    finally:
        await database.close()


async def run(url: str, statement: str, **values: Any) -> None:
    database = Database(url)
    async with database.write() as connection:
        await connection.execute(text(statement), values)
    await database.close()


def found_of(report: Adoption, words: str) -> list[int]:
    return [finding.count for finding in report.findings if words in finding.what]


@EVERY_STOCK_KIND
async def test_an_adopted_file_has_our_url_and_is_served_from_its_store(
    empty_database_url: str, kind: str, tmp_path: Path
) -> None:
    await made(empty_database_url, kind)
    await adopted(empty_database_url)
    layer = create_data_layer(empty_database_url, f"file://{tmp_path}", file_url=lambda element: f"/ours/{element.id}")
    owner = await user_id(layer, "alice")
    thread_id = (await listed(layer, owner))[0]
    (element,) = (await layer.get_thread(thread_id))["elements"]
    assert element["url"] == f"/ours/{element['id']}"
    async with layer.database.read() as connection:
        kept = (await connection.execute(select(elements.c.url).where(elements.c.id == element["id"]))).scalar_one()
    # Chainlit's asyncpg layer stores no URL for a file with a key.
    assert kept == (None if kind == "prisma" else f"https://files.example/{element['objectKey']}")
    assert await layer.open_element(thread_id, element["id"]) is None
    file = tmp_path / element["objectKey"]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    opened = await layer.open_element(thread_id, element["id"])
    assert opened is not None
    assert b"".join([chunk async for chunk in opened[1]]) == b"abc"
    await layer.close()


@EVERY_STOCK
async def test_every_row_is_adopted_and_every_thread_is_readable(stock: str) -> None:
    report = await adopted(stock)
    assert {count.table: count.found for count in report.counts} == FOUND
    assert {count.table: count.after for count in report.counts} == FOUND | {"feedbacks": THREADS}
    assert [count.left_behind for count in report.counts] == [0] * 5
    assert found_of(report, "duplicate votes") == [1]
    layer = create_data_layer(stock)
    owner = await user_id(layer, "alice")
    names = set()
    for thread_id in await listed(layer, owner):
        found = await layer.get_thread(thread_id)
        number = found["metadata"]["n"]
        names.add(found["name"])
        question, answer = found["steps"]
        assert (question["output"], answer["output"]) == (f"user_message {number}", f"assistant_message {number}")
        assert answer["metadata"] == {"m": 2}
        assert answer["createdAt"] == f"2024-05-0{number + 1}T10:00:02.000000Z"
        assert (answer["feedback"]["value"], answer["feedback"]["comment"]) == (
            (1, "good") if not number else (0, "bad")
        )
        (element,) = found["elements"]
        assert (element["forId"], element["name"], element["type"]) == (answer["id"], "notes", "text")
        assert element["objectKey"]
    assert names == {"thread 0", "thread 1", "thread 2"}
    await layer.search_indexer.finish()
    for words in ("thread 1 ", "assistant_message 1 "):
        assert [(await layer.get_thread(one))["name"] for one in await listed(layer, owner, search=words)] == [
            "thread 1"
        ]
    async with layer.database.read() as connection:
        folded = (await connection.execute(select(feedback_changes.c.value, feedback_changes.c.comment))).all()
        voters = set((await connection.execute(select(feedbacks.c.userId))).scalars())
    assert [tuple(row) for row in folded] == [(0, "bad")]
    assert voters == {owner}
    await layer.close()


@EVERY_STOCK
async def test_a_dry_run_has_the_same_report_and_changes_nothing(stock: str) -> None:
    before = await dump(stock)
    dry = await adopted(stock, apply=False)
    assert await dump(stock) == before
    done = await adopted(stock)
    assert (dry.applied, done.applied) == (False, True)
    assert dry.counts == done.counts
    assert dry.findings == done.findings
    assert await dump(stock) != before


@EVERY_STOCK
async def test_adopting_again_changes_nothing(stock: str) -> None:
    await adopted(stock)
    before = await dump(stock)
    again = await adopted(stock)
    assert await dump(stock) == before
    assert [count.before for count in again.counts] == [count.after for count in again.counts]


@POSTGRES_ALONE
async def test_adopting_again_does_not_copy_a_thread_that_was_deleted_here(empty_database_url: str) -> None:
    await made(empty_database_url, "prisma")
    await adopted(empty_database_url)
    layer = create_data_layer(empty_database_url)
    gone, *kept = await listed(layer, await user_id(layer, "alice"))
    await layer.delete_thread(gone)
    again = await adopted(empty_database_url)
    findings = {finding.what: (finding.count, finding.examples) for finding in again.findings}
    assert findings["threads not copied: deleted here since an earlier adoption"] == (1, (gone,))
    assert await layer.get_thread(gone) is None
    assert await listed(layer, await user_id(layer, "alice")) == kept
    assert [count.before for count in again.counts] == [count.after for count in again.counts]
    await layer.close()


@EVERY_STOCK
async def test_a_failed_adoption_changes_nothing(stock: str) -> None:
    before = await dump(stock)
    # After rows were copied, or after votes were merged and columns added.
    late = "feedbacks" if "Thread" in before[0] else "threadkeeper_migrations"
    database = Database(stock)

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if f"INSERT INTO {late} " in statement:
            raise OSError("the disk is gone")

    event.listen(database.writing_engine.sync_engine, "before_cursor_execute", fail)
    with pytest.raises((datalayer.StorageUnavailable, OSError)):
        await adopt(database, apply=True)
    await database.close()
    assert await dump(stock) == before


@POSTGRES_ALONE
async def test_the_tables_of_prisma_are_not_changed(empty_database_url: str) -> None:
    await made_by_asyncpg_layer(empty_database_url)
    schema, rows = await dump(empty_database_url)
    await adopted(empty_database_url)
    schema_after, rows_after = await dump(empty_database_url)
    assert {name: schema_after[name] for name in schema} == schema
    assert {name: rows_after[name] for name in rows} == rows


@POSTGRES_ALONE
async def test_rows_that_cannot_be_copied_are_counted_and_named(empty_database_url: str) -> None:
    url = empty_database_url
    await made_by_asyncpg_layer(url)
    thread = new_id()
    await run(url, """INSERT INTO "Thread" (id, metadata) VALUES ('thread-7', '{}')""")
    await run(url, """INSERT INTO "Thread" (id, metadata, "deletedAt") VALUES (:id, '{}', now())""", id=thread)
    step = """INSERT INTO "Step" (id, "threadId", metadata, type, "startTime", "endTime")
        VALUES (:id, :thread, '{}', 'run', now(), now())"""
    for owner in ("thread-7", thread, None):
        await run(url, step, id=new_id(), thread=owner)
    vote = """INSERT INTO "Feedback" (id, name, value) VALUES (:id, 'x', 1)"""
    await run(url, vote, id=new_id())
    report = await adopted(url)
    assert {count.table: count.left_behind for count in report.counts} == {
        "users": 0, "threads": 2, "steps": 3, "elements": 0, "feedbacks": 1,
    }  # fmt: skip
    for count in report.counts:
        folded = 1 if count.table == "feedbacks" else 0
        assert count.found == count.after + count.left_behind + folded
    assert ("thread-7",) in [finding.examples for finding in report.findings]


@pytest.mark.parametrize("schema", ["older", "today"])
async def test_implausible_times_and_orphans_are_kept_and_reported(empty_database_url: str, schema: str) -> None:
    url = empty_database_url
    await made_by_sqlalchemy_layer(url, schema)
    thread = new_id()
    await run(url, """INSERT INTO threads (id, "createdAt") VALUES (:id, '2999-01-01T00:00:00Z')""", id=thread)
    orphans = 0
    if schema == "older":
        orphans = 1
        await run(
            url,
            """INSERT INTO steps (id, name, type, "threadId", streaming) VALUES (:id, 'x', 'run', :thread, false)""",
            id=new_id(), thread=new_id(),
        )  # fmt: skip
    report = await adopted(url)
    assert found_of(report, "threads with a time in the future") == [1]
    assert found_of(report, "threads without an owner") == [1]
    # Chainlit's layer dated the threads today, but their steps in 2024.
    assert found_of(report, "dated after their last step") == [THREADS]
    assert found_of(report, "steps of a thread that does not exist") == [1] * orphans
    assert {count.table: count.after for count in report.counts}["steps"] == FOUND["steps"] + orphans


@EVERY_STOCK_KIND
@pytest.mark.parametrize(
    ("zone", "problem"),
    [("XXX-5:45", "UTC+05:45"), ("XXX+9:30", "UTC-09:30"), ("XXX0", None)],
    ids=["east", "west", "utc"],
)
async def test_local_times_are_reported_with_their_offset(
    empty_database_url: str, kind: str, zone: str, problem: str | None, server_clock: Callable[[str], None]
) -> None:
    server_clock(zone)
    if kind == "prisma":
        # The database dates these threads, in the time zone of its session.
        await run(empty_database_url, DATABASE_ZONE.format(zone))
    await made(empty_database_url, kind, dated_now=True)
    server_clock("XXX0")
    before = await dump(empty_database_url)
    report = await adopted(empty_database_url, apply=False)
    assert await dump(empty_database_url) == before
    assert found_of(report, "local time labelled Z") == ([THREADS] if problem else [])
    assert found_of(report, problem or "labelled Z") == ([THREADS] if problem else [])
    assert found_of(report, "dated after their last step") == []


async def test_an_unreadable_time_is_reported(empty_database_url: str) -> None:
    await made_by_sqlalchemy_layer(empty_database_url, "today")
    await run(empty_database_url, """UPDATE threads SET "createdAt" = 'yesterday'""")
    report = await adopted(empty_database_url)
    assert found_of(report, "unreadable time") == [THREADS]


@EVERY_STOCK_KIND
@pytest.mark.slow
async def test_a_large_history_is_adopted_in_little_memory(empty_database_url: str, kind: str) -> None:
    url = empty_database_url
    await made(url, kind)
    await multiplied(url, "Step" if kind == "prisma" else "steps", LARGE, output="so much to say " * 100)
    database = Database(url)
    tracemalloc.start()
    try:
        report = await adopt(database, apply=True)
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await database.close()
    assert {count.table: count.after for count in report.counts}["steps"] == FOUND["steps"] + LARGE
    assert highest < LARGE_BYTES / 3


async def test_duplicate_votes_direct_the_operator_to_adopt(empty_database_url: str) -> None:
    await made_by_sqlalchemy_layer(empty_database_url, "today")
    layer = create_data_layer(empty_database_url)
    with pytest.raises(datalayer.SchemaError, match="threadkeeper adopt"):
        await layer.migrate()
    await layer.close()


async def test_a_database_not_made_by_chainlit_is_refused(empty_database_url: str) -> None:
    with pytest.raises(datalayer.SchemaError, match="not a database of Chainlit's"):
        await adopted(empty_database_url)


@EVERY_STOCK_KIND
async def test_users_whose_names_differ_only_in_case_keep_their_threads_and_are_reported(
    empty_database_url: str, kind: str
) -> None:
    await made(empty_database_url, kind)
    columns = "id, identifier, metadata" + (', "updatedAt"' if kind == "prisma" else "")
    values = ":id, 'ALICE', '{}'" + (", now()" if kind == "prisma" else "")
    second = new_id()
    table = '"User"' if kind == "prisma" else "users"
    sqlite = empty_database_url.startswith("sqlite")
    await run(
        empty_database_url,
        f"INSERT INTO {table} ({columns}) VALUES ({values})".replace(
            ":id", ":id" if sqlite or kind == "prisma" else "CAST(:id AS uuid)"
        ),
        id=second,
    )
    for applied in (False, True):
        report = await adopted(empty_database_url, apply=applied)
        assert found_of(report, "names differ only in case") == [2]
        (finding,) = (one for one in report.findings if "only in case" in one.what)
        assert sorted(finding.examples) == ["ALICE", "alice"]
    layer = create_data_layer(empty_database_url)
    assert [user.identifier for user in await layer.list_users()] in (["ALICE", "alice"], ["alice", "ALICE"])
    assert await user_id(layer, "ALICE") == second
    assert len(await listed(layer, await user_id(layer, "alice"))) == THREADS
    assert await listed(layer, second) == []
    await layer.close()


@POSTGRES_ALONE
async def test_a_user_who_exists_in_another_spelling_gets_the_adopted_threads(empty_database_url: str) -> None:
    layer = create_data_layer(empty_database_url)
    await layer.migrate()
    kept = await layer.add_account("ALICE", "hash", "reviewer")
    await layer.close()
    await made(empty_database_url, "prisma")
    report = await adopted(empty_database_url)
    assert found_of(report, "another spelling") == [1]
    assert found_of(report, "names differ only in case") == []
    layer = create_data_layer(empty_database_url)
    assert [user.identifier for user in await layer.list_users()] == ["ALICE"]
    assert await user_id(layer, "alice") == kept.id
    threads = await listed(layer, kept.id)
    assert len(threads) == THREADS
    with datalayer.acting_as("ALICE"):
        thread = await layer.get_thread(threads[0])
    assert thread["userIdentifier"] == "ALICE"
    assert sum(step["feedback"] is not None for step in thread["steps"]) == 1
    await layer.close()
