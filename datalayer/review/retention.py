"""What is kept no longer, by class: planned without a change, and applied with a receipt. For admins and the system."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.history.deletion import Removal, remove_threads
from datalayer.ownership import acting_user
from datalayer.records.review import RetentionClass, RetentionPlan, RetentionReceipt
from datalayer.review import access, audit, retention_rows
from datalayer.review.base import ReviewStore
from datalayer.schema.chat import elements, threads
from datalayer.schema.review import step_versions
from datalayer.schema.usage import llm_call_payloads


class Retention(ReviewStore):
    """Deletes what is old. Methods raise Forbidden where the acting user is no admin."""

    async def plan_retention(self, before: Mapping[RetentionClass, str]) -> list[RetentionPlan]:
        """What would go of each class that was last touched before its time. Changes nothing.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: a time is none, or there is no such class.
        """
        actor, wanted = acting_user.get(), _times(before)

        async def plan(connection: AsyncConnection) -> list[RetentionPlan]:
            await access.demand(connection, actor, access.ADMINS)
            return [await retention_rows.plan(connection, kind, moment) for kind, moment in wanted.items()]

        await self._writer.settled()
        return await self.database.query(plan)

    async def apply_retention(self, before: Mapping[RetentionClass, str]) -> list[RetentionReceipt]:
        """Delete what `plan_retention` counts, for good, and give a receipt for each class. Each leaves an audit row.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: a time is none, or there is no such class.
        """
        wanted = _times(before)
        await self._writer.settled()
        return [await self._retain(kind, moment) for kind, moment in wanted.items()]

    async def _retain(self, kind: RetentionClass, before: str) -> RetentionReceipt:
        rows: dict[str, int] = {}
        gone: list[str] = []
        keys: list[str] = []
        actor = acting_user.get()

        async def some(connection: AsyncConnection) -> Removal | None:
            await access.demand(connection, actor, access.ADMINS)
            return await _take_away(connection, kind, before)

        while (removed := await self._writer.submit(some)) is not None:
            for name, count in removed.rows.items():
                rows[name] = rows.get(name, 0) + count
            gone += removed.thread_ids
            keys += removed.object_keys
        self.search_indexer.note(deleted=True)
        disposed = await self.file_deleter.delete(keys, None)

        async def note(connection: AsyncConnection, reviewer: access.Reviewer) -> str | None:
            forgotten = await audit.forget(connection, before, reviewer.identifier) if kind == "audit" else None
            if forgotten is not None:
                rows["audit_entries"] = forgotten
            details = {"class": kind, "before": before, "rows": dict(rows)}
            await audit.note(connection, "retention", reviewer.identifier, [(None, None)], details=details)
            return reviewer.identifier

        by: str | None = await self._do(note, access.ADMINS)
        return RetentionReceipt(
            kind=kind,
            before=before,
            applied_at=utc_now(),
            applied_by=by,
            rows=rows,
            threads=tuple(sorted(gone)),
            files=tuple(disposed.deleted),
            files_left=tuple(disposed.left),
        )


async def _take_away(connection: AsyncConnection, kind: RetentionClass, before: str) -> Removal | None:
    """Some of what goes; None where nothing is left of it."""
    if kind == "threads":
        ids = await retention_rows.next_threads(connection, before)
        return await remove_threads(connection, threads.c.id.in_(ids)) if ids else None
    if kind == "files":
        count, keys = await retention_rows.remove_files(connection, before)
        return Removal({elements.name: count}, (), tuple(keys)) if count else None
    if kind == "payloads":
        rows = {
            llm_call_payloads.name: await retention_rows.remove_payloads(connection, before),
            step_versions.name: await retention_rows.remove_versions(connection, before),
        }
        return Removal(rows) if any(rows.values()) else None
    return None


def _times(before: Mapping[RetentionClass, str]) -> dict[RetentionClass, str]:
    if unknown := before.keys() - set(retention_rows.CLASSES):
        raise InvalidRecord(f"retention is of {', '.join(retention_rows.CLASSES)}, not of {min(unknown)!r}")
    times: dict[RetentionClass, str] = {}
    for kind in retention_rows.CLASSES:
        if kind in before:
            moment = clean_time(before[kind], "time of retention")
            if moment is None:
                raise InvalidRecord("retention is of what is older than a time")
            times[kind] = moment
    return times
