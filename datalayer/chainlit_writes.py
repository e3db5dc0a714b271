"""Chainlit's calls that change something: each becomes a record, which the data layer of any database applies.

Chainlit calls the write methods from tasks that nobody awaits. So each of them queues its write before its first await
and returns after the commit. A failure is logged with thread and record id, reported to `on_write_failure`, and raised
as a typed error.
"""

import uuid
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from chainlit.config import FILES_DIRECTORY
from chainlit.context import context_var
from chainlit.data.base import BaseDataLayer
from chainlit.data.utils import queue_until_user_message
from chainlit.element import Element as ChainlitElement
from chainlit.session import WebsocketSession
from chainlit.step import StepDict
from chainlit.types import Feedback as ChainlitFeedback
from chainlit.user import PersistedUser
from chainlit.user import User as ChainlitUser

from datalayer.accounts.accounts import new_user
from datalayer.chainlit_dicts import element_of, step_of
from datalayer.cleaning import clean_id, clean_json, clean_text, clean_thread, known_id, utc_now
from datalayer.errors import InvalidRecord, NotFound
from datalayer.files.content import content_of
from datalayer.files.element_files import ElementFiles
from datalayer.ownership import acting_user, recorded
from datalayer.records.chat import Feedback, User, is_shared
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

P = ParamSpec("P")
T = TypeVar("T")


