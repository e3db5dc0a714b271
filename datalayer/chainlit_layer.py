"""Chainlit's data layer: dictionaries in, dictionaries out, no SQL.

Chainlit calls the write methods from tasks that nobody awaits. So each of them puts its write in the queue
before its first await, returns when the write is committed, and on failure logs it with thread and record id,
tells `on_write_failure`, and raises a typed error.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from chainlit.config import FILES_DIRECTORY
from chainlit.context import context_var
from chainlit.data.base import BaseDataLayer
from chainlit.data.utils import queue_until_user_message
from chainlit.types import PageInfo, PaginatedResponse
from chainlit.user import PersistedUser

from datalayer.accounts.accounts import Accounts, new_user
from datalayer.accounts.erasure import Erasure
from datalayer.accounts.logins import Logins
from datalayer.accounts.shared_threads import SharedThreads
from datalayer.billing.billing import Billing
from datalayer.chainlit_dicts import (
    columns_of,
    element_dict_of,
    element_of,
    step_dict_of,
    step_of,
    thread_dict_of,
    whole_thread_dict_of,
)
from datalayer.cleaning import clean_id, clean_json, clean_text, known_id, utc_now
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.files.content import content_of
from datalayer.files.files import Files
from datalayer.history import steps, threads, users
from datalayer.ownership import acting_user, recorded
from datalayer.records.chat import Feedback, Thread, User
from datalayer.records.writes import (
    ElementDeletion,
    FavoriteMark,
    Removed,
    StepDeletion,
    StepWrite,
    ThreadCut,
    ThreadDeletion,
    ThreadRename,
    ThreadWrite,
    UserWrite,
    VoteRemoval,
    VoteWrite,
)
from datalayer.review.reviews import Reviews
from datalayer.usage.usage import Usage

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def _once_the_thread_begins(
    method: Callable[Concatenate["ChainlitLayer", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["ChainlitLayer", P], Coroutine[Any, Any, T]]:
    """Chainlit's rule that a thread begins with the user's first message; outside of a session it has no say."""
    queued: Callable[Concatenate[ChainlitLayer, P], Coroutine[Any, Any, T]] = queue_until_user_message()(method)

    async def wrapper(self: "ChainlitLayer", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await (method if context_var.get(None) is None else queued)(self, *args, **kwargs)

    return wraps(method)(wrapper)


class ChainlitLayer(Accounts, Billing, Files, Logins, SharedThreads, Erasure, Reviews, Usage, BaseDataLayer):
    """Keeps everything that Chainlit gives it. Made by `datalayer.create_data_layer`."""

    async def build_debug_url(self) -> str:
        return ""

    # Users

    async def get_user(self, identifier: str) -> PersistedUser | None:
        found = await self.database.query(lambda connection: users.get(connection, clean_text(identifier)))
        return _persisted(found) if found else None

    async def create_user(self, user: Any) -> PersistedUser:
        """Store a `chainlit.User`; one who is there keeps id and role, and gets the metadata given now as well.

        Raises:
            NotFound: it is the acting user, who is not there: only a new login makes again who was deleted.
        """
        record = new_user(user.identifier, clean_json(user.metadata or {}))
        if acting_user.get() == record.identifier and await self.get_user(record.identifier) is None:
            raise NotFound(f"there is no user {record.identifier!r} any more")
        kept: User = await self._write("user", UserWrite(record))
        return _persisted(kept)

    # Threads

    async def get_thread_author(self, thread_id: str) -> str:
        """The owner's identifier, or "" where there is no such thread for the acting user."""
        actor = acting_user.get()
        thread = await self._thread(thread_id, actor)
        return (thread.user_identifier or "") if thread else ""

    async def get_thread(self, thread_id: str) -> Any:
        """The ThreadDict with steps and elements, or None where there is none for the acting user."""
        whole = await self._whole_thread(thread_id, acting_user.get())
        return whole_thread_dict_of(whole, self._file_url) if whole else None

    async def list_threads(self, pagination: Any, filters: Any) -> PaginatedResponse[Any]:
        """A page of the user's threads, last activity first, without steps.

        Raises:
            InvalidRecord: no user is given, the cursor is not ours, or the page is empty.
        """
        actor = acting_user.get()
        user_id = known_id(filters.userId)
        if user_id is None:
            raise InvalidRecord("threads are listed for one user: the filter names none")
        await self._writer.settled()
        if filters.search:
            await self.search_indexer.caught_up()
        page = await threads.page(
            self.database,
            user_id,
            actor=actor,
            first=pagination.first,
            after=pagination.cursor,
            vote=None if filters.feedback is None else int(filters.feedback),
            words=filters.search,
        )
        found = page.threads
        return PaginatedResponse(
            pageInfo=PageInfo(
                hasNextPage=page.has_next,
                startCursor=threads.cursor_of(found[0]) if found else None,
                endCursor=threads.cursor_of(found[-1]) if found else None,
            ),
            data=[thread_dict_of(thread) for thread in found],
        )

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        """Make the thread, or change what is given; metadata is merged, and a key set to None is removed.

        Raises:
            Forbidden: the thread is someone else's, or would become so; or it is a copy, and would be shared.
            InvalidRecord: an id is no UUID, or there is no such user.
        """
        record = Thread(
            id=clean_id(thread_id, "thread id"),
            name=None if name is None else clean_text(str(name)),
            user_id=None if user_id is None else clean_id(user_id, "user id"),
            metadata=None if metadata is None else clean_json(metadata),
            tags=None if tags is None else [clean_text(str(tag)) for tag in tags],
        )
        if metadata and metadata.get("is_shared") and await self._is_copy(record.id):
            raise Forbidden("what another said is not a reviewer's to share")
        await self._write("thread", ThreadWrite(record, utc_now(), *_acting()))

    async def replace_thread_name(self, thread_id: str, expected: str | None, name: str) -> bool:
        """Rename the thread if it still has the expected name; says whether it did."""
        thread_id, kept = clean_id(thread_id, "thread id"), None if expected is None else clean_text(expected)
        return bool(await self._write("thread name", ThreadRename(thread_id, kept, clean_text(name), *_acting())))

    async def delete_thread(self, thread_id: str) -> None:
        """Delete the thread with its steps, votes, elements and files. An unknown thread is no error."""
        known = known_id(thread_id)
        if known is not None:
            await self._write("deletion of a thread", ThreadDeletion(known, *_acting()))

    # Steps

    @_once_the_thread_begins
    async def create_step(self, step_dict: Any) -> None:
        await self._store_step(step_dict, created=True)

    @_once_the_thread_begins
    async def update_step(self, step_dict: Any) -> None:
        await self._store_step(step_dict, created=False)

    @_once_the_thread_begins
    async def delete_step(self, step_id: str) -> None:
        """Delete the step with its votes and elements. An unknown step is no error."""
        known = known_id(step_id)
        if known is not None:
            await self._write("deletion of a step", StepDeletion(known, *_acting()))

    async def cut_thread(self, thread_id: str, after_step_id: str, keep: Collection[str] = ()) -> int:
        """Delete all steps that came after this one, but for those to keep; gives how many there were."""
        thread_id, anchor = clean_id(thread_id, "thread id"), clean_id(after_step_id, "step id")
        removed: Removed | None = await self._write(
            "cut", ThreadCut(thread_id, anchor, tuple(keep), utc_now(), *_acting())
        )
        return removed.count if removed else 0

    async def get_favorite_steps(self, user_id: str) -> list[Any]:
        """The steps that the user marked as favourites, newest first."""
        actor, known = acting_user.get(), known_id(user_id)
        if known is None:
            return []
        await self._writer.settled()
        found = await steps.favorites(self.database, known, actor=actor)
        return [step_dict_of(step, vote) for step, vote in found]

    async def set_step_favorite(self, step_dict: Any, favorite: bool) -> Any:
        """Mark the step or take the mark away, and touch nothing else of it."""
        step_id, thread_id = clean_id(step_dict.get("id"), "step id"), known_id(step_dict.get("threadId"))
        await self._write("favourite", FavoriteMark(step_id, thread_id, favorite, *_acting()))
        return {**step_dict, "metadata": {**(step_dict.get("metadata") or {}), "favorite": favorite}}

    # Votes

    async def upsert_feedback(self, feedback: Any) -> str:
        """Cast or change the vote of the acting user; gives the id under which it is kept.

        Raises:
            NotFound: there is no such step for the acting user.
            InvalidRecord: the value is neither 0 nor 1.
        """
        step_id = clean_id(feedback.forId, "step id of a vote")
        if feedback.value not in (0, 1):
            raise InvalidRecord("a vote is 1 (up) or 0 (down)")
        comment = None if feedback.comment is None else clean_text(str(feedback.comment))

        thread_id = known_id(feedback.threadId)
        record = Feedback(str(uuid.uuid4()), step_id, int(feedback.value), thread_id, comment=comment)
        return str(await self._write("vote", VoteWrite(record, utc_now(), *_acting())))

    async def delete_feedback(self, feedback_id: str) -> bool:
        """Take a vote back; False where there is none.

        Raises:
            Forbidden: it is not the acting user's.
        """
        known = known_id(feedback_id)
        if known is None:
            return False
        return bool(await self._write("deletion of a vote", VoteRemoval(known, utc_now(), *_acting())))

    # Elements

    @_once_the_thread_begins
    async def create_element(self, element: Any) -> None:
        """Store a Chainlit element: its bytes first, then its row. A URL is stored, never fetched."""
        now = utc_now()
        record = element_of(element.to_dict())
        own = getattr(getattr(context_var.get(None), "session", None), "files_dir", None)
        await self._store_element(record, now, lambda: content_of(element, FILES_DIRECTORY, own))

    async def get_element(self, thread_id: str, element_id: str) -> Any:
        """The ElementDict, or None where there is none for the acting user."""
        element = await self._element(thread_id, element_id, acting_user.get())
        return element_dict_of(columns_of(element), self._file_url) if element else None

    @_once_the_thread_begins
    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        """Delete the element and its file. An unknown element is no error."""
        known = known_id(element_id)
        if known is not None:
            write = ElementDeletion(known, known_id(thread_id), *_acting())
            await self._write("deletion of an element", write)

    # What the methods above share

    async def _store_step(self, step_dict: Any, *, created: bool) -> None:
        now = utc_now()
        try:
            record = step_of(step_dict)
        except InvalidRecord as error:
            await self._tell("step", error, thread_id=None, record_id=None)
            raise
        await self._write("step", StepWrite(record, now, created, created, *_acting()))


def _acting() -> tuple[str | None, bool]:
    """Who acts, as a write carries it."""
    return recorded(acting_user.get())


def _persisted(user: User) -> PersistedUser:
    return PersistedUser(
        id=user.id, identifier=user.identifier, createdAt=user.created_at or "", metadata=user.metadata
    )
