"""The base of the review's public methods: the role check, and waiting until earlier writes are among the answers."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.ownership import acting_user
from datalayer.records.review import AnswerFilter
from datalayer.review.access import REVIEWERS, Reviewer, demand
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

T = TypeVar("T")
Work = Callable[[AsyncConnection, Reviewer], Awaitable[T]]
"""Work on a connection for the acting reviewer."""
Check = Callable[[AsyncConnection], Awaitable[bool]]


class ReviewStore(DataStore):
    """Reads and writes that require a role."""

    @property
    def _dialect(self) -> Dialect:
        return self.database.dialect

    async def _settled_answers(self) -> None:
        """Wait until queued writes are stored and the rows of answers follow them."""
        await self._writer.settled()
        await self.answer_follower.caught_up()

    async def _read_as_reviewer(self, work: Work[T], roles: tuple[str, ...] = REVIEWERS) -> T:
        """Check the acting user's role, then read, on one connection.

        Raises:
            Forbidden: the acting user has none of the roles.
        """
        return await self.database.query(_checked(work, roles))

    async def _write_as_reviewer(
        self, work: Work[T], roles: tuple[str, ...] = REVIEWERS, *, is_done: Check | None = None
    ) -> T:
        """Queue a write that first checks the acting user's role, in its own transaction.

        The write is in the queue before the first await.

        Args:
            is_done: whether the write was made already, for one that is not the same if the queue repeats it.

        Raises:
            Forbidden: the acting user has none of the roles.
        """
        checked = _checked(work, roles)
        result: T = await self._writer.submit(checked if is_done is None else repeatable(checked, is_done))
        return result

    async def _looked_through(self, which: AnswerFilter, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Check the role, wait until earlier writes are among the answers, then read."""
        return (await self._searched(which, work))[0]

    async def _searched(
        self, which: AnswerFilter, work: Callable[[AsyncConnection], Awaitable[T]], *, by_words: bool | None = None
    ) -> tuple[T, int]:
        """As `_looked_through`, with the number of texts that the words could not find yet.

        Args:
            by_words: whether the work reads the index of words; by default if the filter has words.
        """
        await self._read_as_reviewer(nothing)
        await self._settled_answers()
        left = await self.search_indexer.all_left() if (which.words if by_words is None else by_words) else 0
        # The rows of answers and the index of words are made beside the writes.
        return await self._read(lambda database: database.query(work), now=True), left


def _checked(work: Work[T], roles: tuple[str, ...]) -> Callable[[AsyncConnection], Awaitable[T]]:
    # Read here: the queue runs the work in a task of its own, where another user may be acting.
    actor = acting_user.get()

    async def checked(connection: AsyncConnection) -> T:
        return await work(connection, await demand(connection, actor, roles))

    return checked


async def nothing(_connection: AsyncConnection, _reviewer: Reviewer) -> None:
    """No work; only the role is checked."""
