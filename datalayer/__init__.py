"""A data layer for Chainlit that loses nothing: threads, steps, elements, votes and users in SQLite or Postgres.

import chainlit as cl
import datalayer

layer = datalayer.create_data_layer("sqlite:///chat.db", "file:///srv/chat-files")
cl.data_layer(lambda: layer)
cl.on_app_startup(layer.migrate)
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalayer.accounts.erasure import Receipt
from datalayer.blobs import BlobOptions, BlobStore, OpenBlob, open_blob_store
from datalayer.database import Database
from datalayer.errors import (
    AlreadyExists,
    BlobError,
    BlobNotFound,
    BlobRefused,
    ConfigurationError,
    ConnectionLost,
    DataLayerError,
    Forbidden,
    InvalidRecord,
    NotFound,
    SchemaError,
    StorageUnavailable,
    TimedOut,
)
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.records.chat import Account, Element, Feedback, Login, Page, Step, Thread, User
from datalayer.records.usage import (
    CallDemand,
    CallFilter,
    CallPage,
    CallRow,
    Limit,
    LimitReached,
    LimitStanding,
    LlmCall,
    LlmCallPayload,
    Price,
    Project,
    Provider,
    Repricing,
    Reservation,
    UsageBucket,
    UsageGroup,
    UsageTotals,
)
from datalayer.store import WriteFailure

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer

__all__ = [
    "SYSTEM",
    "Account",
    "AlreadyExists",
    "BlobError",
    "BlobNotFound",
    "BlobOptions",
    "BlobRefused",
    "BlobStore",
    "CallDemand",
    "CallFilter",
    "CallPage",
    "CallRow",
    "ConfigurationError",
    "ConnectionLost",
    "DataLayerError",
    "Element",
    "Feedback",
    "Forbidden",
    "InvalidRecord",
    "Limit",
    "LimitReached",
    "LimitStanding",
    "LlmCall",
    "LlmCallPayload",
    "Login",
    "NotFound",
    "OpenBlob",
    "Page",
    "Price",
    "Project",
    "Provider",
    "Receipt",
    "Repricing",
    "Reservation",
    "SchemaError",
    "Step",
    "StorageUnavailable",
    "Thread",
    "TimedOut",
    "UsageBucket",
    "UsageGroup",
    "UsageTotals",
    "User",
    "WriteFailure",
    "acting_as",
    "acting_user",
    "create_data_layer",
    "open_blob_store",
]


def create_data_layer(
    database_url: str,
    blobs: BlobStore | str | None = None,
    *,
    file_url: Callable[[Element], str] | None = None,
    on_write_failure: Callable[[WriteFailure], Awaitable[None]] | None = None,
    patience_seconds: float = 60.0,
    spool: Path | None = None,
    **engine_options: Any,
) -> "ChainlitLayer":
    """A data layer on this database. Nothing is connected to yet.

    Args:
        database_url: `sqlite:///path/to/file.db` or `postgresql://user:password@host/name`.
        blobs: the store of files, or its URL (see `open_blob_store`); without one, elements with bytes are refused.
        file_url: makes the link under which a stored file is shown; without it a stored file has no link.
        on_write_failure: is awaited, where the write was called from, for each write that could not be stored.
        patience_seconds: how long a write is tried again while the database is away, and an upload while the store
            of files is.
        spool: a file for the writes that `close` could not store in time; `migrate` stores them at the next
            start. Two processes must not start with it at the same time; without it they are lost, and that is logged.
        engine_options: go to SQLAlchemy's `create_async_engine`. On Postgres `pool_size` (10) and `pool_timeout`
            (10 seconds) bound the connections of the fast reads as well, which are a pool of their own.

    Raises:
        ConfigurationError: a URL or an option makes no sense.
    """
    # Chainlit is imported by those who make a layer, not by those who only want a name from here.
    from datalayer.chainlit_layer import ChainlitLayer  # noqa: PLC0415

    store = open_blob_store(blobs) if isinstance(blobs, str) else blobs
    return ChainlitLayer(
        Database(database_url, **engine_options),
        store,
        file_url=file_url,
        on_write_failure=on_write_failure,
        patience_seconds=patience_seconds,
        spool=spool,
    )
