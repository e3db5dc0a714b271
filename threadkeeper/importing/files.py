"""Files of imported messages: their elements, and what opens their contents."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import PurePosixPath
from typing import TypeAlias

from datalayer import Element, ImportedFile
from datalayer.cleaning import clean_text
from threadkeeper.importing.model import Attachment
from threadkeeper.importing.package import Package

UNKNOWN = "application/octet-stream"
_CHUNK_BYTES = 1024 * 1024
_LONGEST_NAME = 200
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_KINDS = {"image": "image", "audio": "audio", "video": "video"}

Opener: TypeAlias = Callable[[Attachment], AsyncIterator[bytes]]


def opener_of(package: Package) -> Opener:
    """Opens attachments: their own content, or that of an entry, in chunks."""

    async def content(file: Attachment) -> AsyncIterator[bytes]:
        if file.data is not None:
            yield file.data
        elif file.entry is not None:
            stack = package.open(file.entry)
            stream = await asyncio.to_thread(stack.__enter__)
            try:
                while chunk := await asyncio.to_thread(stream.read, _CHUNK_BYTES):
                    yield chunk
            finally:
                stack.__exit__(None, None, None)

    return content


def element_of(file: Attachment, element_id: str, thread_id: str, step_id: str, opener: Opener) -> ImportedFile:
    mime = file.mime or UNKNOWN
    kind = "pdf" if mime == "application/pdf" else _KINDS.get(mime.partition("/")[0], "file")
    element = Element(
        element_id,
        thread_id=thread_id,
        type=kind,
        name=clean_text(PurePosixPath(file.name.replace("\\", "/")).name)[:_LONGEST_NAME] or "file",
        display="inline",
        for_id=step_id,
        mime=mime,
        size="large" if kind == "image" else None,
    )
    return ImportedFile(element, partial(opener, file))


def mime_of(name: str, start: bytes = b"") -> str:
    """The type of a file: by its first bytes, else by its name."""
    for signature, mime in _SIGNATURES:
        if start.startswith(signature):
            return mime
    if start[:4] == b"RIFF" and start[8:12] in _RIFF:
        return _RIFF[start[8:12]]
    return mimetypes.guess_type(name)[0] or UNKNOWN


def entry_attachment(package: Package, file_id: str, name: str, entry: str, mime: str | None = None) -> Attachment:
    """The attachment of an entry, whose type is told by its first bytes: exports name files `.dat`."""
    with package.open(entry) as stream:
        start = stream.read(16)
    told = mime_of(name, start)
    shown = PurePosixPath(name)
    if shown.suffix in ("", ".dat"):
        shown = shown.with_suffix(mimetypes.guess_extension(told) or shown.suffix)
    return Attachment(file_id, str(shown), told if told != UNKNOWN or not mime else mime, entry)
