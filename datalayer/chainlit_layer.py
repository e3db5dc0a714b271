"""Chainlit's data layer on a SQL database: dictionaries in, dictionaries out, no SQL. The writes are in
`chainlit_writes`."""

from collections.abc import Sequence
from typing import Any, cast

from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import PageInfo, PaginatedResponse, Pagination, ThreadDict, ThreadFilter
from chainlit.user import PersistedUser

from datalayer import cursors
from datalayer.accounts.accounts import Accounts
from datalayer.accounts.erasure import Erasure
from datalayer.accounts.logins import Logins
from datalayer.accounts.own_threads import OwnThreads
from datalayer.accounts.people import People
from datalayer.accounts.shared_threads import SharedThreads
from datalayer.assistants.assistants import Assistants
from datalayer.billing.billing import Billing
from datalayer.chainlit_dicts import (
    ELEMENT_COLUMNS,
    element_dict_of,
    listed_thread_dict_of,
    marks_of,
    step_dict_of,
    thread_dict_of,
    whole_thread_dict_of,
)
from datalayer.chainlit_writes import ChainlitWrites, persisted
from datalayer.chat_models.chat_models import ChatModels
from datalayer.cleaning import clean_text, known_id
from datalayer.errors import InvalidRecord
from datalayer.files.files import Files
from datalayer.history import message_pages, steps, threads, users
from datalayer.imports.imports import Imports
from datalayer.installation.installation import Installation
from datalayer.jobs.jobs import Jobs
from datalayer.keys.keys import Keys
from datalayer.knowledge.knowledge import Knowledge
from datalayer.organizing.organizing import Organizing
from datalayer.ownership import acting_user
from datalayer.prompts.prompts import Prompts
from datalayer.records.chat import ThreadChoice
from datalayer.review.reviews import Reviews
from datalayer.turns.turns import TurnClaims
from datalayer.usage.usage import Usage


