"""Replays the spool at the start: stores the writes that an earlier process could not store."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from datalayer.errors import SchemaError, StorageUnavailable
from datalayer.records.writes import Recorded, ids_of
from datalayer.writes.spool import Spool, from_line

logger = logging.getLogger(__name__)

_AT_ONCE = 200

Store = Callable[[Recorded], Awaitable[Any]]


async def replay(spool: Spool, store: Store) -> None:
    """Store the spooled writes in order. A write that the database refuses goes to the file of refused writes.

    Raises:
        StorageUnavailable, SchemaError: the database cannot be used; the writes not stored so far stay in the spool.
        OSError: the spool file cannot be read or changed.
    """
    left, stored = spool.take(), 0
    while left:
        now, left = left[:_AT_ONCE], left[_AT_ONCE:]
        results = await asyncio.gather(*(_store_line(line, store) for line in now), return_exceptions=True)
        for at, (line, result) in enumerate(zip(now, results, strict=True)):
            if isinstance(result, StorageUnavailable | SchemaError):
                spool.keep(now[at:] + left)
                raise result
            if isinstance(result, BaseException):
                spool.refuse(line)
            else:
                stored += 1
        spool.keep(left)
        left = left or spool.take()
    if stored:
        logger.warning("stored %d writes of an earlier process from its spool file", stored)


async def _store_line(line: str, store: Store) -> None:
    thread_id = record_id = None
    try:
        write = from_line(line)
        thread_id, record_id = ids_of(write)
        await store(write)
    except (StorageUnavailable, SchemaError):
        raise
    except Exception as error:
        ids = {"thread_id": thread_id, "record_id": record_id}
        logger.error("a spooled write was refused and moved to the file of refused writes: %s", error, extra=ids)
        raise
