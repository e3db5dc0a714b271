"""SQL of the list of users with what an admin sees of them: one statement a page."""

from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.records.chat import User
from datalayer.records.people import ListedUser
from datalayer.schema import people
from datalayer.schema.chat import credentials, logins, threads, users
from datalayer.schema.rows import columns, record_of
from datalayer.schema.usage import llm_calls


async def page(
    connection: AsyncConnection, chosen: list[ColumnElement[bool]], *, limit: int, now: str, cost_since: str
) -> list[ListedUser]:
    """The first of the chosen users, by identifier.

    The sums are computed for the rows of the page alone, by the indexes of the user's rows.
    """
    rows = await connection.execute(_statement(chosen, limit, now, cost_since))
    return [_listed(row) for row in rows.mappings()]


def named_like(key: str) -> ColumnElement[bool]:
    """Whether the name as it is compared contains this text."""
    return func.coalesce(users.c.nameKey, users.c.identifier).contains(key, autoescape=True)


def _statement(chosen: list[ColumnElement[bool]], limit: int, now: str, cost_since: str) -> Select[Any]:
    of_page = select(*columns(User, users)).where(*chosen).order_by(users.c.identifier).limit(limit).subquery()
    user_id, invitations = of_page.c.id, people.invitations
    seen = select(func.max(logins.c.seenAt)).where(logins.c.userId == user_id)
    count = select(func.count()).select_from(threads).where(threads.c.userId == user_id)
    of_user = (llm_calls.c.userId == user_id, llm_calls.c.requestedAt >= cost_since)
    cost = select(func.sum(llm_calls.c.totalCost)).where(*of_user)
    open_until = select(invitations.c.expiresAt).where(invitations.c.userId == user_id, invitations.c.expiresAt > now)
    return (
        select(
            of_page,
            credentials.c.userId.is_not(None).label("hasPassword"),
            seen.scalar_subquery().label("seenAt"),
            count.scalar_subquery().label("threads"),
            cost.scalar_subquery().label("cost"),
            open_until.scalar_subquery().label("invitedUntil"),
        )
        .join_from(of_page, credentials, credentials.c.userId == user_id, isouter=True)
        .order_by(of_page.c.identifier)
    )


def _listed(row: RowMapping) -> ListedUser:
    return ListedUser(
        record_of(User, users, row),
        bool(row["hasPassword"]),
        row["seenAt"],
        row["threads"],
        row["cost"],
        row["invitedUntil"],
    )
