"""The store of files that the settings name."""

from datalayer import BlobOptions, BlobStore, open_blob_store
from threadkeeper.settings.settings import Settings, plain


def open_blobs(settings: Settings, url: str | None = None) -> BlobStore:
    """The store, or the one of another URL with the same credentials; nothing is connected to yet.

    Raises:
        ConfigurationError: the settings contradict each other, or what the store needs is not installed.
    """
    options = BlobOptions(
        azure_connection_string=plain(settings.azure_storage_connection_string),
        azure_key=plain(settings.azure_storage_key),
        azure_sas=plain(settings.azure_storage_sas),
        azure_endpoint=settings.azure_storage_endpoint,
        s3_endpoint=settings.s3_endpoint_url,
        s3_region=settings.aws_region,
        s3_access_key_id=settings.aws_access_key_id,
        s3_secret_access_key=plain(settings.aws_secret_access_key),
        s3_session_token=plain(settings.aws_session_token),
    )
    return open_blob_store(url or settings.resolved_blob_url, options)
