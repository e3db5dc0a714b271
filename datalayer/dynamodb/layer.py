"""Chainlit's data layer on a DynamoDB table: the methods of `BaseDataLayer`, and those that need no more than them."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from chainlit.context import context_var
from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import PageInfo, PaginatedResponse, Pagination, ThreadDict, ThreadFilter
from chainlit.user import PersistedUser

from datalayer.base_store import WriteFailure
from datalayer.blobs import BlobStore
from datalayer.chainlit_dicts import listed_thread_dict_of
from datalayer.chainlit_writes import ChainlitWrites, persisted
from datalayer.cleaning import clean_id, clean_text, known_id, utc_now
from datalayer.dynamodb import tables
from datalayer.dynamodb.apply import Writes, joins
from datalayer.dynamodb.batches import Batches
from datalayer.dynamodb.client import Table, place_of
from datalayer.dynamodb.dicts import element_dict, element_of_item, owner_of, step_dict, thread_dict, thread_record
from datalayer.dynamodb.elements import Elements
from datalayer.dynamodb.file_outbox import FileOutbox
from datalayer.dynamodb.keys import place_of_vote
from datalayer.dynamodb.lanes import Lanes
from datalayer.dynamodb.long_texts import LongTexts
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.removal import Removal, RemovedThread
from datalayer.dynamodb.threads import Threads, cursor_of
from datalayer.dynamodb.users import Users
from datalayer.dynamodb.votes import Votes
from datalayer.errors import BlobError, InvalidRecord, NotFound
from datalayer.ownership import Actor, acting_user, demand_write, recorded
from datalayer.records.chat import Element, Receipt
from datalayer.records.writes import (
    ElementDeletion,
    FavoriteMark,
    Recorded,
    Removed,
    StepDeletion,
    StepWrite,
    ThreadDeletion,
    VoteRemoval,
    VoteWrite,
    ids_of,
)

logger = logging.getLogger(__name__)

_TOGETHER = 20
"""How many threads of a user are deleted at a time."""


class DynamoLayer(ChainlitWrites):
    """Stores the chat. Created by `datalayer.create_data_layer`."""

    _writer: Lanes

    def __init__(
        self,
        url: str,
        blobs: BlobStore | None,
        *,
        file_url: Callable[[Element], str] | None = None,
        on_write_failure: Callable[[WriteFailure], Awaitable[None]] | None = None,
        patience_seconds: float = 60.0,
        spool: Path | None = None,
    ) -> None:
        """
        Raises:
            ConfigurationError: the URL is not valid.
        """
        super().__init__(
            blobs,
            file_url=file_url,
            on_write_failure=on_write_failure,
            patience_seconds=patience_seconds,
            spool=spool,
        )
        self.table = Table(place_of(url))
        self.file_deleter = FileOutbox(self.table, blobs)
        recent = Recent()
        self._recent = recent
        texts = LongTexts(blobs, self.file_deleter)
        self._users = Users(self.table)
        self._threads = Threads(self.table, texts, recent)
        self._removal = Removal(self.table, blobs, self.file_deleter, recent)
        writes = Writes(
            self.table,
            batches=Batches(self.table, texts, recent),
            users=self._users,
            votes=Votes(self.table, texts, self.file_deleter, recent),
            elements=Elements(self.table, texts, recent),
            removal=self._removal,
        )
        self._writer = Lanes(writes.apply, joins, patience_seconds=patience_seconds)

    def __getattr__(self, name: str) -> NoReturn:
        # Asked only for what is not there, such as the methods for usage, review, assistants and jobs.
        raise AttributeError(
            f"{name!r} is not in the data layer of DynamoDB, which stores the chat alone: it needs a SQL database "
            "(docs/dynamodb.md)"
        )

    # The table

    async def migrate(self) -> list[str]:
        """Create the table if it does not exist, go on with unfinished deletions, and store the spooled writes.

        Returns:
            The name of what was created, or nothing.

        Raises:
            SchemaError: the table is another one, or somebody else must create it.
            StorageUnavailable: DynamoDB cannot be reached, or the spool file cannot be read or changed.
        """
        created = await tables.create(self.table)
        await self._replay_spooled()
        try:
            if finished := await self._removal.finish():
                logger.warning("went on with %d deletions of threads that an earlier process had begun", len(finished))
        except BlobError as error:
            # The background task goes on with them.
            logger.warning("deletions of threads that an earlier process had begun wait for the file store: %s", error)
        self.file_deleter.note()
        return [f"table {self.table.place.table}"] if created else []

    async def is_new(self) -> bool:
        """Whether there is no table."""
        return not await tables.exists(self.table)

    async def pending_migrations(self) -> list[str]:
        """The name of what `migrate` would create."""
        return [f"table {self.table.place.table}"] if await self.is_new() else []

    async def ping(self) -> None:
        """Check the table.

        Raises:
            StorageUnavailable: DynamoDB gives no answer.
            SchemaError: there is no table.
        """
        await self.table.call("describe_table")

    async def close(self, deadline_seconds: float = 4.0) -> None:
        """Store the queued writes and uploads until the deadline, spool the rest, and close all connections."""
        ends = time.monotonic() + deadline_seconds
        await self.file_deleter.stop()
        await self._uploads.close(deadline_seconds / 2)
        counts = await self._writer.close(max(ends - time.monotonic(), deadline_seconds / 4), self._rescue)
        self._report_unstored(*counts)
        if self._blobs is not None:
            await self._blobs.close()
        await self.table.close()

    # Users

    async def get_user(self, identifier: str) -> PersistedUser | None:
        """The user with this identifier, or None."""
        found = await self._users.find(clean_text(identifier))
        return persisted(found) if found else None

    async def delete_user(self, identifier: str) -> Receipt:
        """Delete the user with votes, threads and files. Only the user and the system may do this.

        Raises:
            NotFound: neither the user nor a thread of theirs exists.
            Forbidden: the acting user is someone else.
        """
        actor, identifier = acting_user.get(), clean_text(identifier)
        demand_write(actor, identifier, "the account")
        await self._writer.settled(user=identifier)
        removed = await self._removal.finish(identifier)
        threads = [one for some in removed for one in some.row_ids["threads"]]
        while True:
            page = await self._threads.page(identifier, actor, first=_TOGETHER, after=None, vote=None, words=None)
            for item in page.threads:
                threads.append(thread_record(item).id)
                removed.append(await self._apply(ThreadDeletion(threads[-1], *recorded(actor))))
            if not page.has_next:
                break
        existed = await self._users.delete(identifier)
        if not existed and not threads:
            raise NotFound(f"there is no user {identifier!r}")
        return _receipt(
            what="user",
            record_id=identifier if existed else None,
            owner=identifier,
            actor=actor,
            removed=removed,
            threads=threads,
        )

    # Threads

    async def get_thread_author(self, thread_id: str) -> str:
        """The owner's identifier, or "" if the acting user may not read the thread."""
        if (known := known_id(thread_id)) is None:
            return ""
        await self._writer.settled(known)
        found = await self._threads.head(known, acting_user.get())
        return (owner_of(found) if found else None) or ""

    async def get_thread(self, thread_id: str) -> Any:
        """The ThreadDict with steps and elements, or None if the acting user may not read the thread."""
        if (known := known_id(thread_id)) is None:
            return None
        await self._contents_settled(known)
        whole = await self._threads.whole(known, acting_user.get())
        if whole is None:
            return None
        steps = list(map(step_dict, whole.steps))
        elements = [element_dict(one, self._file_url) for one in whole.elements]
        return thread_dict(whole.thread) | {"steps": steps, "elements": elements}

    async def get_thread_head(self, thread_id: str) -> dict[str, Any] | None:
        """The ThreadDict without steps and elements, or None if the acting user may not read the thread."""
        if (known := known_id(thread_id)) is None:
            return None
        await self._writer.settled(known)
        found = await self._threads.head(known, acting_user.get())
        return thread_dict((await self._threads.completed([found]))[0]) if found else None

    async def list_threads(self, pagination: Pagination, filters: ThreadFilter) -> PaginatedResponse[ThreadDict]:
        """A page of the user's threads, last activity first, without steps; `createdAt` is the last activity, by which
        Chainlit's page sorts.

        Raises:
            InvalidRecord: the filter has no user id, the cursor is not valid, or `first` is less than 1.
        """
        if not filters.userId:
            raise InvalidRecord("threads are listed for one user: set `userId` in the filter")
        await self._writer.settled(user=clean_text(filters.userId))
        page = await self._threads.page(
            clean_text(filters.userId),
            acting_user.get(),
            first=pagination.first,
            after=pagination.cursor,
            vote=None if filters.feedback is None else int(filters.feedback),
            words=filters.search,
        )
        found, whole = page.threads, await self._threads.completed(page.threads)
        return PaginatedResponse(
            pageInfo=PageInfo(
                hasNextPage=page.has_next,
                startCursor=cursor_of(found[0]) if found else None,
                endCursor=cursor_of(found[-1]) if found else None,
            ),
            data=[cast(ThreadDict, listed_thread_dict_of(thread_record(one))) for one in whole],
        )

    async def delete_thread_with_receipt(self, thread_id: str) -> Receipt:
        """Delete the thread with its steps, votes, elements and files.

        Raises:
            NotFound: the thread does not exist.
            Forbidden: the thread belongs to someone else.
        """
        actor, known = acting_user.get(), clean_id(thread_id, "thread id")
        removed: RemovedThread = await self._write("deletion of a thread", ThreadDeletion(known, *recorded(actor)))
        if not removed.existed:
            raise NotFound(f"the thread {known} does not exist")
        return _receipt(
            what="thread", record_id=known, owner=removed.owner, actor=actor, removed=[removed], threads=[known]
        )

    # Steps, votes and elements

    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        """The steps that the user marked as favourites, newest first."""
        await self._writer.settled(user=clean_text(user_id))
        found = await self._threads.favorites(clean_text(user_id), acting_user.get())
        return [cast(StepDict, step_dict(one)) for one in found]

    async def delete_feedback(self, feedback_id: str) -> bool:
        """Withdraw a vote; False if it does not exist.

        Raises:
            NotFound: the step of the vote is not the acting user's.
        """
        if place_of_vote(feedback_id) is None:
            return False
        write = VoteRemoval(feedback_id, utc_now(), *recorded(acting_user.get()))
        return bool(await self._write("deletion of a vote", write))

    async def get_element(self, thread_id: str, element_id: str) -> ElementDict | None:
        """The ElementDict, or None if the acting user may not read it."""
        found = await self._element_item(thread_id, element_id, acting_user.get())
        return cast(ElementDict, element_dict(found, self._file_url)) if found else None

    # Shared by the methods above

    def _user_id(self, user_id: Any) -> str:
        return clean_text(str(user_id))

    async def _element(self, thread_id: str, element_id: str, actor: Actor) -> Element | None:
        found = await self._element_item(thread_id, element_id, actor)
        return element_of_item(found) if found else None

    async def _element_item(self, thread_id: str, element_id: str, actor: Actor) -> Any:
        known, known_thread = known_id(element_id), known_id(thread_id)
        if known is None or known_thread is None:
            return None
        await self._contents_settled(known_thread)
        return await self._threads.element(known_thread, known, actor)

    async def _contents_settled(self, thread_id: str) -> None:
        await self._uploads.settled(thread_id)
        await self._writer.settled(thread_id)

    def _submit(self, write: Recorded, thread_id: str | None = None) -> Any:
        return self._writer.submit(write, thread_id)

    def _note_files(self) -> None:
        self.file_deleter.note()

    async def _apply(self, write: Recorded) -> Any:
        """Store the write, in the lane of its thread."""
        thread_id = self._known_thread_of(write)
        if isinstance(write, ElementDeletion):
            # In the record, because it may be spooled: a later process knows nothing of the session.
            write = replace(write, thread_id=thread_id)
        if isinstance(write, StepWrite) and thread_id is not None:
            self._recent.note_steps(thread_id, [write.step.id])
        if thread_id is None and isinstance(write, StepDeletion | FavoriteMark | VoteWrite):
            thread_id = await self._threads.thread_of(ids_of(write)[1] or "") or _thread_of_session()
        result = await self._writer.submit(write, thread_id)
        if isinstance(result, Removed):
            if isinstance(write, ElementDeletion):
                self._uploads.end(element_ids=[write.element_id])
            elif result.step_ids:
                self._uploads.end(step_ids=result.step_ids)
            if result.object_keys:
                await self.file_deleter.delete(result.object_keys, thread_id)
        return result

    def _known_thread_of(self, write: Recorded) -> str | None:
        """The thread of a write, without a look at the table: by its own id, this process's writes, or the session."""
        thread_id, record_id = ids_of(write)
        if isinstance(write, VoteRemoval):
            place = place_of_vote(write.vote_id)
            return place[0] if place else None
        if thread_id is None and isinstance(write, StepDeletion | FavoriteMark | VoteWrite):
            return self._recent.thread_of(record_id or "")
        if thread_id is None and isinstance(write, ElementDeletion):
            return _thread_of_session()
        return thread_id


def _thread_of_session() -> str | None:
    """The thread of the session that calls, which is that of its steps and elements."""
    session = getattr(context_var.get(None), "session", None)
    return known_id(getattr(session, "thread_id", None))


def _receipt(
    *,
    what: Literal["thread", "user"],
    record_id: str | None,
    owner: str | None,
    actor: Actor,
    removed: list[RemovedThread],
    threads: list[str],
) -> Receipt:
    rows: dict[str, int] = {}
    row_ids: dict[str, tuple[str, ...]] = {}
    for one in removed:
        for name, count in one.rows.items():
            rows[name] = rows.get(name, 0) + count
        for name, ids in one.row_ids.items():
            row_ids[name] = tuple(sorted((*row_ids.get(name, ()), *ids)))
    if what == "user" and record_id is not None:
        rows["users"] = 1
    return Receipt(
        what=what,
        id=record_id,
        owner=owner,
        deleted_by=recorded(actor)[0],
        deleted_at=utc_now(),
        rows=rows,
        files=tuple(key for one in removed for key in one.files),
        files_left=tuple(key for one in removed for key in one.files_left),
        threads=tuple(sorted(threads)),
        row_ids=row_ids,
        messages=sum(one.messages for one in removed),
    )
