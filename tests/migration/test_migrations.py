"""Migrated databases have the schema of the code: new databases and those of Chainlit's own layer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, delete, insert, inspect, select, text

import datalayer
from datalayer import create_data_layer
from datalayer.background import search_indexer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.database import Database
from datalayer.migrations import lists
from datalayer.schema import thread_triggers
from datalayer.schema.chat import (
    feedbacks,
    metadata,
    migrations,
    search_backlog,
    search_pending,
    search_texts,
    steps,
    threads,
)
from datalayer.schema.review import review_pending
from tests.support.records import listed, new_id, step, thread, user_id, vote

TRIGGERS = {
    "postgresql": """SELECT relname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE NOT tgisinternal""",
    "sqlite": "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'trigger'",
}
# As versions before the migration `mark_new_steps_once` made them.
SEVERAL_TRIGGERS = (
    "DROP TRIGGER step_made ON steps",
    "DROP TRIGGER step_changed ON steps",
    "DROP FUNCTION mark_new_step()",
    "DROP FUNCTION mark_changed_step()",
    """CREATE FUNCTION mark_step_for_search() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE FUNCTION keep_step_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE TRIGGER search_step_changed AFTER UPDATE OF input, output ON steps FOR EACH ROW
    WHEN (OLD.input IS DISTINCT FROM NEW.input OR OLD.output IS DISTINCT FROM NEW.output)
    EXECUTE FUNCTION mark_step_for_search()""",
    """CREATE TRIGGER review_answer_changed AFTER UPDATE OF type, "isError", "parentId", "createdAt" ON steps
    FOR EACH ROW WHEN (NEW.type = 'assistant_message') EXECUTE FUNCTION mark_for_review()""",
    """CREATE TRIGGER review_question_edited AFTER UPDATE OF output ON steps FOR EACH ROW
    WHEN (OLD.type = 'user_message') EXECUTE FUNCTION keep_step_version()""",
    """CREATE TRIGGER search_step_made AFTER INSERT ON steps FOR EACH ROW
    WHEN (NEW.input <> '' OR NEW.output <> '') EXECUTE FUNCTION mark_step_for_search()""",
    """CREATE TRIGGER review_answer_made AFTER INSERT ON steps FOR EACH ROW
    WHEN (NEW.type = 'assistant_message') EXECUTE FUNCTION mark_for_review()""",
    "DROP TRIGGER search_thread_made ON threads",
    "DROP TRIGGER thread_changed ON threads",
    "DROP FUNCTION mark_new_thread()",
    "DROP FUNCTION mark_changed_thread()",
    """CREATE FUNCTION mark_thread_for_search() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE FUNCTION mark_thread_for_review() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE TRIGGER search_thread_made AFTER INSERT ON threads FOR EACH ROW
    WHEN (NEW.name <> '') EXECUTE FUNCTION mark_thread_for_search()""",
    """CREATE TRIGGER search_thread_changed AFTER UPDATE OF name, "userId" ON threads FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION mark_thread_for_search()""",
    """CREATE TRIGGER review_thread_changed AFTER UPDATE OF "userId", tags ON threads FOR EACH ROW
    WHEN (OLD.tags IS DISTINCT FROM NEW.tags) EXECUTE FUNCTION mark_thread_for_review()""",
    """CREATE OR REPLACE FUNCTION skip_deleted_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM threads t WHERE t.id = NEW.id FOR KEY SHARE;
    IF NOT FOUND AND EXISTS (SELECT 1 FROM deleted_threads d WHERE d.id = NEW.id) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$""",
)
STEPS = [
    "build_schema",
    "index_reads",
    "date_threads",
    "search_index",
    "describe_files",
    "queue_blob_deletions",
    "account_for_calls",
    "review_threads",
    "record_logins",
    "keep_judged_answers",
    "compare_names_without_case",
    "mark_deleted_threads",
    "find_marks_by_owner",
    "index_speech_alone",
    "keep_jobs",
    "keep_assistants",
    "know_documents",
    "fetch_sources",
    "suggest_questions",
    "mark_new_steps_once",
    "mark_calls_in_progress",
    "keep_api_keys",
    "name_failures_of_trainings",
    "keep_first_answers",
    "claim_turns",
    "note_phases",
    "invite_users",
    "organize_threads",
    "keep_prompts",
    "mark_changed_steps_once",
    "mark_changed_threads_once",
    "choose_chat_models",
    "remember_facts",
    "list_threads_beside_the_archive",
    "key_payloads_with_their_time",
    "stop_turns",
    "follow_votes_and_tags",
    "note_older_votes_and_tags",
    "find_calls_by_time",
    "complete_rows_of_older_versions",
    "partition_payloads",
    "drop_index_of_calls_in_order",
]


def described(connection: Connection) -> dict[str, Any]:
    """Tables, columns, keys, indexes and triggers, as the database describes them; without partitions, which differ by
    month."""
    found = inspect(connection)
    # On Postgres one query for all tables, instead of one for each of them.
    columns, keys = found.get_multi_columns(), found.get_multi_pk_constraint()
    references, indexes = found.get_multi_foreign_keys(), found.get_multi_indexes()
    triggers = connection.execute(text(TRIGGERS[connection.dialect.name])).all()
    return {
        name: {
            "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in columns[None, name]},
            "key": keys[None, name]["constrained_columns"],
            "references": sorted(
                (str(key["constrained_columns"]), key["referred_table"], str(key.get("options")))
                for key in references[None, name]
            ),
            "indexes": sorted(
                (str(index["name"]), str(index["column_names"]), bool(index["unique"]))
                for index in indexes[None, name]
                if not index.get("duplicates_constraint")
            ),
            "triggers": sorted(made for table, made in triggers if table == name),
        }
        for name in found.get_table_names()
        if not name.startswith("llm_call_payloads_")
    }


async def test_the_migrated_schema_equals_the_schema_of_the_code(empty_database_url: str, tmp_path: Path) -> None:
    layer = create_data_layer(empty_database_url)
    assert await layer.pending_migrations() == STEPS
    assert await layer.migrate() == STEPS
    async with layer.database.read() as connection:
        migrated = await connection.run_sync(described)
    async with layer.database.write() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == migrated
    await layer.close()


async def test_migrating_again_changes_nothing(layer: ChainlitLayer) -> None:
    assert await layer.migrate() == []
    assert await layer.pending_migrations() == []


async def test_a_database_of_an_earlier_version_gets_the_indexes_it_lacks(layer: ChainlitLayer) -> None:
    async with layer.database.read() as connection:
        whole = await connection.run_sync(described)
    async with layer.database.write() as connection:
        for index in ("favorite_steps", "votes_of_user"):
            await connection.execute(text(f"DROP INDEX {index}"))
        await connection.execute(delete(migrations).where(migrations.c.name == "index_reads"))
    assert await layer.migrate() == ["index_reads"]
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole


async def test_a_database_without_removed_answers_gets_the_missing_columns(
    layer: ChainlitLayer,
) -> None:
    async with layer.database.read() as connection:
        whole = await connection.run_sync(described)
    async with layer.database.write() as connection:
        await connection.execute(text("DROP INDEX step_versions_of_step"))
        await connection.execute(text('ALTER TABLE step_versions DROP COLUMN "parentId"'))
        await connection.execute(text('ALTER TABLE review_answers DROP COLUMN "isRemoved"'))
        await connection.execute(delete(migrations).where(migrations.c.name == "keep_judged_answers"))
    assert await layer.migrate() == ["keep_judged_answers"]
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole


async def test_votes_and_tags_of_an_earlier_version_are_noted(
    layer: ChainlitLayer, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["follow_votes_and_tags", "note_older_votes_and_tags"]
    monkeypatch.setattr(lists, "_VOTES_AT_ONCE", 2)
    async with layer.database.read() as connection:
        whole = await connection.run_sync(described)
    owner, made = await user_id(layer, "alice"), []
    triggers = (
        [*thread_triggers.TRIGGERS_ON_SQLITE]
        if engine == "sqlite"
        else ["vote_noted ON feedbacks", "folders_counted ON threads"]
    )
    async with layer.database.write() as connection:
        for trigger in triggers:
            await connection.execute(text(f"DROP TRIGGER {trigger}"))
        for name, column in (("threads_voted_up", "votedUp"), ("threads_voted_down", "votedDown")):
            await connection.execute(text(f"DROP INDEX {name}"))
            await connection.execute(text(f'ALTER TABLE threads DROP COLUMN "{column}"'))
        await connection.execute(text("DROP TABLE folder_counts"))
        await connection.execute(delete(migrations).where(migrations.c.name.in_(names)))
    with datalayer.acting_as("alice"):
        for number in range(7):
            written = step(await thread(layer, owner, tags=["work", "work", f"tag {number % 2}"]))
            await layer.create_step(written)
            await layer.upsert_feedback(vote(written["id"], number % 2))
            made.append(written["threadId"])
    assert await layer.migrate() == names
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole
    with datalayer.acting_as("alice"):
        for value in (0, 1):
            assert await listed(layer, owner, feedback=value) == made[value::2][::-1]
        found = await layer.folders(owner)
    assert [(one.tag, one.threads) for one in found] == [("tag 0", 4), ("tag 1", 3), ("work", 7)]


async def test_a_database_without_marks_of_deleted_threads_gets_them(layer: ChainlitLayer) -> None:
    async with layer.database.read() as connection:
        whole = await connection.run_sync(described)
    kept, gone = await thread(layer, None), await thread(layer, None)
    of_engine = "ON threads" if layer.database.dialect.name == "postgresql" else ""
    async with layer.database.write() as connection:
        for trigger in ("thread_marked", "thread_stays_deleted"):
            await connection.execute(text(f"DROP TRIGGER {trigger} {of_engine}"))
        await connection.execute(text("DROP TABLE deleted_threads"))
        await connection.execute(delete(migrations).where(migrations.c.name == "mark_deleted_threads"))
    assert await layer.migrate() == ["mark_deleted_threads"]
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole
    await layer.delete_thread(gone)
    for thread_id in (gone, kept):
        await layer.create_step(step(thread_id))
    assert await layer.get_thread(gone) is None
    assert len((await layer.get_thread(kept))["steps"]) == 1


async def test_a_database_with_several_triggers_for_a_change_gets_one(layer: ChainlitLayer, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("on SQLite, a trigger costs little")
    names = ["mark_new_steps_once", "mark_changed_steps_once", "mark_changed_threads_once"]
    functions = text("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname")
    async with layer.database.read() as connection:
        whole, bodies = await connection.run_sync(described), (await connection.execute(functions)).all()
    async with layer.database.write() as connection:
        for statement in SEVERAL_TRIGGERS:
            await connection.exec_driver_sql(statement)
        await connection.execute(delete(migrations).where(migrations.c.name.in_(names)))
    assert await layer.migrate() == names
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole
        assert (await connection.execute(functions)).all() == bodies


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({"output": "an answer", "type": "assistant_message"}, (1, 1)),
        ({"output": "", "type": "assistant_message"}, (0, 1)),
        ({"output": "a question", "type": "user_message"}, (1, 0)),
        ({"output": "", "input": "asked", "type": "tool"}, (1, 0)),
        ({"output": "", "type": "run"}, (0, 0)),
    ],
)
async def test_a_new_step_is_marked_for_the_search_and_for_the_review(
    layer: ChainlitLayer, fields: dict[str, Any], marks: tuple[int, int]
) -> None:
    await layer.search_indexer.stop()
    thread_id = await thread(layer, await user_id(layer, "alice"))
    written = step(thread_id, **fields)
    await layer.create_step(written)
    assert await marks_of(layer, written) == marks


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({}, (0, 0)),
        ({"output": "another answer"}, (1, 0)),
        ({"input": "asked"}, (1, 0)),
        ({"isError": True}, (0, 1)),
        ({"output": "no answer", "type": "tool"}, (1, 0)),
    ],
)
async def test_a_changed_step_is_marked_for_the_search_and_for_the_review(
    layer: ChainlitLayer, fields: dict[str, Any], marks: tuple[int, int]
) -> None:
    await layer.search_indexer.stop()
    written = step(await thread(layer, await user_id(layer, "alice")), output="an answer", type="assistant_message")
    await layer.create_step(written)
    async with layer.database.write() as connection:
        for table in (search_pending, review_pending):
            await connection.execute(delete(table))
    await layer.update_step(written | fields)
    assert await marks_of(layer, written) == marks


async def marks_of(layer: ChainlitLayer, written: dict[str, Any]) -> tuple[int, int]:
    """The marks of the step for the search, and of its thread for the review."""
    async with layer.database.read() as connection:
        of_search = select(search_pending.c.threadId).where(search_pending.c.stepId == written["id"])
        of_review = select(review_pending.c.threadId).where(review_pending.c.threadId == written["threadId"])
        found = [len((await connection.execute(one)).all()) for one in (of_search, of_review)]
    return found[0], found[1]


async def test_two_replicas_that_start_together_migrate_once(empty_database_url: str) -> None:
    replicas = [create_data_layer(empty_database_url) for _ in range(3)]
    applied = await asyncio.gather(*(replica.migrate() for replica in replicas))
    assert sorted(applied) == [[], [], STEPS]
    for replica in replicas:
        await replica.close()


async def test_many_connections_open_a_new_sqlite_file_together(tmp_path: Path) -> None:
    # Without retries, one round in fifteen failed with SQLite's "locked" at the change to WAL.
    for round_ in range(40):
        replicas = [create_data_layer(f"sqlite:///{tmp_path}/{round_}.db") for _ in range(4)]
        await asyncio.gather(*(replica.ping() for replica in replicas))
        await asyncio.gather(*(replica.close() for replica in replicas))


async def test_a_newer_database_is_refused_and_not_changed(layer: ChainlitLayer) -> None:
    async with layer.database.write() as connection:
        await connection.execute(insert(migrations).values(name="from_the_future", appliedAt="2030"))
    with pytest.raises(
        datalayer.SchemaError, match=r"this version is too old for the database.*newer version.*from_the_future"
    ):
        await layer.migrate()
    with pytest.raises(datalayer.SchemaError, match="newer version"):
        await layer.pending_migrations()


async def test_a_database_without_a_schema_names_the_remedy(empty_database_url: str) -> None:
    layer = create_data_layer(empty_database_url)
    with pytest.raises(datalayer.SchemaError, match="migrate"):
        await layer.get_thread(new_id())
    with pytest.raises(datalayer.SchemaError, match="migrate"):
        await layer.create_step(step(new_id()))
    await layer.close()


def stock_schema() -> MetaData:
    """The five tables of Chainlit's official SQLAlchemy schema, without our columns."""
    added = {
        "users": {"role", "disabledAt", "loginsEndedAt", "nameKey"},
        "threads": {"updatedAt", "pinnedAt", "archivedAt", "expiresAt", "votedUp", "votedDown"},
        "steps": {"command", "modes", "defaultOpen", "autoCollapse", "extra", "updatedAt"},
        "elements": {"autoPlay", "playerConfig", "props", "extra", "createdAt"},
        "feedbacks": {"userId", "updatedAt"},
    }
    stock = MetaData()
    for name, columns in added.items():
        ours = metadata.tables[name]
        kept = [column._copy() for column in ours.columns if column.name not in columns]
        Table(name, stock, *kept)
    return stock


