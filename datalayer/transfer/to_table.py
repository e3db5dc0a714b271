"""Copies the history of a SQL database into a DynamoDB table, which Chainlit's own layer can read.

Threads and what is in them are read in pages by their ids, so memory does not grow with the history, and no transaction
is open while items are stored.
The item of a thread is stored after its contents, so a reader sees the whole thread or none. Ids are kept, and what
exists is not stored again: a transfer that was interrupted is repeated from the beginning.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from cachetools import LRUCache
from sqlalchemy import ColumnElement, Select, or_, select, true
from sqlalchemy import Table as SqlTable

from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dynamodb import keys
from datalayer.dynamodb.changes import UPDATED
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import BYTE_SIZE, SHA256
from datalayer.dynamodb.items import Item
from datalayer.dynamodb.long_texts import LongTexts
from datalayer.dynamodb.tables import EXPIRES
from datalayer.dynamodb.votes import entries_of_step
from datalayer.errors import InvalidRecord
from datalayer.schema.chat import (
    IS_TEMPORARY,
    blob_deletions,
    deleted_threads,
    elements,
    feedback_changes,
    feedbacks,
    steps,
    threads,
    users,
)
from datalayer.transfer import not_moved, own_files, row_items
from datalayer.transfer.files import Files
from datalayer.transfer.item_rows import CHANGE_ID, USER_ID, VOTE_ID, Row, name_of
from datalayer.transfer.long_items import LongItems, Place, is_too_large, place_of
from datalayer.transfer.report import Counts, TransferReport, compared
from datalayer.transfer.sameness import is_same
from datalayer.transfer.table_items import TableItems

PAGE = 50
"""How many threads are copied at a time."""
_ROWS = 100
"""How many of their rows are in memory at a time."""
_MOST_KNOWN = 20_000


class ToTable:
    """One pass over a database: it stores what the table lacks, or in a dry run only counts that."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore | None,
        table: Table | None,
        target_blobs: BlobStore | None = None,
        *,
        apply: bool,
        progressed: Callable[[TransferReport], None] = lambda _report: None,
        names: bool = True,
    ) -> None:
        """Nothing happens yet.

        Args:
            blobs: the file store of the database.
            table: None stands for a table that does not exist, in a dry run.
            target_blobs: the file store of the table if it is another one; files are copied to it.
            progressed: called after each page.
            names: log each record that cannot be stored.
        """
        self._database, self._apply, self._progressed = database, apply, progressed
        self._report = report = TransferReport(apply, names)
        self._long = LongItems(LongTexts(target_blobs or blobs))
        self._items = TableItems(table, report, self._long, apply=apply)
        self._files = Files(blobs, target_blobs, apply=apply)
        self._names: LRUCache[str, str] = LRUCache(_MOST_KNOWN)

    async def run(self) -> TransferReport:
        """
        Raises:
            StorageUnavailable: a database cannot be reached.
            SchemaError: there is no such table.
            BlobError: a file store fails.
        """
        self._report.not_moved = await not_moved.count(self._database)
        async for page in self._pages(users.c.id, select(users)):
            await self._take_users(page)
        async for page in self._pages(threads.c.id, select(threads).where(~IS_TEMPORARY)):
            await self._take_threads(page)
        async for page in self._pages(deleted_threads.c.id, select(deleted_threads)):
            await self._take_marks(page)
        async for page in self._pages(blob_deletions.c.id, select(blob_deletions)):
            await self._take_files_to_delete(page)
        return self._report

    # Users and threads

    async def _take_users(self, rows: Sequence[Row]) -> None:
        counts = self._report.users
        items = []
        for row in rows:
            counts.found += 1
            if (item := self._item(row_items.user_item, row, counts, "users")) is not None:
                items.append(item)
        there = await self._items.find(items)
        new = [item for item in items if place_of(item) not in there]
        for item in items:
            old = there.get(place_of(item))
            if old is not None and not is_same(item, old, (USER_ID,)):
                self._report.note("users who exist in the target with other metadata (not changed)", name_of(item))
        counts.stored += len(new)
        if self._apply:
            await self._items.put(new, counts, "users")

    async def _take_threads(self, rows: Sequence[Row]) -> None:
        counts = self._report.threads
        counts.found += len(rows)
        owners = await self._identifiers([row["userId"] for row in rows])
        asked = [one(row["id"]) for row in rows for one in (keys.thread_key, keys.deleted_key)]
        there = await self._items.find(asked)
        items: dict[str, Item] = {}
        for row in rows:
            thread = place_of(keys.thread_key(row["id"]))
            if thread not in there and place_of(keys.deleted_key(row["id"])) in there:
                self._report.leave(counts, "threads that were deleted in the target (not copied)", row["id"])
                continue
            owned = row | {"userIdentifier": owners.get(row["userId"]) or row["userIdentifier"]}
            if (item := self._short_item(row_items.thread_item(owned), row["id"], counts, "threads")) is not None:
                items[row["id"]] = item
        await self._take_contents(items)
        # After the contents, so that nobody reads half of a thread.
        await self._items.store(list(items.values()), counts, "threads", moment="UserThreadSK")
        self._progressed(self._report)

    # The contents of threads

    async def _take_contents(self, threads_: dict[str, Item]) -> None:
        ids = list(threads_)
        async for rows in self._contents(steps, ids):
            await self._take_steps(rows, threads_)
        async for rows in self._contents(elements, ids):
            await self._take_elements(rows)
        async for rows in self._contents(feedback_changes, ids):
            await self._take_changes(rows, threads_)

    async def _take_steps(self, rows: Sequence[Row], threads_: dict[str, Item]) -> None:
        counts, votes = self._report.steps, self._report.votes
        counts.found += len(rows)
        cast = await self._votes([row["id"] for row in rows])
        items: list[Item] = []
        entries: dict[Place, list[Item]] = {}
        voted: set[Place] = set()
        for row in rows:
            thread = threads_[row["threadId"]]
            vote = cast.get(row["id"])
            item = self._short_item(row_items.step_item(row, vote), row["id"], counts, "steps")
            if item is None:
                continue
            place = place_of(item)
            items.append(item)
            if vote is not None:
                votes.found += 1
                voted.add(place)
            owner, activity = thread.get("userId", {}).get("S"), thread["UserThreadSK"]["S"].removeprefix("TS#")
            entries[place] = row_items.entries_of(row, vote, owner, activity)

        async def prepare(later: Sequence[Item]) -> None:
            # Entries of the earlier states go first: after an interruption, nothing shows that they have to.
            for item in later:
                wanted = set(map(place_of, entries[place_of(item)]))
                every = entries_of_step(keys.thread_of(item), item["id"]["S"])
                await self._items.delete([one for one in every if place_of(one) not in wanted])

        outcome = await self._items.store(items, counts, "steps", moment=UPDATED, same_is_older=True, prepare=prepare)
        # The vote is a part of its step.
        votes.stored += len(voted & outcome.new)
        own = [one for place, some in entries.items() if place not in outcome.different for one in some]
        await self._take_entries({place_of(one): one for one in own})

    async def _take_entries(self, wanted: dict[Place, Item]) -> None:
        """Store what finds a vote or a favourite in the index."""
        there = await self._items.find(list(wanted.values()))
        new = [one for place, one in wanted.items() if place not in there or not is_same(one, there[place])]
        if self._apply:
            await self._items.put(new, Counts(), "entries of votes and favourites")

    async def _votes(self, step_ids: Sequence[str]) -> dict[str, Row]:
        """The votes of the owners of the threads, by step."""
        own = or_(threads.c.userId == feedbacks.c.userId, threads.c.userId.is_(None) & feedbacks.c.userId.is_(None))
        statement = (
            select(feedbacks)
            .join(threads, (threads.c.id == feedbacks.c.threadId) & own)
            .where(feedbacks.c.forId.in_(step_ids))
        )
        async with self._database.read() as connection:
            return {row["forId"]: dict(row) for row in (await connection.execute(statement)).mappings()}

    async def _take_elements(self, rows: Sequence[Row]) -> None:
        counts = self._report.elements
        counts.found += len(rows)
        await own_files.give(self._database, rows)
        await self._files.bring(rows, self._report)
        items = [self._short_item(row_items.element_item(row), row["id"], counts, "elements") for row in rows]
        await self._items.store(
            [one for one in items if one is not None], counts, "elements", ignored=(BYTE_SIZE, SHA256)
        )

    async def _take_changes(self, rows: Sequence[Row], threads_: dict[str, Item]) -> None:
        counts = self._report.changes_of_votes
        counts.found += len(rows)
        voters = await self._identifiers([row["userId"] for row in rows])
        items = []
        for row in rows:
            owner = threads_[row["threadId"]].get("userId", {}).get("S")
            whole = row_items.change_item(row, voters.get(row["userId"]), owner)
            # The key of a long comment is that of the vote, which has the id of its step.
            items.append(self._short_item(whole, row["forId"], counts, "changes of votes"))
        # A change that was made in the table has no ids of SQL there; its place says what it is.
        short = [one for one in items if one is not None]
        await self._items.store(short, counts, "changes of votes", ignored=(CHANGE_ID, VOTE_ID))

    # What is left of deleted ones

    async def _take_marks(self, rows: Sequence[Row]) -> None:
        counts = self._report.marks_of_deleted_threads
        counts.found += len(rows)
        alive = await self._items.find([keys.thread_key(row["id"]) for row in rows])
        items = []
        for row in rows:
            item = row_items.mark_item(row)
            if place_of(keys.thread_key(row["id"])) in alive:
                what = "threads that were deleted in the source and exist in the target (not deleted)"
                self._report.leave(counts, what, row["id"])
            elif int(item[EXPIRES]["N"]) * 1e9 < utc_now.nanoseconds():
                self._report.leave(counts, "marks of deleted threads that have expired (not copied)", row["id"])
            else:
                items.append(item)
        await self._items.store(
            items, counts, "marks of deleted threads", ignored=(EXPIRES, "UserThreadPK", "UserThreadSK")
        )

    async def _take_files_to_delete(self, rows: Sequence[Row]) -> None:
        """Files that are due and that nothing refers to: an upload may still get its element."""
        counts, now = self._report.files_to_delete, utc_now()
        counts.found += len(rows)
        of_elements = select(elements.c.objectKey).where(elements.c.objectKey.in_([row["objectKey"] for row in rows]))
        async with self._database.read() as connection:
            used = set((await connection.execute(of_elements)).scalars())
        items: dict[Place, Item] = {}
        for row in rows:
            if not self._files.stay:
                self._report.leave(
                    counts, "files to delete, which are in the other store (not copied)", row["objectKey"]
                )
            elif row["dueAt"] > now or row["objectKey"] in used:
                self._report.leave(counts, "files to delete that may still be used (not copied)", row["objectKey"])
            elif (item := self._item(row_items.file_item, row, counts, "files to delete")) is not None:
                items[place_of(item)] = item
        await self._items.store(list(items.values()), counts, "files to delete", ignored=("UserThreadSK",))

    # Reading

    async def _pages(self, column: Any, statement: Select[Any]) -> AsyncIterator[list[Row]]:
        last: Any = None
        while True:
            behind = statement if last is None else statement.where(column > last)
            async with self._database.read() as connection:
                found = (await connection.execute(behind.order_by(column).limit(PAGE))).mappings().all()
            if found:
                yield list(map(dict, found))
            if len(found) < PAGE:
                return
            last = found[-1]["id"]

    async def _contents(self, table: SqlTable, thread_ids: Sequence[str]) -> AsyncIterator[list[Row]]:
        """The rows of these threads, whose ids are in the order of the database."""
        left = list(thread_ids)
        behind: ColumnElement[bool] = true()
        while left:
            statement = select(table).where(table.c.threadId.in_(left), behind)
            statement = statement.order_by(table.c.threadId, table.c.id).limit(_ROWS)
            async with self._database.read() as connection:
                found = list(map(dict, (await connection.execute(statement)).mappings()))
            if found:
                yield found
            if len(found) < _ROWS:
                return
            thread_id, last = found[-1]["threadId"], found[-1]["id"]
            left = left[left.index(thread_id) :]
            behind = or_(table.c.threadId != thread_id, table.c.id > last)

    async def _identifiers(self, user_ids: Sequence[str | None]) -> dict[str | None, str]:
        wanted = {one for one in user_ids if one is not None and one not in self._names}
        if wanted:
            statement = select(users.c.id, users.c.identifier).where(users.c.id.in_(wanted))
            async with self._database.read() as connection:
                self._names.update({row.id: row.identifier for row in await connection.execute(statement)})
        return {one: self._names[one] for one in user_ids if one is not None and one in self._names}

    def _item(self, make: Callable[[Row], Item], row: Row, counts: Counts, what: str) -> Item | None:
        """The item of a row, or None if DynamoDB cannot hold it."""
        try:
            item = make(row)
            if is_too_large(item):
                raise InvalidRecord("it is larger than the 400 KB of an item in DynamoDB")
        except InvalidRecord as error:
            self._report.fail(counts, f"{what} that cannot be stored", f"{row['id']}: {error}")
            return None
        return item

    def _short_item(self, whole: Item, record_id: str, counts: Counts, what: str) -> Item | None:
        """The item without its long texts, or None if DynamoDB cannot hold it all the same."""
        try:
            item, long = self._long.shortened(whole, record_id)
        except InvalidRecord as error:
            self._report.fail(counts, f"{what} that cannot be stored", f"{record_id}: {error}")
            return None
        self._report.long_texts.found += long
        return item


async def to_table(
    database: Database,
    blobs: BlobStore | None,
    table: Table | None,
    target_blobs: BlobStore | None = None,
    *,
    apply: bool = False,
    progressed: Callable[[TransferReport], None] = lambda _report: None,
) -> TransferReport:
    """Copy the history of a database into a table, and compare both at the end. Arguments as for `ToTable`.

    Raises:
        DataLayerError: the transfer stopped, and can be repeated.
    """

    async def run(*, apply: bool, names: bool) -> TransferReport:
        transfer = ToTable(database, blobs, table, target_blobs, apply=apply, progressed=progressed, names=names)
        return await transfer.run()

    return await compared(run, apply=apply)


async def _delete_nothing(_keys: Sequence[str], _thread_id: str) -> None:
    """Nothing is deleted."""
