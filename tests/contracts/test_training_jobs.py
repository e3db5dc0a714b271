"""Trainings as jobs: one at a time, cancelled, failed, handed over, and taken over when a process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from datalayer import AlreadyExists, Training
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import BlobNotFound, NotFound
from datalayer.records.assistants import AssistantSettings
from datalayer.schema.jobs import job_replicas
from datalayer.schema.jobs import jobs as job_table
from datalayer.schema.knowledge import trainings as training_table
from tests.contracts.test_training import HARBOUR
from tests.support import program
from tests.support.forks import Fork
from tests.support.job_process import TIMES
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.training_rig import Rig
from tests.unit.test_attachments import pdf
from threadkeeper.jobs.registration import training_with
from threadkeeper.jobs.trainings import DUE, Train, register_trainings
from threadkeeper.knowledge.acts import (
    TRAINING,
    cancel_training,
    end_if_lost,
    list_trainings,
    start_training,
)
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.source_acts import NewSource, change_source, put_source, remove_source

SLUG = "librarian"
ROWS = 640


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[Rig]:
    await layer.create_assistant(AssistantSettings("Librarian"), slug=SLUG)
    made = Rig(layer, model_server)
    yield made
    await made.close()


async def ended(layer: ChainlitLayer, training: Training, seconds: float = 100) -> Training:
    """The training as soon as neither it nor its job runs."""

    async def one_that_ended() -> Training | None:
        found = await layer.get_training(training.id)
        (job,) = (await layer.list_jobs(kinds=[TRAINING], key=training.id)).jobs
        return found if found and found.state not in ("new", "training") and job.is_finished else None

    return await until(one_that_ended, seconds)


class Opened:
    """The knowledge of a process, which is open: the trainer of the rig."""

    def __init__(self, rig: Rig) -> None:
        self.trainer = rig.trainer

    async def prepare(self) -> None: ...


def trains(rig: Rig, before: Callable[[str], Awaitable[None]] | None = None) -> Train:
    """Trains with the rig, after a call with the id of the training."""
    with_rig = training_with(KnowledgeOnDemand(lambda: Opened(rig)))  # type: ignore[arg-type,return-value]

    async def train(training_id: str, **wishes: Callable[..., Awaitable[object]]) -> Training:
        if before is not None:
            await before(training_id)
        return await with_rig(training_id, **wishes)  # type: ignore[arg-type]

    return train


def run(rig: Rig, train: Train | None = None) -> None:
    register_trainings(rig.layer, train or trains(rig))
    rig.layer.run_jobs(TIMES)


async def test_a_training_runs_as_a_job_with_progress(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    run(rig)
    started = await start_training(rig.layer, SLUG)
    assert (started.state, started.started_by) == ("new", None)
    done = await ended(rig.layer, started)
    assert (done.state, done.is_current, done.counts.documents) == ("success", True, 1)
    (job,) = (await rig.layer.list_jobs(kinds=[TRAINING])).jobs
    assert (job.state, job.done, job.total, job.owner) == ("done", 1, 1, None)
    assert job.result == {"state": "success", "number": 1, "documents": 1}
    assert (await rig.found("When does the harbour open in the morning?"))[0].startswith("The harbour opens")


async def test_one_training_of_an_assistant_runs_at_a_time(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    goes = asyncio.Event()

    async def wait(_training_id: str) -> None:
        await goes.wait()

    run(rig, trains(rig, wait))
    first = await start_training(rig.layer, SLUG)
    with pytest.raises(AlreadyExists, match=first.id):
        await start_training(rig.layer, SLUG)
    assert len((await rig.layer.list_jobs(kinds=[TRAINING])).jobs) == 1
    goes.set()
    await ended(rig.layer, first)
    assert (await ended(rig.layer, await start_training(rig.layer, SLUG))).number == 2


async def test_a_waiting_training_is_cancelled_at_once(rig: Rig) -> None:
    register_trainings(rig.layer, trains(rig))
    started = await start_training(rig.layer, SLUG)
    assert (await cancel_training(rig.layer, SLUG)).id == started.id
    assert (await ended(rig.layer, started)).state == "cancelled"
    with pytest.raises(NotFound, match="no training"):
        await cancel_training(rig.layer, SLUG)
    assert (await start_training(rig.layer, SLUG)).number == 2


@pytest.mark.parametrize("through", ["training", "job"])
async def test_a_running_training_is_cancelled_and_the_current_one_answers(rig: Rig, through: str) -> None:
    await rig.put("harbour.txt", HARBOUR)
    run(rig)
    first = await ended(rig.layer, await start_training(rig.layer, SLUG))
    await rig.put("sheet.csv", "text\n" + "\n".join(f"row {number}" for number in range(ROWS)), "datasheet")
    goes_on = rig.server.hold_embeddings(after=ROWS // 2)
    second = await start_training(rig.layer, SLUG)
    await until_documents(rig.layer, second, 20)
    if through == "training":
        await cancel_training(rig.layer, SLUG)
    else:
        (job,) = (await rig.layer.list_jobs(kinds=[TRAINING], key=second.id)).jobs
        await rig.layer.cancel_job(job.id)
    goes_on.set()
    assert (await ended(rig.layer, second)).state == "cancelled"
    assert len(await rig.layer.list_documents(second.id, limit=ROWS)) < ROWS
    assert await rig.layer.current_training(SLUG) == first
    # What was embedded is taken by the next one.
    third = await ended(rig.layer, await start_training(rig.layer, SLUG))
    assert (third.state, third.counts.documents) == ("success", ROWS + 1)


async def until_documents(layer: ChainlitLayer, training: Training, count: int) -> None:
    async def are_stored() -> bool:
        return len(await layer.list_documents(training.id, limit=count)) == count

    await until(are_stored, 120)


async def test_a_job_that_hangs_is_cancelled_with_its_training(rig: Rig) -> None:
    begun = asyncio.Event()

    async def hang(_training_id: str) -> None:
        begun.set()
        await asyncio.sleep(3600)

    run(rig, trains(rig, hang))
    started = await start_training(rig.layer, SLUG)
    await begun.wait()
    (job,) = (await rig.layer.list_jobs(kinds=[TRAINING])).jobs
    await rig.layer.cancel_job(job.id)
    assert (await ended(rig.layer, started)).state == "cancelled"


async def test_a_failed_training_fails_its_job_and_blocks_nothing(rig: Rig) -> None:
    run(rig)
    failed = await ended(rig.layer, await start_training(rig.layer, SLUG))
    (job,) = (await rig.layer.list_jobs(kinds=[TRAINING])).jobs
    assert (failed.state, failed.error) == ("failed", "the assistant has no data source")
    assert (job.state, job.error) == ("failed", failed.error)
    # A job that is tried again says that its training is over.
    await rig.layer.retry_job(job.id)
    assert (await ended(rig.layer, failed)).state == "failed"
    (job,) = (await rig.layer.list_jobs(kinds=[TRAINING])).jobs
    assert "start a new one" in (job.error or "")
    await rig.put("harbour.txt", HARBOUR)
    assert (await ended(rig.layer, await start_training(rig.layer, SLUG))).state == "success"


async def test_an_unforeseen_error_fails_the_training(rig: Rig) -> None:
    async def break_(_training_id: str) -> None:
        raise ZeroDivisionError("the words of it")

    run(rig, trains(rig, break_))
    failed = await ended(rig.layer, await start_training(rig.layer, SLUG))
    assert failed.state == "failed"
    assert "ZeroDivisionError" in (failed.error or "")
    assert "the words of it" not in (failed.error or "")


async def test_a_server_without_knowledge_says_what_it_lacks(rig: Rig) -> None:
    def lacks() -> None:
        raise NoKnowledge("Install threadkeeper[knowledge].")

    run(rig, training_with(KnowledgeOnDemand(lacks)))  # type: ignore[arg-type]
    failed = await ended(rig.layer, await start_training(rig.layer, SLUG))
    assert (failed.state, failed.error) == ("failed", "Install threadkeeper[knowledge].")


@pytest.mark.parametrize("job", ["none", "cancelled", "failed"])
async def test_a_training_that_no_job_runs_blocks_nothing(rig: Rig, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = rig.layer
    register_trainings(layer, trains(rig))
    lost = await layer.start_training(SLUG)
    if job != "none":
        made = await layer.start_job(TRAINING, {"training": lost.id, "assistant": SLUG}, key=lost.id)
        # As long as its job waits, it is not lost.
        assert not await end_if_lost(layer, SLUG)
        await layer.cancel_job(made.id)
    if job == "failed":
        async with layer.database.write() as connection:
            await connection.execute(update(job_table).values(state="failed", error="5 processes ended."))
    if job == "none":
        # Its job may follow in a moment.
        with pytest.raises(AlreadyExists):
            await start_training(layer, SLUG)
        monkeypatch.setattr("threadkeeper.knowledge.acts._JOB_FOLLOWS_SECONDS", 0.0)
        second = await start_training(layer, SLUG)
        newest, before = await list_trainings(layer, SLUG)
        assert (newest.id, newest.state, before.id, before.state) == (second.id, "new", lost.id, "failed")
        assert "its job is lost" in (before.error or "")
    else:
        (seen,) = await list_trainings(layer, SLUG)
        expected = ("cancelled", None) if job == "cancelled" else ("failed", "5 processes ended.")
        assert (seen.state, seen.error) == expected
        assert (await start_training(layer, SLUG)).number == 2


async def test_a_process_that_stops_hands_its_training_over(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    stops, begun = [True], asyncio.Event()

    async def hang_once(_training_id: str) -> None:
        begun.set()
        if stops.pop() if stops else False:
            await asyncio.sleep(3600)

    run(rig, trains(rig, hang_once))
    started = await start_training(rig.layer, SLUG)
    await begun.wait()
    await rig.layer.stop_jobs()
    (waiting,) = await list_trainings(rig.layer, SLUG)
    assert waiting.state in ("new", "training")
    rig.layer.run_jobs(TIMES)
    assert (await ended(rig.layer, started)).state == "success"


class Servers:
    """Processes that train."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder, self._arguments = folder, arguments

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Fork]:
        log = self._folder / new_id()
        process = program.start("tests.support.training_process", self._arguments, directory=self._folder, log=log)
        try:
            await until(lambda: "runs\n" in log.read_text() or process.returncode is not None)
            assert process.returncode is None, log.read_text()
            yield process
        finally:
            process.kill()
            await process.wait()
            print(log.read_text())


