"""A history in DynamoDB is copied into a SQL database: completely, once, and named where it cannot be."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.types import Feedback
from sqlalchemy import select

import datalayer
from datalayer.blobs import open_blob_store
from datalayer.blobs.text_keys import record_of
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import put
from datalayer.errors import StorageUnavailable
from datalayer.schema.chat import (
    blob_deletions,
    deleted_threads,
    elements,
    feedback_changes,
    feedbacks,
    steps,
    threads,
    users,
)
from datalayer.transfer import to_sql
from datalayer.transfer.report import TransferReport
from datalayer.transfer.sql_rows import SqlRows
from tests.contracts.dynamodb.histories import LONG, ODD, of_chainlit, of_ours
from tests.contracts.dynamodb.items import all_items
from tests.contracts.dynamodb.test_limits import dynamo
from tests.contracts.test_elements import text_element
from tests.support.command_line import CommandLine
from tests.support.dynamodb_server import CREDENTIALS
from tests.support.records import listed, new_id, opened, step, thread, user_id, vote


async def copied(layer: ChainlitLayer, sql: ChainlitLayer, *, apply: bool = True) -> TransferReport:
    return await to_sql.to_sql(dynamo(layer).table, layer.blobs, sql.database, apply=apply)


def found(report: TransferReport) -> dict[str, int]:
    return {name: one.found for name, one in report.kinds().items() if one.found}


def stored(report: TransferReport) -> dict[str, int]:
    return {name: one.stored for name, one in report.kinds().items() if one.stored}


def problems(report: TransferReport) -> dict[str, int]:
    return {name: one.problems for name, one in report.kinds().items() if one.problems}


async def rows(sql: ChainlitLayer, table: Any) -> Sequence[Any]:
    async with sql.database.read() as connection:
        return (await connection.execute(select(table))).mappings().all()


async def test_a_history_of_our_layer_is_the_same_in_sql(layer: ChainlitLayer, sql: ChainlitLayer) -> None:
    ids = await of_ours(layer)
    before = await all_items(dynamo(layer).table)
    dry = await copied(layer, sql, apply=False)
    assert await listed(sql, new_id()) == []
    report = await copied(layer, sql)
    kinds = {
        "users": 1, "threads": 1, "steps": 2, "elements": 1, "votes": 1, "changes of votes": 2,
        "marks of deleted threads": 1,
    }  # fmt: skip
    assert found(report) == found(dry) == kinds | {"files": 1, "long texts": 1}
    assert stored(report) == stored(dry) == kinds
    assert (problems(report), report.findings) == ({}, {})
    assert await all_items(dynamo(layer).table) == before, "the source is not changed"
    with datalayer.acting_as("alice"):
        there, here = await layer.get_thread(ids.thread_id), await sql.get_thread(ids.thread_id)
        owner = await user_id(sql, "alice")
        assert await listed(sql, owner) == await listed(sql, owner, feedback=0) == [ids.thread_id]
        assert [one["id"] for one in await sql.get_favorite_steps(owner)] == [ids.answer]
        await sql.search_indexer.finish()
        assert await listed(sql, owner, search="a long text") == [ids.thread_id]
        kept = await opened(sql, ids.thread_id, ids.element)
    assert kept is not None
    assert kept[1] == b"abc"
    (vote_here,) = await rows(sql, feedbacks)
    assert here["steps"][1]["feedback"].pop("id") == vote_here["id"]
    assert there["steps"][1]["feedback"].pop("id") == keys.vote_id(ids.thread_id, ids.answer)
    assert here["steps"][1]["feedback"] == there["steps"][1]["feedback"] == {
        "forId": ids.answer, "value": 0, "comment": "bad"
    }  # fmt: skip
    for one in (*here["steps"], *there["steps"]):
        for name in ("updatedAt", "disableFeedback", "indent"):
            one.pop(name, None)
    assert here == there | {"userId": owner}
    assert here["metadata"] == here["steps"][0]["metadata"] == here["steps"][0]["ours"] == ODD
    assert here["steps"][0]["output"] == LONG
    assert here["steps"][1]["name"] == 5, "a value of another kind than its column's"
    history = sorted(await rows(sql, feedback_changes), key=lambda one: one["changedAt"])
    assert [(one["value"], one["comment"], one["userId"]) for one in history] == [(1, "good", owner), (0, "bad", owner)]
    assert vote_here["updatedAt"] == history[1]["changedAt"]
    assert len(await rows(sql, deleted_threads)) == 1


async def test_a_history_of_chainlits_own_layer_is_the_same_in_sql(
    layer: ChainlitLayer, sql: ChainlitLayer, tables_client: Any, tmp_path: Path
) -> None:
    ids = await of_chainlit(dynamo(layer).table.place.table, tables_client, tmp_path / "blobs")
    report = await copied(layer, sql)
    kinds = {"users": 1, "threads": 1, "steps": 2, "elements": 1, "votes": 1}
    assert (found(report), stored(report), problems(report)) == (kinds | {"files": 1}, kinds, {})
    with datalayer.acting_as("alice"):
        owner = await user_id(sql, "alice")
        whole = await sql.get_thread(ids.thread_id)
        kept = await opened(sql, ids.thread_id, ids.element)
        assert await listed(sql, owner, feedback=0) == [ids.thread_id]
        assert [one["id"] for one in await sql.get_favorite_steps(owner)] == [ids.answer]
    assert (whole["name"], whole["metadata"], whole["tags"]) == ("theirs", {"a": {"b": 1}}, ["x", "y"])
    question, answer = whole["steps"]
    assert (question["ours"], question["createdAt"]) == ({"unknown": 1}, "2026-01-01T10:00:00.000000Z")
    assert (answer["parentId"], answer["generation"]) == (ids.question, {"tokens": 3, "cost": 0.5})
    assert (answer["feedback"]["value"], answer["feedback"]["comment"]) == (0, "bad")
    assert kept is not None
    assert (kept[0].for_id, kept[0].name, kept[1]) == (ids.answer, "notes", b"abc")
    (user,) = await rows(sql, users)
    assert (user["metadata"], user["role"]) == ({"provider": "test", "n": 1.5}, "user")
    # Its steps and votes have no time of their last change.
    theirs = DynamoDBDataLayer(dynamo(layer).table.place.table, client=tables_client)
    later: Any = step(ids.thread_id, "changed", id=ids.answer, createdAt="2026-01-01T10:00:01.250000Z")
    await theirs.update_step(later)
    await theirs.upsert_feedback(Feedback(forId=ids.answer, threadId=ids.thread_id, value=1))
    again = await copied(layer, sql)
    assert (stored(again), problems(again), again.steps.replaced, again.votes.replaced) == ({}, {}, 1, 1)
    with datalayer.acting_as("alice"):
        changed = (await sql.get_thread(ids.thread_id))["steps"][1]
    assert (changed["output"], changed["feedback"]["value"]) == ("changed", 1)


async def test_a_long_text_whose_step_may_name_it_is_not_deleted_by_sql(
    layer: ChainlitLayer, sql: ChainlitLayer
) -> None:
    ids = await of_ours(layer)
    (text,) = [blob.key async for blob in layer.blobs.list(ids.thread_id) if record_of(blob.key)]
    await dynamo(layer).file_deleter.queue([text], ids.thread_id, utc_in(3600))
    report = await copied(layer, sql)
    assert (problems(report), report.files_to_delete.left_out, await rows(sql, blob_deletions)) == ({}, 1, [])


async def test_copying_again_stores_nothing(layer: ChainlitLayer, sql: ChainlitLayer) -> None:
    await of_ours(layer)
    await of_ours(layer, "bob")
    await copied(layer, sql)
    before = await dump(sql)
    again = await copied(layer, sql)
    assert (stored(again), problems(again), again.findings) == ({}, {}, {})
    assert {name: one.there for name, one in again.kinds().items()} == {
        name: one.found for name, one in again.kinds().items()
    }
    assert await dump(sql) == before


async def dump(sql: ChainlitLayer) -> dict[str, list[Any]]:
    tables = (users, threads, steps, elements, feedbacks, feedback_changes, deleted_threads, blob_deletions)
    return {table.name: sorted(map(str, await rows(sql, table))) for table in tables}


async def test_an_interrupted_copy_goes_on(
    layer: ChainlitLayer, sql: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        await of_ours(layer, name)
    monkeypatch.setattr(to_sql, "PAGE", 3)
    calls = failing = 0

    async def fail(self: SqlRows, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise StorageUnavailable("the database is away")
        return await insert(self, *arguments)

    insert = SqlRows.insert
    monkeypatch.setattr(SqlRows, "insert", fail)
    # At some of the places where it may stop.
    while True:
        calls, failing = 0, failing + 3
        try:
            report = await copied(layer, sql)
        except StorageUnavailable:
            continue
        break
    assert failing > 5
    assert problems(report) == {}
    for name in ("users", "threads", "elements", "votes"):
        assert report.kinds()[name].found == 2
    with datalayer.acting_as("bob"):
        (thread_id,) = await listed(sql, await user_id(sql, "bob"))
        assert len((await sql.get_thread(thread_id))["steps"]) == 2


async def test_an_item_that_cannot_be_read_is_named_and_costs_only_itself(
    layer: ChainlitLayer, sql: ChainlitLayer
) -> None:
    ids = await of_ours(layer)
    table = dynamo(layer).table
    own = keys.partition(ids.thread_id)
    bad = {
        "no uuid": {**keys.key(own, "STEP#first"), "id": {"S": "first"}, "type": {"S": "run"}},
        "bad vote": {
            **keys.step_key(ids.thread_id, new_id()),
            "id": {"S": "x"},
            "feedback": {"M": {"value": {"N": "7"}}},
        },
        "vote alone": {**keys.step_key(ids.thread_id, new_id()), "feedback": {"M": {"value": {"N": "1"}}}},
        "orphan": {**keys.step_key(new_id(), new_id()), "output": {"S": "of no thread"}},
        "elsewhere": {**keys.step_key(await thread(layer, "alice"), ids.answer), "output": {"S": "twice"}},
        "bad change": {**keys.key(own, f"CHANGE#{ids.answer}#x"), "value": {"S": "up"}},
        "bad thread": {**keys.thread_key("first"), "id": {"S": "x"}},
        "bad time": {**keys.thread_key(new_id()), "id": {"S": "x"}, "createdAt": {"S": "yesterday"}},
        "unknown": {**keys.key("OTHER#1", "OTHER"), "id": {"S": "x"}},
        "unknown key": {**keys.thread_key(new_id()), "id": {"S": "x"}, "colour": {"S": "red"}},
    }
    for item in bad.values():
        await table.transact([put(item)])
    report = await copied(layer, sql)
    failed = {name: one.failed for name, one in report.kinds().items() if one.failed}
    assert failed == {"threads": 1, "steps": 3, "votes": 1, "changes of votes": 1}
    assert problems(report) == failed
    named = {one.what: one.examples for one in report.findings.values()}
    assert {name.partition(": ")[0] for examples in named.values() for name in examples} == {
        *(
            f"{item['PK']['S']} {item['SK']['S']}"
            for name, item in bad.items()
            if name not in ("elsewhere", "unknown key", "bad time")
        ),
        ids.answer,
        bad["unknown key"]["PK"]["S"],
        keys.thread_of(bad["bad time"]),
    }
    assert {name: one.left_out for name, one in report.kinds().items() if one.left_out} == {"steps": 1, "votes": 1}
    with datalayer.acting_as("alice"):
        whole = [await sql.get_thread(one) for one in await listed(sql, await user_id(sql, "alice"))]
    assert sum(len(one["steps"]) for one in whole) == 3, "with the step whose vote is not valid"


async def test_what_is_written_meanwhile_is_named_and_copied_by_the_next_run(
    layer: ChainlitLayer, sql: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await of_ours(layer)
    late = step(ids.thread_id, "late")

    async def write(self: to_sql.ToSql) -> TransferReport:
        report = await run(self)
        if report.applied:
            with datalayer.acting_as("alice"):
                await layer.create_step(late)
                await layer.update_step({**step(ids.thread_id, "later"), "id": ids.answer})
                await layer.upsert_feedback(vote(ids.answer, 1, "better"))
        return report

    run = to_sql.ToSql.run
    monkeypatch.setattr(to_sql.ToSql, "run", write)
    report = await copied(layer, sql)
    assert problems(report) == {"threads": 1, "steps": 2, "votes": 1, "changes of votes": 1}
    monkeypatch.setattr(to_sql.ToSql, "run", run)
    again = await copied(layer, sql)
    assert (problems(again), again.steps.stored, again.steps.replaced, again.votes.replaced) == ({}, 1, 1, 1)
    with datalayer.acting_as("alice"):
        whole = await sql.get_thread(ids.thread_id)
    outputs = {one["id"]: one["output"] for one in whole["steps"]}
    assert (outputs[late["id"]], outputs[ids.answer]) == ("late", "later")


async def test_what_was_changed_in_sql_since_stays(layer: ChainlitLayer, sql: ChainlitLayer) -> None:
    ids = await of_ours(layer)
    gone = await thread(layer, "alice")
    await layer.create_step(step(gone))
    await copied(layer, sql)
    with datalayer.acting_as("alice"):
        await sql.update_step({**step(ids.thread_id, "changed here"), "id": ids.answer})
        await sql.create_step(step(ids.thread_id))
        await sql.upsert_feedback(vote(ids.answer, 1, "changed here"))
        await sql.delete_thread(gone)
        await user_id(sql, "alice")
    await layer.delete_thread(ids.thread_id)
    again = await copied(layer, sql)
    assert (stored(again), problems(again)) == ({}, {})
    what = {one.what: one.count for one in again.findings.values()}
    assert what == {
        "threads that were deleted in the target (not copied)": 1,
        "steps of a thread that was not stored (not copied)": 1,
        "threads that were deleted in the source and exist in the target (not deleted)": 1,
    }
    with datalayer.acting_as("alice"):
        whole = await sql.get_thread(ids.thread_id)
        assert await sql.get_thread(gone) is None
    changed = next(one for one in whole["steps"] if one["id"] == ids.answer)
    assert (changed["output"], changed["feedback"]["comment"]) == ("changed here", "changed here")


async def test_what_was_undone_in_sql_since_does_not_come_back(layer: ChainlitLayer, sql: ChainlitLayer) -> None:
    ids = await of_ours(layer)
    with datalayer.acting_as("alice"):
        removed = step(ids.thread_id, "of an edited question", type="assistant_message")
        await layer.create_step(removed)
        await layer.upsert_feedback(vote(removed["id"], 1))
        await layer.create_element(text_element(ids.thread_id, removed["id"], "abc"))
    await copied(layer, sql)
    with datalayer.acting_as("alice"):
        (given,) = [one["id"] for one in await rows(sql, feedbacks) if one["forId"] == ids.answer]
        assert await sql.delete_feedback(given)
        await sql.delete_step(removed["id"])
        for step_id, is_favorite in ((ids.question, True), (ids.answer, False)):
            marked = {"id": step_id, "threadId": ids.thread_id}
            await sql.set_step_favorite(marked, is_favorite)
    before = await dump(sql)
    again = await copied(layer, sql)
    assert (stored(again), problems(again), again.steps.replaced) == ({}, {}, 0)
    assert {one.what: one.count for one in again.findings.values()} == {
        "elements of messages that were deleted in the target (not copied)": 1,
        "messages that were deleted in the target (not copied)": 1,
        "votes on messages that were deleted in the target (not copied)": 1,
        "votes that were taken back in the target since (not copied)": 1,
        "steps that are favourites on one side only (not changed)": 2,
    }
    assert await dump(sql) == before
    # A vote that is cast again is copied.
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(ids.answer, 1, "once more"))
    again = await copied(layer, sql)
    assert (stored(again), problems(again)) == ({"votes": 1, "changes of votes": 1}, {})


async def test_a_vote_that_was_taken_back_and_cast_again_before_the_copy_is_copied(
    layer: ChainlitLayer, sql: ChainlitLayer, tables_client: Any
) -> None:
    ids = await of_ours(layer)
    with datalayer.acting_as("alice"):
        assert await layer.delete_feedback(keys.vote_id(ids.thread_id, ids.answer))
    # Chainlit's own layer keeps no time, so this vote seems older than the withdrawal.
    theirs = DynamoDBDataLayer(dynamo(layer).table.place.table, client=tables_client)
    await theirs.upsert_feedback(Feedback(forId=ids.answer, threadId=ids.thread_id, value=1))
    report = await copied(layer, sql)
    assert (report.votes.stored, report.changes_of_votes.stored, problems(report)) == (1, 3, {})


async def test_an_edit_during_the_run_is_not_overwritten(
    layer: ChainlitLayer, sql: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await of_ours(layer)
    await copied(layer, sql)
    with datalayer.acting_as("alice"):
        for step_id in (ids.question, ids.answer):
            await layer.update_step({**step(ids.thread_id, "changed there"), "id": step_id})

    async def edit_first(self: SqlRows, table: Any, given: Any) -> Any:
        # The rows were compared, and are not yet replaced.
        if table is steps:
            with datalayer.acting_as("alice"):
                await sql.update_step({**step(ids.thread_id, "changed here"), "id": ids.answer})
        return await insert(self, table, given)

    insert = SqlRows.insert
    monkeypatch.setattr(SqlRows, "insert", edit_first)
    report = await copied(layer, sql)
    assert (problems(report), report.steps.replaced) == ({}, 1)
    assert {one.what: one.examples for one in report.findings.values()} == {
        "steps that were changed in the target during this run (not changed)": [ids.answer]
    }
    outputs = {one["id"]: one["output"] for one in await rows(sql, steps)}
    assert outputs == {ids.question: "changed there", ids.answer: "changed here"}


async def test_names_that_differ_in_case_are_the_same_user_only_if_the_table_has_one(
    layer: ChainlitLayer, sql: ChainlitLayer
) -> None:
    here = await user_id(sql, "Ada@x")
    owned = {name: await thread(layer, await user_id(layer, name)) for name in ("ada@X", "Bob", "bob")}
    await layer.update_thread(nobody := new_id(), name="of nobody")
    unknown = new_id()
    await dynamo(layer).table.transact(
        [put({**keys.thread_key(unknown), "userId": {"S": "carol"}, "name": {"S": "of a user without an item"}})]
    )
    report = await copied(layer, sql)
    assert problems(report) == {}
    assert sorted(one["identifier"] for one in await rows(sql, users)) == ["Ada@x", "Bob", "bob", "carol"]
    for name in ("Bob", "bob"):
        assert await listed(sql, await user_id(sql, name)) == [owned[name]]
    assert await listed(sql, here) == [owned["ada@X"]]
    assert await listed(sql, await user_id(sql, "carol")) == [unknown]
    assert (await sql.get_thread(nobody))["userIdentifier"] is None
    again = await copied(layer, sql)
    assert (stored(again), problems(again)) == ({}, {})


async def test_files_and_long_texts_are_read_from_the_store_of_the_table(
    layer: ChainlitLayer, sql_url: str, tmp_path: Path
) -> None:
    ids, second = await of_ours(layer), await of_ours(layer, "bob")
    other = open_blob_store(f"file://{tmp_path / 'other'}")
    sql = datalayer.create_data_layer(sql_url, other)
    for blob in [blob async for blob in layer.blobs.list(second.thread_id)]:
        await layer.blobs.delete(blob.key)
    await layer.update_thread(named := new_id(), user_id="bob")
    # Chainlit's layer makes the key of the name of the user.
    for object_key in ("bob@example.org/x/y", "DOMAIN\\bob/x/y"):
        element = {**keys.element_key(named, new_id()), "objectKey": {"S": object_key}, "name": {"S": "x"}}
        await dynamo(layer).table.transact([put(element)])
    await layer.blobs.put("bob@example.org/x/y", b"bob's", "text/plain")
    report = await to_sql.to_sql(dynamo(layer).table, layer.blobs, sql.database, other, apply=True)
    assert (report.files.found, report.files.stored, report.files.failed) == (4, 2, 2)
    assert await other.read("bob@example.org/x/y") == b"bob's"
    assert (report.long_texts.found, report.long_texts.failed) == (2, 1)
    assert problems(report) == {"files": 2, "long texts": 1}
    with datalayer.acting_as("alice"):
        kept = await opened(sql, ids.thread_id, ids.element)
        whole = await sql.get_thread(ids.thread_id)
    assert kept is not None
    assert (kept[0].byte_size, kept[1], whole["steps"][0]["output"]) == (3, b"abc", LONG)
    await sql.close()


async def test_a_dry_run_needs_no_database(layer: ChainlitLayer) -> None:
    await of_ours(layer)
    report = await to_sql.to_sql(dynamo(layer).table, layer.blobs, None)
    assert (report.applied, report.steps.stored, problems(report)) == (False, 2, {})


async def test_a_thread_of_many_pages_is_copied_with_few_requests(
    layer: ChainlitLayer, sql: ChainlitLayer, counted_requests: list[str]
) -> None:
    """Requests for an item do not depend on the size of the history: a page takes one, and two for its threads."""
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await dynamo(layer).table.put_many(
        [{**keys.step_key(thread_id, new_id()), "type": {"S": "run"}, "output": {"S": str(one)}} for one in range(1200)]
    )
    counted_requests.clear()
    report = await to_sql.ToSql(dynamo(layer).table, layer.blobs, sql.database, apply=True).run()
    assert report.steps.stored == 1200
    pages = counted_requests.count("Scan")
    assert 3 <= pages <= 4
    assert len(counted_requests) <= 3 * pages


@pytest.mark.slow
async def test_the_command_copies_a_table_and_says_what_is_left(
    layer: ChainlitLayer, database_url: str, tmp_path: Path
) -> None:
    ids = await of_ours(layer)
    settings = {**CREDENTIALS, "BLOB_URL": f"file://{tmp_path / 'blobs'}"}
    cli = CommandLine(tmp_path / "elsewhere")
    cli.directory.mkdir()
    dry = await asyncio.to_thread(cli, "adopt", database_url, **settings)
    assert (dry.returncode, list(cli.directory.iterdir())) == (0, []), dry.stderr
    assert "Dry run: nothing was changed." in dry.stdout
    done = await asyncio.to_thread(cli, "adopt", database_url, "--apply", **settings)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Done. Source and target agree.")
    unreadable = {**keys.key(keys.partition(ids.thread_id), "STEP#first"), "id": {"S": "first"}}
    await dynamo(layer).table.transact([put(unreadable)])
    planned = await asyncio.to_thread(cli, "adopt", database_url, **settings)
    assert planned.returncode == 1
    assert "1 record cannot be copied, " in planned.stderr
    assert "Dry run: nothing was changed." in planned.stderr
    again = await asyncio.to_thread(cli, "adopt", database_url, "--apply", **settings)
    assert again.returncode == 1
    assert "STEP#first" in again.stdout
    assert "1 record differs in the target" in again.stderr
    wrong = await asyncio.to_thread(cli, "adopt", "postgresql://x", **settings)
    assert (wrong.returncode, wrong.stderr[:49]) == (2, "The database URL must be dynamodb://table?region=")
    missing = await asyncio.to_thread(cli, "adopt", database_url.replace("?", "-2?"), **settings)
    assert missing.returncode == 1
    assert "does not exist in this account and region" in missing.stderr
