"""Uploaded exports of other chats: looked into, and then imported. The page and the API share these acts."""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any

from datalayer import BlobNotFound, Job
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, utc_in
from threadkeeper.jobs.imports import IMPORT, KEPT_SECONDS

LARGEST_GB = 4
LARGEST_BYTES = LARGEST_GB * 1024**3
_LONGEST_NAME = 120


class ImportRuns(Exception):
    """An import of the user has not ended: there is one at a time."""


class UploadGone(Exception):
    """The upload was deleted, or another one took its place."""


async def newest_import(layer: ChainlitLayer) -> Job | None:
    """The newest import of the acting user, or look into an export."""
    return next(iter((await layer.list_jobs(kinds=[IMPORT], limit=1)).jobs), None)


async def look_into(
    layer: ChainlitLayer,
    user_id: str,
    content: AsyncIterable[bytes],
    *,
    name: str,
    by_day: bool,
    is_new: Callable[[], Awaitable[None]] | None = None,
) -> Job:
    """Store an export of the acting user, in place of an earlier one, and start the look into it.

    Args:
        layer: stores it.
        user_id: of the acting user.
        content: of the file.
        name: of the file.
        by_day: one thread for each day, if the export has no conversations.
        is_new: is called when the file is stored; if it raises, the file is deleted. With it, a running import is an
            error only then: the same upload may have begun it.

    Raises:
        ImportRuns: an import of the user runs.
    """
    before = await newest_import(layer)
    if is_new is None and before is not None and not before.is_finished:
        raise ImportRuns
    until = utc_in(KEPT_SECONDS)
    key = await layer.keep_import(content, KEPT_SECONDS)
    arguments = {"key": key, "name": clean_text(name)[:_LONGEST_NAME], "until": until}
    try:
        if is_new is not None:
            await is_new()
        job = await _start(layer, user_id, {**arguments, "dry_run": True, "by_day": by_day})
    except BaseException:
        await layer.file_deleter.delete([key], None)
        raise
    if job.arguments["key"] != key:
        # An import of this user runs, as of another upload that was faster.
        await layer.file_deleter.delete([key], None)
        raise ImportRuns
    if before is not None:
        # A user has one upload.
        await layer.file_deleter.delete([before.arguments["key"]], None)
    return job


async def import_looked_into(layer: ChainlitLayer, user_id: str, job: Job) -> Job:
    """Start the import of an export that was looked into; gives the one that has begun, if it has.

    Raises:
        UploadGone: the file is deleted, or not the newest one.
    """
    newest, key = await newest_import(layer), job.arguments["key"]
    if newest is not None and newest.id != job.id and newest.arguments["key"] == key:
        # As when a button was pressed twice.
        return newest
    if newest is None or newest.id != job.id or not await _is_stored(layer, key):
        raise UploadGone
    total = job.result["conversations"] + job.result["failed"]
    return await _start(layer, user_id, {**job.arguments, "dry_run": False, "total": total})


async def _start(layer: ChainlitLayer, user_id: str, arguments: Mapping[str, Any]) -> Job:
    # The key of the user: one at a time.
    return await layer.start_job(IMPORT, arguments, key=user_id)


async def _is_stored(layer: ChainlitLayer, key: str) -> bool:
    try:
        async with await layer.blobs.open(key, 0, 1):
            return True
    except BlobNotFound:
        return False