async def test_an_assistant_that_is_deleted_while_it_is_trained_leaves_nothing(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)

    async def delete(_training_id: str) -> None:
        await rig.layer.delete_assistant(SLUG)

    run(rig, trains(rig, delete))
    started = await start_training(rig.layer, SLUG)
    async with asyncio.timeout(60):
        while not (job := (await rig.layer.list_jobs(kinds=[TRAINING], key=started.id)).jobs[0]).is_finished:
            await asyncio.sleep(0.02)
    assert job.state == "failed"
    assert await rig.layer.list_trainings(SLUG) == []
    assert await rig.layer.list_sources(SLUG) == []


async def test_a_file_that_is_replaced_while_it_is_read_is_read_again(rig: Rig) -> None:
    added = await rig.put("harbour.txt", HARBOUR)
    read, failures = rig.layer.read_source, [BlobNotFound("replaced")]

    async def read_later(source_id: str) -> object:
        if failures:
            await rig.layer.put_source(added, b"The harbour is closed.")
            raise failures.pop()
        return await read(source_id)

    rig.trainer.store.read_source = read_later  # type: ignore[method-assign,assignment]
    run(rig)
    done = await ended(rig.layer, await start_training(rig.layer, SLUG))
    assert (done.state, done.counts.failed_documents) == ("success", 0)
    assert await rig.found("the harbour") == ["The harbour is closed."]
    assert (await rig.layer.knowledge_states([SLUG]))[SLUG].changed_sources == 0


