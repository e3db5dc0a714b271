"""A history in a SQL database is copied to DynamoDB and back: the same records, readable by Chainlit's own layer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from chainlit.context import init_http_context
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.types import Pagination, ThreadFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

import datalayer
from datalayer.blobs import open_blob_store
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.database import Database
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item
from datalayer.errors import StorageUnavailable
from datalayer.schema import chat
from datalayer.schema.chat import (
    deleted_threads,
    elements,
    feedback_changes,
    feedbacks,
    metadata,
    steps,
    threads,
    users,
)
from datalayer.transfer import not_moved, to_table
from datalayer.transfer.item_rows import step_row
from datalayer.transfer.report import TransferReport
from datalayer.transfer.row_items import step_item
from datalayer.transfer.sameness import alike
from datalayer.transfer.table_items import TableItems
from datalayer.transfer.to_sql import to_sql
from tests.contracts.dynamodb.histories import LONG, ODD, History
from tests.contracts.dynamodb.items import all_items, kinds
from tests.contracts.dynamodb.test_limits import dynamo
from tests.contracts.dynamodb.test_to_sql import found, problems, rows, stored
from tests.contracts.test_elements import text_element
from tests.support.command_line import CommandLine
from tests.support.dynamodb_server import CREDENTIALS
from tests.support.records import listed, new_id, opened, step, thread, user_id, vote
from tests.unit.test_cleaning import ANY_JSON

MOVED = (users, threads, steps, elements, feedbacks, feedback_changes, deleted_threads)


@pytest.fixture(autouse=True)
def keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto takes a whole item for a key, and the service does not."""

    async def get_many(self: Table, asked: Sequence[Item]) -> list[Item]:
        assert all(one.keys() == {"PK", "SK"} for one in asked)
        return await unchecked(self, asked)

    unchecked = Table.get_many
    monkeypatch.setattr(Table, "get_many", get_many)


async def of_sql(sql: ChainlitLayer, user: str = "alice") -> History:
    """A history in SQL with everything that is moved."""
    owner = await user_id(sql, user)
    with datalayer.acting_as(user):
        ids = History(await thread(sql, owner, name="in SQL", metadata=ODD, tags=["", "z"]), new_id(), new_id(), "")
        await sql.create_step(step(ids.thread_id, LONG, id=ids.question, input="", ours=ODD, metadata=ODD))
        answer = step(
            ids.thread_id, "", id=ids.answer, parentId=ids.question, type="assistant_message", showInput="true", name=5
        )
        await sql.create_step(answer)
        await sql.update_step({**answer, "output": "answer", "disableFeedback": "ours", "indent": None})
        for value, comment in ((1, "good"), (0, "bad")):
            await sql.upsert_feedback(vote(ids.answer, value, comment))
        assert await sql.give_reasons(ids.answer, ["wrong", ""], "because")
        await sql.set_step_favorite(answer, True)
        element = text_element(ids.thread_id, ids.answer, "abc")
        await sql.create_element(element)
        ids.element = element.id
        await sql.organize_threads([await thread(sql, owner)], is_pinned=True)
        await sql.update_thread(unnamed := new_id(), user_id=owner)
        await sql.organize_threads([unnamed], is_archived=True)
        gone = await thread(sql, owner)
        await sql.delete_thread(gone)
    return ids


async def moved(sql: ChainlitLayer, layer: ChainlitLayer, *, apply: bool = True) -> TransferReport:
    return await to_table.to_table(sql.database, sql.blobs, dynamo(layer).table, apply=apply)


