"""Conversations for the review, stored as Chainlit stores them, and reviewers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import insert

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.usage import llm_calls
from tests.support.records import new_id, step, thread, user_id, vote


@dataclass(frozen=True)
class Turn:
    """A question and its answer, in a run."""

    thread: str
    question: str
    run: str
    answer: str


async def account(layer: ChainlitLayer, identifier: str, role: str) -> str:
    """Add an account with this role. Returns its id."""
    return (await layer.add_account(identifier, "no real hash", role)).id


@contextmanager
def reviewing(identifier: str = "rita") -> Iterator[None]:
    with datalayer.acting_as(identifier):
        yield


async def talk(
    layer: ChainlitLayer,
    identifier: str = "alice",
    question: str = "what is the capital of France",
    answer: str = "It is Lyon.",
    *,
    thumb: int | None = None,
    comment: str | None = None,
    at: str = "2026-03-01T10:00:00.000000Z",
    thread_id: str | None = None,
    answer_fields: dict[str, Any] | None = None,
    **fields: Any,
) -> Turn:
    """Store a turn in a new or an existing thread. The vote is on the run, as in Chainlit."""
    owner = await user_id(layer, identifier)
    with datalayer.acting_as(identifier):
        where = thread_id or await thread(layer, owner, name=question, **fields)
        asked = step(where, question, name=identifier, createdAt=at)
        run = step(where, "", type="run", name="on_message", createdAt=_later(at, 1))
        given = step(where, answer, type="assistant_message", name="Assistant", parentId=run["id"],
                     createdAt=_later(at, 2), **(answer_fields or {}))  # fmt: skip
        for one in (asked, run, given):
            await layer.create_step(one)
        if thumb is not None:
            await layer.upsert_feedback(vote(run["id"], thumb, comment))
    return Turn(where, asked["id"], run["id"], given["id"])


async def call(
    layer: ChainlitLayer, turn: Turn, *, model: str = "small", cost: str | None = "0.5", **values: Any
) -> None:
    """Record one model call for the answer."""
    row = {
        "id": new_id(), "kind": "chat", "model": model, "attempt": 1, "isStreaming": True, "isEstimated": False,
        "queryCharacters": 10, "responseCharacters": 10, "requestedAt": "2026-03-01T10:00:00.000000Z",
        "threadId": turn.thread, "stepId": turn.answer, "promptTokens": 20, "completionTokens": 5, "seconds": 1.5,
        "totalCost": None if cost is None else Decimal(cost), **values,
    }  # fmt: skip
    async with layer.database.write() as connection:
        await connection.execute(insert(llm_calls).values(**row))


def _later(at: str, seconds: int) -> str:
    return at[:17] + f"{int(at[17:19]) + seconds:02}" + at[19:]
