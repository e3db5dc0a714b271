"""SQL of the claims of turns. Each statement compares times of the database's own clock."""

from collections.abc import Sequence

from sqlalchemy import and_, delete, exists, false, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history.deletion_marks import is_deleted
from datalayer.ownership import Actor, kind_of, writable_by
from datalayer.schema.chat import deleted_threads, steps, threads
from datalayer.schema.turns import turn_claims

_claims = turn_claims.c


async def claim(connection: AsyncConnection, dialect: Dialect, thread_id: str, holder: str, seconds: float) -> bool:
    """Whether the thread is claimed for this turn now. A claim that has ended is taken over."""
    until = dialect.clock + seconds
    statement = dialect.insert(turn_claims).values(threadId=thread_id, holder=holder, until=until)
    is_free = or_(_claims.until < dialect.clock, _claims.holder == holder)
    statement = statement.on_conflict_do_update(
        index_elements=[_claims.threadId], set_={"holder": holder, "until": until, "isStopping": false()}, where=is_free
    ).returning(_claims.holder)
    return (await connection.execute(statement)).first() is not None


async def keep(
    connection: AsyncConnection, dialect: Dialect, holders: Sequence[str], seconds: float
) -> dict[str, bool]:
    """Let these claims end later, and delete those that have ended; gives the turns whose claims are kept, and whether
    each is to stop."""
    alive = update(turn_claims).where(_claims.holder.in_(holders)).values(until=dialect.clock + seconds)
    rows = await connection.execute(alive.returning(_claims.holder, _claims.isStopping))
    kept = {row[0]: bool(row[1]) for row in rows}
    await connection.execute(delete(turn_claims).where(_claims.until < dialect.clock))
    return kept


async def deleted(connection: AsyncConnection, thread_ids: Sequence[str]) -> set[str]:
    """Those of these threads that were deleted."""
    marked = deleted_threads.c.id
    statement = select(marked).where(marked.in_(thread_ids), is_deleted(marked))
    return {row[0] for row in await connection.execute(statement)}


async def stop(
    connection: AsyncConnection, dialect: Dialect, thread_id: str, actor: Actor, holder: str | None
) -> str | None:
    """Ask the turn that has this thread of the actor to stop, if it is this one; gives its id, or None."""
    is_own = writable_by(kind_of(actor), threads.c.userIdentifier)
    statement = (
        update(turn_claims)
        .where(_claims.threadId == thread_id, _claims.until > dialect.clock)
        .where(exists().where(threads.c.id == _claims.threadId, is_own))
        .values(isStopping=true())
        .returning(_claims.holder)
    )
    if holder is not None:
        statement = statement.where(_claims.holder == holder)
    stopped: str | None = (
        await connection.execute(statement, {"actor": actor} if isinstance(actor, str) else {})
    ).scalar()
    return stopped


async def release(connection: AsyncConnection, holder: str) -> None:
    """End the claim of this turn."""
    await connection.execute(delete(turn_claims).where(_claims.holder == holder))


async def changes(
    connection: AsyncConnection, dialect: Dialect, thread_ids: Sequence[str]
) -> Sequence[tuple[str, str | None, int, str | None, str | None, str | None]]:
    """For each of these threads that exists: its id, last activity, number of steps, the time of the last change of its
    newest step, the id of that step, and the turn that has it."""
    own = select(func.count()).where(steps.c.threadId == threads.c.id).correlate(threads)
    newest_at, newest_id = (
        select(column)
        .where(steps.c.threadId == threads.c.id)
        .order_by(steps.c.createdAt.desc(), steps.c.id.desc())
        .limit(1)
        .correlate(threads)
        .scalar_subquery()
        for column in (func.coalesce(steps.c.updatedAt, steps.c.createdAt), steps.c.id)
    )
    statement = (
        select(threads.c.id, threads.c.updatedAt, own.scalar_subquery(), newest_at, newest_id, _claims.holder)
        .select_from(threads)
        .outerjoin(turn_claims, and_(_claims.threadId == threads.c.id, _claims.until > dialect.clock))
        .where(threads.c.id.in_(thread_ids))
    )
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in await connection.execute(statement)]
