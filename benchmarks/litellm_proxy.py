"""The proxy of LiteLLM as a process, for `benchmarks.gateway`, with one row in Postgres for each call.

Its own logging needs the engine of Prisma, which is a download of its own. In its place, a callback of LiteLLM writes
the row with asyncpg, which costs less: one statement a call, and nothing else is stored.
"""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from tests.support.patience import until

VERSION = "1.108.7"
KEY = "sk-benchmark"
_READY_SECONDS = 120.0
_CONFIG = f"""\
model_list:
  - model_name: tokens
    litellm_params: {{model: openai/tokens, api_base: os.environ/UPSTREAM, api_key: sk-provider}}
litellm_settings: {{callbacks: ledger.ledger}}
general_settings: {{master_key: {KEY}}}
"""
_TABLE = """\
CREATE TABLE calls (id text PRIMARY KEY, model text, prompt integer, completion integer, cost double precision,
    begun timestamptz, ended timestamptz, messages text, response text)
"""
_CALLBACK = """\
import asyncio, json, os
import asyncpg
from litellm.integrations.custom_logger import CustomLogger

INSERT = "INSERT INTO calls VALUES ($1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7), $8, $9)"

class Ledger(CustomLogger):
    opening = None

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        if self.opening is None:
            self.opening = asyncio.ensure_future(asyncpg.create_pool(os.environ["LEDGER"], min_size=1, max_size=4))
        pool, usage = await self.opening, response_obj.usage
        text = response_obj.choices[0].message.content
        await pool.execute(
            INSERT, kwargs["litellm_call_id"], kwargs["model"], usage.prompt_tokens, usage.completion_tokens,
            kwargs.get("response_cost"), start_time.timestamp(), end_time.timestamp(),
            json.dumps(kwargs["messages"]), text,
        )

ledger = Ledger()
"""


@dataclass
class LiteLLM:
    """A proxy that runs."""

    base_url: str
    process_id: int
    database_url: str

    async def stored(self) -> tuple[int, int]:
        """How many calls have a row, and their tokens of answers."""
        connection = await asyncpg.connect(self.database_url)
        try:
            calls, tokens = await connection.fetchrow("SELECT count(*), coalesce(sum(completion), 0) FROM calls")
            return calls, tokens
        finally:
            await connection.close()


@asynccontextmanager
async def litellm_proxy(program: str, folder: Path, upstream: str, database_url: str) -> AsyncIterator[LiteLLM]:
    """Run the proxy until the end of the block.

    Args:
        program: the command `litellm` of a virtual environment that has `litellm[proxy]` and `asyncpg`.
        folder: for its files.
        upstream: the base URL of the provider.
        database_url: of an empty database on Postgres.
    """
    connection = await asyncpg.connect(database_url)
    await connection.execute(_TABLE)
    await connection.close()
    (folder / "config.yaml").write_text(_CONFIG)
    (folder / "ledger.py").write_text(_CALLBACK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Its table of prices is part of the package; nothing is fetched, and nothing is sent elsewhere.
    own = {"UPSTREAM": upstream, "LEDGER": database_url, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
    command = (program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_LOG": "ERROR", **own}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:
            await until(lambda: _is_ready(session, address), _READY_SECONDS)
        yield LiteLLM(f"{address}/v1", process.pid, database_url)
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"{address}/health/liveliness") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