def _once_the_thread_begins(
    method: Callable[Concatenate["ChainlitWrites", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["ChainlitWrites", P], Coroutine[Any, Any, T]]:
    """Apply Chainlit's rule that a thread begins with the first user message (`queue_until_user_message`); outside of a
    page's session the rule does not apply."""
    queued: Callable[Concatenate[ChainlitWrites, P], Coroutine[Any, Any, T]] = queue_until_user_message()(method)

    def wrapper(self: "ChainlitWrites", /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        context = context_var.get(None)
        session = None if context is None else context.session
        # Chainlit looks the context up through a slow proxy, so it is asked only until the thread has begun.
        has_begun = not isinstance(session, WebsocketSession) or session.has_first_interaction
        return (method if has_begun else queued)(self, *args, **kwargs)

    return wraps(method)(wrapper)


class ChainlitWrites(ElementFiles, BaseDataLayer):
    """The methods of Chainlit's data layer that write, without the database."""

    async def build_debug_url(self) -> str:
        """The URL of a debugging page, which Chainlit asks for: there is none."""
        return ""

    # Users and threads

    async def create_user(self, user: ChainlitUser) -> PersistedUser:
        """Store a `chainlit.User`. An existing user keeps id and role, and the metadata given now is merged in.

        Raises:
            NotFound: the acting user stores itself and was deleted; only a new login creates it again.
        """
        record = new_user(user.identifier, clean_json(user.metadata or {}))
        if acting_user.get() == record.identifier and await self.get_user(record.identifier) is None:
            raise NotFound(f"the user {record.identifier!r} was deleted")
        kept: User = await self._write("user", UserWrite(record))
        return persisted(kept)

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        """Create the thread, or change the given fields; metadata is merged, and a key with the value None is removed.

        A name of blanks alone becomes empty: the list shows the thread as untitled, and not as nothing.

        Raises:
            Forbidden: the thread belongs to someone else, or would afterwards; or it is a copy, and would be shared.
            InvalidRecord: an id is not a UUID, or the user does not exist.
        """
        try:
            owner_id = None if user_id is None else self._user_id(user_id)
            record = clean_thread(thread_id, name=name, user_id=owner_id, metadata=metadata, tags=tags)
        except InvalidRecord as error:
            await self._report_failure("thread", error, thread_id=known_id(thread_id), record_id=None)
            raise
        if is_shared(metadata):
            await self._demand_shareable(record.id, metadata)
        await self._write("thread", ThreadWrite(record, utc_now(), *_acting()))

    async def replace_thread_name(self, thread_id: str, expected: str | None, name: str) -> bool:
        """Rename the thread if it still has the expected name; True if it has the new name then."""
        thread_id, kept = clean_id(thread_id, "thread id"), None if expected is None else clean_text(expected)
        return bool(await self._write("thread name", ThreadRename(thread_id, kept, clean_text(name), *_acting())))

    async def delete_thread(self, thread_id: str) -> None:
        """Delete the thread with its steps, votes, elements and files. An unknown thread is not an error."""
        known = known_id(thread_id)
        if known is not None:
            await self._write("deletion of a thread", ThreadDeletion(known, *_acting()))

    # Steps

    @_once_the_thread_begins
    async def create_step(self, step_dict: Mapping[str, Any]) -> None:
        """Store a StepDict. Its thread is created if it does not exist.

        Raises:
            Forbidden: the thread is not the acting user's.
            InvalidRecord: an id is not a UUID.
        """
        await self._store_step(step_dict, created=True)

    @_once_the_thread_begins
    async def update_step(self, step_dict: Mapping[str, Any]) -> None:
        """Change the fields that the StepDict gives, or store a new step. Raises as `create_step` does."""
        await self._store_step(step_dict, created=False)

    @_once_the_thread_begins
    async def delete_step(self, step_id: str) -> None:
        """Delete the step with its votes and elements. An unknown step is not an error."""
        known = known_id(step_id)
        if known is not None:
            await self._write("deletion of a step", StepDeletion(known, *_acting()))

    async def cut_thread(self, thread_id: str, after_step_id: str, keep: Collection[str] = ()) -> int:
        """Delete all steps after this one, except those to keep; returns the number of deleted steps."""
        thread_id, anchor = clean_id(thread_id, "thread id"), clean_id(after_step_id, "step id")
        removed: Removed | None = await self._write(
            "cut", ThreadCut(thread_id, anchor, tuple(keep), utc_now(), *_acting())
        )
        return removed.count if removed else 0

    async def set_step_favorite(self, step_dict: Mapping[str, Any], favorite: bool) -> StepDict:
        """Set or clear the favourite mark of the step, and change nothing else; returns the changed StepDict."""
        step_id, thread_id = clean_id(step_dict.get("id"), "step id"), known_id(step_dict.get("threadId"))
        await self._write("favourite", FavoriteMark(step_id, thread_id, favorite, *_acting()))
        metadata = {**(step_dict.get("metadata") or {}), "favorite": favorite}
        return cast(StepDict, {**step_dict, "metadata": metadata})

    # Votes

    async def upsert_feedback(self, feedback: ChainlitFeedback) -> str:
        """Store or change the acting user's vote; returns its id.

        Raises:
            NotFound: the step does not exist for the acting user.
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
        """Withdraw a vote; False if it does not exist.

        Raises:
            Forbidden: the vote is not the acting user's.
        """
        known = known_id(feedback_id)
        if known is None:
            return False
        return bool(await self._write("deletion of a vote", VoteRemoval(known, utc_now(), *_acting())))

    # Elements

    @_once_the_thread_begins
    async def create_element(self, element: ChainlitElement) -> None:
        """Store a Chainlit element: its bytes first, then its row. A URL is stored, never fetched."""
        now = utc_now()
        given = element.to_dict()
        try:
            record = element_of(given)
        except InvalidRecord as error:
            await self._report_invalid("element", given, error)
            raise
        own = getattr(getattr(context_var.get(None), "session", None), "files_dir", None)
        await self._store_element(record, now, lambda: content_of(element, FILES_DIRECTORY, own))

    @_once_the_thread_begins
    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        """Delete the element and its file. An unknown element is not an error."""
        known = known_id(element_id)
        if known is not None:
            write = ElementDeletion(known, known_id(thread_id), *_acting())
            await self._write("deletion of an element", write)

    # What differs between databases

    def _user_id(self, user_id: Any) -> str:
        """The id of a user in its stored form.

        Raises:
            InvalidRecord: it is not a valid id.
        """
        return clean_id(user_id, "user id")

    async def _demand_shareable(self, _thread_id: str, _metadata: Mapping[str, Any] | None) -> None:
        """Require that the thread, which these metadata share, is no reviewer's copy of another user's.

        Raises:
            Forbidden: it is one.
        """

    # Shared by the methods above

    async def _store_step(self, step_dict: Mapping[str, Any], *, created: bool) -> None:
        now = utc_now()
        try:
            record = step_of(step_dict)
        except InvalidRecord as error:
            await self._report_invalid("step", step_dict, error)
            raise
        await self._write("step", StepWrite(record, now, created, created, *_acting()))

    async def _report_invalid(self, what: str, given: Mapping[str, Any], error: InvalidRecord) -> None:
        """Report a record that cannot be made of what Chainlit gave, with those ids that are valid."""
        thread_id, record_id = known_id(given.get("threadId")), known_id(given.get("id"))
        await self._report_failure(what, error, thread_id=thread_id, record_id=record_id)


def _acting() -> tuple[str | None, bool]:
    """The acting user, as the fields of a write."""
    return recorded(acting_user.get())


def persisted(user: User) -> PersistedUser:
    return PersistedUser(
        id=user.id, identifier=user.identifier, createdAt=user.created_at or "", metadata=user.metadata
    )
