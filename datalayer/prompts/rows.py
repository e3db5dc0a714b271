"""SQL of prompts."""

from functools import cache

from sqlalchemy import Executable, and_, bindparam, case, delete, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.records.prompts import Prompt
from datalayer.schema.chat import users
from datalayer.schema.prompts import prompts


async def of_actor(database: Database, actor: str) -> list[Prompt]:
    """The prompts that a user of this identifier may use, by name, and the own one first."""
    return [Prompt(*row) for row in await database.fetch(_of_actor(), {"actor": actor})]


@cache
def _of_actor() -> Executable:
    identifier = bindparam("actor", type_=users.c.identifier.type, required=True)
    me = select(users.c.id).where(users.c.identifier == identifier).scalar_subquery()
    one = prompts.c
    is_own = one.ownerId == me
    return (
        select(one.id, one.name, one.text, users.c.identifier, one.isShared, one.updatedAt)
        .join(users, users.c.id == one.ownerId)
        .where(or_(is_own, one.isShared))
        .order_by(one.name, case((is_own, 0), else_=1), users.c.identifier)
    )


async def count(connection: AsyncConnection, user_id: str, *, except_id: str) -> int:
    own = select(func.count()).select_from(prompts).where(prompts.c.ownerId == user_id, prompts.c.id != except_id)
    return int((await connection.execute(own)).scalar_one())


async def has_name(connection: AsyncConnection, user_id: str, name: str, *, except_id: str) -> bool:
    """Whether the user has another prompt of this name."""
    same = select(prompts.c.id).where(prompts.c.ownerId == user_id, prompts.c.name == name, prompts.c.id != except_id)
    return (await connection.execute(same)).first() is not None


async def exists_of(connection: AsyncConnection, user_id: str, prompt_id: str) -> bool:
    own = select(prompts.c.id).where(prompts.c.id == prompt_id, prompts.c.ownerId == user_id)
    return (await connection.execute(own)).first() is not None


async def store(connection: AsyncConnection, dialect: Dialect, user_id: str, prompt: Prompt) -> None:
    values = {
        **{"name": prompt.name, "text": prompt.text},
        **{"isShared": prompt.is_shared, "updatedAt": prompt.updated_at},
    }
    statement = dialect.insert(prompts).values(id=prompt.id, ownerId=user_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[prompts.c.id], set_=values))


async def remove(connection: AsyncConnection, prompt_id: str, user_id: str, *, shared: bool) -> bool:
    """Delete the prompt if it is the user's or, with `shared`, a shared one; whether there was one."""
    mine = or_(prompts.c.ownerId == user_id, prompts.c.isShared if shared else false())
    return bool((await connection.execute(delete(prompts).where(and_(prompts.c.id == prompt_id, mine)))).rowcount)
