"""The form that uploads the picture of an assistant: the only one with a file."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import UploadFile

from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.form_token import TOKEN_FIELD, is_from_this_login

LARGEST_FORM = 2_000_000
"""Bytes. The layer names the largest picture, which is much smaller, in its sentence."""


class PostedPicture:
    """The bytes of the file, empty without one, and the version that the form is based on."""

    def __init__(self, content: bytes, version: str) -> None:
        self.content, self.version = content, version


async def _posted(request: Request, _person: LoggedIn) -> PostedPicture:
    if not 0 <= _length(request) <= LARGEST_FORM:
        raise HTTPException(413, "The form is too large.")
    async with request.form(max_files=1, max_fields=5) as form:
        token, version, file = form.get(TOKEN_FIELD), form.get("version"), form.get("picture")
        if not isinstance(token, str) or not is_from_this_login(request, token):
            raise HTTPException(403, "The form token does not belong to this login.")
        content = await file.read() if isinstance(file, UploadFile) else b""
    return PostedPicture(content, version if isinstance(version, str) else "")


def _length(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() else -1


PictureForm = Annotated[PostedPicture, Depends(_posted)]
