"""Blob stores, chosen by a URL."""

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from datalayer.blobs.base import (
    BlobOptions,
    BlobStore,
    ListedBlob,
    OpenBlob,
    StoredBlob,
    UnfinishedUpload,
    is_plain_key,
)
from datalayer.blobs.local import LocalBlobs
from datalayer.errors import ConfigurationError

__all__ = [
    "BlobOptions",
    "BlobStore",
    "ListedBlob",
    "LocalBlobs",
    "OpenBlob",
    "StoredBlob",
    "UnfinishedUpload",
    "open_blob_store",
]

_FORMS = (
    "the blob URL must be file:///absolute/folder, azure://account/container, azure-blob://account/container "
    "or s3://bucket; the last three may have /a/prefix"
)
_NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9.$_-]*")


def open_blob_store(url: str, options: BlobOptions | None = None) -> BlobStore:
    """Open the store of this URL; nothing is connected yet.

    Args:
        url: `file:///absolute/folder`; `azure://account/container` for Azure Data Lake (an account with a hierarchical
            namespace); `azure-blob://account/container` for other accounts; `s3://bucket`. The last three take a
            prefix, as in `s3://bucket/a/prefix`.
        options: credentials and endpoints.

    Raises:
        ConfigurationError: the URL is not valid, its store is not supported, its package is not installed, or the
            options contradict each other.
    """
    options = options or BlobOptions()
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(_FORMS) from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(f"{_FORMS}; it cannot contain credentials")
    match parts.scheme:
        case "file" if not parts.netloc and parts.path.strip("/"):
            return LocalBlobs(Path(unquote(parts.path)))
        case "azure" | "azure-blob" if parts.netloc:
            return _open_azure(parts, options)
        case "s3" if parts.netloc:
            return _open_s3(parts, options)
    raise ConfigurationError(_FORMS)


def _open_azure(parts: SplitResult, options: BlobOptions) -> BlobStore:
    container, prefix = _place(parts.path)
    # Only the SDK of the chosen store is imported.
    try:
        if parts.scheme == "azure":
            from datalayer.blobs.azure_data_lake import DataLakeBlobs  # noqa: PLC0415

            return DataLakeBlobs(parts.netloc, container, prefix, options)
        from datalayer.blobs.azure_blob import AzureBlobs  # noqa: PLC0415

        return AzureBlobs(parts.netloc, container, prefix, options)
    except ModuleNotFoundError as error:
        raise _not_installed(parts.scheme, "azure", error) from None


def _open_s3(parts: SplitResult, options: BlobOptions) -> BlobStore:
    bucket, prefix = _place(f"/{parts.netloc}{parts.path}")
    try:
        from datalayer.blobs.s3 import S3Blobs  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _not_installed(parts.scheme, "s3", error) from None
    return S3Blobs(bucket, prefix, options)


def _place(path: str) -> tuple[str, str]:
    """The container and the prefix of a path."""
    container, _, prefix = path.removeprefix("/").partition("/")
    prefix = prefix.removesuffix("/")
    if not _NAME.fullmatch(container) or (prefix and not is_plain_key(prefix)):
        raise ConfigurationError(_FORMS)
    return container, prefix


def _not_installed(scheme: str, extra: str, error: ModuleNotFoundError) -> ConfigurationError:
    return ConfigurationError(
        f"a blob URL that begins with {scheme}:// needs a package that is not installed ({error.name}): "
        f"pip install 'threadkeeper[{extra}]'"
    )
