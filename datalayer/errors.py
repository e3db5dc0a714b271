"""Every error the library raises, in one tree.

    DataLayerError
    ├── ConfigurationError     a URL or option that can never work
    ├── SchemaError            the database's schema and this code do not fit; nothing was changed
    ├── StorageUnavailable     the database cannot be reached or cannot write now; trying again may help
    │   ├── ConnectionLost     the connection ended, or could not be made; another may work at once
    │   └── TimedOut           a statement took longer than it may, perhaps it alone
    ├── InvalidRecord          the database refuses this record, or a value cannot be understood
    ├── NotFound               there is no such thread, step, element, feedback or user
    ├── Forbidden              the acting user may not do this
    ├── AlreadyExists          a user, or a saved view of one reviewer, of this name is there already
    └── BlobError              the blob store failed
        ├── BlobNotFound       the blob store has no such file
        └── BlobRefused        the blob store lets us not in; trying again soon will not help

Nothing here knows of HTTP. A message names ids and reasons, never secrets and never SQL.
"""


class DataLayerError(Exception):
    """Anything the library raises on purpose."""


class ConfigurationError(DataLayerError):
    """A URL or an option that can never work."""


class SchemaError(DataLayerError):
    """The schema found and the schema known differ in a way that must not be mended silently."""


class StorageUnavailable(DataLayerError):
    """The database cannot be reached, is locked or full; the same call may work later."""


class ConnectionLost(StorageUnavailable):
    """The connection to the database ended or could not be made; the same call on another may work at once."""


class TimedOut(StorageUnavailable):
    """The database works, and a statement took longer than it may: because of others' locks, or by itself."""


class InvalidRecord(DataLayerError):
    """The record itself is refused; the same call will fail again."""


class NotFound(DataLayerError):
    """No such record, or none that the acting user may know of."""


class Forbidden(DataLayerError):
    """The record is there, but not for the acting user to change."""


class AlreadyExists(DataLayerError):
    """A record that must be the only one of its name is there already."""


class BlobError(DataLayerError):
    """The blob store refused or could not be reached."""


class BlobNotFound(BlobError):
    """The blob store has no file under this key."""


class BlobRefused(BlobError):
    """The credentials, the container or the rights are wrong: the same call will fail until somebody mends that."""
