"""SQL of calls in progress: each has a row and a reservation, so that a call whose process ends does not get lost.

The process extends its reservations every few seconds. When one expires, its process has ended, and the row of the call
says so. Any process may find this out, at its start and from time to time.
"""

from collections.abc import Sequence

from sqlalchemy import exists, literal_column, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.records.usage import IN_PROGRESS, INTERRUPTED, LlmCall, LlmCallWrite
from datalayer.schema.usage import llm_calls, usage_reservations
from datalayer.writes import calls

_reserved = usage_reservations.c
# Written out, so that the index of these calls is used.
_IS_IN_PROGRESS = llm_calls.c.finishReason == literal_column(f"'{IN_PROGRESS}'")
_REASON = "The server ended before this call. What the provider billed for it is not known."


async def begin(connection: AsyncConnection, dialect: Dialect, call: LlmCall, *, expires_at: str) -> None:
    """Store the row of the call, and its reservation if it has none."""
    await calls.store(connection, dialect, [LlmCallWrite(call)])
    await connection.execute(
        dialect.insert(usage_reservations)
        .values(id=call.id, userId=call.user_id, projectId=call.project_id, tokens=0, cost=None, expiresAt=expires_at)
        .on_conflict_do_update(index_elements=[_reserved.id], set_={"expiresAt": expires_at})
    )


async def extend(connection: AsyncConnection, ids: Sequence[str], *, expires_at: str) -> None:
    """Extend the reservations of these calls in one statement."""
    await connection.execute(update(usage_reservations).where(_reserved.id.in_(ids)).values(expiresAt=expires_at))


async def end_interrupted(connection: AsyncConnection, *, moment: str) -> int:
    """Mark the calls whose process has ended; returns how many."""
    is_held = exists().where(_reserved.id == llm_calls.c.id, _reserved.expiresAt > moment)
    statement = (
        update(llm_calls)
        .where(_IS_IN_PROGRESS, ~is_held)
        .values(finishReason=None, errorKind=INTERRUPTED, errorMessage=_REASON)
    )
    return int((await connection.execute(statement)).rowcount)
