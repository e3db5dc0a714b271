"""Texts that are too long for an item: in the blob store, with their beginning in the item.

An item of DynamoDB has at most 400 KB. So an attribute of more than `LONGEST` bytes goes to the blob store, under a key
that is never used again, and the item has the key in an attribute of ours. Of an object, such as the metadata of a
thread, only the largest keys go there. A reader who does not know it, such as Chainlit's own layer, shows the beginning
of the text, and the other keys of the object.

The comment of a vote is a part of the attribute `feedback`. The record of that change of the vote names the same file,
which therefore stays as long as the record.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from cachetools import LRUCache

from datalayer.blobs import BlobStore
from datalayer.blobs.text_keys import key_of
from datalayer.cleaning import utc_in
from datalayer.dynamodb.file_outbox import FileOutbox
from datalayer.dynamodb.items import Attribute, Item, from_attribute, size_of, to_attribute
from datalayer.dynamodb.keys import FEEDBACK, POINTER, texts_of, thread_of
from datalayer.errors import BlobError, BlobNotFound, BlobRefused, DataLayerError, InvalidRecord, StorageUnavailable
from datalayer.history.elements import STAYS_WITH_VERSION
from datalayer.history.file_outbox import ABANDONED_AFTER_SECONDS

logger = logging.getLogger(__name__)

LONGEST = 48 * 1024
SHORTEST = 1024
"""The bound if the item of an attribute within `LONGEST` is too large all the same."""
_SHOWN = 2_000
_MOST_KNOWN = 1_000
_AT_ONCE = 8
_IN_THE_ITEM = frozenset({"favorite", "is_shared", STAYS_WITH_VERSION})
"""Keys of objects that decide who may read a thread, and what is listed and deleted: they are never moved."""


class LongTexts:
    """The long texts of the items of one table."""

    def __init__(self, blobs: BlobStore | None, outbox: FileOutbox | None = None) -> None:
        """
        Args:
            outbox: needed to store texts with `Upload`, which deletes those that are in no item any more.
        """
        self._blobs, self._outbox = blobs, outbox
        # A key that this process stored, and then replaced, is in no item any more.
        self._stored: LRUCache[tuple[str, str], str] = LRUCache(_MOST_KNOWN)
        # By thread: keys that are in an item or in none, because the answer to a transaction was lost.
        self._unsure: LRUCache[str, list[str]] = LRUCache(_MOST_KNOWN)
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def completed(self, items: Sequence[Item]) -> list[Item]:
        """The items with their whole texts. A text that cannot be read now is left at its beginning, and logged."""
        return list(await asyncio.gather(*map(self._completed, items)))

    async def complete(self, item: Item) -> tuple[Item, list[str]]:
        """The item with its whole texts, and the names of the attributes whose text is missing in the blob store.

        Raises:
            BlobError: the blob store cannot be read now.
        """
        missing: list[str] = []
        return await self._completed(item, missing), missing

    async def whole(self, item: Item) -> Item:
        """The item with its whole texts, to be changed.

        Raises:
            InvalidRecord: there is no blob store.
            StorageUnavailable: the blob store cannot be read now.
        """
        if self._blobs is None and texts_of(item):
            raise InvalidRecord("a record with a text in the blob store cannot be changed without it: pass `blobs`")
        try:
            return (await self.complete(item))[0]
        except BlobRefused:
            raise
        except BlobError as error:
            raise StorageUnavailable(f"a long text cannot be read from the blob store now: {error}") from error

    async def put(self, thread_id: str, record_id: str, attribute: Attribute, ending: str | None = None) -> str:
        """Store a text of a step, an element, a vote on a step or a thread with this id; gives its key.

        Args:
            ending: of the key. By default it is random, so that no key is used again.

        Raises:
            InvalidRecord: there is no blob store.
            StorageUnavailable: the blob store cannot store it now.
        """
        if self._blobs is None:
            raise InvalidRecord(
                f"a text of more than {SHORTEST} to {LONGEST} bytes cannot be stored in DynamoDB: pass `blobs`"
            )
        key = key_of(thread_id, record_id, ending or secrets.token_hex(8))
        text = attribute["S"] if "S" in attribute else json.dumps(from_attribute(attribute))
        try:
            await self._blobs.put(key, text.encode(), "text/plain; charset=utf-8")
        except BlobRefused:
            raise
        except BlobError as error:
            raise StorageUnavailable(f"a long text cannot be stored in the blob store now: {error}") from error
        return key

    async def replaced(self, thread_id: str, changes: dict[tuple[str, str], str | None]) -> None:
        """Note the keys that items have now, by record and attribute, and delete those they had before."""
        older = [self._stored.pop(place) for place in changes if place in self._stored]
        self._stored.update({place: key for place, key in changes.items() if key is not None})
        await self.dropped(thread_id, older)
        unsure = self._unsure.pop(thread_id, [])
        if unsure and self._outbox is not None:
            try:
                await self._outbox.queue(unsure, thread_id, utc_in(ABANDONED_AFTER_SECONDS))
            except DataLayerError:
                self.keep(thread_id, unsure)

    async def dropped(self, thread_id: str, keys: Sequence[str]) -> None:
        """Delete texts that are in no item. A failure is logged: it changes nothing in the items."""
        if not keys or self._outbox is None:
            return
        try:
            await self._outbox.delete_unnamed(keys, thread_id)
        except DataLayerError as error:
            ids = {"thread_id": thread_id, "object_keys": list(keys)}
            logger.error("unused long texts stay until their thread is deleted: %s", error, extra=ids)

    def keep(self, thread_id: str, keys: Sequence[str]) -> None:
        """Note texts that may be in an item or not. After the next transaction of the thread they are queued: they are
        deleted after a week, unless an item names them."""
        if keys:
            self._unsure[thread_id] = [*self._unsure.get(thread_id, []), *keys]

    async def _completed(self, item: Item, missing: list[str] | None = None) -> Item:
        pointers = {name.removeprefix(POINTER): one["S"] for name, one in item.items() if name.startswith(POINTER)}
        if not pointers:
            return item
        whole = dict(item)
        for name, key in pointers.items():
            try:
                text = await self._read(key, thread_of(item))
            except BlobError as error:
                if missing is not None:
                    raise
                ids = {"thread_id": thread_of(item), "object_key": key}
                logger.error("a long text cannot be read now, and only its beginning is shown: %s", error, extra=ids)
                continue
            if text is not None:
                complete = _with_comment if name == FEEDBACK else _over
                whole[name] = complete(item.get(name), text)
            elif missing is not None:
                missing.append(name)
        return whole

    async def _read(self, key: str, thread_id: str) -> str | None:
        if self._blobs is None:
            logger.error("a long text cannot be read without the blob store", extra={"object_key": key})
            return None
        try:
            async with self._at_once:
                return (await self._blobs.read(key)).decode()
        except BlobNotFound:
            # A write may have replaced it since its item was read.
            logger.error("a long text is missing", extra={"thread_id": thread_id, "object_key": key})
            return None


class Upload:
    """The long texts of one transaction, which may take several attempts."""

    def __init__(self, texts: LongTexts, thread_id: str, *, drops: bool = True) -> None:
        """
        Args:
            drops: delete the texts that are replaced. Those of votes stay: the record of the change names them.
        """
        self._texts, self._thread_id, self._drops = texts, thread_id, drops
        self.most = LONGEST
        self.is_sent = False
        """Whether a transaction was sent that was not refused."""
        # With each key its attribute: while that lives, its `id` is of no other.
        self._keys: dict[tuple[str, str, int], tuple[str, Attribute]] = {}
        self._now: dict[tuple[str, str], str | None] = {}
        self._older: list[str] = []

    async def shortened(self, record_id: str, given: Item) -> Item:
        """The attributes with long texts replaced by their beginnings and the keys of the whole texts."""
        result: Item = {}
        for name, attribute in given.items():
            result[name] = attribute
            self._now[record_id, name] = None
            if size_of(attribute) <= self.most:
                continue
            # Another attempt has the same attribute, and need not store it again.
            place = (record_id, name, id(attribute))
            beginning, moved = split(attribute, self.most)
            if place not in self._keys:
                self._keys[place] = await self._texts.put(self._thread_id, record_id, moved), attribute
            self._now[record_id, name] = self._keys[place][0]
            result[name] = beginning
            result[POINTER + name] = {"S": self._keys[place][0]}
        return result

    def replaces(self, keys: Sequence[str]) -> None:
        """The transaction takes the place of these texts, which the items name that it was made for."""
        self._older = list(keys)

    async def end(self, *, stored: bool) -> None:
        """The transaction was carried out, or nothing was. If it was sent, and not refused, nobody knows."""
        keys = [key for key, _ in self._keys.values()]
        if not stored and self.is_sent:
            self._texts.keep(self._thread_id, keys)
            return
        in_use = set(self._now.values()) if stored else set()
        if stored:
            await self._texts.replaced(self._thread_id, self._now if self._drops else {})
            keys += self._older
        await self._texts.dropped(self._thread_id, [key for key in dict.fromkeys(keys) if key not in in_use])


def split(attribute: Attribute, most: int) -> tuple[Attribute, Attribute]:
    """What an item keeps of an attribute of more than `most` bytes, and what of it is in the blob store.

    Of an object these are its small and its large keys, of another value its beginning and the whole value.
    """
    if "M" not in attribute:
        return _beginning_of(attribute), attribute
    kept, moved, left = dict(attribute["M"]), {}, size_of(attribute)
    sizes = {name: len(name.encode()) + 1 + size_of(one) for name, one in kept.items() if name not in _IN_THE_ITEM}
    for name in sorted(sizes, key=lambda one: (-sizes[one], one)):
        if left <= most:
            break
        moved[name] = kept.pop(name)
        left -= sizes[name]
    return {"M": kept}, {"M": moved}


def _beginning_of(attribute: Attribute) -> Attribute:
    ((kind, value),) = attribute.items()
    return {kind: value[:_SHOWN] if kind == "S" else []}


def _over(attribute: Attribute | None, text: str) -> Attribute:
    """The whole value; keys of an object in the item, which may have been set since, are over those in the file.

    Chainlit's own layer knows nothing of the file: an attribute that it has replaced is not the beginning of the text.
    """
    if attribute is None:
        return {"S": text}
    if "S" in attribute:
        return {"S": text} if attribute == _beginning_of({"S": text}) else attribute
    whole = to_attribute(json.loads(text))
    if "M" in whole:
        return {"M": {**whole["M"], **attribute["M"]}} if "M" in attribute else attribute
    return whole if attribute == _beginning_of(whole) else attribute


def _with_comment(vote: Attribute | None, comment: str) -> Attribute:
    """The vote with its whole comment, unless it is another vote by now."""
    inside: dict[str, Any] = (vote or {}).get("M", {})
    if inside.get("comment") != _beginning_of({"S": comment}):
        return vote or {"NULL": True}
    return {"M": {**inside, "comment": {"S": comment}}}
