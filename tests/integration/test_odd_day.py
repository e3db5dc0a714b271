"""A day of 210 turns over all odd servers, in two parts: threads stay answerable, /usage equals the servers' ledger."""

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

import pytest

from datalayer.records.usage import STOPPED
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.ledger import counted
from tests.support.model_server import Billed, ModelServer, Recorded
from tests.support.odd_day import ANSWERING, MODELS, PASSWORD, STOPPED_MODELS, Conversation, live, planned
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.server import AppServer

pytestmark = pytest.mark.slow

TURNS, THREADS, AT_ONCE, SEED = 210, 20, 8, 11
# Each part has a server of its own and every second thread, so that two cores share the day. What model servers send
# does not depend on the database, so each engine has a part.
PARTS = {"sqlite": 0, "postgres": 1}
TITLE = "say:A fitting title"
# A total without its parts: which part is the prompt's is estimated.
TOTAL_ONLY = "usage:total-only"
# The opening tag of a thought that was stopped, which is no part of the thought.
TAG_TOKENS = 3

Row = dict[str, Any]


@pytest.mark.parametrize(("database_url", "part"), PARTS.items(), indirect=["database_url"])
async def test_a_day_over_all_odd_servers(start_server: StartServer, model_server: ModelServer, part: int) -> None:
    print(f"seed {SEED}")
    turns = planned(random.Random(SEED), TURNS)
    assert {turn.model for turn in turns} == {*MODELS}
    server = await start_server(
        OPENAI_MODELS=",".join((*MODELS, *STOPPED_MODELS)),
        OPENAI_TITLE_MODEL=TITLE,
        OPENAI_MAX_RETRIES="1",
        # No request of this day may time out, because the machine may be busy.
        OPENAI_TIMEOUT_SECONDS=str(PATIENCE_SECONDS),
        OPENAI_CONTEXT_TOKENS="3000",
    )
    users = ("ann", "bob", "eve", "joe")
    for name in users:
        await server.add_user(name, PASSWORD)
    await server.add_user("operator", PASSWORD, role="admin")
    threads = {
        at: Conversation(
            server.base_url,
            users[at // len(PARTS) % len(users)],
            f"thread-{at:02}",
            random.Random(SEED + at),
            model_server.requests,
        )
        for at in range(part, THREADS, len(PARTS))
    }
    tabs = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as day:
        for at, thread in threads.items():
            day.create_task(live(thread, turns[at::THREADS], tabs))
    done = sum((thread.done for thread in threads.values()), Counter[str]())
    print(f"done: {dict(done)}")
    assert done["question"] == TURNS // len(PARTS)
    assert {"picture", "text", "edit", "stop", "reload", "regenerate", "try_again", "continue_answer"} <= {*done}
    asked = {turn.model for at in threads for turn in turns[at::THREADS]}
    assert {one.model for one in model_server.requests} >= asked
    # What a server that stops does with calls that are not stored yet is tested elsewhere.
    await exported(server, model_server)

    # Another process has to answer from what is stored.
    await server.restart()
    problems: list[str] = []
    async with asyncio.TaskGroup() as evening:
        for at, thread in threads.items():
            evening.create_task(answerable(thread, ("echo", ANSWERING[at % len(ANSWERING)]), tabs, problems))
    assert problems == [], "\n".join(problems)

    rows = await exported(server, model_server)
    await compare(rows, model_server, {thread.thread_id: thread.name for thread in threads.values()})


async def answerable(
    thread: Conversation, models: tuple[str, ...], tabs: asyncio.Semaphore, problems: list[str]
) -> None:
    """Ask each model a plain question in this thread, and note what is no answer to it."""
    async with tabs:
        await thread.open()
        for number, model in enumerate(models, 1):
            question = f"{thread.name}: plain question {number}"
            steps = await thread.ask(question, model)
            answers = [step["output"] for step in steps if step["output"].endswith(question)]
            errors = [step["output"] for step in steps if step.get("isError")]
            if len(answers) != 1 or not answers[0].startswith("You said: ") or errors:
                problems.append(f"{thread.name}, {model}: {[step['output'] for step in steps]}")
        await thread.close()


async def exported(server: AppServer, model_server: ModelServer) -> list[Row]:
    """The export of /usage, when all calls are stored. The page shows its sums."""
    async with ChatClient(server.base_url, "operator", PASSWORD) as client:

        async def complete() -> list[Row] | None:
            text = (await client.http.get("/usage/export.jsonl")).raise_for_status().text
            rows = [json.loads(line) for line in text.splitlines()]
            return rows if len(rows) >= len(model_server.requests) else None

        rows = await until(complete)
        page = (await client.http.get("/usage")).raise_for_status().text
    tokens = sum((row["prompt_tokens"] or 0) + (row["completion_tokens"] or 0) for row in rows)
    assert f'title="{tokens:,}"' in page
    assert f'title="{len(rows):,}"' in page
    return rows


async def compare(rows: list[Row], model_server: ModelServer, names: dict[str, str]) -> None:
    """Compare each row with the request that it describes.

    A request of a thread to a model is found by its place among them, because a thread asks one question at a time.

    - unbilled: the server refused or sent no answer. The row has no tokens and no cost.
    - reported: the row has the server's numbers exactly, and is not marked.
    - estimated: the server reported nothing, or contradicted itself. The row is marked. Each number is the server's or
      the application's own count of the same messages and text; of a total alone, the sum is the server's.
    - stopped: as estimated. Of a model that had sent nothing, as unbilled.
    """
    assert len(rows) == len(model_server.requests), "each request is a row"
    requests: defaultdict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for request in model_server.requests:
        requests[thread_of(request), request.model].append(request)
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["requested_at"], row["attempt"])):
        found[names[row["thread_id"]], row["model"]].append(row)
    assert {key: len(of_key) for key, of_key in found.items()} == {key: len(made) for key, made in requests.items()}

    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    problems: list[str] = []
    for key, made in requests.items():
        for row, request in zip(found[key], made, strict=True):
            kind = kind_of(row, request)
            if not await agrees(kind, row, request.billed):
                problems.append(f"{key}, {kind}: {shown(row)}, billed: {shown(request.billed)}")
            sums[kind] += Counter(
                rows=1,
                ours=(row["prompt_tokens"] or 0) + (row["completion_tokens"] or 0),
                theirs=request.billed.prompt_tokens + request.billed.completion_tokens if request.billed else 0,
            )
    print({kind: dict(of_kind) for kind, of_kind in sums.items()})
    assert problems == [], "\n".join(problems)
    assert {*sums} == {"unbilled", "reported", "estimated", "stopped"}
    assert sums["reported"]["ours"] == sums["reported"]["theirs"] == tokens_of(model_server.ledger)
    assert sums["unbilled"]["ours"] == 0


