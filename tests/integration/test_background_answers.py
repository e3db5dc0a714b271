"""An answer in the background whose server is killed while the model writes it."""

import sqlite3
from typing import Any

import httpx
import pytest

from datalayer import acting_as
from tests.conftest import StartServer
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import AppServer
from tests.web.test_api_background import Receiver, ended, messages, receiver, started  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]
SLOW = "slow:40:0.05"


def let_an_hour_pass(database_url: str) -> None:
    """Let the marks of the dead process be old, as if the next one started an hour later."""
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as database:
        database.execute('UPDATE job_replicas SET "seenAt" = "seenAt" - 3600')
        for table in ("job_elections", "turn_claims"):
            database.execute(f'UPDATE {table} SET "until" = "until" - 3600')
    database.close()


async def test_a_killed_server_answers_after_its_restart_and_its_webhook_comes_once(
    start_server: StartServer,
    model_server: ModelServer,
    receiver: Receiver,  # noqa: F811
    database_url: str,
) -> None:
    hook = f"http://127.0.0.1:{receiver.port}"
    server = await start_server(OPENAI_MODELS=SLOW, API_WEBHOOK_HOSTS=f"{hook}=127.0.0.0/8")
    async with await program_of(server) as program:
        thread_id = (await program.post("/threads", json={})).json()["id"]
        job = await started(program, thread_id, content="Count", webhook=f"{hook}/told")
        await until(lambda: [one for one in model_server.requests if one.body.get("stream")])
        assert (await program.get(f"/jobs/{job['id']}")).json()["state"] == "running"
        await server.kill()
        assert receiver.got == []
        let_an_hour_pass(database_url)
        await server.start()
        done = await ended(program, job)
        assert done["answer_id"] is not None

        async def delivered() -> Any:
            found = (await program.get(f"/jobs/{job['id']}")).json()["webhook"]
            return found if found["state"] == "done" else None

        assert (await until(delivered))["tries"] == 1
        stored = [(one["role"], one["content"]) for one in await messages(program, thread_id)]
    assert stored == [("user", "Count"), ("assistant", "".join(f"word-{n} " for n in range(1, 41)))]
    assert len(receiver.got) == 1
    # The title is not streamed.
    assert sum(bool(one.body.get("stream")) for one in model_server.requests) == 2


async def program_of(server: AppServer) -> httpx.AsyncClient:
    """A program with a key for threads."""
    await server.add_user("ann", "a long password")
    async with server.layer() as layer:
        with acting_as("ann"):
            _, secret = await layer.create_api_key("a program", ["threads:read", "threads:write"])
    return httpx.AsyncClient(
        base_url=f"{server.base_url}/api/v1", headers={"x-api-key": secret}, **PLAIN_HTTP, timeout=60
    )
