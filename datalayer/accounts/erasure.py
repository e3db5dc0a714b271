"""Deletions that give a receipt: what was removed, whose it was, when, and which files the store did not let go of.

A receipt holds counts, ids and keys, and nothing of what anybody wrote.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, utc_now
from datalayer.errors import NotFound
from datalayer.history import threads as thread_table
from datalayer.history.deletion import Removal, remove_threads, remove_user
from datalayer.ownership import Actor, acting_user, demand_write, recorded
from datalayer.schema.chat import threads
from datalayer.store import DataStore
from datalayer.writes.apply import demand


@dataclass(frozen=True, slots=True)
class Receipt:
    """A deletion that is done.

    `what` and `id` say what of; `id` is None for a user of whom only threads were left. `owner` is the identifier of
    whose it was, `deleted_by` of who asked for it (None for the system itself). `rows` counts the rows of each table,
    `threads` are the ids of the threads among them, in order, `files` are the keys removed from the blob store, and
    `files_left` those that it did not let go of: they are in the queue of deletions and are tried again later, but for
    keys that are none of this store's, as an adopted database may have them. `row_ids` names, by table, each row that
    has an id of its own.
    """

    what: Literal["thread", "user"]
    id: str | None
    owner: str | None
    deleted_by: str | None
    deleted_at: str
    rows: dict[str, int]
    files: tuple[str, ...] = ()
    files_left: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    row_ids: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Receipts(DataStore):
    """Deletes threads and users for good. The rows go in one transaction, then the files."""

    async def delete_thread_with_receipt(self, thread_id: str) -> Receipt:
        """Delete the thread with its steps, votes, elements and files. What calls to models cost stays, without ids.

        Raises:
            NotFound: there is no such thread.
            Forbidden: it is someone else's.
        """
        actor, thread_id = acting_user.get(), clean_id(thread_id, "thread id")
        owner: list[str | None] = []

        async def remove(connection: AsyncConnection) -> Removal:
            owner.append((await thread_table.owner(connection, thread_id))[1])
            await demand(connection, thread_id, actor)
            return await remove_threads(connection, threads.c.id == thread_id)

        removed = await self._remove(remove, "there is no such thread")
        return await self._receipt("thread", thread_id, owner[0], actor, removed)

    async def delete_user(self, identifier: str) -> Receipt:
        """Delete the user with password, votes, threads and files. Only the user and the system may.

        What their calls to models cost stays, without ids.

        A page of theirs that is still open may write on: disable the user first, or delete once more.

        Raises:
            NotFound: there is no such user, and no thread of theirs.
            Forbidden: someone else asks for it.
        """
        actor, identifier = acting_user.get(), clean_text(identifier)
        demand_write(actor, identifier, "the account")
        user_id: list[str | None] = []

        async def remove(connection: AsyncConnection) -> Removal:
            found, removed = await remove_user(connection, identifier)
            user_id.append(found)
            return removed

        removed = await self._remove(remove, f"there is no user {identifier!r}")
        return await self._receipt("user", next((one for one in user_id if one), None), identifier, actor, removed)

    async def _remove(self, remove: Callable[[AsyncConnection], Awaitable[Removal]], unknown: str) -> Removal:
        tried: list[Removal] = []

        async def operation(connection: AsyncConnection) -> Removal:
            removed = await remove(connection)
            if not any(removed.rows.values()):
                if not tried:
                    raise NotFound(unknown)
                # An earlier try had committed before its connection was lost.
                return tried[-1]
            tried.append(removed)
            return removed

        removed: Removal = await self._writer.submit(operation)
        return removed

    async def _receipt(
        self, what: Literal["thread", "user"], record_id: str | None, owner: str | None, actor: Actor, removed: Removal
    ) -> Receipt:
        moment = utc_now()
        self.search_indexer.note(deleted=True)
        disposed = await self.file_deleter.delete(removed.object_keys, record_id if what == "thread" else None)
        return Receipt(
            what=what,
            id=record_id,
            owner=owner,
            deleted_by=recorded(actor)[0],
            deleted_at=moment,
            rows=removed.rows,
            files=tuple(disposed.deleted),
            files_left=tuple(disposed.left),
            threads=tuple(sorted(removed.thread_ids)),
            row_ids={table: tuple(sorted(ids)) for table, ids in removed.row_ids.items()},
        )
