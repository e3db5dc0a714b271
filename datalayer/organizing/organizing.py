"""The order of the acting user's threads: lists of them, pins, the archive, folders by tag, and deletion of several."""

import logging
import uuid
from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, known_id, utc_in, utc_now
from datalayer.errors import DataLayerError, InvalidRecord
from datalayer.history import threads
from datalayer.organizing import rows
from datalayer.ownership import acting_user, recorded
from datalayer.records.chat import Folder, OwnThreadPage, Thread, ThreadChoice
from datalayer.records.writes import ThreadWrite
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

logger = logging.getLogger(__name__)

MOST_THREADS = 100
MOST_TAGS = 100
"""A thread has no more tags than this."""
LONGEST_TAG = 200
"""Characters."""


class Organizing(DataStore):
    """Methods for the acting user. The system organizes the threads of all users."""

    async def own_threads(
        self,
        user_id: str,
        which: ThreadChoice = ThreadChoice(),  # noqa: B008  frozen
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> OwnThreadPage:
        """A page of the user's threads without their contents, last activity first.

        Args:
            user_id: the acting user's id; of another user's threads, there are none.
            which: which of them.
            cursor: the `next_cursor` of the page before.
            limit: at most so many, from 1 to 100.

        Raises:
            InvalidRecord: the cursor or the limit is not valid.
        """
        known = known_id(user_id)
        if known is None:
            return OwnThreadPage((), None)
        await self._writer.settled()
        if which.words:
            await self.search_indexer.own_left(known)
        page = await threads.page(self.database, known, actor=acting_user.get(), first=limit, after=cursor, which=which)
        return OwnThreadPage(page.threads, threads.cursor_of(page.threads[-1]) if page.has_next else None)

    async def folders(self, user_id: str) -> list[Folder]:
        """The tags of the user's threads in alphabetical order, without archived and temporary threads."""
        known = known_id(user_id)
        if known is None:
            return []
        await self._writer.settled()
        found, is_due = await rows.folders(self.database, known, acting_user.get())
        if is_due:
            try:
                await self._writer.submit(lambda connection: rows.add_up(connection, known))
            except DataLayerError as error:
                # The sums are right all the same.
                logger.warning("the counts of the tags of user %s could not be added up: %s", known, error)
        return found

    async def make_temporary(self, thread_id: str, seconds: float) -> str:
        """Have retention delete the thread after this time; create it if it does not exist.

        A temporary thread is in no list and no search, except for `own_threads` if it is asked for.

        Returns:
            The time at which it expires, in UTC.

        Raises:
            Forbidden: the thread belongs to someone else.
            InvalidRecord: the id is not a UUID.
        """
        record = Thread(id=clean_id(thread_id, "thread id"), expires_at=utc_in(seconds))
        await self._write("temporary thread", ThreadWrite(record, utc_now(), *recorded(acting_user.get())))
        return record.expires_at or ""

    async def fork_thread(self, thread_id: str, step_id: str, *, title_ending: str = "") -> str:
        """Copy the thread as far as one of its messages into a new thread of its owner; returns the new id.

        Steps and elements get new ids; files are not copied, both threads name them. Votes, favourites and earlier
        versions stay with the original. `forked_from` in the metadata names it, and the fork outlives it, but not the
        thread that a reviewer copied. A fork of a temporary thread is kept.

        Args:
            thread_id: a thread of the acting user.
            step_id: the last message of the fork.
            title_ending: appended to the title, unless the title ends with it already.

        Raises:
            NotFound: there is no such thread, or no such message in it.
            Forbidden: the thread belongs to someone else.
        """
        known, step, ending = clean_id(thread_id, "thread id"), clean_id(step_id, "step id"), clean_text(title_ending)
        actor, fork_id = acting_user.get(), str(uuid.uuid4())

        async def fork(connection: AsyncConnection) -> str:
            return await rows.fork(connection, known, step, actor, ending, fork_id=fork_id)

        async def is_there(connection: AsyncConnection) -> bool:
            return await threads.get(connection, fork_id) is not None

        await self._contents_settled(known)
        forked: str = await self._writer.submit(repeatable(fork, is_there))
        self.search_indexer.note()
        self.answer_follower.note()
        return forked

    async def organize_threads(
        self,
        thread_ids: Collection[str],
        *,
        is_pinned: bool | None = None,
        is_archived: bool | None = None,
        add_tags: Collection[str] = (),
        remove_tags: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Pin, archive or tag threads, or undo it; None and no tags leave things as they are.

        A thread that is archived is no longer pinned, and one that is pinned is no longer archived. What is so already
        stays, with its time.

        Returns:
            The ids of those that are the acting user's. Others are left as they are.

        Raises:
            InvalidRecord: there are more than MOST_THREADS ids, a tag is empty or longer than LONGEST_TAG, a thread
                would have more than MOST_TAGS tags, or is to be both pinned and archived.
        """
        if is_pinned and is_archived:
            raise InvalidRecord("a thread is either pinned or archived")
        ids, actor, now = _known(thread_ids), acting_user.get(), utc_now()
        added, removed = _tags(add_tags), _tags(remove_tags)

        async def organize(connection: AsyncConnection) -> tuple[str, ...]:
            own = await rows.lock_own(connection, ids, actor)
            await threads.mark(connection, list(own), now, is_pinned=is_pinned, is_archived=is_archived)
            changed = {one: _with_tags(before, added, removed) for one, before in own.items()}
            await rows.tag(connection, {one: tags for one, tags in changed.items() if tags != list(own[one])})
            return tuple(own)

        organized: tuple[str, ...] = await self._writer.submit(organize)
        return organized


def _known(thread_ids: Collection[str]) -> list[str]:
    if len(thread_ids) > MOST_THREADS:
        raise InvalidRecord(f"at most {MOST_THREADS} threads are changed at once")
    return list(dict.fromkeys(known for one in thread_ids if (known := known_id(one)) is not None))


def _tags(given: Collection[str]) -> list[str]:
    tags = list(dict.fromkeys(clean_text(str(tag)).strip() for tag in given))
    if any(not 0 < len(tag) <= LONGEST_TAG for tag in tags):
        raise InvalidRecord(f"a tag has 1 to {LONGEST_TAG} characters")
    return tags


def _with_tags(before: Collection[str], added: Collection[str], removed: Collection[str]) -> list[str]:
    tags = [tag for tag in dict.fromkeys((*before, *added)) if tag not in removed]
    if added and len(tags) > MOST_TAGS:
        raise InvalidRecord(f"a thread has at most {MOST_TAGS} tags")
    return tags
