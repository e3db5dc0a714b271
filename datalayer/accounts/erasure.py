"""Erasure of threads and users, with a receipt: what was deleted, by whom, when, and which files could not be deleted.

A receipt holds counts, ids and keys, and no text that anybody wrote.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts.accounts import demand_other_admin, note_account
from datalayer.cleaning import clean_id, clean_text, known_id, utc_now
from datalayer.conditions import Condition, demand_unchanged
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import users
from datalayer.history.deletion import Removal, remove_threads, remove_user
from datalayer.history.threads import get as thread_of
from datalayer.history.threads import lock
from datalayer.history.threads import owner as owner_of
from datalayer.history.user_names import stored_name
from datalayer.ownership import SYSTEM, Actor, acting_user, demand_write, recorded
from datalayer.records.chat import Receipt, Thread, User
from datalayer.schema.chat import threads
from datalayer.store import DataStore
from datalayer.writes.apply import demand
from datalayer.writes.repeats import deletion

MOST_THREADS = 100
"""Deleted at once by `delete_threads`."""


async def demand_thread(connection: AsyncConnection, thread_id: str, only_if: Condition[Thread] | None) -> None:
    """Require that the thread is as the condition wants it, and lock it.

    Raises:
        NotFound: there is no such thread.
        RecordChanged: it is another.
    """
    if only_if is not None:
        await lock(connection, thread_id)
        found = await thread_of(connection, thread_id)
        demand_unchanged(found, only_if, f"the thread {thread_id}")


class Erasure(DataStore):
    """Deletes threads and users permanently: the rows in one transaction, then the files."""

    async def delete_thread_with_receipt(self, thread_id: str, *, only_if: Condition[Thread] | None = None) -> Receipt:
        """Delete the thread with its steps, votes, elements and files. The costs of its model calls stay, without ids.

        Args:
            thread_id: of the thread.
            only_if: what it must be like, in the same transaction.

        Raises:
            RecordChanged: it is not.
            NotFound: the thread does not exist.
            Forbidden: the thread belongs to someone else.
        """
        actor, thread_id = acting_user.get(), clean_id(thread_id, "thread id")
        owner: list[str | None] = []

        async def remove(connection: AsyncConnection) -> Removal:
            owner.append((await owner_of(connection, thread_id))[1])
            await demand(connection, thread_id, actor)
            await demand_thread(connection, thread_id, only_if)
            return await remove_threads(connection, threads.c.id == thread_id)

        removed = await self._remove(remove, f"the thread {thread_id} does not exist")
        return await self._receipt("thread", thread_id, owner[0], actor, removed)

    async def delete_threads(self, thread_ids: Collection[str]) -> Receipt:
        """Delete several threads as `delete_thread_with_receipt` does, in one transaction: all of them, or none.

        Ids of threads that do not exist any more are left out.

        Raises:
            InvalidRecord: there are more than MOST_THREADS ids.
            NotFound: none of the threads exists.
            Forbidden: a thread belongs to someone else.
        """
        if len(thread_ids) > MOST_THREADS:
            raise InvalidRecord(f"at most {MOST_THREADS} threads are deleted at once")
        actor, ids = acting_user.get(), sorted(known for one in thread_ids if (known := known_id(one)) is not None)
        owners: set[str | None] = set()

        async def remove(connection: AsyncConnection) -> Removal:
            found = select(threads.c.userIdentifier).where(threads.c.id.in_(ids))
            owners.update((await connection.execute(found)).scalars())
            for owner in owners:
                demand_write(actor, owner, "a thread")
            return await remove_threads(connection, threads.c.id.in_(ids))

        removed = await self._remove(remove, "none of these threads exists")
        return await self._receipt("threads", None, owners.pop() if len(owners) == 1 else None, actor, removed)

    async def delete_user(
        self, identifier: str, *, by: Actor = None, only_if: Condition[User] | None = None
    ) -> Receipt:
        """Delete the user with password, votes, threads and files. Only the user and the system may do this.

        The costs of the user's model calls stay, without ids. A page of the user that is still open can write new data
        after the deletion: disable the user first, or delete again.

        Args:
            identifier: of the user.
            by: for a row in the audit and for the receipt, the admin in whose name it is done, or SYSTEM for the
                command line; None adds no row.
            only_if: what the stored user must be like, in the same transaction.

        Raises:
            RecordChanged: it is not.
            InvalidRecord: the user is the only admin.
            NotFound: neither the user nor a thread of theirs exists.
            Forbidden: the acting user is someone else.
        """
        actor, given = acting_user.get(), clean_text(identifier)
        identifier = await self.database.query(lambda connection: stored_name(connection, given))
        demand_write(actor, identifier, "the account")
        user_id: list[str | None] = []

        async def remove(connection: AsyncConnection) -> Removal:
            if by is not None or actor is not SYSTEM:
                await demand_other_admin(connection, identifier)
            await users.demand(connection, identifier, only_if)
            found, removed = await remove_user(connection, identifier)
            user_id.append(found)
            if found is not None:
                await note_account(connection, "delete_user", by, found)
            return removed

        removed = await self._remove(remove, f"there is no user {identifier!r}")
        deleted_by = actor if by is None else by
        return await self._receipt("user", next((one for one in user_id if one), None), identifier, deleted_by, removed)

    async def _remove(self, remove: Callable[[AsyncConnection], Awaitable[Removal]], unknown: str) -> Removal:
        async def operation(connection: AsyncConnection) -> Removal:
            removed = await remove(connection)
            if not any(removed.rows.values()):
                raise NotFound(unknown)
            return removed

        removed: Removal = await self._writer.submit(deletion(operation))
        return removed

    async def _receipt(
        self,
        what: Literal["thread", "threads", "user"],
        record_id: str | None,
        owner: str | None,
        actor: Actor,
        removed: Removal,
    ) -> Receipt:
        moment = utc_now()
        self.search_indexer.note(deleted=True)
        files = await self.file_deleter.delete(removed.object_keys, record_id if what == "thread" else None)
        return Receipt(
            what=what,
            id=record_id,
            owner=owner,
            deleted_by=recorded(actor)[0],
            deleted_at=moment,
            rows=removed.rows,
            files=tuple(files.deleted),
            files_left=tuple(files.left),
            threads=tuple(sorted(removed.thread_ids)),
            row_ids={table: tuple(sorted(ids)) for table, ids in removed.row_ids.items()},
            messages=removed.messages,
            assistants_left=removed.assistants_left,
        )