async def records(sql: ChainlitLayer) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of the moved tables by their ids, without the columns that DynamoDB has no place for."""
    left = {"role", "disabledAt", "loginsEndedAt", "nameKey", "expiresAt"}
    return {
        table.name: {
            row["id"]: {name: value for name, value in row.items() if name not in left and name != "deletedAt"}
            for row in await rows(sql, table)
        }
        for table in MOVED
    }


async def test_a_history_comes_back_from_dynamodb_as_it_was(
    layer: ChainlitLayer, sql: ChainlitLayer, migrated_sqlite: Path, tmp_path: Path
) -> None:
    ids = await of_sql(sql)
    bob = await user_id(sql, "bob")
    with datalayer.acting_as("bob"):
        await sql.create_step(written := step(own := new_id()))
    # An adopted vote has no history.
    adopted = {"id": new_id(), "forId": written["id"], "threadId": own, "userId": bob, "value": 1, "reasons": ["x"]}
    async with sql.database.write() as connection:
        await connection.execute(insert(feedbacks).values(**adopted, updatedAt="2025-01-01T00:00:00.000000Z"))
    before = await dump_of(sql)
    dry = await moved(sql, layer, apply=False)
    assert await all_items(dynamo(layer).table) == []
    report = await moved(sql, layer)
    assert await dump_of(sql) == before, "the source is not changed"
    expected = {
        "users": 2, "threads": 4, "steps": 3, "elements": 1, "votes": 2, "changes of votes": 3,
        "marks of deleted threads": 1,
    }  # fmt: skip
    assert stored(report) == stored(dry) == expected
    assert found(report) == found(dry) == expected | {"files": 1, "long texts": 1}
    assert (problems(report), report.findings, report.not_moved) == ({}, {}, {})

    (tmp_path / "back.db").write_bytes(migrated_sqlite.read_bytes())
    back = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'back.db'}", sql.blobs)
    returned = await to_sql(dynamo(layer).table, sql.blobs, back.database, apply=True)
    assert (problems(returned), returned.findings) == ({}, {})
    there, here = await records(sql), await records(back)
    assert {name: here[name].keys() for name in here} == {name: there[name].keys() for name in there}
    for name, some in there.items():
        for record_id, row in some.items():
            assert alike(row, here[name][record_id]), (name, row, here[name][record_id])
    await back.database.close()

    with datalayer.acting_as("alice"):
        assert await listed(layer, "alice", feedback=0) == [ids.thread_id]
        assert len(await listed(layer, "alice")) == 3
        assert [one["id"] for one in await layer.get_favorite_steps("alice")] == [ids.answer]
        whole = await layer.get_thread(ids.thread_id)
        assert whole["steps"][0]["output"] == LONG
        assert await layer.get_thread(own) is None
        kept = await opened(layer, ids.thread_id, ids.element)
    assert kept is not None
    assert kept[1] == b"abc"


async def dump_of(sql: ChainlitLayer) -> list[str]:
    return sorted([str(row) for table in MOVED for row in await rows(sql, table)])


async def test_chainlits_own_layer_reads_what_was_copied(
    layer: ChainlitLayer, sql: ChainlitLayer, tables_client: Any
) -> None:
    ids = await of_sql(sql)
    await moved(sql, layer)
    theirs = DynamoDBDataLayer(dynamo(layer).table.place.table, client=tables_client)
    init_http_context(thread_id=ids.thread_id)
    user = await theirs.get_user("alice")
    assert user is not None
    assert (user.id, user.identifier) == ("alice", "alice")
    listed_there = await theirs.list_threads(Pagination(first=10), ThreadFilter(userId="alice"))
    with datalayer.acting_as("alice"):
        archived = {one["id"] for one in await rows(sql, threads)} - {ids.thread_id}
        assert {one["id"] for one in listed_there.data} == {ids.thread_id, *archived}
        here = await sql.get_thread(ids.thread_id)
    whole: Mapping[str, Any] = cast(Any, await theirs.get_thread(ids.thread_id))
    assert (whole["name"], whole["tags"], whole["createdAt"]) == ("in SQL", ["", "z"], here["createdAt"])
    assert await theirs.get_thread_author(ids.thread_id) == "alice"
    question, answer = whole["steps"]
    assert question["id"] == ids.question
    assert LONG.startswith(question["output"])
    assert len(question["output"]) == 2000, "the beginning of a long text"
    assert (answer["output"], answer["parentId"], answer["name"]) == ("answer", ids.question, 5)
    assert (answer["feedback"]["value"], answer["feedback"]["comment"]) == (0, "because")
    (element,) = whole["elements"]
    assert (element["id"], element["forId"], element["objectKey"]) == (
        ids.element,
        ids.answer,
        here["elements"][0]["objectKey"],
    )
    assert [one["id"] for one in await theirs.get_favorite_steps("alice")] == [ids.answer]
    assert await theirs.delete_feedback(answer["feedback"]["id"])
    await theirs.delete_thread(ids.thread_id)
    assert await theirs.get_thread(ids.thread_id) is None


@pytest.mark.parametrize("is_alone", [False, True])
async def test_a_fork_outlives_the_files_of_its_original(
    layer: ChainlitLayer, sql: ChainlitLayer, is_alone: bool
) -> None:
    ids = await of_sql(sql)
    with datalayer.acting_as("alice"):
        fork = await sql.fork_thread(ids.thread_id, ids.answer)
        (element,) = (await sql.get_thread(fork))["elements"]
        if is_alone:
            await sql.delete_element(ids.element, ids.thread_id)
    before = await dump_of(sql)
    for apply, expected in ((False, 1), (True, 1), (True, 0)):
        report = await moved(sql, layer, apply=apply)
        assert (problems(report), report.findings, report.files.stored) == ({}, {}, expected)
    returned = await to_sql(dynamo(layer).table, sql.blobs, sql.database, apply=True)
    assert (stored(returned), problems(returned), returned.findings) == ({}, {}, {})
    assert await dump_of(sql) == before, "its element names the original here"
    with datalayer.acting_as("alice"):
        await layer.delete_thread(ids.thread_id)
        kept = await opened(layer, fork, element["id"])
    assert kept is not None and kept[1] == b"abc"
    assert problems(await moved(sql, layer)) == {}, "the copy is there, and the original is not needed"


async def test_copying_again_stores_nothing_and_keeps_what_was_changed_there(
    layer: ChainlitLayer, sql: ChainlitLayer
) -> None:
    ids = await of_sql(sql)
    await moved(sql, layer)
    before = sorted(map(str, await all_items(dynamo(layer).table)))
    again = await moved(sql, layer)
    assert (stored(again), problems(again), again.findings) == ({}, {}, {})
    assert sorted(map(str, await all_items(dynamo(layer).table))) == before
    with datalayer.acting_as("alice"):
        gone = next(one for one in await listed(layer, "alice") if one != ids.thread_id)
        await layer.delete_thread(gone)
        await layer.update_step({**step(ids.thread_id, "changed there"), "id": ids.answer})
        await layer.create_step(step(ids.thread_id, "new there"))
        await sql.update_step({**step(ids.thread_id, "changed here"), "id": ids.question})
        owner = await user_id(sql, "alice")
        deleted_here = next(one["id"] for one in await rows(sql, threads) if one["id"] not in (gone, ids.thread_id))
        await sql.delete_thread(deleted_here)
        assert owner
    report = await moved(sql, layer)
    assert (stored(report), problems(report)) == ({}, {})
    assert report.steps.replaced == 1
    assert {one.what: one.count for one in report.findings.values()} == {
        "threads that were deleted in the target (not copied)": 1,
        "threads that were changed in the target since (not changed)": 1,
        "steps that were changed in the target since (not changed)": 1,
        "threads that were deleted in the source and exist in the target (not deleted)": 1,
    }
    with datalayer.acting_as("alice"):
        whole = await layer.get_thread(ids.thread_id)
    outputs = [one["output"] for one in whole["steps"]]
    assert outputs == ["changed here", "changed there", "new there"]
    assert [blob.key async for blob in layer.blobs.list(ids.thread_id) if "text-" in blob.key]


async def test_an_interrupted_copy_goes_on(
    layer: ChainlitLayer, sql: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        await of_sql(sql, name)
    monkeypatch.setattr(to_table, "PAGE", 2)
    calls = failing = 0

    async def fail(self: TableItems, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise StorageUnavailable("the table is away")
        await put(self, *arguments)

    put = TableItems.put
    monkeypatch.setattr(TableItems, "put", fail)
    while True:
        calls, failing = 0, failing + 4
        try:
            report = await moved(sql, layer)
        except StorageUnavailable:
            for thread_id in [one["id"] for one in await rows(sql, threads)]:
                whole = await layer.get_thread(thread_id)
                written = [one for one in await rows(sql, steps) if one["threadId"] == thread_id]
                assert whole is None or len(whole["steps"]) == len(written), "whole or absent"
            continue
        break
    assert failing > 8
    assert problems(report) == {}
    assert {name: count for name, count in (await kinds(dynamo(layer).table)).items() if name != "DELETED"} == {
        "USER": 2, "THREAD": 6, "STEP": 4, "ELEMENT": 2, "VOTE": 2, "FAVORITE": 2, "CHANGE": 6,
    }  # fmt: skip


async def test_no_connection_is_held_while_items_are_stored(
    layer: ChainlitLayer, sql: ChainlitLayer, sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        await of_sql(sql, name)
    monkeypatch.setattr(to_table, "_ROWS", 1)
    source, held, calls = Database(sql_url), 0, 0

    def counted(unchanged: Callable[[Database], Any]) -> Callable[[], Any]:
        @asynccontextmanager
        async def connect() -> AsyncIterator[Any]:
            nonlocal held
            async with unchanged(source) as connection:
                held += 1
                try:
                    yield connection
                finally:
                    held -= 1

        return connect

    async def put(self: TableItems, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        assert held == 0
        await put_unchanged(self, *arguments)

    for name in ("read", "transaction"):
        monkeypatch.setattr(source, name, counted(getattr(Database, name)))
    put_unchanged = TableItems.put
    monkeypatch.setattr(TableItems, "put", put)
    report = await to_table.to_table(source, sql.blobs, dynamo(layer).table, apply=True)
    await source.close()
    assert (problems(report), report.findings, calls > 10) == ({}, {}, True)
    counts = stored(report)
    assert [counts[name] for name in ("threads", "steps", "elements", "changes of votes")] == [6, 4, 2, 6]


async def test_what_dynamodb_cannot_hold_is_named_and_costs_only_itself(
    layer: ChainlitLayer, sql: ChainlitLayer
) -> None:
    ids = await of_sql(sql)
    large = [f"{number} " + "x" * 1000 for number in range(500)]
    owner = await user_id(sql, "alice")
    with datalayer.acting_as("alice"):
        big = await thread(sql, owner, tags=large)
        about = {"rows": "x" * 500_000, "short": 1}
        long = await thread(sql, owner, metadata=about)
        await sql.create_step(step(big))
        temporary = new_id()
        await sql.make_temporary(temporary, 3600)
    async with sql.database.write() as connection:
        await connection.execute(
            insert(users).values(id=new_id(), identifier="x" * 1100, metadata={}, role="admin", createdAt=None)
        )
        await connection.execute(insert(elements).values(id=new_id(), name="of no thread"))
        bob = new_id()
        await connection.execute(insert(users).values(id=bob, identifier="bob", metadata={}))
        of_bob = {"id": new_id(), "forId": ids.answer, "threadId": ids.thread_id, "value": 1, "userId": bob}
        await connection.execute(insert(feedbacks).values(**of_bob))
    report = await moved(sql, layer)
    assert problems(report) == {"users": 1, "threads": 1}
    assert {one.what for one in report.findings.values()} == {
        "users that cannot be stored",
        "threads that cannot be stored",
    }
    assert report.not_moved == {
        "roles and disabled accounts": 1,
        "temporary threads": 1,
        "elements without a thread": 1,
        "votes of others than the owner of the thread": 1,
    }
    assert await layer.get_thread(big) is None
    assert (await layer.get_thread(long))["metadata"] == about
    assert (await layer.get_thread(ids.thread_id))["steps"][1]["feedback"]["value"] == 0


async def test_what_is_written_meanwhile_is_named_and_copied_by_the_next_run(
    layer: ChainlitLayer, sql: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await of_sql(sql)

    async def write(self: to_table.ToTable) -> TransferReport:
        report = await run(self)
        if report.applied:
            with datalayer.acting_as("alice"):
                await sql.create_step(step(ids.thread_id, "late"))
                await sql.upsert_feedback(vote(ids.answer, 1))
        return report

    run = to_table.ToTable.run
    monkeypatch.setattr(to_table.ToTable, "run", write)
    report = await moved(sql, layer)
    assert problems(report) == {"threads": 1, "steps": 2, "changes of votes": 1}
    monkeypatch.setattr(to_table.ToTable, "run", run)
    again = await moved(sql, layer)
    assert (problems(again), again.steps.stored, again.steps.replaced) == ({}, 1, 1)
    with datalayer.acting_as("alice"):
        assert await listed(layer, "alice", feedback=0) == []
        assert await listed(layer, "alice", feedback=1) == [ids.thread_id]


async def test_files_are_copied_to_the_store_of_the_table(
    layer: ChainlitLayer, sql: ChainlitLayer, tmp_path: Path
) -> None:
    ids = await of_sql(sql)
    other = open_blob_store(f"file://{tmp_path / 'other'}")
    report = await to_table.to_table(sql.database, sql.blobs, dynamo(layer).table, other, apply=True)
    assert (problems(report), report.files.stored) == ({}, 1)
    theirs = datalayer.create_data_layer(table_url(layer), other)
    with datalayer.acting_as("alice"):
        kept = await opened(theirs, ids.thread_id, ids.element)
        whole = await theirs.get_thread(ids.thread_id)
    assert kept is not None
    assert (kept[1], whole["steps"][0]["output"]) == (b"abc", LONG)
    await theirs.close()


def table_url(layer: ChainlitLayer) -> str:
    place = dynamo(layer).table.place
    return f"dynamodb://{place.table}?region={place.region}&endpoint_url={place.endpoint_url}"


STEP = {
    **dict.fromkeys(column.name for column in steps.columns),
    **{"id": new_id(), "threadId": new_id(), "name": "", "type": "run", "streaming": False, "disableFeedback": False},
}


@given(
    st.dictionaries(st.text(max_size=12), ANY_JSON, max_size=4),
    st.dictionaries(
        st.sampled_from(["PK", "tk:long:output", "", "updatedAt", "feedbacks", "own"]), ANY_JSON, max_size=3
    ),
    st.lists(st.text(max_size=5), max_size=3) | st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.none(),
    st.sampled_from(["true", "false", "json", "", None]),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_odd_values_of_a_step_come_back(
    about: dict[str, Any], extra: dict[str, Any], tags: Any, no_thumbs: bool, indent: Any, shown: Any
) -> None:
    values = {"metadata": about, "extra": extra, "tags": tags, "disableFeedback": no_thumbs, "indent": indent}
    row = datalayer_row(STEP | values | {"showInput": shown})
    returned = step_row(through_protocol(step_item(row, None)))
    assert alike(row | {"createdAt": None}, returned)


def datalayer_row(values: dict[str, Any]) -> dict[str, Any]:
    """The row as our layer would have stored it: cleaned, and without keys that have no value."""
    from datalayer.cleaning import clean_json  # noqa: PLC0415

    row = {name: clean_json(value) for name, value in values.items()}
    row["extra"] = {name: value for name, value in row["extra"].items() if value is not None} or None
    return row


def through_protocol(item: Item) -> Item:
    """The item as DynamoDB gives it back: its numbers without trailing zeros."""
    item = json.loads(json.dumps(item))
    assert isinstance(item, dict)
    return item


def test_every_table_is_moved_or_named() -> None:
    named = {name for names in not_moved.NOT_MOVED.values() for name in names}
    moved_tables = {table.name for table in MOVED} | {chat.blob_deletions.name}
    assert named | moved_tables | not_moved.DERIVED == set(metadata.tables)
    assert not named & moved_tables


def test_the_documentation_lists_what_is_not_moved() -> None:
    page = (Path(__file__).parents[3] / "docs" / "dynamodb.md").read_text(encoding="utf-8").lower()
    for what in (*not_moved.NOT_MOVED, *not_moved._SOME):
        assert what.lower() in page, what


@pytest.mark.slow
async def test_the_command_copies_a_database_to_a_new_table(
    empty_database_url: str, tables_client: Any, migrated_sqlite: Path, tmp_path: Path
) -> None:
    cli = CommandLine(tmp_path / "elsewhere")
    cli.directory.mkdir()
    cli.has_database(migrated_sqlite)
    url = f"sqlite:///{cli.directory}/.data/threadkeeper.db"
    sql = datalayer.create_data_layer(url, f"file://{tmp_path / 'blobs'}")
    await of_sql(sql)
    await sql.close()
    given_settings = {**CREDENTIALS, "BLOB_URL": f"file://{tmp_path / 'blobs'}"}
    dry = await asyncio.to_thread(cli, "adopt", "--to", empty_database_url, **given_settings)
    assert (dry.returncode, "Dry run: nothing was changed." in dry.stdout) == (0, True), dry.stderr
    done = await asyncio.to_thread(cli, "adopt", "--to", empty_database_url, "--apply", **given_settings)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Done. Source and target agree."), done.stderr
    both = await asyncio.to_thread(cli, "adopt", empty_database_url, "--to", empty_database_url, **given_settings)
    assert both.returncode == 2
