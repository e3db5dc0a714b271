"""The files of elements in a SQL database."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, known_id
from datalayer.errors import InvalidRecord, NotFound
from datalayer.files.element_files import ElementFiles
from datalayer.history import elements, threads
from datalayer.ownership import acting_user, demand_write
from datalayer.store import DataStore


class Files(ElementFiles, DataStore):
    """Stores and opens files, and lets messages have them."""

    async def attach_elements(
        self, thread_id: str, element_ids: Collection[str], step_id: str, *, most_bytes: int | None = None
    ) -> None:
        """Let elements of the thread that are of no step be of this one: all of them, or none.

        Args:
            thread_id: of a thread of the acting user.
            element_ids: of elements that were stored without a step.
            step_id: the step, which need not be stored yet.
            most_bytes: of all files together.

        Raises:
            NotFound: the thread has no such element, or it is of another step already.
            InvalidRecord: the files are larger together.
            Forbidden: the thread is someone else's.
        """
        actor, known, step = acting_user.get(), clean_id(thread_id, "thread id"), clean_id(step_id, "step id")
        wanted = {known_id(one) for one in element_ids}

        async def attach(connection: AsyncConnection) -> None:
            _, owner = await threads.owner(connection, known)
            demand_write(actor, owner, "the thread")
            sizes = await elements.attach(connection, known, [one for one in wanted if one is not None], step)
            # Raised within the transaction, which is undone.
            if len(sizes) != len(wanted):
                raise NotFound("the thread has no such file, or it is of a message already")
            if most_bytes is not None and sum(sizes) > most_bytes:
                raise InvalidRecord(f"the files have more than {most_bytes:,} bytes together")

        await self._writer.submit(attach, known)

    async def detach_elements(self, thread_id: str, step_id: str) -> None:
        """Let the elements that were attached to this step be of no step again, if the step is not stored.

        Raises:
            Forbidden: the thread is someone else's.
        """
        actor, known, step = acting_user.get(), clean_id(thread_id, "thread id"), clean_id(step_id, "step id")

        async def detach(connection: AsyncConnection) -> None:
            _, owner = await threads.owner(connection, known)
            demand_write(actor, owner, "the thread")
            await elements.detach(connection, known, step)

        await self._writer.submit(detach, known)
