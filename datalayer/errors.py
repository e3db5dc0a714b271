"""Every error the library raises, in one tree.

    DataLayerError
    ├── ConfigurationError     a URL or option that can never work
    ├── SchemaError            the database's schema and this code do not fit; nothing was changed
    ├── StorageUnavailable     the database cannot be reached or cannot write now; retrying may help
    │   ├── ConnectionLost     the connection ended or could not be made; another one may work immediately
    │   └── TimedOut           a statement took too long, possibly only this one
    ├── StatementRefused       the database refuses a statement of the library, whatever the record; a defect
    ├── InvalidRecord          the database refuses this record, or a value cannot be understood
    │   └── InvalidAssistant   fields of an assistant are not valid; each is named with its problem
    ├── NotFound               there is no such thread, step, element, feedback or user
    │   └── NotRunning         a training was cancelled, or has ended: what is written for it is left out
    ├── Forbidden              the acting user may not do this
    ├── AlreadyExists          a user, a saved view of one reviewer, or an assistant with this name exists
    ├── JobFailed              a job cannot do its work, and says why
    ├── JobLater               a job cannot do its work now, and says when to try again
    ├── BackupError            a backup cannot be made in this folder, or not be restored from it
    ├── RecordChanged          the record is not as the condition of the change wants it; nothing was stored
    ├── VersionConflict        someone else has saved a newer version of the assistant
    └── BlobError              the blob store failed
        ├── BlobNotFound       the blob store has no such file
        └── BlobRefused        the blob store rejected the credentials; retrying will not help

The library knows nothing of HTTP. A message names ids and reasons, never secrets and never SQL.
"""

from collections.abc import Sequence
from typing import Any


class DataLayerError(Exception):
    """Anything the library raises on purpose."""


class ConfigurationError(DataLayerError):
    """A URL or an option that can never work."""


class SchemaError(DataLayerError):
    """The schema of the database and of this code differ in a way that must not be repaired silently."""


class StorageUnavailable(DataLayerError):
    """The database cannot be reached, is locked or full; the same call may work later."""


class ConnectionLost(StorageUnavailable):
    """The connection to the database ended or could not be made; the same call on another one may work immediately."""


class TimedOut(StorageUnavailable):
    """The database works, but a statement took too long: because of locks, or by itself."""


class StatementRefused(DataLayerError):
    """The database refuses a statement of the library: a defect of the library, and not of the record."""


class InvalidRecord(DataLayerError):
    """The record is refused; the same call will fail again.

    `field` is that of the record or of the call which is not valid; None if it is not known, or not one alone.
    """

    def __init__(self, *words: object, field: str | None = None) -> None:
        super().__init__(*words)
        self.field = field


class InvalidAssistant(InvalidRecord):
    """Fields of an assistant are not valid.

    `problems` has an `AssistantProblem` for each of them; the message has a sentence for each.
    """

    def __init__(self, problems: Sequence[Any], sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.problems = tuple(problems)
        self.sentences = tuple(sentences)


class NotFound(DataLayerError):
    """The record does not exist, or the acting user may not know of it."""


class NotRunning(NotFound):
    """The training was cancelled or has ended. What is written for it is left out, and nothing is lost by that."""


class Forbidden(DataLayerError):
    """The record exists, but the acting user may not do this with it."""


class AlreadyExists(DataLayerError):
    """A record with this name exists, and names must be unique. `field` is that of the name, as in `InvalidRecord`."""

    def __init__(self, *words: object, field: str | None = None) -> None:
        super().__init__(*words)
        self.field = field


class JobFailed(DataLayerError):
    """A job cannot do its work. Its function raises this; the owner and the operator read the message.

    `result` is kept beside it, as JSON: the same as data, for a page in another language.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class JobLater(DataLayerError):
    """A job cannot do its work now. Its function raises this; after `seconds` the job is begun again.

    This counts as an interruption, of which a job has five at most, except for a job that only waits for another one
    (`is_interruption=False`).
    """

    def __init__(self, message: str, seconds: float, *, is_interruption: bool = True) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.is_interruption = is_interruption


class BackupError(DataLayerError):
    """A backup cannot be made in this folder or restored from it, or the place is not empty."""


class VersionConflict(DataLayerError):
    """Someone else has saved a newer version since; nothing was stored. `current` is the newest version."""

    def __init__(self, message: str, current: int) -> None:
        super().__init__(message)
        self.current = current


class RecordChanged(DataLayerError):
    """The stored record is not as the condition of the change (`only_if`) wants it; nothing was stored."""


class SourceChanged(DataLayerError):
    """Someone else has replaced the file of a data source since, or deleted the source; nothing was stored."""


class BlobError(DataLayerError):
    """The blob store refused or could not be reached."""


class BlobNotFound(BlobError):
    """The blob store has no file under this key."""


class BlobRefused(BlobError):
    """The credentials, the container or the permissions are wrong; the same call fails until they are corrected."""


def sentence(error: Exception) -> str:
    """The text of an error as a sentence, for people."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