@pytest.fixture
async def stock_database(empty_database_url: str) -> str:
    database = Database(empty_database_url)
    stock = stock_schema().tables
    async with database.write() as connection:
        await connection.run_sync(lambda sync: stock["users"].metadata.create_all(sync))
        owner, thread_id, step_id = new_id(), new_id(), new_id()
        await connection.execute(
            insert(stock["users"]).values(id=owner, identifier="alice", metadata={}, createdAt="2024-01-01T00:00:00Z")
        )
        await connection.execute(
            insert(stock["threads"]).values(
                id=thread_id, createdAt="2024-01-01T00:00:00Z", name="old", userId=owner, userIdentifier="alice"
            )
        )
        await connection.execute(
            insert(stock["steps"]).values(
                id=step_id,
                name="alice",
                type="user_message",
                threadId=thread_id,
                streaming=False,
                output="from before",
                metadata={"a": 1},
                createdAt="2024-01-02T00:00:00.000000Z",
            )
        )
        await connection.execute(
            insert(stock["feedbacks"]).values(id=new_id(), forId=step_id, threadId=thread_id, value=1, comment="good")
        )
    await database.close()
    return empty_database_url


async def test_a_database_of_chainlits_own_layer_is_migrated_in_place(stock_database: str) -> None:
    layer = create_data_layer(stock_database)
    await layer.migrate()
    owner = await user_id(layer, "alice")
    (thread_id,) = await listed(layer, owner)
    found = await layer.get_thread(thread_id)
    assert (found["name"], found["steps"][0]["output"], found["steps"][0]["metadata"]) == (
        "old",
        "from before",
        {"a": 1},
    )
    assert found["steps"][0]["feedback"]["comment"] == "good"
    async with layer.database.read() as connection:
        moment = (await connection.execute(select(threads.c.updatedAt))).scalar_one()
    assert moment == "2024-01-02T00:00:00.000000Z"
    written = step(thread_id, defaultOpen=True, modes={"model": "x"})
    await layer.create_step(written)
    await layer.upsert_feedback(vote(written["id"], 0))
    assert len((await layer.get_thread(thread_id))["steps"]) == 2
    await layer.search_indexer.finish()
    assert await listed(layer, owner, search="from before") == await listed(layer, owner, search="old") == [thread_id]
    await layer.close()


