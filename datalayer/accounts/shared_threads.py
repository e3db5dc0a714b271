"""The acting user's own threads outside the chat's list: the shared ones, and the names of some."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import known_id
from datalayer.history import users
from datalayer.ownership import acting_user
from datalayer.schema.chat import threads
from datalayer.store import DataStore

MOST_SHARED = 500
_MOST_NAMED = 500


@dataclass(frozen=True, slots=True)
class SharedThread:
    """A thread that every logged-in user with its link may read. `shared_at` is a UTC text, if it is known."""

    id: str
    name: str | None
    shared_at: str | None


class SharedThreads(DataStore):
    """Reads the acting user's threads only; an anonymous visitor and the system have none."""

    async def shared_threads(self) -> list[SharedThread]:
        """The acting user's shared threads, last activity first, at most `MOST_SHARED`."""
        actor, dialect = acting_user.get(), self.database.dialect

        async def find(connection: AsyncConnection) -> list[SharedThread]:
            user = await users.acting(connection, actor)
            if user is None:
                return []
            # As text it is "true" on one engine and "1" on the other.
            is_shared = cast(dialect.text_in(threads.c.metadata, "is_shared"), Text).in_(("true", "1"))
            shared_at = dialect.text_in(threads.c.metadata, "shared_at")
            statement = (
                select(threads.c.id, threads.c.name, shared_at)
                .where(threads.c.userId == user.id, is_shared)
                .order_by(threads.c.updatedAt.desc(), threads.c.id)
                .limit(MOST_SHARED)
            )
            return [SharedThread(*row) for row in await connection.execute(statement)]

        await self._writer.settled()
        return await self.database.query(find)

    async def names_of_threads(self, thread_ids: Collection[str]) -> dict[str, str]:
        """The names, by id, of those of these threads that belong to the acting user; "" if a thread has no name."""
        actor = acting_user.get()
        ids = [known for one in list(thread_ids)[:_MOST_NAMED] if (known := known_id(one)) is not None]

        async def find(connection: AsyncConnection) -> dict[str, str]:
            user = await users.acting(connection, actor)
            if user is None or not ids:
                return {}
            own = select(threads.c.id, threads.c.name).where(threads.c.id.in_(ids), threads.c.userId == user.id)
            return {thread_id: name or "" for thread_id, name in await connection.execute(own)}

        return await self.database.query(find)
