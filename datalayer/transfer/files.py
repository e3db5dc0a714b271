"""The files of elements: they stay where they are, or are copied to the store of the target under the same keys."""

import asyncio
from collections.abc import Sequence
from typing import Any

from datalayer.blobs import BlobStore
from datalayer.blobs.base import is_key
from datalayer.blobs.copying import size_of
from datalayer.errors import BlobNotFound
from datalayer.transfer.item_rows import COPIED_FROM
from datalayer.transfer.report import TransferReport

_AT_ONCE = 4
_BYTES = "application/octet-stream"


class Files:
    """Copies files between two stores, or only counts them if both databases use one store."""

    def __init__(self, source: BlobStore | None, target: BlobStore | None, *, apply: bool) -> None:
        """Without a target, both databases use the source."""
        self._source, self._target, self._apply = source, target, apply
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    @property
    def stay(self) -> bool:
        """Whether both databases use one store."""
        return self._target is None

    async def bring(self, rows: Sequence[dict[str, Any]], report: TransferReport) -> None:
        """Copy the files of these rows of elements that the target lacks. Sizes and checksums are added to the rows.

        A row that has a file of its own, by `own_files`, gets a copy of the original.

        Raises:
            BlobError: a store fails.
        """
        named = [row for row in rows if row["objectKey"]]
        report.files.found += len(named)
        await asyncio.gather(*(self._bring(row, report) for row in named))

    async def _bring(self, row: dict[str, Any], report: TransferReport) -> None:
        key = row["objectKey"]
        if not is_key(key):
            report.files.failed += 1
            report.note("files whose key no store can read (their elements are copied)", key)
            return
        original, target = row.get(COPIED_FROM), self._target
        if target is None and original is not None:
            # Its own file is beside the original.
            target = self._source
        if target is None or self._source is None:
            return
        async with self._at_once:
            size = await size_of(target, key)
            if original is not None and size is not None:
                return
            try:
                async with await self._source.open(original or key) as content:
                    if size == content.size:
                        return
                    report.files.stored += 1
                    if not self._apply:
                        return
                    stored = await target.put(key, content, row["mime"] or _BYTES, name=row["name"])
            except BlobNotFound:
                report.files.failed += 1
                report.note("files that are missing in the store of the source (their elements are copied)", key)
                return
        if row["sha256"] not in (None, stored.sha256):
            report.note("files that differ from the checksum of their element (copied as they are)", key)
            report.files.failed += 1
            report.files.stored -= 1
        row["byteSize"] = row["byteSize"] or stored.size
        row["sha256"] = row["sha256"] or stored.sha256
