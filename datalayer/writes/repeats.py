"""Operations that stay right if the queue repeats them.

The queue runs an operation again if its transaction was committed, but the connection was lost before the answer came.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import ParamSpec, TypeVar

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import NotFound

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
_Operation = Callable[[AsyncConnection], Awaitable[T]]


def deletion(remove: _Operation[T]) -> _Operation[T]:
    """The deletion, which raises NotFound if there is nothing to delete; repeated, it gives its result again."""
    results: list[T] = []

    async def operation(connection: AsyncConnection) -> T:
        try:
            result = await remove(connection)
        except NotFound:
            if not results:
                raise
            return results[-1]
        results.append(result)
        return result

    return operation


def removal(remove: Callable[P, Awaitable[bool]]) -> Callable[P, Awaitable[bool]]:
    """The removal, which gives whether there was something to remove; repeated, it gives that again."""
    removed = False

    async def operation(*args: P.args, **kwargs: P.kwargs) -> bool:
        nonlocal removed
        removed = await remove(*args, **kwargs) or removed
        return removed

    return operation


def repeatable(change: _Operation[T], is_done: _Operation[bool]) -> _Operation[T]:
    """The change; repeated, it gives its result again if the change is found to be done.

    Args:
        is_done: whether the database is as the last attempt left it. It is asked only after such an attempt.
    """
    results: list[T] = []

    async def operation(connection: AsyncConnection) -> T:
        if results and await is_done(connection):
            return results[-1]
        result = await change(connection)
        results.append(result)
        return result

    return operation


def conditional(change: _Operation[T], read: _Operation[S]) -> _Operation[T]:
    """The change, which depends on what is stored; repeated, it gives its result again if that is as it was left.

    Args:
        read: gives what is stored.
    """
    left: list[S] = []

    async def operation(connection: AsyncConnection) -> T:
        result = await change(connection)
        left.append(await read(connection))
        return result

    async def is_as_left(connection: AsyncConnection) -> bool:
        return await read(connection) == left[-1]

    return repeatable(operation, is_as_left)


def addition(add: _Operation[T], table: Table, ids: Collection[str]) -> _Operation[T]:
    """The addition of rows, some of which may exist; repeated, it gives its result again if it was stored.

    Args:
        ids: those of the rows.
    """

    async def read(connection: AsyncConnection) -> set[str]:
        return set((await connection.execute(select(table.c.id).where(table.c.id.in_(ids)))).scalars())

    return conditional(add, read)