class ChainlitLayer(
    Accounts,
    Assistants,
    Billing,
    ChatModels,
    Files,
    Imports,
    Installation,
    Jobs,
    Keys,
    Knowledge,
    Logins,
    Organizing,
    OwnThreads,
    People,
    Prompts,
    SharedThreads,
    Erasure,
    Reviews,
    TurnClaims,
    Usage,
    ChainlitWrites,
):
    """Stores everything that Chainlit gives it. Created by `datalayer.create_data_layer`."""

    # Users

    async def get_user(self, identifier: str) -> PersistedUser | None:
        """The user with this identifier, or None."""
        found = await users.find(self.database, clean_text(identifier))
        return persisted(found) if found else None

    # Threads

    async def get_thread_author(self, thread_id: str) -> str:
        """The owner's identifier, or "" if the acting user may not read the thread."""
        return await self._thread_owner(thread_id, acting_user.get()) or ""

    async def get_thread(self, thread_id: str) -> Any:
        """The ThreadDict with steps and elements, or None if the acting user may not read the thread."""
        whole = await self._whole_thread(thread_id, acting_user.get())
        return whole_thread_dict_of(whole, self._file_url) if whole else None

    async def get_thread_head(self, thread_id: str) -> dict[str, Any] | None:
        """The ThreadDict without steps and elements, or None if the acting user may not read the thread.

        Chainlit does not have its keys `updatedAt`, the time of the last activity, `pinnedAt`, `archivedAt` and
        `expiresAt`.
        """
        found = await self._thread(thread_id, acting_user.get())
        return thread_dict_of(found) | marks_of(found) if found else None

    async def get_threads(self, thread_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The ThreadDicts with steps and elements of at most MOST_THREADS threads, in one statement.

        They come in the order of the ids. Those that the acting user may not read are left out. `updatedAt` is as in
        `get_thread_head`.

        Raises:
            InvalidRecord: there are more ids.
        """
        whole = await self._whole_threads(thread_ids, acting_user.get())
        return [whole_thread_dict_of(one, self._file_url) | {"updatedAt": one.thread.updated_at} for one in whole]

    async def list_threads(self, pagination: Pagination, filters: ThreadFilter) -> PaginatedResponse[ThreadDict]:
        """A page of the user's threads, last activity first, without steps.

        Temporary threads are left out, and archived ones unless the filter has a search.

        Here, `createdAt` is the time of the last activity: Chainlit's page sorts its list and forms its groups (Today,
        Yesterday) by this key. `get_thread` and the exports give the stored time.

        Raises:
            InvalidRecord: the filter has no user id, the cursor is not valid, or `first` is less than 1.
        """
        actor = acting_user.get()
        user_id = known_id(filters.userId)
        if user_id is None:
            raise InvalidRecord("threads are listed for one user: set `userId` in the filter")
        await self._writer.settled()
        if filters.search:
            await self.search_indexer.own_left(user_id)
        page = await self._read(
            lambda database: threads.page(
                database,
                user_id,
                actor=actor,
                first=pagination.first,
                after=pagination.cursor,
                vote=None if filters.feedback is None else int(filters.feedback),
                which=ThreadChoice(words=filters.search, is_archived=None if filters.search else False),
            ),
            # The index of words is made beside the writes.
            now=bool(filters.search),
        )
        found = page.threads
        return PaginatedResponse(
            pageInfo=PageInfo(
                hasNextPage=page.has_next,
                startCursor=threads.cursor_of(found[0]) if found else None,
                endCursor=threads.cursor_of(found[-1]) if found else None,
            ),
            data=[cast(ThreadDict, listed_thread_dict_of(thread)) for thread in found],
        )

    # Steps

    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        """The steps that the user marked as favourites, newest first."""
        actor, known = acting_user.get(), known_id(user_id)
        if known is None:
            return []
        await self._writer.settled()
        found = await steps.favorites(self.database, known, actor=actor)
        return [cast(StepDict, step_dict_of(step, vote)) for step, vote in found]

    async def page_of_favorites(
        self, user_id: str, *, cursor: str | None = None, limit: int = 20
    ) -> tuple[list[StepDict], str | None]:
        """A page of `get_favorite_steps`, and the cursor of the next one.

        The vote on an answer is that on its run, of which `forId` is.

        Args:
            user_id: the acting user's id; of another user's threads, there are none.
            cursor: that of the page before.
            limit: at most so many, at least 1.

        Raises:
            InvalidRecord: the cursor or the limit is not valid.
        """
        actor, known, after = acting_user.get(), known_id(user_id), _place(cursor, limit, "favorites")
        if known is None:
            return [], None
        await self._writer.settled()
        found = await steps.favorites(self.database, known, actor=actor, most=limit + 1, after=after)
        return _page([cast(StepDict, step_dict_of(step, vote)) for step, vote in found], limit, "favorites")

    async def page_of_messages(
        self, thread_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[StepDict], str | None]:
        """A page of the questions and answers of a thread, newest first, and the cursor of the next one.

        Notices and errors are left out, and so are votes.

        Args:
            thread_id: a thread of the acting user; in another one, there are none.
            cursor: that of the page before.
            limit: at most so many, at least 1.

        Raises:
            InvalidRecord: the cursor or the limit is not valid.
        """
        known, of = known_id(thread_id), f"newest {thread_id}"
        after = _place(cursor, limit, of)
        if known is None:
            return [], None
        await self._writer.settled(known)
        found = await steps.said(self.database, known, actor=acting_user.get(), most=limit + 1, after=after)
        return _page([cast(StepDict, step_dict_of(step, None)) for step in found], limit, of)

    async def messages_in_order(
        self, thread_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[StepDict], str | None] | None:
        """A page of all messages of a thread, oldest first, and the cursor of the next one; None if it is not a thread
        of the acting user.

        Notices and errors are included. `feedback` is the vote on the message or, as Chainlit stores it, on its run;
        `forId` says which.

        Args:
            cursor: that of the page before.
            limit: at most so many, at least 1.

        Raises:
            InvalidRecord: the cursor or the limit is not valid.
        """
        known, of = known_id(thread_id), f"messages {thread_id}"
        after = _place(cursor, limit, of)
        if known is None:
            return None
        await self._writer.settled(known)
        found = await message_pages.page(self.database, known, actor=acting_user.get(), most=limit + 1, after=after)
        if found is None:
            return None
        return _page([cast(StepDict, step_dict_of(step, vote or of_run)) for step, vote, of_run in found], limit, of)

    async def has_message(self, thread_id: str, step_id: str) -> bool:
        """Whether a thread of the acting user has this question or answer."""
        thread, step = known_id(thread_id), known_id(step_id)
        if thread is None or step is None:
            return False
        await self._writer.settled(thread)
        return await steps.is_message(self.database, thread, step, actor=acting_user.get())

    # Elements

    async def get_element(self, thread_id: str, element_id: str) -> ElementDict | None:
        """The ElementDict, or None if the acting user may not read it."""
        values = await self._element_values(thread_id, element_id, acting_user.get())
        if values is None:
            return None
        return cast(ElementDict, element_dict_of(dict(zip(ELEMENT_COLUMNS, values, strict=True)), self._file_url))


def _place(cursor: str | None, limit: int, of: str) -> tuple[str, str] | None:
    """The time and the id of the last step of the page before. `of` names the list: a cursor of another one is refused.

    Raises:
        InvalidRecord: the cursor or the limit is not valid.
    """
    if limit < 1:
        raise InvalidRecord("`limit` must be at least 1")
    if cursor is None:
        return None
    moment, last = cursors.decode(cursor, of, clean_text, known_id)
    return moment, last


def _page(found: list[StepDict], limit: int, of: str) -> tuple[list[StepDict], str | None]:
    """The page, and the cursor of the next one. One step more than `limit` shows that there is one."""
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], None if last is None else cursors.encode(of, last["createdAt"] or "", last["id"])