async def test_a_source_whose_file_is_lost_is_told_and_the_others_are_trained(rig: Rig) -> None:
    lost = await rig.put("lost.txt", "Nobody finds this.")
    await rig.put("harbour.txt", HARBOUR)
    await rig.layer.blobs.delete(str(lost.object_key))
    run(rig)
    done = await ended(rig.layer, await start_training(rig.layer, SLUG))
    assert (done.state, done.counts.failed_documents) == ("success", 1)
    assert (await rig.layer.trained_sources(done.id))[lost.id][0].refused == "missing"


async def runs_it(layer: ChainlitLayer, processes: Sequence[Fork]) -> Fork:
    """The process that runs the training."""
    statement = select(job_replicas.c.name).join(job_table, job_table.c.replicaId == job_replicas.c.id)
    async with layer.database.read() as connection:
        name = (await connection.execute(statement)).scalar_one()
    return next(one for one in processes if name.endswith(f":{one.pid}"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("others", [0, 1])
async def test_a_training_whose_process_is_killed_goes_on_in_another(
    rig: Rig, database_url: str, tmp_path: Path, others: int
) -> None:
    await rig.put("harbour.txt", HARBOUR)
    before = await rig.train()
    rig.server.forget()
    await rig.put("sheet.csv", "text\n" + "\n".join(f"row {number} of many" for number in range(ROWS)), "datasheet")
    register_trainings(rig.layer, trains(rig))
    servers = Servers(tmp_path, database_url, f"file://{tmp_path / 'blobs'}", rig.server.base_url)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(servers.running()) for _ in range(1 + others)]
        goes_on = rig.server.hold_embeddings(after=ROWS // 2)
        started = await start_training(rig.layer, SLUG)
        await until_documents(rig.layer, started, ROWS // 3)
        killed = await runs_it(rig.layer, running)
        killed.kill()
        await killed.wait()
        goes_on.set()
        assert await rig.layer.current_training(SLUG) == before
        assert (await rig.found("When does the harbour open in the morning?"))[0].startswith("The harbour opens")
        assert ROWS // 3 <= len([text for text in rig.embedded if text.startswith("text: row")]) < ROWS
        if not others:
            await stack.enter_async_context(servers.running())
        done = await ended(rig.layer, started, seconds=300)
    assert (done.state, done.is_current) == ("success", True)
    assert (done.counts.documents, done.counts.reused_documents) == (ROWS + 1, 1)
    texts = [text for text in rig.embedded if text.startswith("text: row")]
    assert set(texts) == {f"text: row {number} of many" for number in range(ROWS)}
    assert len(texts) - ROWS <= 128, "at most one batch, and the one that was being stored"
    (job,) = (await rig.layer.list_jobs(kinds=[TRAINING])).jobs
    assert (job.attempt, job.interruptions) == (2, 1)


async def on_change(layer: ChainlitLayer, start: str) -> None:
    await layer.save_assistant(SLUG, AssistantSettings("Librarian", training=start))  # type: ignore[arg-type]


def hours(text: str, name: str = "hours.txt") -> NewSource:
    return NewSource("file", name, text.encode())


async def test_a_change_starts_a_training_if_the_assistant_says_so(rig: Rig) -> None:
    layer = rig.layer
    run(rig)
    assert (await put_source(layer, SLUG, hours("Open from nine."), LoadLimits())).training is None
    await on_change(layer, "on_change")
    added = await put_source(layer, SLUG, hours("Open from ten."), LoadLimits(), started_by="alice's id")
    assert added.training is not None
    assert added.training.started_by == "alice's id"
    assert (await ended(layer, added.training)).state == "success"
    # Citations show the title.
    await change_source(layer, SLUG, added.source.id, title="times.txt")
    renamed = (await list_trainings(layer, SLUG))[0]
    assert (await ended(layer, renamed)).number == added.training.number + 1
    (document,) = await layer.list_documents(renamed.id)
    assert document.title == "times.txt"
    await change_source(layer, SLUG, added.source.id, title="hours.txt")
    await ended(layer, (await list_trainings(layer, SLUG))[0])
    # What is the same changes nothing.
    await change_source(layer, SLUG, added.source.id, title="hours.txt")
    assert (await list_trainings(layer, SLUG))[0].number == added.training.number + 2
    assert (await put_source(layer, SLUG, hours("Open from ten."), LoadLimits())).training is None
    other = await put_source(layer, SLUG, hours("Shut.", "other.txt"), LoadLimits(), trains=False)
    assert other.training is None
    removed = await remove_source(layer, SLUG, other.source.id)
    assert removed is not None
    assert (await ended(layer, removed)).counts.documents == 1
    assert await remove_source(layer, SLUG, added.source.id) is None, "without a source there is nothing to train"


async def test_what_changes_during_a_training_is_trained_after_it(rig: Rig) -> None:
    layer, changes = rig.layer, ["Open from ten."]

    async def change(_training_id: str) -> None:
        if changes:
            assert (await put_source(layer, SLUG, hours(changes[-1]), LoadLimits())).training is None
            await put_source(layer, SLUG, hours("Shut on Sundays.", "other.txt"), LoadLimits())
            changes.pop()

    await on_change(layer, "on_change")
    run(rig, during_first_source(rig, change))
    first = await put_source(layer, SLUG, hours("Open from nine."), LoadLimits())
    assert first.training is not None
    assert (await ended(layer, first.training)).state == "success"
    async with asyncio.timeout(60):
        while (newest := (await list_trainings(layer, SLUG))[0]).state != "success" or newest.number != 2:
            await asyncio.sleep(0.02)
    assert newest.counts.documents == 2
    assert (await rig.found("open from ten"))[0] == "Open from ten."
    await asyncio.sleep(0.5)
    assert len(await list_trainings(layer, SLUG)) == 2, "nothing has changed since"


def during_first_source(rig: Rig, change: Callable[[str], Awaitable[None]]) -> Train:
    """Trains with the rig. The change is made when the first source was read."""

    read = rig.layer.read_source

    async def read_and_change(source_id: str) -> object:
        found = await read(source_id)
        await change(source_id)
        return found

    rig.trainer.store.read_source = read_and_change  # type: ignore[method-assign,assignment]
    return trains(rig)


async def test_a_failed_training_is_repeated_only_if_a_source_changed_meanwhile(rig: Rig) -> None:
    layer, additions = rig.layer, ["hours.txt"]
    await rig.put("scan.pdf", pdf(None))
    await on_change(layer, "on_change")
    run(rig)
    failed = await ended(layer, await start_training(layer, SLUG))
    await asyncio.sleep(0.5)
    assert (failed.state, len(await list_trainings(layer, SLUG))) == ("failed", 1)

    async def add(_source_id: str) -> None:
        if additions:
            await put_source(layer, SLUG, hours("Open from nine.", additions.pop()), LoadLimits())

    during_first_source(rig, add)
    assert (await ended(layer, await start_training(layer, SLUG))).state == "failed"
    async with asyncio.timeout(60):
        while (newest := (await list_trainings(layer, SLUG))[0]).state != "success":
            await asyncio.sleep(0.02)
    assert (newest.number, newest.counts.documents) == (3, 1)


async def test_a_failed_training_that_fetched_is_not_repeated(rig: Rig) -> None:
    layer = rig.layer
    source = await rig.put("scan.pdf", pdf(None), "url", address="https://docs.example.com/scan.pdf")
    await on_change(layer, "on_change")
    trains_with_rig = trains(rig)

    async def fetches(training_id: str, **named: Any) -> Training:
        await layer.keep_fetched(source, {"at": training_id})
        return await trains_with_rig(training_id, **named)

    run(rig, fetches)
    assert (await ended(layer, await start_training(layer, SLUG))).state == "failed"
    await asyncio.sleep(0.5)
    assert len(await list_trainings(layer, SLUG)) == 1


@pytest.mark.parametrize(
    ("start", "hours_ago", "is_due"),
    [
        ("by_hand", 999, False),
        ("daily", 23, False),
        ("daily", 25, True),
        ("weekly", 25, False),
        ("weekly", 24 * 7 + 1, True),
        ("on_change", 25, True),
    ],
)
async def test_a_schedule_is_due_by_the_last_start(rig: Rig, start: str, hours_ago: int, is_due: bool) -> None:
    layer = rig.layer
    await on_change(layer, start)
    await rig.put("hours.txt", "Open from nine.")
    run(rig)
    first = await ended(layer, await start_training(layer, SLUG))
    assert await due(rig) == {"started": [], "lost": []}, "nothing has changed"
    await rig.put("other.txt", "Shut on Sundays.")
    moment = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat().replace("+00:00", "Z")
    async with layer.database.write() as connection:
        await connection.execute(update(training_table).values(createdAt=moment))
    assert await due(rig) == {"started": [SLUG] if is_due else [], "lost": []}
    assert len(await list_trainings(layer, SLUG)) == 1 + is_due
    assert first.number == 1


async def test_what_has_an_address_is_due_although_nothing_is_known_to_have_changed(rig: Rig) -> None:
    layer = rig.layer
    await on_change(layer, "daily")
    await rig.put("Wiki", "Open from nine.", "url", address="https://wiki.example/")
    run(rig)
    await ended(layer, await start_training(layer, SLUG))
    assert await due(rig) == {"started": [], "lost": []}
    moment = (datetime.now(UTC) - timedelta(hours=25)).isoformat().replace("+00:00", "Z")
    async with layer.database.write() as connection:
        await connection.execute(update(training_table).values(createdAt=moment))
    assert (await layer.knowledge_states([SLUG]))[SLUG].changed_sources == 0
    assert await due(rig) == {"started": [SLUG], "lost": []}


async def test_the_schedule_ends_what_nobody_works_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    run(rig)
    lost = await rig.layer.start_training(SLUG)
    assert await due(rig) == {"started": [], "lost": []}
    monkeypatch.setattr("threadkeeper.knowledge.acts._JOB_FOLLOWS_SECONDS", 0.0)
    assert await due(rig) == {"started": [], "lost": [SLUG]}
    found = await rig.layer.get_training(lost.id)
    assert found is not None
    assert found.state == "failed"


async def due(rig: Rig) -> object:
    """What one run of the schedule did."""
    job = await rig.layer.start_job(DUE)
    async with asyncio.timeout(60):
        while not (found := await rig.layer.get_job(job.id)) or not found.is_finished:
            await asyncio.sleep(0.02)
    assert found.state == "done", found.error
    return found.result
