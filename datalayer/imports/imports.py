"""Public methods for threads that come from another chat, or go into one."""

import secrets
import uuid
from collections.abc import AsyncIterable, Collection, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.chainlit_dicts import marks_of, whole_thread_dict_of
from datalayer.cleaning import clean_id, known_id, utc_in
from datalayer.errors import InvalidRecord
from datalayer.history import file_outbox
from datalayer.history.file_outbox import ABANDONED_AFTER_SECONDS
from datalayer.imports import storing
from datalayer.ownership import acting_user, demand_write, may_write
from datalayer.records.imports import ImportedFile, ImportedThread
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

MOST_THREADS_ASKED = 500
_BYTES = "application/octet-stream"


class Imports(DataStore):
    """Threads of the acting user that come from another chat, or go into one."""

    async def existing_threads(self, thread_ids: Collection[str]) -> set[str]:
        """Which of these threads exist already, whoever owns them, so that `import_thread` would store nothing.

        Raises:
            InvalidRecord: there are more than `MOST_THREADS_ASKED` ids.
        """
        if len(thread_ids) > MOST_THREADS_ASKED:
            raise InvalidRecord(f"at most {MOST_THREADS_ASKED} threads are looked up at once")
        ids = [known for one in thread_ids if (known := known_id(one)) is not None]
        return await self.database.query(lambda connection: storing.existing(connection, ids))

    async def existing_messages(self, step_ids: Collection[str]) -> set[str]:
        """Which of these messages exist, also as earlier versions, whoever owns them.

        Raises:
            InvalidRecord: there are more than `MOST_THREADS_ASKED` ids.
        """
        if len(step_ids) > MOST_THREADS_ASKED:
            raise InvalidRecord(f"at most {MOST_THREADS_ASKED} messages are looked up at once")
        ids = [known for one in step_ids if (known := known_id(one)) is not None]
        return await self.database.query(lambda connection: storing.existing_messages(connection, ids))

    async def import_thread(self, imported: ImportedThread) -> bool:
        """Store a whole thread, with its own ids and times; returns when it is stored.

        Its files are stored before their rows, so the thread is whole or absent, whenever the process dies. A thread
        that its owner has deleted is stored again. Nothing is recorded as a model call.

        Returns:
            False if a thread with this id exists; that stays as it is.

        Raises:
            Forbidden: the acting user is not the owner.
            InvalidRecord: an id is no UUID, a vote or a file belongs to no message of the thread, an earlier version is
                of a message in another thread, or there are files and no blob store.
            NotFound: the owner does not exist.
            BlobError: a file cannot be stored.
        """
        demand_write(acting_user.get(), imported.thread.user_identifier, "the imported thread")
        thread_id = clean_id(imported.thread.id, "thread id")
        storing.demand_own_messages(imported)
        if thread_id in await self.existing_threads([thread_id]):
            return False
        stored: dict[str, dict[str, Any]] = {}
        dialect = self.database.dialect

        async def store(connection: AsyncConnection) -> bool:
            return await storing.store(connection, dialect, imported, stored)

        async def is_there(connection: AsyncConnection) -> bool:
            return await storing.is_owned(connection, imported)

        try:
            for one in imported.files:
                if one.content is not None:
                    await self._store_imported_file(one, thread_id, stored)
            is_new: bool = await self._writer.submit(repeatable(store, is_there), thread_id)
        except BaseException:
            await self._forget_imported_files(thread_id, stored)
            raise
        if not is_new:
            await self._forget_imported_files(thread_id, stored)
        self._note_write()
        return is_new

    async def export_threads(self, thread_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The ThreadDicts of at most MOST_THREADS of the acting user's threads, in the order of the ids.

        Each has the keys of `chainlit_dicts.marks_of` as well, and `versions`: earlier versions of its messages, oldest
        first, as dictionaries with the columns of `step_versions`, and the owner's vote on a removed one as `feedback`.
        Threads of others are left out, shared ones too.

        Raises:
            InvalidRecord: there are more ids.
        """
        actor = acting_user.get()
        whole = await self._whole_threads(thread_ids, actor)
        own = [one for one in whole if may_write(actor, one.thread.user_identifier)]
        versions = await self.database.query(
            lambda connection: storing.versions_of(connection, [one.thread.id for one in own])
        )
        return [
            whole_thread_dict_of(one, self._file_url)
            | marks_of(one.thread)
            | {"versions": versions.get(one.thread.id, [])}
            for one in own
        ]

    async def threads_to_export(self, user_id: str) -> list[str]:
        """The ids of all threads of the user that are not temporary, last activity first: as they are now.

        Args:
            user_id: the acting user's id; of another user's threads, there are none.
        """
        known, actor = known_id(user_id), acting_user.get()
        if known is None:
            return []
        await self._writer.settled()
        return await self.database.query(lambda connection: storing.ids_of_user(connection, known, actor))

    async def keep_import(self, content: AsyncIterable[bytes], seconds: float) -> str:
        """Store an uploaded export; returns its key in the file store. It is deleted after so many seconds.

        Raises:
            InvalidRecord: no blob store is configured.
            BlobError: the file cannot be stored.
        """
        if self._blobs is None:
            raise InvalidRecord("exports can be uploaded only if a blob store is configured")
        key, due = f"imports/{uuid.uuid4()}", utc_in(seconds)
        await self._writer.submit(lambda connection: file_outbox.announce(connection, key, None, due))
        await self._blobs.put(key, content, _BYTES, name="export")
        return key

    async def _store_imported_file(self, file: ImportedFile, thread_id: str, stored: dict[str, dict[str, Any]]) -> None:
        if self._blobs is None or file.content is None:
            raise InvalidRecord("the imported thread has files, but no blob store is configured")
        key = f"{thread_id}/{file.element.id}-{secrets.token_hex(4)}"
        stored[file.element.id] = {"objectKey": key}
        due = utc_in(ABANDONED_AFTER_SECONDS)
        await self._writer.submit(lambda connection: file_outbox.announce(connection, key, thread_id, due))
        element = file.element
        blob = await self._blobs.put(key, file.content(), element.mime or _BYTES, name=element.name)
        stored[element.id] = {"objectKey": key, "byteSize": blob.size, "sha256": blob.sha256}

    async def _forget_imported_files(self, thread_id: str, stored: dict[str, dict[str, Any]]) -> None:
        """Delete the files of a thread that was not stored; files that cannot be deleted now are deleted later."""
        if keys := [one["objectKey"] for one in stored.values()]:
            await self._writer.submit(lambda connection: file_outbox.abandon(connection, *keys))
            await self.file_deleter.delete(keys, thread_id)