def thread_of(request: Recorded) -> str:
    (name,) = set(re.findall(r"thread-\d\d", json.dumps(request.body["messages"])))
    return str(name)


def tokens_of(ledger: list[Billed]) -> int:
    """The sum of the tokens that the servers reported."""
    return sum(one.prompt_tokens + one.completion_tokens for one in ledger if one.reported)


def kind_of(row: Row, request: Recorded) -> str:
    if request.billed is None:
        return "unbilled"
    if request.billed.reported:
        return "reported"
    return "stopped" if row["finish_reason"] == STOPPED else "estimated"


async def agrees(kind: str, row: Row, billed: Billed | None) -> bool:
    prompt, completion = row["prompt_tokens"], row["completion_tokens"]
    if billed is None:
        return (prompt, completion, row["total_cost"], row["is_estimated"]) == (None, None, None, False)
    if kind == "reported":
        theirs = (billed.prompt_tokens, billed.completion_tokens)
        return (prompt, completion) == theirs and not row["is_estimated"]
    our_prompt, our_completion = await counted(billed)
    if not row["is_estimated"]:
        return False
    if kind == "stopped":
        tag = TAG_TOKENS if row["model"] == "think-hang:unclosed" else 0
        return bool(prompt == our_prompt and 0 <= our_completion - completion <= tag)
    if row["model"] == TOTAL_ONLY:
        return bool(prompt + completion == billed.prompt_tokens + billed.completion_tokens)
    return prompt in {billed.prompt_tokens, our_prompt} and completion in {billed.completion_tokens, our_completion}


def shown(one: Row | Billed | None) -> str:
    if one is None:
        return "nothing"
    row = asdict(one) if isinstance(one, Billed) else one
    names = "model status_code error_kind finish_reason attempt is_estimated reported prompt_tokens completion_tokens"
    return str({name: row[name] for name in names.split() if row.get(name) is not None})
