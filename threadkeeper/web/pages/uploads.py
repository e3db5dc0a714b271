"""Reads posted forms with files: bounded while they are read, and only with the form token of this login."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from threadkeeper.web.pages.failures import InvalidInput, TooLarge
from threadkeeper.web.pages.forms import Posted, demand_token, read_form

_MOST_FIELDS = 50


@dataclass(frozen=True, slots=True)
class Upload:
    """A form: its fields, and the files that were chosen. Their contents are in temporary files."""

    fields: Posted
    files: tuple[UploadFile, ...]


@asynccontextmanager
async def uploaded(request: Request, too_large: TooLarge, *, most_files: int, most_bytes: int) -> AsyncIterator[Upload]:
    """The form of a request, whose files are closed at the end.

    Args:
        request: it must have the token of this login.
        too_large: is raised if the form has more than `most_bytes`, as soon as that is known.
        most_files: in the form.
        most_bytes: of the whole form.

    Raises:
        InvalidInput: it is no form, has too many files, or is too large.
        HTTPException: the token is not that of this login.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        # As programs send a form without a file.
        yield Upload(await read_form(request), ())
        return
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and int(length) > most_bytes:
        raise too_large
    bounded = _bounded(request, most_bytes, too_large)
    parser = MultiPartParser(request.headers, bounded, max_files=most_files, max_fields=_MOST_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException:
        raise InvalidInput("bad_upload", most=most_files) from None
    try:
        posted = Posted([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
        demand_token(request, posted.token)
        request.state.typed = posted.typed
        files = tuple(one for _, one in form.multi_items() if isinstance(one, UploadFile) and one.filename)
        yield Upload(posted, files)
    finally:
        await form.close()


async def _bounded(request: Request, most_bytes: int, too_large: TooLarge) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > most_bytes:
            raise too_large
        yield chunk
