"""The forms with files for data sources."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.failures import TooLarge
from threadkeeper.web.pages.uploads import Upload, uploaded

UPLOADED_KINDS = ("file", "pairs", "datasheet")
"""The kinds of sources whose file is uploaded, and not fetched."""
MOST_FILES = 20
"""Files in one form."""
_FILES_OF_THE_LARGEST_SIZE = 4
_FIELDS_BYTES = 100_000


def most_megabytes(limits: LoadLimits) -> float:
    """MiB of all files of a form together, which wait in temporary files."""
    return limits.megabytes * _FILES_OF_THE_LARGEST_SIZE


async def _uploaded(request: Request, _person: LoggedIn) -> AsyncIterator[Upload]:
    most = most_megabytes(request.state.knowledge_limits)
    too_large = TooLarge("knowledge_too_large", megabytes=f"{most:g}")
    most_bytes = int(most * 1024 * 1024) + _FIELDS_BYTES
    async with uploaded(request, too_large, most_files=MOST_FILES, most_bytes=most_bytes) as form:
        yield form


FilesForm = Annotated[Upload, Depends(_uploaded)]
