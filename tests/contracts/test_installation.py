"""The first steps of an installation, its latest backup, and the audit of what admins do with it."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import delete, insert

from datalayer import AssistantSettings, acting_as, create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.errors import Forbidden
from datalayer.records.installation import FirstSteps
from datalayer.records.usage import Limit
from datalayer.schema.jobs import job_replicas
from datalayer.schema.usage import llm_calls
from tests.support.calls import call
from tests.support.records import new_id


async def test_each_first_step_is_done_when_the_data_says_so(layer: ChainlitLayer) -> None:
    assert await layer.first_steps() == FirstSteps(False, False, False, False, None, {})
    ada = await layer.add_account("ada", "hash", "admin")
    await layer.add_account("bob", "hash")
    await layer.set_disabled("bob", True)
    await layer.record_call(call(utc_now(), user_id=ada.id, error_kind="cut", completion_tokens=5))
    await layer.record_call(call(utc_now(), user_id=ada.id, kind="title", completion_tokens=5))
    await layer.create_assistant(AssistantSettings("Of nobody"))
    assert await layer.first_steps() == FirstSteps(False, False, False, False, None, {})
    await layer.set_disabled("bob", False)
    assert (await layer.first_steps()).has_people
    for kind in ("try", "chat"):
        tried = call(utc_now(), user_id=ada.id, kind=kind, completion_tokens=5)
        await layer.record_call(tried)
        assert (await layer.first_steps()).has_answer, kind
        async with layer.database.write() as connection:
            await connection.execute(delete(llm_calls).where(llm_calls.c.id == tried.id))
    await layer.put_limit(Limit(new_id(), "users", None, "day", "tokens", Decimal(5)))
    assert (await layer.first_steps()).has_limit
    with acting_as("ada"):
        await layer.create_assistant(AssistantSettings("Of ada"))
    assert (await layer.first_steps()).has_assistant
    await layer.note_backup("/backups/today", files=2, size=30, by="ada")
    backup = (await layer.first_steps()).backup
    assert backup is not None and backup.pop("at") <= utc_now()
    assert backup == {"folder": "/backups/today", "files": 2, "bytes": 30, "by": "ada"}


async def test_the_page_of_the_first_steps_is_begun_seen_hidden_and_shown_again(layer: ChainlitLayer) -> None:
    await layer.note_first_steps("begun")
    begun = (await layer.first_steps()).shown
    await layer.note_first_steps("begun")
    assert (await layer.first_steps()).shown == begun, "the first time stays"
    await layer.note_first_steps("seen")
    await layer.note_first_steps("hidden")
    assert (await layer.first_steps()).shown.keys() == {"begun_at", "seen_at", "hidden_at"}
    await layer.note_first_steps("shown")
    assert (await layer.first_steps()).shown.keys() == {"begun_at", "seen_at"}


async def test_two_first_steps_at_once_are_both_kept(layer: ChainlitLayer, database_url: str) -> None:
    second = create_data_layer(database_url)
    try:
        await asyncio.gather(layer.note_first_steps("seen"), second.note_first_steps("hidden"))
        await asyncio.gather(layer.note_first_steps("shown"), second.note_first_steps("begun"))
    finally:
        await second.close()
    assert (await layer.first_steps()).shown.keys() == {"begun_at", "seen_at"}


async def test_the_engine_and_the_processes_with_a_job_are_told(layer: ChainlitLayer) -> None:
    facts, dialect = await layer.database_facts(), layer.database.dialect
    assert facts.version.startswith({"postgresql": "PostgreSQL 1", "sqlite": "SQLite 3."}[dialect.name])
    assert facts.bytes > 100_000
    assert await layer.replicas() == []
    async with layer.database.write() as connection:
        await connection.execute(insert(job_replicas).values(id=new_id(), name="box", seenAt=dialect.clock - 60))
    (found,) = await layer.replicas()
    assert found.name == "box"
    assert 59 < found.seconds_ago < 600


async def test_only_the_system_reads_and_notes_them(layer: ChainlitLayer) -> None:
    for refused in (
        layer.first_steps,
        lambda: layer.note_first_steps("seen"),
        lambda: layer.note_backup("/", files=0, size=0, by="ada"),
        lambda: layer.note_admin_act("add_user", "ada"),
        layer.database_facts,
        layer.replicas,
    ):
        with acting_as("ada"), pytest.raises(Forbidden):
            await refused()
