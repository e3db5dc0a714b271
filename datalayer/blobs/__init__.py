"""Blob stores, chosen by a URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from datalayer.blobs.base import BlobStore
from datalayer.blobs.local import LocalBlobs
from datalayer.errors import ConfigurationError

__all__ = ["BlobStore", "LocalBlobs", "open_blob_store"]


def open_blob_store(url: str) -> BlobStore:
    """The store that the URL names; nothing is connected to yet.

    Args:
        url: `file:///absolute/folder`.

    Raises:
        ConfigurationError: the URL names no store known here.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return LocalBlobs(Path(unquote(parts.path)))
    raise ConfigurationError("the blob URL must be file:///absolute/folder")
