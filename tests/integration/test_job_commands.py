"""`threadkeeper jobs`: list, show, cancel and retry."""

import json
from pathlib import Path

import pytest

import datalayer
from datalayer import Job, JobContext, JobFailed
from tests.contracts.test_jobs import in_state, running
from tests.support.command_line import CommandLine
from tests.support.records import user_id

pytestmark = pytest.mark.slow


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


async def some_jobs(url: str) -> tuple[Job, Job]:
    """A failed job of alice, and a waiting one of the system."""

    async def failing(context: JobContext) -> None:
        await context.progress(2, 5, "documents")
        raise JobFailed("document 3 is damaged")

    layer = datalayer.create_data_layer(url)
    await user_id(layer, "alice")
    layer.register_job("report", failing)
    with datalayer.acting_as("alice"):
        failed = await layer.start_job("report", {"n": 1})
    async with running(layer):
        failed = await in_state(layer, failed, "failed")
    waiting = await layer.start_job("report", key="k")
    await layer.close()
    return failed, waiting


async def test_jobs_are_listed_shown_cancelled_and_retried(database_url: str, command_line: CommandLine) -> None:
    failed, waiting = await some_jobs(database_url)
    settings = {"DATABASE_URL": database_url}
    listed = command_line("jobs", "list", **settings)
    assert listed.returncode == 0, listed.stderr
    header, *rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert header == ["Id", "Kind", "State", "Progress", "User", "Started", "Error"]
    assert [row[:5] for row in rows] == [
        [waiting.id, "report", "waiting", "", ""],
        [failed.id, "report", "failed", "2/5", "alice"],
    ]
    assert rows[1][6] == "document 3 is damaged"
    only = command_line("jobs", "list", "--state", "failed", "--kind", "report", "--limit", "1", **settings)
    assert [line.split("\t")[0] for line in only.stdout.splitlines()[1:]] == [failed.id]

    shown = json.loads(command_line("jobs", "show", failed.id, **settings).stdout)
    assert (shown["arguments"], shown["error"], shown["attempt"]) == ({"n": 1}, "document 3 is damaged", 1)

    retried = command_line("jobs", "retry", failed.id, **settings)
    assert retried.stdout.startswith(f"The job {failed.id} is tried again."), retried.stderr
    assert json.loads(command_line("jobs", "show", failed.id, **settings).stdout)["state"] == "waiting"

    assert command_line("jobs", "cancel", waiting.id, **settings).stdout == f"The job {waiting.id} is cancelled.\n"
    unknown = command_line("jobs", "show", "00000000-0000-4000-8000-000000000000", **settings)
    assert (unknown.returncode, unknown.stderr) == (1, "There is no job 00000000-0000-4000-8000-000000000000.\n")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_job_that_is_done_is_neither_cancelled_nor_retried(
    database_url: str, command_line: CommandLine
) -> None:
    layer = datalayer.create_data_layer(database_url)

    async def work(_context: JobContext) -> str:
        return "ok"

    layer.register_job("report", work)
    async with running(layer):
        done = await in_state(layer, await layer.start_job("report"), "done")
    await layer.close()
    cancelled = command_line("jobs", "cancel", done.id, DATABASE_URL=database_url)
    assert (cancelled.returncode, cancelled.stderr) == (1, f"The job {done.id} is done, so it cannot be cancelled.\n")
    retried = command_line("jobs", "retry", done.id, DATABASE_URL=database_url)
    assert retried.returncode == 1
    assert "only a failed or cancelled job can be tried again" in retried.stderr
