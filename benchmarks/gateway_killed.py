"""Calls through the gateway while its server is killed: its rows beside the ledger of the scripted server."""

from __future__ import annotations

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from datalayer import CallFilter, Project, Provider
from datalayer.records.usage import INTERRUPTED, LlmCall
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.server import ROOT, AppServer

_AT_ONCE = 20
_BEFORE, _AFTER = 200, 100
# The next start marks calls when they are 30 seconds old, and looks every 30 seconds.
_MARKED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Killed:
    """Of `asked` calls that the provider billed: `equal` have a row with the same tokens, `marked` ones were in flight
    and are marked, `differing` have other tokens, and `missing` have no row."""

    asked: int
    equal: int
    marked: int
    differing: int
    missing: int


async def kill_in_between(server: AppServer, session: aiohttp.ClientSession) -> Killed:
    """Ask through the gateway, kill its server while calls are in flight, start it again, and ask more."""
    async with server_process("tests.support.model_server") as provider:
        async with server.layer() as layer:
            scripted = Provider("Scripted", "scripted", provider)
            await layer.put_project(Project(new_id(), "Books", "books", providers=(scripted,)))
            _, secret = await layer.create_api_key("books", ["gateway"], user="bench", project="books")
        url = f"{server.base_url}/gateway/books/scripted/chat/completions"
        numbers = itertools.count()
        working = [asyncio.create_task(_ask(session, url, secret, numbers, _BEFORE * 10)) for _ in range(_AT_ONCE)]
        await until(lambda: next(numbers) > _BEFORE)
        await server.kill()
        await asyncio.gather(*working)
        await server.start()
        numbers = itertools.count(100_000)
        await asyncio.gather(*(_ask(session, url, secret, numbers, 100_000 + _AFTER) for _ in range(_AT_ONCE)))
        root = provider.removesuffix("/v1")
        async with session.get(f"{root}/_ledger") as answer:
            ledger = await answer.json()

        async def all_ended() -> dict[str, LlmCall] | None:
            async with server.layer() as layer:
                rows = [row.call async for row in layer.export_calls(CallFilter(project_slugs=("books",)))]
            return None if any(row.finish_reason == "in_progress" for row in rows) else {row.model: row for row in rows}

        return _compared(ledger, await until(all_ended, _MARKED_SECONDS))


async def _ask(session: aiohttp.ClientSession, url: str, secret: str, numbers: Iterator[int], most: int) -> None:
    """Ask one call after another until the server is gone or the numbers are used up; each has a model of its own."""
    while (number := next(numbers)) < most:
        body = {"model": f"say:call {number}", "stream": number % 2 == 0}
        body["messages"] = [{"role": "user", "content": "Hello " * (number % 7 + 1)}]
        try:
            async with session.post(url, json=body, headers={"Authorization": f"Bearer {secret}"}) as answer:
                await answer.read()
        except aiohttp.ClientError:
            return


def _compared(ledger: list[dict[str, Any]], rows: dict[str, LlmCall]) -> Killed:
    found = {"equal": 0, "marked": 0, "differing": 0, "missing": 0}
    for billed in ledger:
        row = rows.get(billed["model"])
        if row is None:
            found["missing"] += 1
        elif row.error_kind == INTERRUPTED:
            found["marked"] += 1
        else:
            tokens = (row.prompt_tokens, row.completion_tokens)
            same = tokens == (billed["prompt_tokens"], billed["completion_tokens"])
            found["equal" if same else "differing"] += 1
    return Killed(len(ledger), **found)


@asynccontextmanager
async def server_process(module: str) -> AsyncIterator[str]:
    """A module that prints its address first, as a process until the end of the block; gives the address."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, cwd=ROOT, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()
