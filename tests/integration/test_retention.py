"""Retention by command and by the server: dry run, deletion, receipts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

import datalayer
from datalayer import Job
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.schema.chat import threads
from tests.contracts.test_jobs import in_state
from tests.support.command_line import CommandLine
from tests.support.job_process import TIMES
from tests.support.patience import until
from tests.support.records import step, thread, user_id
from threadkeeper.jobs.retention import RETENTION, TEXTS, register_retention

pytestmark = pytest.mark.slow

_DAY = 24 * 3600


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


async def old_threads(url: str, tmp_path: Path) -> tuple[str, str]:
    """Two threads without activity for a year, the second one pinned, and a new one."""
    layer = datalayer.create_data_layer(url, f"file://{tmp_path / 'blobs'}")
    try:
        owner = await user_id(layer, "alice")
        ids = [await thread(layer, owner, name) for name in ("old", "pinned", "new")]
        for thread_id in ids:
            await layer.create_step(step(thread_id))
        with datalayer.acting_as("alice"):
            await layer.mark_thread(ids[1], "pin")
        async with layer.database.write() as connection:
            moment = utc_in(-365 * _DAY)
            aged = update(threads).where(threads.c.id.in_(ids[:2]))
            await connection.execute(aged.values(createdAt=moment, updatedAt=moment))
    finally:
        await layer.close()
    return ids[0], ids[1]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_dry_run_prints_a_plan_and_apply_a_receipt(
    database_url: str, command_line: CommandLine, tmp_path: Path
) -> None:
    old, _ = await old_threads(database_url, tmp_path)
    settings = {"DATABASE_URL": database_url, "BLOB_URL": f"file://{tmp_path / 'blobs'}"}
    nothing = command_line("retention", **settings)
    assert nothing.returncode == 0, nothing.stderr
    assert "threads" not in nothing.stdout, "classes without a number of days are kept forever"
    settings |= {"RETENTION_THREADS_DAYS": "180"}
    dry = command_line("retention", **settings)
    assert dry.returncode == 0, dry.stderr
    assert "nothing was deleted" in dry.stdout
    assert "retention --apply --receipt FILE" in dry.stdout
    done = command_line("retention", "--apply", "--receipt", str(tmp_path / "receipt.json"), **settings)
    assert done.returncode == 0, done.stderr
    assert "\nthreads: 1 thread, 1 message, 0 votes, 0 files deleted." in done.stdout
    assert old not in done.stdout
    _, receipt, _ = json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8"))
    assert (receipt["kind"], receipt["threads"], receipt["rows"]["threads"]) == ("threads", [old], 1)
    again = command_line("retention", "--apply", "--receipt", str(tmp_path / "receipt.json"), **settings)
    assert again.returncode == 1
    assert "Nothing was deleted" in again.stderr


@pytest.mark.parametrize("days", ["0", "-1", "never"])
def test_invalid_days_are_reported(days: str, command_line: CommandLine) -> None:
    refused = command_line("retention", RETENTION_FILES_DAYS=days)
    assert refused.returncode == 2
    assert "RETENTION_FILES_DAYS" in refused.stderr


async def test_the_server_applies_retention_periodically(layer: ChainlitLayer) -> None:
    async def old_one() -> str:
        thread_id = await thread(layer, await user_id(layer, "alice"), "old")
        async with layer.database.write() as connection:
            aged = update(threads).where(threads.c.id == thread_id)
            await connection.execute(aged.values(updatedAt=utc_in(-365 * _DAY)))
        return thread_id

    async def is_deleted(thread_id: str) -> None:
        async def is_away() -> bool:
            return await layer.get_thread(thread_id) is None

        await until(is_away)

    async def finished() -> Sequence[Job]:
        return (await layer.list_jobs(kinds=[RETENTION], states=["done"])).jobs

    old, new = await old_one(), await thread(layer, await user_id(layer, "alice"), "new")
    register_retention(layer, {"threads": 180}, 0.5 / 3600, 30)
    layer.run_jobs(TIMES)
    try:
        await is_deleted(old)
        await is_deleted(await old_one())
        await is_deleted(await old_one())
        assert await layer.get_thread(new) is not None
        done = await until(finished)
    finally:
        await layer.stop_jobs()
    assert done[-1].result["threads"]["threads"] == 1
    assert (done[-1].done, done[-1].total) == (1, 1)


async def test_without_an_interval_retention_is_not_started_but_texts_expire(layer: ChainlitLayer) -> None:
    register_retention(layer, {"threads": 180}, None, 30)
    kinds = {kind.name: kind.schedule for kind in layer._job_kinds.values()}
    assert kinds[RETENTION] is None
    daily = kinds[TEXTS]
    assert daily is not None
    assert daily.every_seconds == _DAY
    job = await layer.start_job(TEXTS)
    layer.run_jobs(TIMES)
    try:
        found = await in_state(layer, job, "done")
    finally:
        await layer.stop_jobs()
    assert found.result == {"calls": 0, "jobs": 0}
