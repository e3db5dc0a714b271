"""SQL of calls in progress: each has a row, so that a call whose process ends does not get lost.

A row is of a call in progress for `YOUNG_SECONDS`. A call that takes longer has a reservation, which its process
extends every few seconds. Without one, its process has ended, and the row of the call says so. Any process may find
this out, at its start and from time to time.
"""

from collections.abc import Sequence

from sqlalchemy import exists, literal, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.records.usage import IN_PROGRESS, INTERRUPTED
from datalayer.schema.usage import llm_calls, usage_reservations

YOUNG_SECONDS = 30.0
"""How long a call needs no reservation to count as in progress."""

_reserved = usage_reservations.c
# Written out, so that the index of these calls is used.
IS_IN_PROGRESS = llm_calls.c.finishReason == literal_column(f"'{IN_PROGRESS}'")
_REASON = "The server ended before this call. What the provider billed for it is not known."


async def extend(connection: AsyncConnection, dialect: Dialect, ids: Sequence[str], *, expires_at: str) -> None:
    """Extend the reservations of these calls in one statement. One that is missing, or was lost, is made."""
    calls = llm_calls.c
    values = {
        "id": calls.id,
        "userId": calls.userId,
        "projectId": calls.projectId,
        "keyId": calls.keyId,
        "tokens": literal(0),
        "expiresAt": literal(expires_at),
    }
    of_calls = select(*values.values()).where(calls.id.in_(ids), IS_IN_PROGRESS)
    statement = dialect.insert(usage_reservations).from_select(list(values), of_calls)
    newer = {"expiresAt": statement.excluded.expiresAt}
    await connection.execute(statement.on_conflict_do_update(index_elements=[_reserved.id], set_=newer))


async def end_interrupted(connection: AsyncConnection, *, moment: str, young_since: str) -> int:
    """Mark the calls whose process has ended; returns how many."""
    is_held = exists().where(_reserved.id == llm_calls.c.id, _reserved.expiresAt > moment)
    statement = (
        update(llm_calls)
        .where(IS_IN_PROGRESS, llm_calls.c.requestedAt <= young_since, ~is_held)
        .values(finishReason=None, errorKind=INTERRUPTED, errorMessage=_REASON)
    )
    return int((await connection.execute(statement)).rowcount)
