"""What the data layers of all databases share: files in a blob store, a spool file, and the report of failed writes.

A failed write is logged with its ids, reported to `on_write_failure`, and raised.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datalayer.blobs import BlobStore
from datalayer.blobs.uploads import Uploads
from datalayer.errors import (
    ConfigurationError,
    DataLayerError,
    InvalidRecord,
    SchemaError,
    StatementRefused,
    StorageUnavailable,
)
from datalayer.ownership import Actor, acting_user, demand_system
from datalayer.records.chat import Element
from datalayer.records.writes import Recorded, ids_of
from datalayer.writes.overtaken import Newer
from datalayer.writes.replay import replay
from datalayer.writes.spool import Spool, to_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """A write that was not stored, for the application to show to its user."""

    what: str
    thread_id: str | None
    record_id: str | None
    error: DataLayerError


class WriteQueue(Protocol):
    """What every queue of writes tells of them."""

    def __len__(self) -> int:
        """The number of writes that are not stored yet."""

    async def settled(self, thread_id: str, /) -> None:
        """Wait until the queued writes of this thread are stored or have failed."""

    def waiting_threads(self, seconds: float, /) -> set[str]:
        """The threads of the writes that have waited for longer than this."""


class BaseStore(ABC):
    """One blob store beside a database."""

    _writer: WriteQueue

    def __init__(
        self,
        blobs: BlobStore | None,
        *,
        file_url: Callable[[Element], str] | None,
        on_write_failure: Callable[[WriteFailure], Awaitable[None]] | None,
        patience_seconds: float,
        spool: Path | None,
    ) -> None:
        self._blobs = blobs
        self._file_url = file_url
        self._on_write_failure = on_write_failure
        self._spool = Spool(spool) if spool else None
        self._uploads = Uploads(patience_seconds=patience_seconds)

    @property
    def blobs(self) -> BlobStore:
        """The blob store.

        Raises:
            ConfigurationError: the layer was created without one.
        """
        if self._blobs is None:
            raise ConfigurationError(
                "files cannot be stored: the data layer was created without a blob store; pass `blobs`"
            )
        return self._blobs

    @property
    def queued_writes(self) -> int:
        """The number of writes that are not stored yet."""
        return len(self._writer)

    async def settled(self, thread_id: str) -> None:
        """Wait, a few seconds at most, until all queued writes of this thread are stored or have failed."""
        await self._writer.settled(thread_id)

    def waiting_threads(self, seconds: float) -> set[str]:
        """The ids of the threads with a write that was queued more than so many seconds ago and is not stored yet.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the threads whose writes wait")
        return self._writer.waiting_threads(seconds)

    @abstractmethod
    def _submit(self, write: Recorded, thread_id: str | None = None) -> asyncio.Future[Any]:
        """Queue the write now, behind the others of its thread; the future gives its result when it is stored."""

    @abstractmethod
    def _note_files(self) -> None:
        """There may be files to delete in the background."""

    @abstractmethod
    async def _apply(self, write: Recorded) -> Any:
        """Store the write; gives the result of its kind."""

    async def _newer_than(self, _writes: Sequence[Recorded]) -> Newer:
        """What is newer in the database than these spooled writes."""
        return Newer()

    @abstractmethod
    async def _element(self, thread_id: str, element_id: str, actor: Actor) -> Element | None:
        """The element of this thread, or None if the actor may not read it."""

    async def _write(self, what: str, write: Recorded) -> Any:
        """Queue the write before the first await; gives its result, or reports and raises its failure."""
        try:
            return await self._apply(write)
        except DataLayerError as error:
            thread_id, record_id = ids_of(write)
            if isinstance(error, StatementRefused | SchemaError):
                await self._keep_refused(write)
            await self._report_failure(what, error, thread_id=thread_id, record_id=record_id)
            raise
        except Exception as error:
            # An unforeseen failure is reported like any other.
            thread_id, record_id = ids_of(write)
            refused = InvalidRecord(f"the record cannot be stored ({type(error).__name__})")
            await self._report_failure(what, refused, thread_id=thread_id, record_id=record_id)
            raise refused from error

    async def _keep_refused(self, write: Recorded) -> None:
        """Keep a write that the database refuses though nothing is wrong with it: after an upgrade it can be stored."""
        if self._spool is None:
            return
        thread_id, record_id = ids_of(write)
        ids = {"thread_id": thread_id, "record_id": record_id}
        try:
            await asyncio.to_thread(self._spool.refuse, to_line(write))
        except OSError as error:
            logger.error("the file of refused writes cannot be written: %s", error, extra=ids)
        else:
            logger.error("a write is kept in the file of refused writes, %s", self._spool.refused.name, extra=ids)

    async def _report_failure(
        self, what: str, error: DataLayerError, *, thread_id: str | None, record_id: str | None
    ) -> None:
        logger.error("%s was not stored: %s", what, error, extra={"thread_id": thread_id, "record_id": record_id})
        if self._on_write_failure is not None:
            await self._on_write_failure(WriteFailure(what, thread_id, record_id, error))

    async def _replay_spooled(self) -> None:
        """Store the writes that an earlier process left in the spool file.

        Raises:
            StorageUnavailable: the database cannot be reached, or the spool file cannot be read or changed.
        """
        if self._spool is None:
            return
        try:
            await replay(self._spool, self._apply, self._newer_than)
        except OSError as error:
            raise StorageUnavailable(f"the spool file cannot be read or changed ({type(error).__name__})") from error

    def _rescue(self, writes: list[Recorded]) -> bool:
        if self._spool is None:
            return False
        try:
            self._spool.append(writes)
        except OSError as error:
            logger.error("the spool file cannot be written: %s", error)
            return False
        return True

    def _report_unstored(self, spooled: int, lost: int) -> None:
        if spooled or lost:
            logger.error(
                "%d writes could not be stored before the end: %d are in the spool file, %d are lost",
                spooled + lost,
                spooled,
                lost,
            )