async def test_a_history_of_an_older_version_becomes_searchable(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "BATCH", 7)
    owner = await user_id(layer, "alice")
    made = [await thread(layer, owner, name=f"name{number}") for number in range(20)]
    nobodys = await thread(layer, None)
    for number in range(40):
        await layer.create_step(step([*made, nobodys][number % 21], f"text{number}"))
    await layer.search_indexer.finish()
    async with layer.database.write() as connection:
        for table in (search_texts, search_pending, search_backlog):
            await connection.run_sync(table.drop)
        for name in ("step_made", "step_changed", "thread_made", "thread_changed", "thread_renamed", "thread_given"):
            on = "threads" if "thread" in name else "steps"
            on = f" ON {on}" if layer.database.dialect.name == "postgresql" else ""
            await connection.execute(text(f"DROP TRIGGER IF EXISTS search_{name}{on}"))
        await connection.execute(delete(migrations).where(migrations.c.name == "search_index"))
    assert await layer.migrate() == ["search_index"]
    # New text is found at once while old texts are being indexed.
    await layer.create_step(step(made[0], "brandnew"))
    assert await listed(layer, owner, search="brandnew") == [made[0]]
    await layer.search_indexer.finish()
    for number in range(20):
        assert await listed(layer, owner, search=f"name{number} ") == [made[number]]
        assert await listed(layer, owner, search=f"text{number} ") == [made[number]]
    async with layer.database.read() as connection:
        assert (await connection.execute(select(search_backlog.c.table))).all() == []


async def test_the_cause_of_a_failed_migration_is_reported_and_nothing_changed(stock_database: str) -> None:
    database = Database(stock_database)
    async with database.write() as connection:
        one = (await connection.execute(select(steps.c.id, steps.c.threadId))).one()
        await connection.execute(
            insert(stock_schema().tables["feedbacks"]).values(id=new_id(), forId=one[0], threadId=one[1], value=0)
        )
    layer = create_data_layer(stock_database)
    with pytest.raises(datalayer.SchemaError, match="was not changed"):
        await layer.migrate()
    async with database.read() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        columns = await connection.run_sync(lambda sync: [c["name"] for c in inspect(sync).get_columns("steps")])
        votes = (await connection.execute(select(feedbacks.c.id))).all()
    assert "threadkeeper_migrations" not in tables
    assert "extra" not in columns
    assert len(votes) == 2
    await database.close()
    await layer.close()


async def test_a_table_that_is_not_chainlits_is_refused(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE users (account TEXT)"))
    await database.close()
    layer = create_data_layer(empty_database_url)
    with pytest.raises(datalayer.SchemaError, match="not a table of Chainlit's"):
        await layer.migrate()
    await layer.close()
