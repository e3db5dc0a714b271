"""Converts an uploaded file for a model: into a picture or text.

The bytes decide what a file is. The name and the type from the browser only decide whether bytes that look like text
are meant as text. A file that cannot be taken raises `AttachmentRefused` with a sentence for the user. If only a part
is taken, the user (`notices`) and the model (in the text) learn it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from threadkeeper.chat.attachments.types import ALL_KINDS, TEXT_EXTENSIONS, TEXT_TYPES, AttachmentKind
from threadkeeper.chat.pictures import picture_type
from threadkeeper.chat.wording import say
from threadkeeper.documents.decoding import decode
from threadkeeper.documents.kinds import DocumentKind, document_kind
from threadkeeper.documents.reader import DocumentReader
from threadkeeper.documents.worker.reading import Reading

_MEBIBYTE = 1024 * 1024
_INLINE_BYTES = 256 * 1024


class Notice:
    """A sentence for the user about an attachment, before its language is known."""

    def __init__(self, key: str, **values: object) -> None:
        self.key = key
        self.values = values

    def say(self, language: str | None) -> str:
        return say(self.key, language, **self.values)


class PartsNotice(Notice):
    """Says which parts of a file were left out: keys of sentences (`part_…`) with the values that fill them."""

    def __init__(self, name: str, parts: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        super().__init__("notice_parts", name=name, parts=parts)
        self._name, self._parts = name, parts

    def say(self, language: str | None) -> str:
        return say(self.key, language, name=self._name, parts=self.listed(language))

    def listed(self, language: str | None) -> str:
        return say("parts_between", language).join(say(key, language, **values) for key, values in self._parts)


class AttachmentRefused(Exception):
    """The file is not sent to the model; `notice` says why and what to do."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(f"{key}: {values}")
        self.notice = Notice(key, **values)


@dataclass(frozen=True)
class Picture:
    name: str
    mime: str
    data: bytes
    notices: tuple[Notice, ...] = ()

    @property
    def data_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class TextAttachment:
    name: str
    text: str
    notices: tuple[Notice, ...] = ()


Attachment = Picture | TextAttachment


