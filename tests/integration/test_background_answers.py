"""What programs do goes on after a restart: an answer in the background, and the conversation of the documentation."""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from datalayer import acting_as
from tests.conftest import StartServer
from tests.support.model_server import ModelServer
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import AppServer
from tests.web.test_api_background import Receiver, ended, messages, receiver, started  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]
SLOW = "slow:40:0"
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


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
    server = await start_server(OPENAI_MODELS=f"context-echo,{SLOW}", API_WEBHOOK_HOSTS=f"{hook}=127.0.0.0/8")
    async with await program_of(server) as program, curling(server, program.headers["x-api-key"]) as shell:
        assert json.loads(await line_of(shell))["data"][0]["content"] == "What is a data layer?"
        thread_id, other_id = [(await program.post("/threads", json={})).json()["id"] for _ in range(2)]
        asked = (await program.post(f"/threads/{other_id}/messages", json={"content": "Count"})).json()
        answer_whole = model_server.hold_answers(after=5)
        cut_id = (await program.post("/threads", json={})).json()["id"]
        begun = await started(program, cut_id, content="Count", model=SLOW)
        await until(lambda: streamed(model_server, SLOW) == 1)
        await until(lambda: has_answer(program, cut_id))
        stopped = (await program.post(f"/threads/{cut_id}/stop")).json()["answer"]
        assert (await ended(program, begun))["answer_id"] == stopped["id"]
        job = await started(program, thread_id, content="Count", webhook=f"{hook}/told", model=SLOW)
        anew = f"/threads/{other_id}/messages/{asked['answer']['id']}/regenerate"
        again = await program.post(anew, json={"model": SLOW, "background": True})
        assert again.status_code == 202, again.text
        on = await program.post(f"/threads/{cut_id}/messages/{stopped['id']}/continue", json={"background": True})
        await until(lambda: streamed(model_server, SLOW) == 4)
        for one in (job, again.json(), on.json()):
            assert (await program.get(f"/jobs/{one['id']}")).json()["state"] == "running"
        await server.kill()
        answer_whole.set()
        assert receiver.got == []
        let_an_hour_pass(database_url)
        await server.start()
        done = await ended(program, job)
        assert done["answer_id"] is not None
        assert (await ended(program, again.json()))["answer_id"] not in (None, asked["answer"]["id"])
        assert (await ended(program, on.json()))["answer_id"] == stopped["id"]
        (_, longer) = await messages(program, cut_id)
        assert longer["content"].startswith(stopped["content"].splitlines()[0])
        assert (longer["status"], longer["content"].count("word-40")) == ("complete", 1)

        async def delivered() -> Any:
            found = (await program.get(f"/jobs/{job['id']}")).json()["webhook"]
            return found if found["state"] == "done" else None

        assert (await until(delivered))["tries"] == 1
        assert shell.stdin is not None
        shell.stdin.write(b"go on\n")
        second, whole = [json.loads(await line_of(shell))["data"] for _ in range(2)]
        context = [one["content"] for one in json.loads(second[1]["content"])]
        assert (context[0], context[1], context[3]) == ("Be brief.", "What is a data layer?", "And why do I need one?")
        assert [one["role"] for one in whole] == ["Human", "AI"] * 2
        for one in (thread_id, other_id):
            stored = [(said["role"], said["content"]) for said in await messages(program, one)]
            assert stored == [("user", "Count"), ("assistant", "".join(f"word-{n} " for n in range(1, 41)))]
    assert len(receiver.got) == 1
    assert streamed(model_server, SLOW) == 7


async def has_answer(program: httpx.AsyncClient, thread_id: str) -> bool:
    """Whether the begin of an answer is stored."""
    return len(await messages(program, thread_id)) == 2


def streamed(model_server: ModelServer, model: str) -> int:
    """How many answers this model has begun; titles are not streamed."""
    return sum(bool(one.body.get("stream")) and one.model == model for one in model_server.requests)


@asynccontextmanager
async def curling(server: AppServer, key: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example of the documentation in a shell, which waits for a line of input before the second question."""
    (example,) = re.findall(r"```sh\n(ask\(\).*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    *begin, second, whole = example.strip().splitlines()
    script = "\n".join([*begin, "echo", "read -r _", second, "echo", whole, "echo"])
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        env={**os.environ, "THREADKEEPER_URL": server.base_url, "THREADKEEPER_KEY": key, "NO_PROXY": "*"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield shell
    finally:
        if shell.returncode is None:
            shell.kill()
        await shell.wait()


async def line_of(shell: asyncio.subprocess.Process) -> bytes:
    """The next line that the shell writes."""
    assert shell.stdout is not None
    return await asyncio.wait_for(shell.stdout.readline(), PATIENCE_SECONDS)


async def program_of(server: AppServer) -> httpx.AsyncClient:
    """A program with a key for threads."""
    await server.add_user("ann", "a long password")
    async with server.layer() as layer:
        with acting_as("ann"):
            _, secret = await layer.create_api_key("a program", ["threads:read", "threads:write"])
    return httpx.AsyncClient(
        base_url=f"{server.base_url}/api/v1", headers={"x-api-key": secret}, **PLAIN_HTTP, timeout=60
    )
