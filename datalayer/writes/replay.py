"""Replays the spool at the start: stores the writes that an earlier process could not store."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from datalayer.errors import InvalidRecord, SchemaError, StorageUnavailable
from datalayer.records.writes import Recorded, ids_of
from datalayer.writes.overtaken import Newer
from datalayer.writes.spool import Spool, from_line

logger = logging.getLogger(__name__)

_AT_ONCE = 200

Store = Callable[[Recorded], Awaitable[Any]]
NewerThan = Callable[[Sequence[Recorded]], Awaitable[Newer]]


async def replay(spool: Spool, store: Store, newer_than: NewerThan) -> None:
    """Store the spooled writes in order. A write that the database refuses goes to the file of refused writes.

    Args:
        spool: the file.
        store: stores a write.
        newer_than: finds what is newer in the database.

    Raises:
        StorageUnavailable, SchemaError: the database cannot be used; the writes not stored so far stay in the spool.
        OSError: the spool file cannot be read or changed.
    """
    left, stored = spool.take(), 0
    in_file = len(left)
    while left:
        now, left = left[:_AT_ONCE], left[_AT_ONCE:]
        try:
            results = await _store_lines(now, store, newer_than)
        except (StorageUnavailable, SchemaError):
            spool.keep(now + left)
            raise
        for at, (line, result) in enumerate(zip(now, results, strict=True)):
            if isinstance(result, StorageUnavailable | SchemaError):
                spool.keep(now[at:] + left)
                raise result
            if isinstance(result, BaseException):
                spool.refuse(line)
            else:
                stored += 1
        # Each time the rest of the file is written, so this is done a few times and not for each group of lines. A
        # refused line stands in the other file once.
        if len(left) <= in_file // 2 or any(isinstance(result, BaseException) for result in results):
            spool.keep(left)
            in_file = len(left)
        if not left:
            left = spool.take()
            in_file = len(left)
    if stored:
        logger.warning("stored %d writes of an earlier process from its spool file", stored)


async def _store_lines(lines: Sequence[str], store: Store, newer_than: NewerThan) -> list[Any]:
    """The results of the lines, or their errors. A line that cannot be read has an error."""
    writes = [_read(line) for line in lines]
    newer = await newer_than([one for one in writes if not isinstance(one, InvalidRecord)])
    return await asyncio.gather(*(_store(one, newer, store) for one in writes), return_exceptions=True)


def _read(line: str) -> Recorded | InvalidRecord:
    try:
        return from_line(line)
    except InvalidRecord as error:
        return error


async def _store(write: Recorded | InvalidRecord, newer: Newer, store: Store) -> None:
    thread_id = record_id = None
    try:
        if isinstance(write, InvalidRecord):
            raise write
        thread_id, record_id = ids_of(write)
        current = newer.behind(write)
        if current is not None:
            await store(current)
    except (StorageUnavailable, SchemaError):
        raise
    except Exception as error:
        ids = {"thread_id": thread_id, "record_id": record_id}
        logger.error("a spooled write was refused and moved to the file of refused writes: %s", error, extra=ids)
        raise
