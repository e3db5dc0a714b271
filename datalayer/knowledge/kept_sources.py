"""Public methods of data sources: what an assistant knows from, with their files."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_json, clean_text, known_id, utc_in
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import file_outbox
from datalayer.history.file_outbox import ABANDONED_AFTER_SECONDS
from datalayer.knowledge import listings, sources, states
from datalayer.ownership import acting_user, demand_system
from datalayer.records.knowledge import FETCHED_KINDS, DataSource, KnowledgeState, ListedSource, SourcePage
from datalayer.store import DataStore
from datalayer.writes.repeats import conditional, deletion


async def sha256_of(content: bytes) -> str:
    """The checksum of a file, in hexadecimal. It is computed in a thread."""
    return await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())


KINDS = ("file", "pairs", "datasheet", "url", "api")
"""The kinds of data sources."""


class KeptSources(DataStore):
    """The data sources of assistants. An assistant is a text id."""

    async def put_source(
        self,
        source: DataSource,
        content: bytes | None = None,
        mime: str | None = None,
        replaces: str | None = None,
    ) -> DataSource:
        """Store a data source and its file, or replace the one with its id; returns it as stored.

        Args:
            source: without key, size and checksum, which come from the content.
            content: of its file; None keeps the file that is there.
            mime: the type of the content.
            replaces: the checksum of the file that the content is based on; None replaces any.

        Raises:
            InvalidRecord: the kind is unknown, the id or the title is not valid, or the address is missing.
            SourceChanged: the stored file is another than `replaces`.
            BlobError: the file could not be stored.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        cleaned, has_file = _clean(source), content is not None
        if content is not None:
            cleaned = await self._with_file(cleaned, content, mime)
        stored, old = await self._writer.submit(
            conditional(
                lambda connection: sources.put(connection, cleaned, has_file=has_file, replaces=replaces),
                lambda connection: sources.get(connection, cleaned.id),
            )
        )
        await self.file_deleter.delete(old, None)
        result: DataSource = stored
        return result

    async def change_source(
        self,
        source_id: str,
        change: Callable[[DataSource], DataSource],
        content: bytes | None = None,
        mime: str | None = None,
        replaces: str | None = None,
    ) -> DataSource:
        """Change a data source that is there, so that no change of somebody else is lost; returns it as stored.

        Args:
            source_id: of the data source.
            change: gives the source with another title or other options from the stored one. It runs in the
                transaction, perhaps several times.
            content: of its new file; None keeps the file that is there.
            mime: the type of the content.
            replaces: the checksum of the file that the content is based on; None replaces any.

        Raises:
            NotFound: there is no such source any more.
            InvalidRecord: the title is not valid, or the address is missing.
            SourceChanged: the stored file is another than `replaces`.
            BlobError: the file could not be stored.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        known = clean_id(source_id, "id of a data source")
        file = None
        if content is not None:
            found = await self.get_source(known)
            if found is None:
                raise NotFound(f"there is no data source {source_id}")
            file = await self._with_file(change(found), content, mime)

        async def store(connection: AsyncConnection) -> tuple[DataSource, list[str]]:
            return await sources.change(
                connection, known, lambda one: _clean(change(one)), file=file, replaces=replaces
            )

        stored, old = await self._writer.submit(conditional(store, lambda connection: sources.get(connection, known)))
        await self.file_deleter.delete(old, None)
        result: DataSource = stored
        return result

    async def keep_fetched(
        self, source: DataSource, facts: dict[str, Any], content: bytes | None = None, mime: str | None = None
    ) -> DataSource:
        """Store what was fetched for a data source; returns it as stored.

        Args:
            source: as it was when its address was read; without an object key if its file is lost.
            facts: where and when it was fetched.
            content: None if it is unchanged. The same bytes are not stored again.
            mime: the type of the content.

        Raises:
            SourceChanged: it was deleted or changed since.
            BlobError: the content could not be stored.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        fetched = replace(source, fetched=clean_json(facts))
        is_known = source.object_key is not None and source.sha256 is not None
        if content is not None and not (is_known and await sha256_of(content) == source.sha256):
            fetched = await self._with_file(fetched, content, mime)
        stored, old = await self._writer.submit(
            conditional(
                lambda connection: sources.keep_fetched(connection, source, fetched),
                lambda connection: sources.get(connection, source.id),
            )
        )
        await self.file_deleter.delete(old, None)
        result: DataSource = stored
        return result

    async def _with_file(self, source: DataSource, content: bytes, mime: str | None) -> DataSource:
        """Store a file, which is an orphan until its source is stored; gives the source with it."""
        digest = await sha256_of(content)
        # A new one for each file: the deletion of an earlier file can be under way, even if its content was the same.
        key = f"{sources.PREFIX}/{source.id}-{uuid.uuid4().hex[:16]}"
        due = utc_in(ABANDONED_AFTER_SECONDS)
        await self._writer.submit(lambda connection: file_outbox.announce(connection, key, None, due))
        await self.blobs.put(key, content, mime or "application/octet-stream", name=source.title)
        return replace(source, object_key=key, byte_size=len(content), sha256=digest)

    async def list_sources(self, assistant_id: str) -> list[DataSource]:
        """The data sources of an assistant, oldest first."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: sources.list_of(connection, assistant_id))

    async def page_of_sources(
        self, assistant_id: str, *, title: str = "", cursor: str | None = None, limit: int = 50
    ) -> SourcePage:
        """A page of the data sources of an assistant, newest first, with what the training that answers took of each;
        one query.

        Args:
            title: a part of the titles, in letters of any case; "" for all sources.
            cursor: of the page, as the page before gave it; None for the first page.
            limit: how many sources a page has at most.

        Raises:
            InvalidRecord: the cursor is not valid.
        """
        demand_system(acting_user.get(), "knowledge")
        part = clean_text(title).strip()
        return await self.database.query(
            lambda connection: listings.page_of_sources(
                connection, self.database.dialect, assistant_id, title=part, cursor=cursor, limit=limit
            )
        )

    async def listed_source(self, assistant_id: str, source_id: str) -> ListedSource | None:
        """The data source as `page_of_sources` lists it; None if the assistant has none of this id."""
        demand_system(acting_user.get(), "knowledge")
        known = known_id(source_id)
        if known is None:
            return None
        return await self.database.query(lambda connection: listings.listed(connection, assistant_id, known))

    async def find_source(
        self, assistant_id: str, kind: str, *, title: str | None = None, address: str | None = None
    ) -> DataSource | None:
        """The oldest data source of this kind that has the title or the address; None if the assistant has none."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(
            lambda connection: sources.find(connection, assistant_id, kind, title=title, address=address)
        )

    async def get_sources(self, source_ids: Collection[str]) -> list[DataSource]:
        """The data sources with these ids, oldest first; those that are not there any more are missing."""
        demand_system(acting_user.get(), "knowledge")
        known = {found for one in source_ids if (found := known_id(one)) is not None}
        if not known:
            return []
        return await self.database.query(lambda connection: sources.with_ids(connection, known))

    async def knowledge_states(self, assistant_ids: Sequence[str]) -> dict[str, KnowledgeState]:
        """What these assistants know, in numbers that the database counts; four statements for all of them."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: states.of_assistants(connection, assistant_ids))

    async def get_source(self, source_id: str) -> DataSource | None:
        """The data source; None if there is none."""
        demand_system(acting_user.get(), "knowledge")
        known = known_id(source_id)
        return None if known is None else await self.database.query(lambda connection: sources.get(connection, known))

    async def read_source(self, source_id: str) -> tuple[DataSource, bytes]:
        """The data source with the content of its file, whole in memory.

        Raises:
            NotFound: there is no such source, or it has no file.
            BlobError: the file could not be read.
        """
        source = await self.get_source(source_id)
        if source is None or source.object_key is None:
            raise NotFound(f"there is no data source {source_id} with a file")
        return source, await self.blobs.read(source.object_key)

    async def delete_source(self, source_id: str) -> None:
        """Delete a data source, its file, and all its documents, so that nothing of it is found any more.

        Raises:
            NotFound: there is no such source.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        known = clean_id(source_id, "id of a data source")
        old = await self._writer.submit(deletion(lambda connection: sources.remove(connection, known)))
        await self.file_deleter.delete(old, None)


def _clean(source: DataSource) -> DataSource:
    if source.kind not in KINDS:
        raise InvalidRecord(f"a data source is one of {', '.join(KINDS)}, not {source.kind!r}")
    title = clean_text(source.title).strip()
    if not title:
        raise InvalidRecord("a data source needs a title")
    if source.kind in FETCHED_KINDS and not (isinstance(address := source.options.get("address"), str) and address):
        raise InvalidRecord(f"a data source of the kind {source.kind!r} needs an address in its options")
    return replace(
        source,
        id=clean_id(source.id, "id of a data source"),
        assistant_id=clean_text(source.assistant_id),
        title=title,
        # In one order of the names, because SQLite compares JSON as text.
        options=json.loads(json.dumps(clean_json(source.options), sort_keys=True)),
    )
