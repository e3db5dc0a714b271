"""SQL of the claims of turns. Each statement compares times of the database's own clock."""

from collections.abc import Sequence

from sqlalchemy import delete, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.schema.turns import turn_claims

_claims = turn_claims.c


async def claim(connection: AsyncConnection, dialect: Dialect, thread_id: str, holder: str, seconds: float) -> bool:
    """Whether the thread is claimed for this turn now. A claim that has ended is taken over."""
    until = dialect.clock + seconds
    statement = dialect.insert(turn_claims).values(threadId=thread_id, holder=holder, until=until)
    is_free = or_(_claims.until < dialect.clock, _claims.holder == holder)
    statement = statement.on_conflict_do_update(
        index_elements=[_claims.threadId], set_={"holder": holder, "until": until}, where=is_free
    ).returning(_claims.holder)
    return (await connection.execute(statement)).first() is not None


async def keep(connection: AsyncConnection, dialect: Dialect, holders: Sequence[str], seconds: float) -> set[str]:
    """Let these claims end later, and delete those that have ended; gives the turns whose claims are kept."""
    alive = update(turn_claims).where(_claims.holder.in_(holders)).values(until=dialect.clock + seconds)
    kept = set((await connection.execute(alive.returning(_claims.holder))).scalars())
    await connection.execute(delete(turn_claims).where(_claims.until < dialect.clock))
    return kept


async def release(connection: AsyncConnection, holder: str) -> None:
    """End the claim of this turn."""
    await connection.execute(delete(turn_claims).where(_claims.holder == holder))
