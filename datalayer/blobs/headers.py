"""The headers of a file behind a signed URL: its type, its name, and whether a browser may show it.

Type and name come from a user. Neither may end a header line, and files that a browser would run become downloads.
"""

import re
import unicodedata
from urllib.parse import quote

BYTES = "application/octet-stream"

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,99}/[a-z0-9][a-z0-9!#$&^_.+-]{0,99}(; ?charset=[a-z0-9_-]{1,40})?")
_SHOWN_INLINE = (
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
    *("audio/", "video/", "application/pdf"),
)
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\ud800-\udfff]")
_NOT_IN_A_QUOTED_STRING = re.compile(r"[^ !#$&'()+,.0-9A-Za-z_;=@\[\]^`{}~-]")
# Common file systems accept no longer names, and S3 accepts 2 kB of headers.
_LONGEST_NAME_BYTES = 255


def content_type(mime: str) -> str:
    """The type in a form that is valid in a header; `application/octet-stream` if it is malformed."""
    mime = mime.strip().lower()
    return mime if _MIME.fullmatch(mime) else BYTES


def content_disposition(name: str | None, mime: str) -> str:
    """The header `Content-Disposition`, in ASCII: `inline` for images, audio, video and PDF, `attachment` otherwise.

    The name is in the form of RFC 6266, plain for old browsers and in UTF-8, and cut to the limit of file systems,
    with its ending kept.
    """
    shown = content_type(mime).startswith(_SHOWN_INLINE)
    whole = _file_name(name or "")
    # NFKD splits é into e and an accent, and the accent is dropped.
    letters = (letter for letter in unicodedata.normalize("NFKD", whole) if not unicodedata.combining(letter))
    plain = _NOT_IN_A_QUOTED_STRING.sub("_", "".join(letters))
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(whole, safe='')}"


def _file_name(name: str) -> str:
    name = _NOT_IN_A_NAME.sub("_", name).strip(". ") or "file"
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, ending = name, ""
    kept = stem.encode()[: _LONGEST_NAME_BYTES - len((dot + ending).encode()) if ending else _LONGEST_NAME_BYTES]
    return kept.decode(errors="ignore") + (dot + ending if ending else "")
