"""The content of an element, and which local files may be read for it.

A path comes from the application's own code, or from Chainlit for an upload of a session. Users must not choose paths:
of the folders of uploads, only the one of the acting session is read. Custom elements are never read from a path,
because Chainlit creates them from data of the page.
"""

import stat
from pathlib import Path
from typing import Any

from datalayer.errors import Forbidden, InvalidRecord


def content_of(element: Any, uploads: Path, own: Path | None) -> bytes | Path | None:
    """The bytes of a `chainlit` element, or the path of its file; None if it has none.

    Blocks while the file system looks up a path.

    Args:
        uploads: the folder of all sessions' uploads.
        own: the folder of the acting session, if any.

    Raises:
        Forbidden: the path leads into another session's uploads.
        InvalidRecord: the file does not exist, or the content is neither bytes nor text.
    """
    # A custom element needs no file, because its properties are in its row. An element with a URL is stored elsewhere.
    if element.type == "custom" or element.url:
        return None
    if element.content or not element.path:
        return _bytes_of(element.content)
    path = Path(element.path)
    try:
        path = path.resolve(strict=True)
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        raise InvalidRecord("the file of an element does not exist") from None
    if not is_file:
        raise InvalidRecord("the path of an element is not a regular file")
    if path.is_relative_to(uploads.resolve()) and not (own and path.is_relative_to(own.resolve())):
        raise Forbidden("the path of an element is in the uploads of another session")
    return path


def _bytes_of(content: Any) -> bytes | None:
    if isinstance(content, str):
        return content.encode("utf-8", "replace")
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if content is None:
        return None
    raise InvalidRecord("the content of an element is neither bytes nor text")
