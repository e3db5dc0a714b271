"""The form that uploads the picture of an assistant."""

from typing import Annotated

from fastapi import Depends, Request

from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.failures import TooLarge
from threadkeeper.web.pages.uploads import uploaded

LARGEST_FORM = 2_000_000
"""Bytes. The layer names the largest picture, which is much smaller, in its sentence."""


class PostedPicture:
    """The bytes of the file, empty without one, and the version that the form is based on."""

    def __init__(self, content: bytes, version: str) -> None:
        self.content, self.version = content, version


async def _posted(request: Request, _person: LoggedIn) -> PostedPicture:
    too_large = TooLarge("failure_413_reason")
    async with uploaded(request, too_large, most_files=1, most_bytes=LARGEST_FORM) as form:
        content = await form.files[0].read() if form.files else b""
        return PostedPicture(content, form.fields.one("version"))


PictureForm = Annotated[PostedPicture, Depends(_posted)]
