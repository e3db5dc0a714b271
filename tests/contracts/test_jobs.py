"""Jobs in one process: start, progress, cancelling, retries, formats, schedules, ownership, deletion."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text, update

import datalayer
from datalayer import Job, JobContext, JobFailed, JobLater, JobSchedule
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.jobs import claims, rows
from datalayer.jobs.kinds import Kind
from datalayer.jobs.runner import Runner
from datalayer.records.jobs import JobState
from datalayer.schema.chat import blob_deletions
from datalayer.schema.jobs import job_replicas
from datalayer.schema.jobs import jobs as job_table
from tests.support.job_process import TIMES
from tests.support.patience import until
from tests.support.records import new_id, user_id


@asynccontextmanager
async def running(layer: ChainlitLayer) -> AsyncIterator[None]:
    layer.run_jobs(TIMES)
    try:
        yield
    finally:
        await layer.stop_jobs()


async def in_state(
    layer: ChainlitLayer, job: Job, state: JobState, also: Callable[[Job], bool] = lambda _found: True
) -> Job:
    """The job, as soon as it is in this state and `also` holds for it."""

    async def in_this_state() -> Job | None:
        found = await layer.get_job(job.id)
        return found if found and found.state == state and also(found) else None

    return await until(in_this_state)


async def one_is_done(layer: ChainlitLayer) -> bool:
    return bool((await layer.list_jobs(states=["done"])).jobs)


async def nothing(_context: JobContext) -> None:
    """Done at once."""


async def test_the_same_key_is_one_job_until_it_is_finished(layer: ChainlitLayer) -> None:
    layer.register_job("report", nothing)
    layer.register_job("other", nothing)
    both = await asyncio.gather(*(layer.start_job("report", {"n": n}, key="k") for n in range(2)))
    assert both[0].id == both[1].id
    others = [
        await layer.start_job("report"),
        await layer.start_job("report", key="l"),
        await layer.start_job("other", key="k"),
    ]
    assert len({job.id for job in (both[0], *others)}) == 4
    async with running(layer):
        await in_state(layer, both[0], "done")
        assert (await layer.start_job("report", key="k")).id != both[0].id


async def test_progress_and_the_result_are_stored(layer: ChainlitLayer) -> None:
    may_end = asyncio.Event()

    async def work(context: JobContext) -> dict[str, Any]:
        await context.progress(1, 3, "first")
        await context.progress(2, 3, "second")
        await may_end.wait()
        return {"of": context.arguments["name"]}

    layer.register_job("report", work)
    async with running(layer):
        job = await layer.start_job("report", {"name": "ü"})
        assert (job.state, job.done, job.started_at) == ("waiting", 0, None)
        # The second one, which came within a second, is stored with the next heartbeat.
        found = await in_state(layer, job, "running", lambda found: found.done == 2)
        assert (found.total, found.text, found.result) == (3, "second", None)
        may_end.set()
        done = await in_state(layer, job, "done")
    assert done.result == {"of": "ü"}
    assert done.started_at is not None
    assert done.ended_at is not None


async def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_within_seconds(layer: ChainlitLayer) -> None:
    begun, seen, followed = asyncio.Event(), list[bool](), list[tuple[str, str]]()

    async def follow(job: Job) -> None:
        followed.append((job.id, job.state))

    async def polite(context: JobContext) -> str:
        begun.set()
        while not context.cancelled:
            await asyncio.sleep(0.01)
        seen.append(True)
        return "dropped"

    async def deaf(_context: JobContext) -> None:
        await asyncio.sleep(3600)

    layer.register_job("polite", polite, on_ending=follow)
    layer.register_job("deaf", deaf)
    waiting = await layer.start_job("polite")
    assert (await layer.cancel_job(waiting.id)).state == "cancelled"
    async with running(layer):
        jobs = [await layer.start_job("polite"), await layer.start_job("deaf")]
        await begun.wait()
        await in_state(layer, jobs[1], "running")
        assert (await layer.cancel_job(jobs[0].id)).is_cancelling
        await layer.cancel_job(jobs[1].id)
        for job in jobs:
            ended = await in_state(layer, job, "cancelled")
            assert (ended.result, ended.is_cancelling) == (None, False)
    assert seen == [True]
    assert (await layer.cancel_job(jobs[0].id)).state == "cancelled"
    assert (await layer.cancel_job(waiting.id)).state == "cancelled"
    assert followed == [(waiting.id, "cancelled")], "the function did not end it, or it was told twice"


async def test_an_accepted_cancel_ends_a_job_that_would_wait_again_also_after_lost_answers(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, ran, followed = asyncio.Event(), asyncio.Event(), list[str](), list[tuple[str, str]]()
    submit = layer._writer.submit

    async def twice(work: Any, *others: Any) -> Any:
        """As the queue does if the answer to a commit is lost. A claim has nobody who runs the first job."""
        if getattr(work, "func", None) is not claims.claim:
            await submit(work, *others)
        return await submit(work, *others)

    async def follow(job: Job) -> None:
        followed.append((job.id, job.state))

    async def work(context: JobContext) -> None:
        ran.append(context.job_id)
        begun.set()
        await may_end.wait()
        raise JobLater("the other one runs still", 0.01, is_interruption=context.arguments["interrupts"])

    async def change(job: Job, **values: Any) -> None:
        async with layer.database.write() as connection:
            await connection.execute(update(job_table).where(job_table.c.id == job.id).values(**values))

    monkeypatch.setattr(layer._writer, "submit", twice)
    layer.register_job("report", work, on_ending=follow)
    orphan, late, waits, dropped, given_up = [
        await layer.start_job("report", {"interrupts": number == 4}) for number in range(5)
    ]
    await change(orphan, state="running", isCancelling=True)
    # As a process of an older version left it.
    await change(late, isCancelling=True)
    await change(given_up, interruptions=claims.MOST_INTERRUPTIONS - 1)
    async with running(layer):
        await begun.wait()
        assert ran == [waits.id]
        assert layer._runner is not None
        # Its run could not store its end.
        await change(dropped, state="running", replicaId=layer._runner.replica_id, isCancelling=True)
        await until(lambda: (dropped.id, "cancelled") in followed)
        assert (await layer.cancel_job(waits.id)).is_cancelling
        may_end.set()
        await until(lambda: len(followed) >= 5)
    cancelled = {(job.id, "cancelled") for job in (orphan, late, waits, dropped)}
    assert sorted(followed) == sorted(cancelled | {(given_up.id, "failed")}), "each once"
    assert ran == [waits.id, given_up.id]
    for job in (orphan, late, waits, dropped):
        found = await layer.get_job(job.id)
        assert found is not None
        assert (found.state, found.is_cancelling, found.ended_at is None) == ("cancelled", False, False)

    async def unreadable(*_: Any) -> None:
        raise datalayer.StorageUnavailable("the database cannot be used now")

    monkeypatch.setattr(rows, "find", unreadable)
    await Runner(layer.database, twice, layer._job_kinds, layer._checkpoints, TIMES)._follow(waits.id)
    assert f"what follows the end of job {waits.id} was left out" in caplog.text


async def test_a_cancel_finds_a_job_that_begins_to_wait_meanwhile(layer: ChainlitLayer) -> None:
    layer.register_job("report", nothing)
    job = await layer.start_job("report")
    dialect, database = layer.database.dialect, layer.database
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def is_waiting() -> bool:
        return bool(await database.query(lambda connection: connection.scalar(waiting)))

    async with database.write() as connection:
        claimed = await claims.claim(connection, dialect, new_id(), {"report": [1]})
    assert claimed is not None
    async with database.write() as connection:
        assert await claims.postpone(connection, dialect, claimed, utc_in(0)) == "waiting"
        cancelling = asyncio.create_task(layer.cancel_job(job.id))
        if dialect.name == "postgresql":
            await until(is_waiting)
    assert (await cancelling).state == "cancelled"
    await layer.retry_job(job.id)
    async with database.write() as connection:
        claimed = await claims.claim(connection, dialect, new_id(), {"report": [1]})
    assert claimed is not None
    assert (await layer.cancel_job(job.id)).is_cancelling
    async with database.write() as connection:
        assert await claims.postpone(connection, dialect, claimed, utc_in(0)) == "cancelled"


async def test_a_failed_job_says_why_and_is_tried_again_at_the_step_that_failed(layer: ChainlitLayer) -> None:
    ran: list[str] = []

    async def step(name: str, fails: bool) -> str:
        ran.append(name)
        if fails and ran.count(name) == 1:
            raise JobFailed("the report has no title: give it one")
        return name

    async def work(context: JobContext) -> list[str]:
        return [await context.step(name, step, name, name == "second") for name in ("first", "second", "third")]

    layer.register_job("report", work)
    async with running(layer):
        job = await layer.start_job("report")
        failed = await in_state(layer, job, "failed")
        assert failed.error == "the report has no title: give it one"
        # It is not begun again by itself.
        await asyncio.sleep(3 * TIMES.look)
        assert ran == ["first", "second"]
        assert (await layer.retry_job(job.id)).state in ("waiting", "running")
        done = await in_state(layer, job, "done")
    assert ran == ["first", "second", "second", "third"]
    assert (done.result, done.error, done.attempt) == (["first", "second", "third"], None, 2)
    with pytest.raises(datalayer.InvalidRecord, match="is done"):
        await layer.retry_job(job.id)


async def test_a_function_may_go_on_after_a_failed_step(layer: ChainlitLayer) -> None:
    async def step(number: int) -> int:
        if number == 1:
            raise ValueError("one document is damaged")
        return number

    async def work(context: JobContext) -> list[Any]:
        results: list[Any] = []
        for number in range(3):
            try:
                results.append(await context.step(f"document {number}", step, number))
            except ValueError as error:
                results.append(str(error))
        return results

    layer.register_job("report", work)
    async with running(layer):
        done = await in_state(layer, await layer.start_job("report"), "done")
    assert done.result == [0, "one document is damaged", 2]


async def test_the_words_of_an_unforeseen_error_are_not_shown(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(_context: JobContext) -> None:
        raise RuntimeError("password=hunter2")

    layer.register_job("report", work)
    async with running(layer):
        failed = await in_state(layer, await layer.start_job("report"), "failed")
    assert failed.error == "unexpected error (RuntimeError); the log has the details"
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert getattr(record, "job_id", None) == failed.id


async def test_a_job_is_run_by_the_function_of_its_own_format(layer: ChainlitLayer) -> None:
    def returning(what: str) -> Callable[[JobContext], Any]:
        async def work(_context: JobContext) -> str:
            return what

        return work

    layer.register_job("report", returning("old"), format=1)
    old = await layer.start_job("report")
    layer.register_job("report", returning("new"), format=2)
    with pytest.raises(datalayer.ConfigurationError, match="registered twice"):
        layer.register_job("report", nothing, format=2)
    new = await layer.start_job("report")
    async with running(layer):
        assert [(await in_state(layer, job, "done")).result for job in (old, new)] == ["old", "new"]
    assert (old.format, new.format) == (1, 2)


async def test_a_job_of_an_unknown_format_waits_for_a_version_that_knows_it(
    layer: ChainlitLayer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    newer = datalayer.create_data_layer(database_url)
    newer.register_job("report", nothing, format=7)
    job = await newer.start_job("report")
    layer.register_job("report", nothing, format=1)
    async with running(layer):
        assert (await in_state(layer, await layer.start_job("report"), "done")).format == 1
        assert (await in_state(layer, job, "waiting")).attempt == 0
    assert "jobs of kind report, format 7 wait for a version that knows them" in caplog.text
    async with running(newer):
        await in_state(newer, job, "done")
    await newer.close()


async def test_steps_in_another_order_fail_the_job_with_words(layer: ChainlitLayer) -> None:
    names = ["first", "second"]

    async def step(name: str) -> str:
        if name == "second":
            raise JobFailed("not yet")
        return name

    async def work(context: JobContext) -> None:
        for name in names:
            await context.step(name, step, name)

    layer.register_job("report", work)
    async with running(layer):
        job = await layer.start_job("report")
        await in_state(layer, job, "failed")
        names[0] = "renamed"
        await layer.retry_job(job.id)
        found = await in_state(layer, job, "failed", lambda found: found.attempt == 2)
    assert "cannot go on at its step 'renamed'" in str(found.error)
    assert "under a new format" in str(found.error)


async def test_a_job_whose_database_is_away_is_begun_again_and_not_for_ever(layer: ChainlitLayer) -> None:
    attempts, followed = list[int](), list[str | None]()

    async def follow(job: Job) -> None:
        followed.append(job.error)
        raise RuntimeError("what follows fails alone")

    async def work(context: JobContext) -> None:
        attempts.append(1)
        if context.arguments["recovers"] and len(attempts) == 3:
            return
        raise datalayer.StorageUnavailable("the database cannot be used now")

    layer.register_job("report", work, on_ending=follow)
    async with running(layer):
        job = await layer.start_job("report", {"recovers": True})
        assert (await in_state(layer, job, "done")).interruptions == 2
        attempts.clear()
        failed = await in_state(layer, await layer.start_job("report", {"recovers": False}), "failed")
        await until(lambda: bool(followed))
    assert len(attempts) == claims.MOST_INTERRUPTIONS
    assert failed.error == "the database cannot be used now"
    assert followed == [failed.error]


async def test_a_job_that_waits_for_another_is_not_interrupted(layer: ChainlitLayer) -> None:
    attempts: list[int] = []

    async def work(context: JobContext) -> str:
        attempts.append(context.attempt)
        if context.attempt > claims.MOST_INTERRUPTIONS:
            return "done"
        raise JobLater("the other one runs still", 0.01, is_interruption=False)

    layer.register_job("report", work)
    async with running(layer):
        ended = await in_state(layer, await layer.start_job("report"), "done")
    assert attempts == list(range(1, claims.MOST_INTERRUPTIONS + 2))
    assert (ended.interruptions, ended.result) == (0, "done")


async def test_a_job_and_its_steps_act_as_their_owner(layer: ChainlitLayer) -> None:
    await user_id(layer, "alice")
    actors: list[datalayer.ownership.Actor] = []

    async def look() -> None:
        actors.append(datalayer.acting_user.get())

    async def work(context: JobContext) -> str | None:
        await look()
        await context.step("look", look)
        return context.owner

    layer.register_job("report", work)
    async with running(layer):
        with datalayer.acting_as("alice"):
            own = await layer.start_job("report")
        assert (await in_state(layer, own, "done")).result == "alice"
        await in_state(layer, await layer.start_job("report"), "done")
    assert actors == ["alice", "alice", datalayer.SYSTEM, datalayer.SYSTEM]
    for actor, error in ((None, datalayer.Forbidden), ("nobody", datalayer.NotFound)):
        with datalayer.acting_as(actor), pytest.raises(error):
            await layer.start_job("report")


async def test_jobs_are_listed_in_pages_newest_first(layer: ChainlitLayer) -> None:
    for kind in ("report", "other"):
        layer.register_job(kind, nothing)
    ids = [(await layer.start_job("report")).id for _ in range(5)]
    await layer.start_job("other")
    await layer.cancel_job(ids[0])
    first = await layer.list_jobs(kinds=["report"], limit=2)
    second = await layer.list_jobs(kinds=["report"], limit=2, cursor=first.next_cursor)
    third = await layer.list_jobs(kinds=["report"], limit=2, cursor=second.next_cursor)
    assert [job.id for page in (first, second, third) for job in page.jobs] == ids[::-1]
    assert third.next_cursor is None
    assert [job.id for job in (await layer.list_jobs(states=["cancelled"])).jobs] == [ids[0]]
    for wrong in ({"limit": 0}, {"limit": 501}, {"cursor": "x"}):
        with pytest.raises(datalayer.InvalidRecord):
            await layer.list_jobs(**wrong)


async def test_a_scheduled_kind_is_started_once_by_all_processes(layer: ChainlitLayer, database_url: str) -> None:
    others = [datalayer.create_data_layer(database_url) for _ in range(2)]
    for one in (layer, *others):
        one.register_job("clean", nothing, schedule=JobSchedule(every_seconds=3600, first_after_seconds=0.3))
        one.run_jobs(TIMES)
    try:
        await until(lambda: one_is_done(layer))
        await asyncio.sleep(1)
        (job,) = (await layer.list_jobs()).jobs
    finally:
        for one in (layer, *others):
            await one.stop_jobs()
    assert (job.kind, job.owner, job.key) == ("clean", None, "scheduled")
    for one in others:
        await one.close()


async def test_who_is_elected_late_looks_again_before_it_starts_a_scheduled_kind(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.register_job("clean", nothing, schedule=JobSchedule(every_seconds=3600, first_after_seconds=0))
    async with running(layer):
        await until(lambda: one_is_done(layer))
    asked, look = list[float](), Runner._seconds_until_due

    async def seconds(runner: Runner, kind: Kind) -> float:
        """The first answer is from before the other process started the job."""
        asked.append(0.0 if not asked else await look(runner, kind))
        return asked[-1]

    monkeypatch.setattr(Runner, "_seconds_until_due", seconds)
    async with running(layer):
        await until(lambda: len(asked) >= 2)
        await asyncio.sleep(3 * TIMES.look)
    assert asked[1] > 3000
    assert len((await layer.list_jobs()).jobs) == 1


async def test_one_process_is_elected_until_its_time_is_over(layer: ChainlitLayer) -> None:
    ids, dialect = [new_id(), new_id()], layer.database.dialect

    async def elected(number: int, seconds: float) -> bool:
        async with layer.database.write() as connection:
            return await claims.elect(connection, dialect, ids[number], seconds)

    assert await elected(0, 0.5)
    assert not await elected(1, 0.5)
    assert await elected(0, 0.3), "it is elected again, and longer"
    await asyncio.sleep(0.4)
    assert await elected(1, 60)
    assert not await elected(0, 60)


async def test_a_process_that_stops_leaves_no_row(layer: ChainlitLayer) -> None:
    layer.register_job("report", nothing)
    async with running(layer):
        await in_state(layer, await layer.start_job("report"), "done")
    async with layer.database.read() as connection:
        assert (await connection.execute(select(job_replicas))).all() == []


async def test_old_jobs_are_forgotten_with_their_files(layer: ChainlitLayer) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"report"

    async def work(context: JobContext) -> None:
        await layer.blobs.put("jobs/report", content(), "text/plain")
        await context.keep_file("jobs/report", 3600)

    layer.register_job("report", work)
    async with running(layer):
        done = await in_state(layer, await layer.start_job("report"), "done")
    assert done.object_key == "jobs/report"
    assert await layer.forget_jobs(utc_in(-60)) == 0
    assert await layer.forget_jobs(utc_in(60)) == 1
    assert await layer.get_job(done.id) is None

    async def is_deleted() -> bool:
        try:
            await layer.blobs.read("jobs/report")
        except datalayer.BlobNotFound:
            return True
        return False

    await until(is_deleted)
    with datalayer.acting_as("alice"), pytest.raises(datalayer.Forbidden):
        await layer.forget_jobs(utc_in(60))


async def test_a_deleted_user_leaves_no_job_and_no_file_of_one(layer: ChainlitLayer) -> None:
    await user_id(layer, "alice")

    async def content() -> AsyncIterator[bytes]:
        yield b"report"

    async def work(context: JobContext) -> None:
        await layer.blobs.put("jobs/alice", content(), "text/plain")
        await context.keep_file("jobs/alice", 3600)

    layer.register_job("report", work)
    async with running(layer):
        with datalayer.acting_as("alice"):
            job = await layer.start_job("report")
        await in_state(layer, job, "done")
    receipt = await layer.delete_user("alice")
    assert receipt.rows["jobs"] == 1
    assert receipt.files == ("jobs/alice",)
    assert (await layer.list_jobs()).jobs == ()
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read("jobs/alice")


async def test_a_file_that_a_job_stores_while_its_user_is_deleted_is_deleted_too(layer: ChainlitLayer) -> None:
    await user_id(layer, "alice")
    begun, may_store, is_stored = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"report"

    async def work(context: JobContext) -> None:
        await context.keep_file("jobs/alice", 3600)
        begun.set()
        await may_store.wait()
        await layer.blobs.put("jobs/alice", content(), "text/plain")
        is_stored.set()

    layer.register_job("report", work)
    # Its process learns of the deletion with the next heartbeat.
    layer.run_jobs(replace(TIMES, beat=3600))
    try:
        with datalayer.acting_as("alice"):
            await layer.start_job("report")
        await begun.wait()
        await layer.delete_user("alice")
        may_store.set()
        await is_stored.wait()
    finally:
        await layer.stop_jobs()
    async with layer.database.write() as connection:
        # The time for it has passed.
        await connection.execute(update(blob_deletions).values(dueAt=utc_in(-1)))
    layer.file_deleter.note()

    async def is_deleted() -> bool:
        return not [blob async for blob in layer.blobs.list()]

    await until(is_deleted)


async def test_jobs_without_steps_do_not_load_the_store_of_steps(layer: ChainlitLayer) -> None:
    loaded = "datalayer.jobs.dbos_steps" in sys.modules
    layer.register_job("report", nothing)
    async with running(layer):
        await in_state(layer, await layer.start_job("report"), "done")
        assert layer._checkpoints._engine is None
    assert ("datalayer.jobs.dbos_steps" in sys.modules) == loaded
