"""Copies the rows of Chainlit's asyncpg layer (tables created by Prisma, on Postgres only) into our tables.

Every statement is one INSERT from a SELECT that leaves existing rows unchanged. A row is copied if its id is a UUID and
the rows that it belongs to were copied; all others are counted. Prisma's times have no time zone and are read as UTC.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Float,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    inspect,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import name_key
from datalayer.history.user_names import fill
from datalayer.schema.chat import deleted_threads, elements, feedback_changes, feedbacks, steps, threads, users

_metadata = MetaData()


def _source(name: str, /, **kinds: Any) -> Table:
    return Table(name, _metadata, Column("id", Text), *(Column(column, kind) for column, kind in kinds.items()))


_USER = _source("User", identifier=Text, metadata=JSONB, createdAt=DateTime)
_THREAD = _source(
    "Thread", createdAt=DateTime, updatedAt=DateTime, deletedAt=DateTime, name=Text, metadata=JSONB, userId=Text
)
_STEP = _source(
    "Step", parentId=Text, threadId=Text, input=Text, metadata=JSONB, name=Text, output=Text, type=Text,
    showInput=Text, isError=Boolean, startTime=DateTime, endTime=DateTime,
)  # fmt: skip
_ELEMENT = _source(
    "Element", createdAt=DateTime, threadId=Text, stepId=Text, metadata=JSONB, mime=Text, name=Text, objectKey=Text,
    url=Text, chainlitKey=Text, display=Text, size=Text, language=Text, page=Integer, props=JSONB,
)  # fmt: skip
_FEEDBACK = _source("Feedback", createdAt=DateTime, updatedAt=DateTime, stepId=Text, value=Float, comment=Text)

_OTHER_SPELLINGS = Table(
    "threadkeeper_other_spellings",
    MetaData(),
    Column("identifier", Text),
    Column("userId", UUID(as_uuid=False)),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)

# Prisma's table to ours.
SOURCES = {"User": "users", "Thread": "threads", "Step": "steps", "Element": "elements", "Feedback": "feedbacks"}
MERGED = "users who exist already in another spelling of their names (their threads go to these users)"
FOLDED = "duplicate votes on one step (moved to feedback_changes; the newest by its time is kept)"


def _is_uuid(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.coalesce(column, "").regexp_match("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")


def _uuid(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # Inside CASE, because the planner may cast before it filters.
    return case((_is_uuid(column), cast(column, UUID(as_uuid=False))), else_=None)


def _moment(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(column, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')


_THREAD_WAS_DELETED = _uuid(_THREAD.c.id).in_(select(deleted_threads.c.id))
_THREAD_COMES = and_(_is_uuid(_THREAD.c.id), _THREAD.c.deletedAt.is_(None), not_(_THREAD_WAS_DELETED))
_STEP_COMES = and_(_is_uuid(_STEP.c.id), _STEP.c.threadId.in_(select(_THREAD.c.id).where(_THREAD_COMES)))
_ELEMENT_THREAD = func.coalesce(
    _ELEMENT.c.threadId, select(_STEP.c.threadId).where(_STEP.c.id == _ELEMENT.c.stepId).scalar_subquery()
)
_ELEMENT_COMES = and_(_is_uuid(_ELEMENT.c.id), _ELEMENT_THREAD.in_(select(_THREAD.c.id).where(_THREAD_COMES)))
_VOTE_COMES = and_(_is_uuid(_FEEDBACK.c.id), _FEEDBACK.c.stepId.in_(select(_STEP.c.id).where(_STEP_COMES)))
_NEWEST_FIRST = (_FEEDBACK.c.updatedAt.desc(), _FEEDBACK.c.createdAt.desc(), _FEEDBACK.c.id.desc())
_PLACE = func.row_number().over(partition_by=_FEEDBACK.c.stepId, order_by=_NEWEST_FIRST).label("place")
_VOTES = select(_FEEDBACK, _PLACE).where(_VOTE_COMES).subquery("votes")


def left_behind() -> list[tuple[str, str, Select[tuple[str]]]]:
    """The rows that are not copied: our table, a description, and the query for their ids."""
    odd_or_gone = "not copied: the id is not a UUID, or the row that they belong to was not copied"
    return [
        ("users", "users not copied: the id is not a UUID", select(_USER.c.id).where(not_(_is_uuid(_USER.c.id)))),
        (
            "threads",
            "threads not copied: the id is not a UUID",
            select(_THREAD.c.id).where(not_(_is_uuid(_THREAD.c.id))),
        ),
        (
            "threads",
            "threads not copied: marked as deleted",
            select(_THREAD.c.id).where(_is_uuid(_THREAD.c.id), _THREAD.c.deletedAt.is_not(None)),
        ),
        (
            "threads",
            "threads not copied: deleted here since an earlier adoption",
            select(_THREAD.c.id).where(_is_uuid(_THREAD.c.id), _THREAD.c.deletedAt.is_(None), _THREAD_WAS_DELETED),
        ),
        ("steps", f"steps {odd_or_gone}", _without(_STEP, _STEP_COMES)),
        ("elements", f"elements {odd_or_gone}", _without(_ELEMENT, _ELEMENT_COMES)),
        ("feedbacks", f"feedbacks {odd_or_gone}", _without(_FEEDBACK, _VOTE_COMES)),
    ]


def folded_votes() -> Select[tuple[str]]:
    return select(_VOTES.c.id).where(_VOTES.c.place > 1)


def _without(table: Table, comes: ColumnElement[bool]) -> Select[tuple[str]]:
    return select(table.c.id).where(or_(not_(comes), comes.is_(None)))


async def count(connection: AsyncConnection) -> dict[str, int]:
    """The number of rows in each source table, by the name of our table."""
    return {
        ours: (await connection.execute(select(func.count()).select_from(_metadata.tables[source]))).scalar_one()
        for source, ours in SOURCES.items()
    }


async def move(connection: AsyncConnection) -> list[str]:
    """Copy the rows. A row with an existing id and a user with an existing name are left unchanged.

    Returns:
        The names of users who exist already in another spelling, and get the threads.
    """
    other_spellings = await _note_other_spellings(connection)
    columns = await connection.run_sync(lambda sync: {column["name"] for column in inspect(sync).get_columns("Thread")})
    await _copy(
        connection, users,
        {
            "id": _uuid(_USER.c.id), "identifier": _USER.c.identifier, "metadata": _USER.c.metadata,
            "createdAt": _moment(_USER.c.createdAt),
        },
        select().where(_is_uuid(_USER.c.id), _USER.c.identifier.not_in(select(_OTHER_SPELLINGS.c.identifier))),
    )  # fmt: skip
    await fill(connection)
    # By name: a user who exists already under another id is the same person.
    thread_values: dict[str, ColumnElement[Any]] = {
        "id": _uuid(_THREAD.c.id), "createdAt": _moment(_THREAD.c.createdAt), "updatedAt": _moment(_THREAD.c.updatedAt),
        "name": _THREAD.c.name, "userId": users.c.id, "userIdentifier": users.c.identifier,
        "metadata": _THREAD.c.metadata,
    }  # fmt: skip
    # Only later versions of that schema have this column.
    if "tags" in columns:
        thread_values["tags"] = literal_column('"Thread".tags', ARRAY(Text))
    other = select(_OTHER_SPELLINGS.c.userId).where(_OTHER_SPELLINGS.c.identifier == _USER.c.identifier)
    owner = _THREAD.outerjoin(_USER, _USER.c.id == _THREAD.c.userId).outerjoin(
        users, or_(users.c.identifier == _USER.c.identifier, users.c.id == other.scalar_subquery())
    )
    await _copy(connection, threads, thread_values, select().select_from(owner).where(_THREAD_COMES))
    await _copy(
        connection, steps,
        {
            "id": _uuid(_STEP.c.id), "name": func.coalesce(_STEP.c.name, ""), "type": cast(_STEP.c.type, Text),
            "threadId": _uuid(_STEP.c.threadId), "parentId": _uuid(_STEP.c.parentId), "metadata": _STEP.c.metadata,
            "input": _STEP.c.input, "output": _STEP.c.output, "isError": _STEP.c.isError,
            "showInput": _STEP.c.showInput, "createdAt": _moment(_STEP.c.startTime),
            "start": _moment(_STEP.c.startTime), "end": _moment(_STEP.c.endTime),
        },
        select().where(_STEP_COMES),
    )  # fmt: skip
    element_values: dict[str, ColumnElement[Any]] = {
        "id": _uuid(_ELEMENT.c.id), "threadId": _uuid(_ELEMENT_THREAD), "forId": _uuid(_ELEMENT.c.stepId),
        "type": _ELEMENT.c.metadata["type"].astext, "createdAt": _moment(_ELEMENT.c.createdAt),
        **{
            name: _ELEMENT.c[name]
            for name in (
                "url", "chainlitKey", "name", "display", "objectKey", "size", "page", "language", "mime", "props"
            )
        },
    }  # fmt: skip
    await _copy(connection, elements, element_values, select().where(_ELEMENT_COMES))
    # The voter is not stored. Only the owner of the thread sees the thumbs, so the vote is theirs.
    voted = _VOTES.join(steps, steps.c.id == _uuid(_VOTES.c.stepId)).join(threads, threads.c.id == steps.c.threadId)
    vote: dict[str, ColumnElement[Any]] = {
        "id": _uuid(_VOTES.c.id), "forId": steps.c.id, "threadId": threads.c.id, "userId": threads.c.userId,
        "value": cast(func.round(_VOTES.c.value), Integer), "comment": _VOTES.c.comment,
    }  # fmt: skip
    newest, older = _VOTES.c.place == 1, _VOTES.c.place > 1
    when = _moment(_VOTES.c.updatedAt)
    await _copy(connection, feedbacks, vote | {"updatedAt": when}, select().select_from(voted).where(newest))
    history = vote | {"feedbackId": _uuid(_VOTES.c.id), "changedAt": when}
    await _copy(connection, feedback_changes, history, select().select_from(voted).where(older))
    return other_spellings


async def _note_other_spellings(connection: AsyncConnection) -> list[str]:
    """Fill the table of source users who exist here already, but in another spelling; returns their names."""
    await connection.run_sync(_OTHER_SPELLINGS.create)
    here = set((await connection.execute(select(users.c.identifier))).scalars())
    of_keys = await connection.execute(select(users.c.nameKey, users.c.id).where(users.c.nameKey.is_not(None)))
    holders: dict[str, str] = {key: user_id for key, user_id in of_keys}  # noqa: C416  mypy
    source = (await connection.execute(select(_USER.c.identifier).order_by(_USER.c.identifier))).scalars()
    found = [
        {"identifier": name, "userId": holders[name_key(name)]}
        for name in source
        if name not in here and name_key(name) in holders
    ]
    if found:
        await connection.execute(_OTHER_SPELLINGS.insert(), found)
    return [one["identifier"] for one in found]


async def _copy(
    connection: AsyncConnection, table: Table, values: dict[str, ColumnElement[Any]], rows: Select[Any]
) -> None:
    chosen = rows.add_columns(*values.values())
    await connection.execute(insert(table).from_select(list(values), chosen).on_conflict_do_nothing())
