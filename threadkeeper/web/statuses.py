"""The status of the answer to an error of the data layer: one table for Chainlit's routes, the pages and the API."""

from datalayer import (
    AlreadyExists,
    BlobError,
    BlobNotFound,
    DataLayerError,
    Forbidden,
    InvalidRecord,
    NotFound,
    RecordChanged,
    SourceChanged,
    StorageUnavailable,
    VersionConflict,
)

# The first match counts: a subclass stands before its base.
_STATUSES: tuple[tuple[type[DataLayerError], int], ...] = (
    (NotFound, 404),
    (BlobNotFound, 404),
    (Forbidden, 403),
    (InvalidRecord, 422),
    (RecordChanged, 412),
    (VersionConflict, 409),
    (SourceChanged, 409),
    (AlreadyExists, 409),
    (BlobError, 503),
    (StorageUnavailable, 503),
    (DataLayerError, 500),
)


def status_of(error: DataLayerError, *, tells_of_others: bool = False) -> int:
    """The status.

    Args:
        error: of the layer.
        tells_of_others: whether what belongs to others is 403; by default it is 404, as if it were not there.
    """
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    return 404 if status == 403 and not tells_of_others else status
