"""The files of elements: stored before their rows, and readable by users who may read the thread."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from datalayer.base_store import BaseStore
from datalayer.blobs import OpenBlob
from datalayer.blobs.uploads import Upload
from datalayer.cleaning import utc_in
from datalayer.errors import BlobError, BlobNotFound, DataLayerError
from datalayer.history.file_outbox import ABANDONED_AFTER_SECONDS
from datalayer.ownership import Actor, acting_user, recorded
from datalayer.records.chat import Element
from datalayer.records.writes import ElementDeletion, ElementWrite, FileAbandonment, FileAnnouncement

logger = logging.getLogger(__name__)


class ElementFiles(BaseStore):
    """Stores and opens files, beside any database."""

    _told_of_links = False

    async def open_element(
        self, thread_id: str, element_id: str, start: int = 0, end: int | None = None
    ) -> tuple[Element, OpenBlob] | None:
        """An element and its bytes from `start` to before `end`; None if there are none for the acting user.

        Raises:
            BlobError: the file exists but cannot be read now.
        """
        element = await self._element(thread_id, element_id, acting_user.get())
        if element is None or element.object_key is None:
            return None
        try:
            return element, await self.blobs.open(element.object_key, start, end)
        except BlobNotFound:
            ids = {"thread_id": thread_id, "record_id": element_id, "object_key": element.object_key}
            logger.error("the file of an element is missing", extra=ids)
            return None

    async def element_link(self, thread_id: str, element_id: str, seconds: int) -> str | None:
        """A signed URL of the element's file in the store, which anyone can use for this many seconds.

        None if the acting user may not read it, if it has no file, or if the store has no signed URLs.

        Raises:
            BlobError: the URL cannot be signed now.
        """
        element = await self._element(thread_id, element_id, acting_user.get())
        if element is None or element.object_key is None:
            return None
        return await self.blobs.signed_url(element.object_key, seconds)

    async def _store_element(self, element: Element, moment: str, content: Callable[[], bytes | Path | None]) -> None:
        """Store the element: its file, if it has one, and then its row. A failure is reported and raised."""
        actor = acting_user.get()
        with self._uploads.ticket(element.id, element.for_id, element.thread_id) as ticket:
            try:
                body = content()
                stored = element if body is None else await self._store_file(element, body, actor)
            except DataLayerError as error:
                await self._report_failure("file", error, thread_id=element.thread_id, record_id=element.id)
                raise
            written = None
            try:
                if stored is not None and (body is None or ticket.take()):
                    written = await self._write("element", ElementWrite(stored, moment, *recorded(actor)))
                    if body is not None and ticket.is_ended:
                        # The element was deleted while its row waited in the queue.
                        late = ElementDeletion(element.id, element.thread_id, *recorded(actor))
                        await self._write("deletion of an element", late)
            finally:
                # Refused, too late, or its thread was deleted. If the row was stored all the same, it keeps its file.
                if written is None and stored is not None and stored.object_key is not None:
                    self._abandon(stored.object_key)

    async def _store_file(self, element: Element, body: bytes | Path, actor: Actor) -> Element | None:
        """Store the file; gives the element with its key, or None if the thread was deleted."""
        if self._blobs is None:
            raise BlobError("files cannot be stored: the data layer was created without a blob store; pass `blobs`")
        # A key of its own for each upload: until its row is committed, the older file is whole under the older row.
        key = f"{element.thread_id or 'nowhere'}/{element.id}-{secrets.token_hex(4)}"

        # Before any byte is stored: refused files are not sent, and a crash leaves no unknown file.
        due_at = utc_in(ABANDONED_AFTER_SECONDS)
        announcement = FileAnnouncement(key, element.id, element.thread_id, due_at, *recorded(actor))
        announced = self._submit(announcement, element.thread_id)
        mime = element.mime or "application/octet-stream"
        upload = Upload(key, body, mime, element.name, element.thread_id, element.id)
        try:
            stored = await self._uploads.put(self._blobs, upload, announced)
        except BaseException as error:
            # If the announcement was refused, nothing was sent.
            if not announced.done() or announced.exception() is not error:
                self._abandon(key)
            raise
        if stored is None:
            return None
        if self._file_url is None and not self._told_of_links:
            self._told_of_links = True
            logger.warning(
                "files are stored, but not shown when their thread is opened again: the data layer was created without "
                'file_url (datalayer/README.md, "Showing files")'
            )
        return replace(element, object_key=key, byte_size=stored.size, sha256=stored.sha256)

    def _abandon(self, object_key: str) -> None:
        """There will be no row: delete the file."""
        # Without a thread id, so that the deletion of its thread does not drop it.
        self._submit(FileAbandonment(object_key)).add_done_callback(lambda _: self._note_files())
