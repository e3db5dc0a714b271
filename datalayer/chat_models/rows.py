"""SQL of the models of the chat."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.ownership import Actor, chat_models_usable_by
from datalayer.records.assistants import AssistantAccess
from datalayer.records.chat_models import ChatModel
from datalayer.schema.chat import users
from datalayer.schema.chat_models import chat_model_users, chat_models

NOBODY = "nobody"
_one = chat_models.c


@cache
def all_for(kind: Actor) -> Select[Any]:
    """All rows, the newest first, with whether the actor may use the model; it is kept (`Database.fetch`)."""
    columns = (_one.name, _one.access, _one.role, _one.isDefault, _one.changedAt)
    return select(*columns, chat_models_usable_by(kind)).order_by(_one.changedAt.desc(), _one.name)


def read_row(row: Sequence[Any]) -> ChatModel:
    """The model of a row, without the names of its users."""
    name, access, role, is_default, changed_at, may_use = row
    is_offered = None if access is None else access != NOBODY
    given = AssistantAccess(access, role) if is_offered else AssistantAccess()
    return ChatModel(name, is_offered, given, bool(is_default), bool(is_offered and may_use), changed_at)


async def named_users(connection: AsyncConnection) -> dict[str, tuple[str, ...]]:
    """The identifiers of the users who are named for each model, in their order."""
    named = chat_model_users.c
    statement = (
        select(named.model, users.c.identifier).join(users, users.c.id == named.userId).order_by(users.c.identifier)
    )
    found: dict[str, tuple[str, ...]] = {}
    for model, identifier in await connection.execute(statement):
        found[model] = (*found.get(model, ()), identifier)
    return found


async def put(
    connection: AsyncConnection, dialect: Dialect, name: str, access: AssistantAccess | None, user_ids: Sequence[str]
) -> None:
    """Store for whom a model is, in place of what was there; None for nobody."""
    values = {"access": NOBODY if access is None else access.kind, "role": access.role if access else None}
    await _put(connection, dialect, name, values)
    await connection.execute(delete(chat_model_users).where(chat_model_users.c.model == name))
    if user_ids:
        await connection.execute(insert(chat_model_users), [{"model": name, "userId": one} for one in user_ids])


async def reset(connection: AsyncConnection, name: str) -> None:
    """Forget for whom a model is. A model that was made the default stays it."""
    await connection.execute(delete(chat_models).where(_one.name == name, _one.isDefault.is_(False)))
    await connection.execute(
        update(chat_models).where(_one.name == name).values(access=None, role=None, changedAt=utc_now())
    )
    await connection.execute(delete(chat_model_users).where(chat_model_users.c.model == name))


async def put_default(connection: AsyncConnection, dialect: Dialect, name: str | None) -> None:
    """Make a model the default in place of another; None leaves it to the setting."""
    was_default = _one.isDefault.is_(True)
    await connection.execute(delete(chat_models).where(was_default, _one.access.is_(None), _one.name != (name or "")))
    await connection.execute(update(chat_models).where(was_default).values(isDefault=False, changedAt=utc_now()))
    if name is not None:
        await _put(connection, dialect, name, {"isDefault": True})


async def _put(connection: AsyncConnection, dialect: Dialect, name: str, values: dict[str, Any]) -> None:
    changed = {**values, "changedAt": utc_now()}
    statement = dialect.insert(chat_models).values(name=name, **{"isDefault": False, **changed})
    await connection.execute(statement.on_conflict_do_update(index_elements=[_one.name], set_=changed))
