"""The threads of a DynamoDB table in the SQL database: stored before their contents, which come first in the table."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from cachetools import LRUCache

from datalayer.dynamodb import keys
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item, text_of
from datalayer.schema.chat import deleted_threads, threads
from datalayer.transfer.item_rows import UNREADABLE, Row, name_of, thread_row, without_column
from datalayer.transfer.report import TransferReport
from datalayer.transfer.sameness import alike_in
from datalayer.transfer.sql_rows import MEANWHILE, SqlRows
from datalayer.transfer.sql_users import SqlUsers

_MOST_KNOWN = 20_000

Found = tuple[str, str | None] | str
"""Id and owner of a thread in SQL, or why its contents are not copied: words that follow "steps"."""


class SqlThreads:
    """Finds and stores threads; the latest are remembered."""

    def __init__(
        self,
        table: Table,
        rows: SqlRows,
        users: SqlUsers,
        whole: Callable[[Item], Awaitable[Item]],
        *,
        apply: bool,
        report: TransferReport,
    ) -> None:
        """
        Args:
            whole: gives an item with its long texts.
        """
        self._table, self._rows, self._users, self._whole = table, rows, users, whole
        self._apply, self._report = apply, report
        self._known: LRUCache[str, Found] = LRUCache(_MOST_KNOWN)

    def of(self, item: Item) -> Found:
        """The thread of an item that was given to `find`."""
        found: Found = self._known.get(str(item["PK"]["S"]), "of a thread that does not exist")
        return found

    async def find(self, items: Sequence[Item]) -> None:
        """Store the threads of these items. A thread counts when its own item is among them."""
        counted = {str(one["PK"]["S"]): one for one in items if one["SK"]["S"] == keys.THREAD}
        self._report.threads.found += len(counted)
        unknown = {pk for pk in (str(one["PK"]["S"]) for one in items) if pk not in self._known}
        asked = [keys.key(pk, sk) for pk in unknown - counted.keys() for sk in (keys.THREAD, keys.DELETED)]
        found = await self._table.get_many(asked)
        rows: dict[str, Row] = {}
        for item in [*counted.values(), *(one for one in found if one["SK"]["S"] == keys.THREAD)]:
            if (row := self._row(await self._whole(item), counted)) is not None:
                rows[str(item["PK"]["S"])] = row
        for item in found:
            if item["SK"]["S"] == keys.DELETED:
                self._known.setdefault(str(item["PK"]["S"]), "of a thread that was deleted")
        owners = await self._users.of({row["userIdentifier"] for row in rows.values() if row["userIdentifier"]})
        for row in rows.values():
            if (owner := owners.get(row["userIdentifier"] or "")) is not None:
                row |= {"userId": owner["id"], "userIdentifier": owner["identifier"]}
        there = await self._store(rows, counted.keys())
        for pk, row in rows.items():
            is_there = row["id"] in there
            self._known[pk] = (row["id"], row["userId"]) if is_there else "of a thread that was not stored"

    def _row(self, item: Item, counted: Collection[str]) -> Row | None:
        pk = str(item["PK"]["S"])
        try:
            row = {**thread_row(item), "userId": None}
        except UNREADABLE as error:
            self._known[pk] = "of a thread that cannot be read"
            if pk in counted:
                what = "threads that cannot be read (not copied)"
                self._report.fail(self._report.threads, what, f"{name_of(item)}: {error}")
            return None
        if pk in counted and (names := without_column(item)):
            self._report.note("threads with keys that have no column (left out)", f"{pk}: {', '.join(sorted(names))}")
        if pk in counted and row["createdAt"] is None and text_of(item, "createdAt"):
            self._report.note("threads with a time that cannot be read (copied without it)", row["id"])
        return row

    async def _store(self, rows: dict[str, Row], counted: Collection[str]) -> set[str]:
        """Store threads; gives the ids of those that are, or would be, in the database."""
        counts, ids = self._report.threads, [row["id"] for row in rows.values()]
        existing = {one["id"]: one for one in await self._rows.where(threads, "id", ids)}
        marked = {one["id"] for one in await self._rows.where(deleted_threads, "id", ids)} - existing.keys()
        new = {pk: row for pk, row in rows.items() if row["id"] not in existing and row["id"] not in marked}
        for pk in counted & rows.keys():
            row = rows[pk]
            if row["id"] in marked:
                self._report.leave(counts, "threads that were deleted in the target (not copied)", row["id"])
            elif row["id"] in existing:
                await self._compare(row, existing[row["id"]])
        if not self._apply:
            counts.stored += len(new.keys() & counted)
            return {*ids} - marked
        stored, refused = await self._rows.insert(threads, list(new.values()))
        counts.stored += len(stored)
        for row, reason in refused:
            self._report.fail(counts, "threads that the database refuses", f"{row['id']}: {reason}")
        return existing.keys() | set(stored)

    async def _compare(self, row: Row, old: Row) -> None:
        counts = self._report.threads
        if alike_in(row, old):
            return
        moment, there = row["updatedAt"] or "", old["updatedAt"] or ""
        if moment < there:
            self._report.is_newer("threads", row["id"])
        elif moment == there:
            # Names, tags and metadata have no time of their own.
            self._report.differ(counts, "threads", row["id"])
        elif not self._apply or await self._rows.replace(threads, [(row, old["updatedAt"])]):
            counts.replaced += 1
        else:
            self._report.note(f"threads {MEANWHILE}", row["id"])
