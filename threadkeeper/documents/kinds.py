"""What a file is by its bytes. Imports next to nothing, because each process that loads a file imports it."""

from __future__ import annotations

import re
from typing import Literal

# The PDF standard lets other bytes come before its header.
_PDF = re.compile(rb"(?s).{0,1024}?%PDF-")

DocumentKind = Literal["pdf", "archive", "compound"]


def document_kind(data: bytes) -> DocumentKind | None:
    """What the bytes are: a PDF, a zip archive (as of Word), or an OLE compound (as of old Excel)."""
    if _PDF.match(data[:1100]):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "archive"
    return "compound" if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") else None
