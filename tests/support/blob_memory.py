"""Measures the memory of an upload and a download in a separate process: `python -m tests.support.blob_memory`.

Reads from standard input, as JSON: the URL, the options, a file. Prints the growth of the peak in KiB while the file
was stored and read back, and the SHA-256 of the content that was read.
"""

import asyncio
import hashlib
import json
import re
import resource
import sys
from pathlib import Path

from datalayer.blobs import BlobOptions, open_blob_store

_MEBIBYTE = 1024**2
# Load the code and open the connections before the peak is measured, with one chunk of the smallest size.
_WARM_UP_MEBIBYTES = 1


_STATUS = Path("/proc/self/status")


def _peak_kib() -> int:
    # On Linux, `getrusage` starts with the peak of the parent process.
    if _STATUS.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


async def measure(url: str, options: dict[str, object], file: Path) -> dict[str, object]:
    """The growth of the peak, the store's description of the file, and the SHA-256 of the content that was read."""
    store = open_blob_store(url, BlobOptions(**options))  # type: ignore[arg-type]
    await store.put("thread/warm", b"x" * _WARM_UP_MEBIBYTES * _MEBIBYTE, "text/plain")
    async with await store.open("thread/warm") as blob:
        async for _ in blob:
            pass
    before = _peak_kib()
    stored = await store.put("thread/large", file, "application/octet-stream")
    after_upload = _peak_kib()
    digest, size = hashlib.sha256(), 0
    async with await store.open("thread/large") as blob:
        async for chunk in blob:
            digest.update(chunk)
            size += len(chunk)
    after_download = _peak_kib()
    await store.close()
    return {
        "upload_kib": after_upload - before,
        "download_kib": after_download - after_upload,
        "stored": stored.sha256,
        "read": digest.hexdigest(),
        "size": size,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(asyncio.run(measure(asked["url"], asked["options"], Path(asked["file"])))))
