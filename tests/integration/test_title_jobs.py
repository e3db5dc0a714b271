"""Titles that a job makes, because the model was away after the first answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from datalayer import Job
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_jobs import in_state, running
from tests.support.model_server import ModelServer
from tests.support.records import step, thread, user_id
from threadkeeper.chat.model import Model
from threadkeeper.chat.providers import create_model
from threadkeeper.jobs.titles import TITLE, register_titles

pytestmark = pytest.mark.slow


@pytest.fixture
async def model(model_server: ModelServer) -> AsyncIterator[Model]:
    connected = create_model(base_url=model_server.base_url, timeout_seconds=60, max_retries=0)
    yield connected
    await connected.close()


async def untitled(layer: ChainlitLayer, name: str = "Which rivers are long?") -> tuple[str, Job]:
    """A thread with this name, and the job for its title."""
    thread_id = await thread(layer, await user_id(layer, "alice"), name)
    question = step(thread_id, "Which rivers are long?", type="user_message")
    answer = step(thread_id, "The Nile.", type="assistant_message")
    for one in (question, answer):
        await layer.create_step(one)
    ids = {"thread": thread_id, "question": question["id"], "answer": answer["id"]}
    return thread_id, await layer.start_job(TITLE, ids, key=thread_id)


async def name_of(layer: ChainlitLayer, thread_id: str) -> str | None:
    found = await layer.get_thread(thread_id)
    return None if found is None else found["name"]


async def test_the_job_makes_the_title_unless_the_thread_was_renamed_or_deleted(
    layer: ChainlitLayer, model: Model, model_server: ModelServer
) -> None:
    register_titles(layer, model, "say:Long Rivers")
    titled, first = await untitled(layer)
    renamed, second = await untitled(layer, "My rivers")
    deleted, third = await untitled(layer)
    await layer.delete_thread(deleted)
    async with running(layer):
        for job in (first, second, third):
            await in_state(layer, job, "done")
    assert await name_of(layer, titled) == "Long Rivers"
    assert await name_of(layer, renamed) == "My rivers"
    assert await name_of(layer, deleted) is None
    assert [request.model for request in model_server.requests] == ["say:Long Rivers"]


async def test_while_the_model_is_away_the_job_is_tried_again_later(layer: ChainlitLayer, model: Model) -> None:
    register_titles(layer, model, "500")
    thread_id, job = await untitled(layer)
    async with running(layer):
        await in_state(layer, job, "waiting", lambda found: found.interruptions > 0)
        await asyncio.sleep(0.5)
        found = await layer.get_job(job.id)
    assert found is not None
    assert (found.state, found.attempt, found.interruptions) == ("waiting", 1, 1)
    assert await name_of(layer, thread_id) == "Which rivers are long?"
