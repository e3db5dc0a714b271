"""SQL of jobs as their owners and the operator see them: start, find, list, cancel, retry, delete."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, case, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_time, known_id, utc_now
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import file_outbox
from datalayer.ownership import Actor, jobs_readable_by
from datalayer.records.jobs import UNFINISHED, Job, JobPage, JobState
from datalayer.schema.chat import users
from datalayer.schema.jobs import IS_UNFINISHED, jobs

_OWNED = jobs.outerjoin(users, users.c.id == jobs.c.ownerId)
_SELECTED = select(*jobs.c, users.c.identifier.label("owner")).select_from(_OWNED)


def _listed(row: RowMapping) -> Job:
    return job_of(row, row["owner"])


def job_of(row: RowMapping, owner: str | None) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        format=row["format"],
        state=row["state"],
        created_at=row["createdAt"],
        key=row["key"],
        owner=owner,
        arguments=row["arguments"],
        done=row["done"],
        total=row["total"],
        text=row["text"],
        result=row["result"],
        error=row["error"],
        object_key=row["objectKey"],
        attempt=row["attempt"],
        interruptions=row["interruptions"],
        is_cancelling=row["isCancelling"],
        started_at=row["startedAt"],
        ended_at=row["endedAt"],
        updated_at=row["updatedAt"],
    )


async def start(connection: AsyncConnection, dialect: Dialect, job: Job) -> Job:
    """Store the new job, or find the unfinished one of the same kind and key.

    Raises:
        NotFound: the owner does not exist.
    """
    owner_id = None
    if job.owner is not None:
        owner_id = (await connection.execute(select(users.c.id).where(users.c.identifier == job.owner))).scalar()
        if owner_id is None:
            raise NotFound(f"there is no user {job.owner!r}")
    values = {
        "id": job.id,
        "kind": job.kind,
        "format": job.format,
        "key": job.key,
        "ownerId": owner_id,
        "arguments": job.arguments,
        "state": "waiting",
        "createdAt": job.created_at,
        "updatedAt": job.created_at,
    }
    same = [jobs.c.id == job.id]
    if job.key is not None:
        same.append(and_(jobs.c.kind == job.kind, jobs.c.key == job.key, IS_UNFINISHED))
    # A job that ends between the two statements is looked for again.
    for _ in range(3):
        await connection.execute(dialect.insert(jobs).values(**values).on_conflict_do_nothing())
        found = (await connection.execute(_SELECTED.where(or_(*same)))).mappings().first()
        if found is not None:
            return _listed(found)
    raise InvalidRecord(f"the job of kind {job.kind} was not stored")


async def find(connection: AsyncConnection, job_id: str, actor: Actor) -> Job | None:
    """The job; None if it does not exist or belongs to somebody else."""
    statement = _SELECTED.where(jobs.c.id == job_id, jobs_readable_by(actor))
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else _listed(row)


async def demand(connection: AsyncConnection, job_id: str, actor: Actor) -> Job:
    """The job.

    Raises:
        NotFound: it does not exist, or belongs to somebody else.
    """
    job = await find(connection, job_id, actor)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


async def page(
    connection: AsyncConnection,
    actor: Actor,
    *,
    kinds: Sequence[str],
    states: Sequence[JobState],
    key: str | None,
    cursor: str | None,
    limit: int,
) -> JobPage:
    """A page of the jobs that the actor may see, newest first.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    chosen: list[ColumnElement[bool]] = [jobs_readable_by(actor)]
    if kinds:
        chosen.append(jobs.c.kind.in_(kinds))
    if states:
        chosen.append(jobs.c.state.in_(states))
    if key is not None:
        chosen.append(jobs.c.key == key)
    if cursor is not None:
        moment, job_id = cursors.decode(cursor, "jobs", lambda text: clean_time(text, "cursor"), known_id)
        earlier = and_(jobs.c.createdAt == moment, jobs.c.id < job_id)
        chosen.append(or_(jobs.c.createdAt < moment, earlier))
    statement = _SELECTED.where(*chosen).order_by(jobs.c.createdAt.desc(), jobs.c.id.desc()).limit(limit + 1)
    found = [_listed(row) for row in (await connection.execute(statement)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return JobPage(tuple(found[:limit]), cursors.encode("jobs", last.created_at, last.id) if last else None)


async def cancel(connection: AsyncConnection, job_id: str, actor: Actor, moment: str) -> tuple[Job, bool]:
    """Cancel a waiting job, and ask the process that runs a running one to cancel it. A finished one stays as it is.

    Gives the job, and whether it waited and has ended by this.

    Raises:
        NotFound: as `demand`.
    """
    waits = jobs.c.state == "waiting"
    # One statement: between two, a running job could begin to wait, and none of them would find it.
    changed = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs_readable_by(actor), IS_UNFINISHED)
        .values(
            state=case((waits, "cancelled"), else_=jobs.c.state),
            isCancelling=~waits,
            endedAt=case((waits, moment)),
            updatedAt=case((waits, moment), else_=jobs.c.updatedAt),
            notBefore=None,
        )
    )
    state = (await connection.execute(changed.returning(jobs.c.state))).scalar()
    return await demand(connection, job_id, actor), state == "cancelled"


async def have_ended(connection: AsyncConnection, job_ids: Sequence[str], moment: str) -> bool:
    """Whether one of these jobs has ended at this moment."""
    found = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.endedAt == moment).limit(1)
    return (await connection.execute(found)).scalar() is not None


async def retry(connection: AsyncConnection, job_id: str, actor: Actor) -> Job:
    """Let a failed or cancelled job wait again; it goes on at the step that failed.

    Raises:
        NotFound: as `demand`.
        InvalidRecord: the job is not failed or cancelled, or another one of its key is unfinished.
    """
    job = await demand(connection, job_id, actor)
    if job.state in UNFINISHED:
        return job
    if job.state == "done":
        raise InvalidRecord(f"the job {job_id} is done; only a failed or cancelled job can be tried again")
    if job.key is not None:
        same = select(jobs.c.id).where(jobs.c.kind == job.kind, jobs.c.key == job.key, IS_UNFINISHED)
        if (other := (await connection.execute(same)).scalar()) is not None:
            raise InvalidRecord(f"the job {job_id} cannot be tried again: the job {other} is for the same thing")
    again: dict[str, Any] = {
        "state": "waiting",
        "error": None,
        "endedAt": None,
        "isCancelling": False,
        "interruptions": 0,
        "notBefore": None,
        "updatedAt": utc_now(),
    }
    await connection.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state == job.state).values(**again))
    return await demand(connection, job_id, actor)


async def forget(connection: AsyncConnection, before: str, limit: int) -> tuple[list[str], list[str]]:
    """Delete some finished jobs that ended before this time; gives their ids, and the keys of their files, which are
    queued for deletion."""
    old = select(jobs.c.id).where(~IS_UNFINISHED, jobs.c.endedAt < before).limit(limit)
    deleted = delete(jobs).where(jobs.c.id.in_(old)).returning(jobs.c.id, jobs.c.objectKey)
    rows = (await connection.execute(deleted)).all()
    keys = [row.objectKey for row in rows if row.objectKey is not None]
    await file_outbox.abandon(connection, *keys)
    return [row.id for row in rows], keys


async def with_steps(connection: AsyncConnection, job_ids: Sequence[str]) -> set[str]:
    """Which of these jobs exist and may run again, so that their steps are needed."""
    found = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state != "done")
    return set((await connection.execute(found)).scalars())
