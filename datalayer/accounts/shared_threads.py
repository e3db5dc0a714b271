"""Shared threads: the acting user's own, and those of others, which every logged-in user may read and copy."""

import uuid
from collections.abc import Collection

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, known_id
from datalayer.errors import NotFound
from datalayer.history import users
from datalayer.history.copying import copy_thread
from datalayer.history.threads import get as thread_of
from datalayer.ownership import acting_user, may_write
from datalayer.records.chat import SharedThread, ThreadHeading
from datalayer.schema.chat import threads
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

MOST_SHARED = 500
_MOST_NAMED = 500


class SharedThreads(DataStore):
    """Methods for the acting user; an anonymous visitor and the system own no threads."""

    async def heading_of_thread(self, thread_id: str) -> ThreadHeading | None:
        """The heading of a thread, or None if the acting user may not read it."""
        actor = acting_user.get()
        thread = await self._thread(thread_id, actor)
        if thread is None:
            return None
        shared_at = (thread.metadata or {}).get("shared_at")
        return ThreadHeading(
            thread.id,
            thread.name,
            thread.user_identifier,
            may_write(actor, thread.user_identifier),
            thread.is_shared,
            shared_at if isinstance(shared_at, str) else None,
        )

    async def copy_shared_thread(self, thread_id: str, *, shown_metadata: Collection[str] = ()) -> str:
        """Copy a thread that the acting user may read into the user's own threads; returns the copy's id.

        The copy has the messages and files. It has neither votes, favourites, tags and settings, nor the sharing.

        Args:
            thread_id: the original's id.
            shown_metadata: the keys of the steps' metadata that the copy keeps.

        Raises:
            NotFound: there is no such thread for the acting user, or there is no acting user.
        """
        actor = acting_user.get()
        thread = await self._thread(thread_id, actor)
        if thread is None or not isinstance(actor, str):
            raise NotFound(f"the thread {clean_text(str(thread_id))[:60]!r} does not exist for the acting user")

        copy_id = str(uuid.uuid4())

        async def copy(connection: AsyncConnection) -> None:
            user = await users.acting(connection, actor)
            if user is None:
                raise NotFound("the user was deleted")
            owner = (user.id, user.identifier)
            await copy_thread(connection, thread.id, owner, shown_metadata=shown_metadata, copy_id=copy_id)

        async def is_there(connection: AsyncConnection) -> bool:
            return await thread_of(connection, copy_id) is not None

        await self._writer.submit(repeatable(copy, is_there))
        self.search_indexer.note()
        self.answer_follower.note()
        return copy_id

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
