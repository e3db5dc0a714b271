"""What all that is done for a review shares: the role is asked first, and what was written before is there."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.ownership import acting_user
from datalayer.review import access
from datalayer.store import DataStore

T = TypeVar("T")


class ReviewStore(DataStore):
    """Reads and writes of who has the role for it."""

    @property
    def _dialect(self) -> Dialect:
        return self.database.dialect

    async def _settled_answers(self) -> None:
        await self._writer.settled()
        await self.answer_follower.caught_up()

    async def _as_reviewer(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the work finds for a reviewer."""
        actor = acting_user.get()

        async def read(connection: AsyncConnection) -> T:
            await access.demand(connection, actor)
            return await work(connection)

        return await self.database.query(read)

    async def _do(
        self,
        work: Callable[[AsyncConnection, access.Reviewer], Awaitable[Any]],
        roles: tuple[str, ...] = access.REVIEWERS,
    ) -> Any:
        """What the work of a reviewer, which writes, gives; in its turn among the writes."""
        actor = acting_user.get()

        async def write(connection: AsyncConnection) -> Any:
            return await work(connection, await access.demand(connection, actor, roles))

        return await self._writer.submit(write)