class AttachmentReader:
    """Reads uploads within limits.

    Args:
        kinds: the kinds of files that are taken.
        max_files: files in one message.
        max_total_megabytes: MiB of all files of one message.
        max_megabytes: MiB of one file.
        max_characters: characters of text from one file.
        max_pdf_pages: pages of a PDF that are read.
        pdf_seconds: time to read one PDF, Word, Excel or OpenDocument file.
    """

    def __init__(
        self,
        *,
        kinds: Collection[AttachmentKind] = ALL_KINDS,
        max_files: int = 10,
        max_total_megabytes: float = 50,
        max_megabytes: float = 20,
        max_characters: int = 100_000,
        max_pdf_pages: int = 200,
        pdf_seconds: float = 30.0,
    ) -> None:
        self._kinds = kinds
        self._max_files = max_files
        self._max_total_megabytes = max_total_megabytes
        self._max_megabytes = max_megabytes
        self._max_characters = max_characters
        self._documents = DocumentReader(max_pages=max_pdf_pages, max_characters=max_characters, seconds=pdf_seconds)

    def admit(self, sizes: Sequence[tuple[str, int]]) -> None:
        """Check names and sizes (bytes) of the files of one message before any of them is read.

        The page checks the limits as well, but a program that talks to the server does not.

        Raises:
            AttachmentRefused: too many files, or one of them or all together are too large.
        """
        self.admit_count(len(sizes))
        for name, size in sizes:
            self._admit_size(name, size)
        if sum(size for _, size in sizes) > self.most_bytes_together:
            raise self.too_large_together()

    def admit_count(self, count: int) -> None:
        """Check the number of files of one message. Raises AttachmentRefused."""
        if count > self._max_files:
            raise AttachmentRefused("attachment_too_many", limit=self._max_files)

    @property
    def most_bytes(self) -> int:
        """Of one file."""
        return int(self._max_megabytes * _MEBIBYTE)

    @property
    def most_bytes_together(self) -> int:
        """Of all files of one message."""
        return int(self._max_total_megabytes * _MEBIBYTE)

    def too_large_together(self) -> AttachmentRefused:
        """Why files with more than `most_bytes_together` are refused."""
        return AttachmentRefused("attachment_total_too_large", megabytes=f"{self._max_total_megabytes:g}")

    async def read(self, name: str, mime: str | None, data: bytes) -> Attachment:
        """The content of a file. Raises AttachmentRefused."""
        if not data:
            raise AttachmentRefused("attachment_empty", name=name)
        self._admit_size(name, len(data))
        if shown_as := picture_type(data):
            self._admit_kind(name, "picture")
            return Picture(name, shown_as, data)
        if kind := document_kind(data):
            self._admit_kind(name, "pdf" if kind == "pdf" else "document")
            return await self._read_document(name, data, kind)
        if not _meant_as_text(name, mime):
            raise AttachmentRefused("attachment_unsupported", name=name)
        self._admit_kind(name, "text")
        if len(data) > _INLINE_BYTES:
            return await asyncio.to_thread(self._read_text, name, data)
        return self._read_text(name, data)

    def _admit_size(self, name: str, size: int) -> None:
        if size > self.most_bytes:
            raise AttachmentRefused("attachment_too_large", name=name, megabytes=f"{self._max_megabytes:g}")

    def _admit_kind(self, name: str, kind: AttachmentKind) -> None:
        if kind not in self._kinds:
            raise AttachmentRefused(f"attachment_no_{kind}", name=name)

    def _read_text(self, name: str, data: bytes) -> TextAttachment:
        decoded = decode(data)
        if decoded is None:
            raise AttachmentRefused("attachment_unsupported", name=name)
        text, encoding, certain = decoded
        text = text.replace("\r\n", "\n")
        if not text.strip():
            raise AttachmentRefused("attachment_empty", name=name)
        notices = () if certain else (Notice("notice_encoding", name=name, encoding=encoding),)
        return _limited(name, text[: self._max_characters], len(text), notices)

    async def _read_document(self, name: str, data: bytes, kind: DocumentKind) -> TextAttachment:
        reading = await self._documents.read(name, data, kind)
        if reading.refused == "unsupported":
            raise AttachmentRefused("attachment_unsupported", name=name)
        if reading.refused:
            sort = "pdf" if kind == "pdf" else "document"
            seconds = f"{self._documents.seconds:g}"
            raise AttachmentRefused(f"attachment_{sort}_{reading.refused}", name=name, seconds=seconds)
        return _taken(name, reading)


def _taken(name: str, reading: Reading) -> TextAttachment:
    """The text of a document; what is missing is told to the user in notices, and to the model under the text."""
    notices, rests = list[Notice](), list[str]()
    if reading.unit is not None and reading.kept < reading.total:
        notices.append(Notice(f"notice_{reading.unit}", name=name, kept=reading.kept, total=reading.total))
        rests.append(
            f"[The file goes on: this is from the first {reading.kept} of its {reading.total} {reading.unit}.]"
        )
    elif len(reading.text) < reading.characters:
        cut = _limited(name, reading.text, reading.characters)
        notices += cut.notices
        rests.append(cut.text.removeprefix(reading.text).strip())
    if reading.left_out:
        parts = PartsNotice(name, reading.left_out)
        notices.append(parts)
        rests.append(f"[The file was read only in part. Not included: {parts.listed('en')}.]")
    return TextAttachment(name, "\n".join([reading.text, *rests]), tuple(notices))


def _limited(name: str, text: str, total: int, notices: tuple[Notice, ...] = ()) -> TextAttachment:
    kept = len(text)
    if kept == total:
        return TextAttachment(name, text, notices)
    notice = Notice("notice_cut", name=name, kept=kept, total=total)
    rest = f"[The file goes on: these are the first {kept} of its {total} characters.]"
    return TextAttachment(name, f"{text}\n{rest}", (*notices, notice))


def _meant_as_text(name: str, mime: str | None) -> bool:
    claimed = (mime or "").split(";")[0].strip().lower()
    if PurePath(name).suffix.lower() in TEXT_EXTENSIONS:
        return True
    # Browsers send no type for names without an extension, such as Makefile and LICENSE.
    unnamed = not PurePath(name).suffix and claimed in ("", "application/octet-stream")
    return unnamed or (claimed.startswith("text/") and claimed != "text/rtf") or claimed in TEXT_TYPES
