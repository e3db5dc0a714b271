"""Copies the history of a DynamoDB table into a SQL database.

The table is read once from its beginning to its end, in pages, and each page is stored before the next one is read, so
memory does not grow with the table. Ids are kept, and what exists is not stored again: a transfer that was interrupted
is repeated from the beginning. An item that cannot be read costs itself alone, and is named.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Table as SqlTable

from datalayer.blobs import BlobStore
from datalayer.blobs.text_keys import record_of
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dynamodb import keys
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item
from datalayer.dynamodb.long_texts import LongTexts
from datalayer.dynamodb.tables import EXPIRES
from datalayer.schema.chat import blob_deletions, deleted_threads, elements, feedback_changes, feedbacks, steps, threads
from datalayer.transfer import item_rows, own_files
from datalayer.transfer.files import Files
from datalayer.transfer.item_rows import UNREADABLE, Row, favorite_of, name_of, with_favorite
from datalayer.transfer.report import Counts, TransferReport, compared
from datalayer.transfer.sameness import alike_in
from datalayer.transfer.sql_rows import MEANWHILE, SqlRows
from datalayer.transfer.sql_threads import SqlThreads
from datalayer.transfer.sql_users import SqlUsers
from datalayer.transfer.whole_items import WholeItems, few_long, is_long

PAGE = 500
"""The most items that are in memory at a time, of 1 MB in all."""
_ELSEWHERE = "whose id exists in another thread (not copied)"


class ToSql:
    """One pass over a table: it stores what the database lacks, or in a dry run only counts that."""

    def __init__(
        self,
        table: Table,
        blobs: BlobStore | None,
        database: Database | None,
        target_blobs: BlobStore | None = None,
        *,
        apply: bool,
        progressed: Callable[[TransferReport], None] = lambda _report: None,
        names: bool = True,
    ) -> None:
        """Nothing happens yet.

        Args:
            blobs: the file store of the table, which also has its long texts.
            database: None stands for a database without tables, in a dry run.
            target_blobs: the file store of the database if it is another one; files are copied to it.
            progressed: called after each page.
            names: log each record that cannot be stored.
        """
        self._table, self._apply, self._progressed = table, apply, progressed
        self._rows = SqlRows(database)
        self._report = report = TransferReport(apply, names)
        self._users = SqlUsers(table, self._rows, apply=apply, report=report)
        self._files = Files(blobs, target_blobs, apply=apply)
        self._whole = WholeItems(LongTexts(blobs), report).whole
        self._threads = SqlThreads(table, self._rows, self._users, self._whole, apply=apply, report=report)
        # The last change of the vote on each step of the partition that is being read; changes come before steps.
        self._partition = ""
        self._voted: dict[str, str] = {}
        # The ids of the withdrawals of that partition.
        self._withdrawn: set[str] = set()

    async def run(self) -> TransferReport:
        """
        Raises:
            StorageUnavailable: a database cannot be reached.
            SchemaError: there is no such table.
            BlobError: a file store fails.
        """
        async for page in self._table.scan(PAGE):
            await self._take(page)
            self._progressed(self._report)
        return self._report

    async def _take(self, page: Sequence[Item]) -> None:
        by_kind: dict[str, list[Item]] = {}
        for item in page:
            by_kind.setdefault(item_rows.kind_of(item), []).append(item)
        for item in by_kind.get("", ()):
            self._report.fail(self._report.steps, "items of an unknown kind (not copied)", name_of(item))
        await self._users.take(by_kind.get("USER", ()))
        of_threads = [one for one in page if str(one["PK"]["S"]).startswith("THREAD#")]
        for some in few_long(of_threads, lambda one: one["SK"]["S"] == keys.THREAD and is_long(one)):
            await self._threads.find(some)
        for some in few_long(by_kind.get(keys.CHANGE, ())):
            await self._take_changes(some)
        for some in few_long(by_kind.get(keys.ELEMENT, ())):
            await self._take_elements(some)
        for some in few_long(by_kind.get(keys.STEP, ())):
            await self._take_steps(some)
        await self._take_marks(by_kind.get(keys.DELETED, ()))
        await self._take_files_to_delete(by_kind.get(keys.FILE, ()))

    # The contents of threads

    async def _take_changes(self, items: Sequence[Item]) -> None:
        counts = self._report.changes_of_votes
        rows: list[tuple[Row, str | None]] = []
        for item, thread in self._with_threads(items, counts, "changes of votes"):
            try:
                row, voter = item_rows.change_row(await self._whole(item))
            except UNREADABLE as error:
                self._report.fail(
                    counts, "changes of votes that cannot be read (not copied)", f"{name_of(item)}: {error}"
                )
                continue
            if str(item["PK"]["S"]) != self._partition:
                self._partition, self._voted, self._withdrawn = str(item["PK"]["S"]), {}, set()
            if row["value"] is None:
                self._withdrawn.add(row["id"])
            else:
                self._voted[row["forId"]] = max(row["changedAt"] or "", self._voted.get(row["forId"], ""))
            rows.append((row | {"userId": thread[1]}, voter))
        voters = await self._users.of({voter for _, voter in rows if voter is not None})
        for row, voter in rows:
            row["userId"] = voters[voter]["id"] if voter in voters else None
        stored = await self._store(feedback_changes, [row for row, _ in rows], counts, "changes of votes")
        if stored:
            await self._rows.mark_answers(sorted({row["threadId"] for row, _ in rows}))

    async def _take_elements(self, items: Sequence[Item]) -> None:
        counts = self._report.elements
        rows: list[Row] = []
        for item, _ in self._with_threads(items, counts, "elements"):
            try:
                rows.append(item_rows.element_row(await self._whole(item)))
            except UNREADABLE as error:
                self._report.fail(counts, "elements that cannot be read (not copied)", f"{name_of(item)}: {error}")
        rows = await self._without_removed(elements, "forId", rows, counts, "elements of messages")
        await self._files.bring(await own_files.give_back(self._rows, rows, items), self._report)
        await self._store(elements, rows, counts, "elements", ignored=("byteSize", "sha256"))

    async def _take_steps(self, items: Sequence[Item]) -> None:
        counts, votes = self._report.steps, self._report.votes
        rows: list[Row] = []
        cast: list[Row] = []
        for item, thread in self._with_threads(items, counts, "steps"):
            if item_rows.is_only_a_vote(item):
                counts.found -= 1
                votes.found += 1
                self._report.leave(votes, "votes on a step that does not exist (not copied)", name_of(item))
                continue
            whole = await self._whole(item)
            try:
                rows.append(item_rows.step_row(whole))
            except UNREADABLE as error:
                self._report.fail(counts, "steps that cannot be read (not copied)", f"{name_of(item)}: {error}")
                continue
            votes.found += "feedback" in item and "M" in item["feedback"]
            try:
                in_order = str(item["PK"]["S"]) == self._partition
                vote = item_rows.vote_row(whole, self._voted.get(rows[-1]["id"]) if in_order else None)
            except UNREADABLE as error:
                self._report.fail(votes, "votes that cannot be read (not copied)", f"{name_of(item)}: {error}")
                continue
            if vote is not None:
                cast.append(vote | {"userId": thread[1]})
        rows = await self._without_removed(steps, "id", rows, counts, "messages")
        cast = await self._without_removed(feedbacks, "forId", cast, votes, "votes on messages")
        await self._store(steps, rows, counts, "steps", moment="updatedAt")
        await self._store_votes(cast)

    async def _without_removed(
        self, table: SqlTable, column: str, rows: list[Row], counts: Counts, what: str
    ) -> list[Row]:
        """The rows without those that would come back with a message, named in this column, that was deleted here."""
        removed = await self._rows.removed_messages([row[column] for row in rows if row[column] is not None])
        if not removed:
            return rows
        # Elements that show what a removed answer cites stay.
        there = {one["id"] for one in await self._rows.where(table, "id", _ids(rows))}
        kept: list[Row] = []
        for row in rows:
            if row[column] in removed and row["id"] not in there:
                self._report.leave(counts, f"{what} that were deleted in the target (not copied)", row["id"])
            else:
                kept.append(row)
        return kept

    async def _store_votes(self, rows: list[Row]) -> None:
        """Store votes: one for each step and voter."""
        counts = self._report.votes
        asked = [row["forId"] for row in rows]
        existing = {(one["forId"], one["userId"]): one for one in await self._rows.where(feedbacks, "forId", asked)}
        last: dict[tuple[str, str | None], Row] = {}
        for change in await self._rows.where(feedback_changes, "forId", asked):
            of = change["forId"], change["userId"]
            if of not in last or (last[of]["changedAt"], last[of]["id"]) < (change["changedAt"], change["id"]):
                last[of] = change
        new: list[Row] = []
        older: list[tuple[Row, str | None]] = []
        for row in rows:
            whose = row["forId"], row["userId"]
            old = existing.get(whose)
            if old is None:
                if whose in last and self._is_later_withdrawal(last[whose], row):
                    self._report.leave(counts, "votes that were taken back in the target since (not copied)", row["id"])
                else:
                    new.append(row)
            elif not alike_in(row, old, ("id",)):
                if (row["updatedAt"] or "") >= (old["updatedAt"] or ""):
                    older.append((row | {"id": old["id"]}, old["updatedAt"]))
                else:
                    self._report.is_newer("votes", old["id"])
        await self._write(feedbacks, new, older, counts, "votes")

    def _is_later_withdrawal(self, change: Row, vote: Row) -> bool:
        """Whether a change withdrew the vote in the target. One that the source has, too, was before its vote."""
        is_withdrawal = change["value"] is None and change["id"] not in self._withdrawn
        return is_withdrawal and change["changedAt"] > (vote["updatedAt"] or "")

    async def _take_marks(self, items: Sequence[Item]) -> None:
        counts = self._report.marks_of_deleted_threads
        counts.found += len(items)
        rows: list[Row] = []
        for item in items:
            if not isinstance(self._threads.of(item), str):
                self._report.leave(counts, "marks of deleted threads that exist again (not copied)", name_of(item))
            elif int(item.get(EXPIRES, {}).get("N", "0").partition(".")[0]) * 1e9 < utc_now.nanoseconds():
                self._report.leave(counts, "marks of deleted threads that have expired (not copied)", name_of(item))
            else:
                try:
                    rows.append(item_rows.mark_row(item))
                except UNREADABLE as error:
                    what = "marks of deleted threads that cannot be read (not copied)"
                    self._report.fail(counts, what, f"{name_of(item)}: {error}")
        alive = {one["id"] for one in await self._rows.where(threads, "id", _ids(rows))}
        for thread_id in alive:
            counts.left_out += 1
            self._report.note(
                "threads that were deleted in the source and exist in the target (not deleted)", thread_id
            )
        new = [row for row in rows if row["id"] not in alive]
        await self._store(deleted_threads, new, counts, "marks", ignored=("deletedAt",))

    async def _take_files_to_delete(self, items: Sequence[Item]) -> None:
        counts = self._report.files_to_delete
        counts.found += len(items)
        if not self._files.stay:
            counts.left_out += len(items)
            for item in items:
                self._report.note("files to delete, which are in the other store (not copied)", name_of(item))
            return
        rows: list[Row] = []
        now = utc_now()
        for item in items:
            try:
                row = item_rows.file_row(item)
            except UNREADABLE as error:
                self._report.fail(
                    counts, "files to delete that cannot be read (not copied)", f"{name_of(item)}: {error}"
                )
                continue
            if record_of(row["objectKey"]) is not None and row["dueAt"] > now:
                # No row will name it, and its step in the table may.
                self._report.leave(counts, "long texts to delete that may still be used (not copied)", name_of(item))
            else:
                rows.append(row)
        queued = await self._rows.where(blob_deletions, "objectKey", [row["objectKey"] for row in rows])
        there = {one["objectKey"] for one in queued}
        new = [row for row in rows if row["objectKey"] not in there]
        await self._write(blob_deletions, new, [], counts, "files to delete")

    # Storing

    async def _store(
        self,
        table: SqlTable,
        rows: Sequence[Row],
        counts: Counts,
        what: str,
        *,
        moment: str | None = None,
        ignored: tuple[str, ...] = (),
    ) -> int:
        """Store the rows that the database lacks, and the later states of others; gives their number.

        Args:
            moment: the column with the time of the last change.
            ignored: columns that may differ.
        """
        existing = {one["id"]: one for one in await self._rows.where(table, "id", _ids(rows))}
        new: dict[str, Row] = {}
        later: list[tuple[Row, str | None]] = []
        for given in rows:
            row, old = given, existing.get(given["id"]) or new.get(given["id"])
            if old is None:
                new[row["id"]] = row
                continue
            if table is steps and old["updatedAt"] == row["updatedAt"] and favorite_of(row) != favorite_of(old):
                # The mark has no time of its own, and may have been changed on either side.
                self._report.note("steps that are favourites on one side only (not changed)", row["id"])
                row = with_favorite(row, old)
            if "threadId" in row and old["threadId"] != row["threadId"]:
                self._report.fail(counts, f"{what} {_ELSEWHERE}", row["id"])
            elif not alike_in(row, old, ignored):
                if moment is None:
                    self._report.differ(counts, what, row["id"])
                elif (old[moment] or "") <= (row[moment] or ""):
                    # What nobody has changed there has the time that was copied.
                    later.append((row, old[moment]))
                else:
                    self._report.is_newer(what, row["id"])
        return await self._write(table, list(new.values()), later, counts, what)

    async def _write(
        self, table: SqlTable, new: Sequence[Row], later: Sequence[tuple[Row, str | None]], counts: Counts, what: str
    ) -> int:
        """Insert rows, and replace others, which come with the time of the row that was compared."""
        if not self._apply:
            counts.stored += len(new)
            counts.replaced += len(later)
            return 0
        stored, refused = await self._rows.insert(table, new)
        replaced = await self._rows.replace(table, later)
        counts.stored += len(stored)
        counts.replaced += len(replaced)
        for row, _ in later:
            if row["id"] not in replaced:
                self._report.note(f"{what} {MEANWHILE}", row["id"])
        for row, reason in refused:
            name = row.get("id") or row["objectKey"]
            self._report.fail(counts, f"{what} that the database refuses", f"{name}: {reason}")
        return len(stored) + len(replaced)

    def _with_threads(
        self, items: Sequence[Item], counts: Counts, what: str
    ) -> list[tuple[Item, tuple[str, str | None]]]:
        """The items whose thread is in the database, with it. The others are left out."""
        counts.found += len(items)
        found = []
        for item in items:
            thread = self._threads.of(item)
            if isinstance(thread, str):
                self._report.leave(counts, f"{what} {thread} (not copied)", name_of(item))
            else:
                found.append((item, thread))
        return found


async def to_sql(
    table: Table,
    blobs: BlobStore | None,
    database: Database | None,
    target_blobs: BlobStore | None = None,
    *,
    apply: bool = False,
    progressed: Callable[[TransferReport], None] = lambda _report: None,
) -> TransferReport:
    """Copy the history of a table into a database, and compare both at the end. Arguments as for `ToSql`.

    Raises:
        DataLayerError: the transfer stopped, and can be repeated.
    """

    async def run(*, apply: bool, names: bool) -> TransferReport:
        transfer = ToSql(table, blobs, database, target_blobs, apply=apply, progressed=progressed, names=names)
        return await transfer.run()

    return await compared(run, apply=apply)


def _ids(rows: Any) -> list[str]:
    return [row["id"] for row in rows]


async def _delete_nothing(_keys: Sequence[str], _thread_id: str) -> None:
    """Nothing of the source is changed."""
