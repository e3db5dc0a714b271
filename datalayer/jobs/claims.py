"""SQL of the processes that run jobs: heartbeats, claims, take-over, ends.

Each statement compares times of the database's own clock. A claim is one UPDATE that only one process can win, and it
raises `attempt`; what a process writes about a job names its attempt, so one that has lost the job writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.jobs.rows import job_of
from datalayer.records.jobs import Job, JobState
from datalayer.schema.chat import users
from datalayer.schema.jobs import IS_UNFINISHED, job_elections, job_replicas, jobs

MOST_INTERRUPTIONS = 5
RECOVERER = "recoverer"
OPENER = "opener"
"""Who opens the store of the steps, and creates or changes its tables."""
_MOST_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Outlook:
    """The kinds and formats of the jobs that could begin now, and whether there is something for `free_orphans`."""

    waiting: frozenset[tuple[str, int]]
    has_orphans: bool


def _is_orphan(dialect: Dialect, dead_after: float) -> ColumnElement[bool]:
    alive = select(job_replicas.c.id).where(job_replicas.c.seenAt > dialect.clock - dead_after)
    return and_(jobs.c.state == "running", or_(jobs.c.replicaId.is_(None), jobs.c.replicaId.not_in(alive)))


def _may_begin(dialect: Dialect) -> ColumnElement[bool]:
    is_due = or_(jobs.c.notBefore.is_(None), jobs.c.notBefore <= dialect.clock)
    return and_(jobs.c.state == "waiting", ~jobs.c.isCancelling, is_due)


def _is_cancelled_late() -> ColumnElement[bool]:
    """Whether a process of an older version let the job wait again, although its cancel had been accepted."""
    return and_(jobs.c.state == "waiting", jobs.c.isCancelling)


def _waiting_or_cancelled(moment: str) -> dict[str, Any]:
    """The values of a job that is to wait again. It ends instead, as cancelled, if its cancel has been accepted."""
    return {
        "state": case((jobs.c.isCancelling, "cancelled"), else_="waiting"),
        "endedAt": case((jobs.c.isCancelling, moment)),
        "isCancelling": False,
        "replicaId": None,
    }


async def look(connection: AsyncConnection, dialect: Dialect, dead_after: float) -> Outlook:
    """What there is to do; the only query of a process that has nothing to do."""
    orphan = _is_orphan(dialect, dead_after)
    statement = (
        select(jobs.c.kind, jobs.c.format, jobs.c.state, jobs.c.isCancelling)
        .where(IS_UNFINISHED, or_(_may_begin(dialect), _is_cancelled_late(), orphan))
        .distinct()
        .limit(_MOST_LOOKED_AT)
    )
    rows = (await connection.execute(statement)).all()
    waiting = frozenset((row.kind, row.format) for row in rows if row.state == "waiting" and not row.isCancelling)
    return Outlook(waiting, any(row.state == "running" or row.isCancelling for row in rows))


async def beat(
    connection: AsyncConnection, dialect: Dialect, replica_id: str, name: str
) -> dict[tuple[str, int], bool]:
    """Say that this process is alive; gives its jobs, by id and attempt, and whether each is to be cancelled."""
    alive = dialect.insert(job_replicas).values(id=replica_id, name=name, seenAt=dialect.clock)
    await connection.execute(alive.on_conflict_do_update(index_elements=["id"], set_={"seenAt": dialect.clock}))
    own = select(jobs.c.id, jobs.c.attempt, jobs.c.isCancelling)
    rows = await connection.execute(own.where(jobs.c.state == "running", jobs.c.replicaId == replica_id))
    return {(row.id, row.attempt): row.isCancelling for row in rows}


async def leave(connection: AsyncConnection, replica_id: str) -> None:
    """Forget this process: it runs no more jobs, and takes over none."""
    await connection.execute(delete(job_replicas).where(job_replicas.c.id == replica_id))
    await connection.execute(delete(job_elections).where(job_elections.c.replicaId == replica_id))


async def elect(
    connection: AsyncConnection, dialect: Dialect, replica_id: str, seconds: float, name: str = RECOVERER
) -> bool:
    """Whether this process has the task of this name for so many seconds from now, and no other one has.

    Args:
        name: RECOVERER, who takes over jobs and starts scheduled ones, or OPENER.
    """
    until = dialect.clock + seconds
    elected = dialect.insert(job_elections).values(name=name, replicaId=replica_id, until=until)
    is_free = or_(job_elections.c.until < dialect.clock, job_elections.c.replicaId == replica_id)
    await connection.execute(
        elected.on_conflict_do_update(
            index_elements=["name"], set_={"replicaId": replica_id, "until": until}, where=is_free
        )
    )
    found = select(job_elections.c.replicaId).where(job_elections.c.name == name)
    return (await connection.execute(found)).scalar() == replica_id


async def resign(connection: AsyncConnection, replica_id: str, name: str) -> None:
    """Give the task to whoever wants it next."""
    own = (job_elections.c.replicaId == replica_id, job_elections.c.name == name)
    await connection.execute(delete(job_elections).where(*own))


async def free_orphans(
    connection: AsyncConnection, dialect: Dialect, dead_after: float, moment: str
) -> list[tuple[str, JobState]]:
    """Let the jobs of dead processes wait again. One that has lost too many processes has failed: it may be the cause.

    Gives the ids of the jobs with their new states.
    """
    orphan = _is_orphan(dialect, dead_after)
    too_many = jobs.c.interruptions + 1 >= MOST_INTERRUPTIONS
    error = f"The process that ran this job ended {MOST_INTERRUPTIONS} times without finishing it."
    freed: dict[str, Any] = {"interruptions": jobs.c.interruptions + 1, "updatedAt": moment}
    failed = {"state": "failed", "error": error, "endedAt": moment, "replicaId": None}
    ends: list[tuple[str, JobState]] = []
    for statement in (
        update(jobs).where(orphan, too_many, ~jobs.c.isCancelling).values(**freed, **failed),
        update(jobs).where(or_(orphan, _is_cancelled_late())).values(**freed, **_waiting_or_cancelled(moment)),
    ):
        rows = await connection.execute(statement.returning(jobs.c.id, jobs.c.state))
        ends += [(row.id, row.state) for row in rows]
    # A process that is alive makes its row again with its next heartbeat.
    await connection.execute(delete(job_replicas).where(job_replicas.c.seenAt < dialect.clock - dead_after))
    return ends


async def claim(
    connection: AsyncConnection, dialect: Dialect, replica_id: str, formats: Mapping[str, Sequence[int]]
) -> Job | None:
    """The oldest waiting job of these kinds and formats, which now runs in this process; None if there is none."""
    known = or_(*(and_(jobs.c.kind == kind, jobs.c.format.in_(some)) for kind, some in formats.items()))
    oldest = select(jobs.c.id).where(_may_begin(dialect), known).order_by(jobs.c.createdAt, jobs.c.id).limit(1)
    # Postgres: a job that another process is just claiming is passed over. SQLite has one writer.
    oldest = oldest.with_for_update(skip_locked=True)
    moment = utc_now()
    claimed = (
        update(jobs)
        .where(jobs.c.id == oldest.scalar_subquery(), jobs.c.state == "waiting")
        .values(
            state="running",
            replicaId=replica_id,
            attempt=jobs.c.attempt + 1,
            notBefore=None,
            startedAt=func.coalesce(jobs.c.startedAt, moment),
            updatedAt=moment,
        )
        .returning(jobs)
    )
    row = (await connection.execute(claimed)).mappings().first()
    if row is None:
        return None
    owner = None
    if row["ownerId"] is not None:
        owner = (await connection.execute(select(users.c.identifier).where(users.c.id == row["ownerId"]))).scalar()
    return job_of(row, owner)


async def _changed(connection: AsyncConnection, job_id: str, attempt: int, values: dict[str, Any]) -> JobState | None:
    """Write values of a job that this attempt runs; gives its state then, or None if the attempt has lost the job."""
    own = (jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == "running")
    state: JobState | None = (
        await connection.execute(update(jobs).where(*own).values(values).returning(jobs.c.state))
    ).scalar()
    return state


async def note(connection: AsyncConnection, job: Job, **values: Any) -> bool:
    """Write values of a job that this attempt runs; False if the attempt has lost the job."""
    return await _changed(connection, job.id, job.attempt, values | {"updatedAt": utc_now()}) is not None


async def end(
    connection: AsyncConnection,
    job: Job,
    state: JobState,
    moment: str,
    *,
    result: Any = None,
    error: str | None = None,
    **values: Any,
) -> bool:
    """End a job that this attempt runs; False if the attempt has lost the job."""
    values |= {"result": result, "error": error, "endedAt": moment, "replicaId": None, "isCancelling": False}
    return await note(connection, job, state=state, **values)


async def postpone(
    connection: AsyncConnection,
    dialect: Dialect,
    job: Job,
    moment: str,
    *,
    seconds: float = 0.0,
    interrupted: bool = False,
    **values: Any,
) -> JobState | None:
    """Let a job wait again that this attempt runs. If its cancel has been accepted, it ends as cancelled.

    Gives the state in which the job is then; None if the attempt has lost the job.

    Args:
        seconds: how long it waits at least.
        interrupted: whether this counts as an interruption.
    """
    later = dialect.clock + seconds if seconds else None
    if interrupted:
        values["interruptions"] = jobs.c.interruptions + 1
    values |= {"notBefore": later, "updatedAt": moment}
    return await _changed(connection, job.id, job.attempt, values | _waiting_or_cancelled(moment))


async def drop(connection: AsyncConnection, job_id: str, attempt: int, moment: str) -> JobState | None:
    """As `postpone`, for a job whose run has ended without a trace. This counts as an interruption."""
    dropped = {"interruptions": jobs.c.interruptions + 1, "updatedAt": moment}
    return await _changed(connection, job_id, attempt, dropped | _waiting_or_cancelled(moment))


async def last_start(connection: AsyncConnection, kind: str) -> str | None:
    """When the newest job of this kind was started; None if there is none."""
    found: str | None = (
        await connection.execute(select(func.max(jobs.c.createdAt)).where(jobs.c.kind == kind))
    ).scalar()
    return found
