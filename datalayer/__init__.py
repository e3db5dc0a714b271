"""A durable data layer for Chainlit: threads, steps, elements, votes and users in SQLite or Postgres.

import chainlit as cl
import datalayer
layer = datalayer.create_data_layer("sqlite:///chat.db", "file:///srv/chat-files")
cl.data_layer(lambda: layer)
cl.on_app_startup(layer.migrate)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from datalayer.base_store import WriteFailure
    from datalayer.billing.repricing import CallCosts
    from datalayer.blobs import BlobOptions, BlobStore, OpenBlob, open_blob_store
    from datalayer.chainlit_layer import ChainlitLayer
    from datalayer.dynamodb.layer import DynamoLayer
    from datalayer.errors import (
        AlreadyExists,
        BlobError,
        BlobNotFound,
        BlobRefused,
        ConfigurationError,
        ConnectionLost,
        DataLayerError,
        Forbidden,
        InvalidAssistant,
        InvalidRecord,
        JobFailed,
        JobLater,
        NotFound,
        NotRunning,
        RecordChanged,
        SchemaError,
        SourceChanged,
        StatementRefused,
        StorageUnavailable,
        TimedOut,
        VersionConflict,
    )
    from datalayer.jobs.kinds import JobContext, JobSchedule
    from datalayer.knowledge.passage_search import VectorSearch
    from datalayer.ownership import SYSTEM, acting_as, acting_user
    from datalayer.records.assistants import (
        Assistant,
        AssistantAccess,
        AssistantNumbers,
        AssistantPicture,
        AssistantProblem,
        AssistantSettings,
        AssistantUse,
    )
    from datalayer.records.audit import AuditEntry, AuditPage, Look, LookPage
    from datalayer.records.billing import Repricing
    from datalayer.records.chat import (
        Account,
        Element,
        ExcerptPart,
        Feedback,
        Folder,
        FoundThread,
        Login,
        OwnThreadPage,
        Page,
        Receipt,
        SharedThread,
        Step,
        Thread,
        ThreadChoice,
        ThreadHeading,
        User,
    )
    from datalayer.records.imports import ImportedFile, ImportedThread
    from datalayer.records.jobs import Job, JobPage
    from datalayer.records.keys import ApiKey, ApiReply, Rate
    from datalayer.records.knowledge import (
        DataSource,
        Document,
        DocumentPassage,
        KnowledgeState,
        ListedSource,
        NewDocument,
        NewPassage,
        Passage,
        PassageVector,
        ResultPage,
        SourcePage,
        SourceResult,
        Training,
        TrainingCounts,
        TrainingSettings,
    )
    from datalayer.records.people import Invitation, ListedUser, ListedUserPage
    from datalayer.records.retention import RetentionPlan, RetentionReceipt
    from datalayer.records.review import (
        AnswerCount,
        AnswerFilter,
        AnswerPage,
        AnswerRow,
        CopiedAnswer,
        ReviewedAnswer,
        ReviewerProgress,
        ReviewItem,
        ReviewThread,
        Sampled,
        SavedView,
        StepUsage,
        StepVersion,
        ThreadMark,
        ThreadOrigin,
        Verdict,
        VerdictChange,
        Vote,
    )
    from datalayer.records.review_statistics import Agreement, Coverage, PairAgreement, Satisfaction, WordCount
    from datalayer.records.usage import (
        CallDemand,
        CallFilter,
        CallPage,
        CallRow,
        DeletedProject,
        Limit,
        LimitReached,
        LimitStanding,
        LlmCall,
        LlmCallPayload,
        Price,
        Project,
        Provider,
        Reservation,
        UsageBucket,
        UsageGroup,
        UsagePage,
        UsageTotals,
    )
    from datalayer.usage.verify import UsageProblem, UsageReport

# The modules of the public names. A module is imported when one of its names is first used: importing all of them, and
# with them SQLAlchemy, takes a third of a second, and a program that uses one part waits for that part alone.
_HOMES = {
    "datalayer.base_store": "WriteFailure",
    "datalayer.billing.repricing": "CallCosts",
    "datalayer.blobs": "BlobOptions BlobStore OpenBlob open_blob_store",
    "datalayer.errors": """
        AlreadyExists BlobError BlobNotFound BlobRefused ConfigurationError ConnectionLost DataLayerError Forbidden
        InvalidAssistant InvalidRecord JobFailed JobLater NotFound NotRunning RecordChanged SchemaError SourceChanged
        StatementRefused StorageUnavailable TimedOut VersionConflict
    """,
    "datalayer.jobs.kinds": "JobContext JobSchedule",
    "datalayer.ownership": "SYSTEM acting_as acting_user",
    "datalayer.records.assistants": """
        Assistant AssistantAccess AssistantNumbers AssistantPicture AssistantProblem AssistantSettings AssistantUse
    """,
    "datalayer.records.audit": "AuditEntry AuditPage Look LookPage",
    "datalayer.records.billing": "Repricing",
    "datalayer.records.chat": """
        Account Element ExcerptPart Feedback Folder FoundThread Login OwnThreadPage Page Receipt SharedThread Step
        Thread ThreadChoice ThreadHeading User
    """,
    "datalayer.records.imports": "ImportedFile ImportedThread",
    "datalayer.records.jobs": "Job JobPage",
    "datalayer.records.keys": "ApiKey ApiReply Rate",
    "datalayer.knowledge.passage_search": "VectorSearch",
    "datalayer.records.knowledge": """
        DataSource Document DocumentPassage KnowledgeState ListedSource NewDocument NewPassage Passage PassageVector
        ResultPage SourcePage SourceResult Training TrainingCounts TrainingSettings
    """,
    "datalayer.records.people": "Invitation ListedUser ListedUserPage",
    "datalayer.records.retention": "RetentionPlan RetentionReceipt",
    "datalayer.records.review": """
        AnswerCount AnswerFilter AnswerPage AnswerRow CopiedAnswer ReviewedAnswer ReviewerProgress ReviewItem
        ReviewThread Sampled SavedView StepUsage StepVersion ThreadMark ThreadOrigin Verdict VerdictChange Vote
    """,
    "datalayer.records.review_statistics": "Agreement Coverage PairAgreement Satisfaction WordCount",
    "datalayer.records.usage": """
        CallDemand CallFilter CallPage CallRow DeletedProject Limit LimitReached LimitStanding LlmCall LlmCallPayload
        Price Project Provider Reservation UsageBucket UsageGroup UsagePage UsageTotals
    """,
    "datalayer.usage.verify": "UsageProblem UsageReport",
}

__all__ = [
    "SYSTEM",
    "Account",
    "Agreement",
    "AlreadyExists",
    "AnswerCount",
    "AnswerFilter",
    "AnswerPage",
    "AnswerRow",
    "ApiKey",
    "ApiReply",
    "Assistant",
    "AssistantAccess",
    "AssistantNumbers",
    "AssistantPicture",
    "AssistantProblem",
    "AssistantSettings",
    "AssistantUse",
    "AuditEntry",
    "AuditPage",
    "BlobError",
    "BlobNotFound",
    "BlobOptions",
    "BlobRefused",
    "BlobStore",
    "CallCosts",
    "CallDemand",
    "CallFilter",
    "CallPage",
    "CallRow",
    "ConfigurationError",
    "ConnectionLost",
    "CopiedAnswer",
    "Coverage",
    "DataLayerError",
    "DataSource",
    "DeletedProject",
    "Document",
    "DocumentPassage",
    "Element",
    "ExcerptPart",
    "Feedback",
    "Folder",
    "Forbidden",
    "FoundThread",
    "ImportedFile",
    "ImportedThread",
    "InvalidAssistant",
    "InvalidRecord",
    "Invitation",
    "Job",
    "JobContext",
    "JobFailed",
    "JobLater",
    "JobPage",
    "JobSchedule",
    "KnowledgeState",
    "Limit",
    "LimitReached",
    "LimitStanding",
    "ListedSource",
    "ListedUser",
    "ListedUserPage",
    "LlmCall",
    "LlmCallPayload",
    "Login",
    "Look",
    "LookPage",
    "NewDocument",
    "NewPassage",
    "NotFound",
    "NotRunning",
    "OpenBlob",
    "OwnThreadPage",
    "Page",
    "PairAgreement",
    "Passage",
    "PassageVector",
    "Price",
    "Project",
    "Provider",
    "Rate",
    "Receipt",
    "RecordChanged",
    "Repricing",
    "Reservation",
    "ResultPage",
    "RetentionPlan",
    "RetentionReceipt",
    "ReviewItem",
    "ReviewThread",
    "ReviewedAnswer",
    "ReviewerProgress",
    "Sampled",
    "Satisfaction",
    "SavedView",
    "SchemaError",
    "SharedThread",
    "SourceChanged",
    "SourcePage",
    "SourceResult",
    "StatementRefused",
    "Step",
    "StepUsage",
    "StepVersion",
    "StorageUnavailable",
    "Thread",
    "ThreadChoice",
    "ThreadHeading",
    "ThreadMark",
    "ThreadOrigin",
    "TimedOut",
    "Training",
    "TrainingCounts",
    "TrainingSettings",
    "UsageBucket",
    "UsageGroup",
    "UsagePage",
    "UsageProblem",
    "UsageReport",
    "UsageTotals",
    "User",
    "VectorSearch",
    "Verdict",
    "VerdictChange",
    "VersionConflict",
    "Vote",
    "WordCount",
    "WriteFailure",
    "acting_as",
    "acting_user",
    "create_data_layer",
    "open_blob_store",
]


_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # type checkers read the imports above, and report a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_HOME[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def create_data_layer(
    database_url: str,
    blobs: "BlobStore | str | None" = None,
    *,
    file_url: "Callable[[Element], str] | None" = None,
    on_write_failure: "Callable[[WriteFailure], Awaitable[None]] | None" = None,
    patience_seconds: float = 60.0,
    spool: "Path | None" = None,
    connections: int | None = None,
    read_url: str | None = None,
    **engine_options: Any,
) -> "ChainlitLayer":
    """Create a data layer for this database. Nothing is connected yet.

    Args:
        database_url: `sqlite:///path/to/file.db` or `postgresql://user:password@host/name`. With
            `dynamodb://table?region=eu-central-1`, the data layer stores the chat alone (docs/dynamodb.md).
        blobs: the file store, or its URL (see `open_blob_store`). Without one, elements with bytes are refused.
        file_url: gives the URL that shows a stored file. Without it, stored files have no URL.
        on_write_failure: is awaited in the caller's task for each write that could not be stored.
        patience_seconds: how long a write is retried while the database is unavailable, and an upload while the file
            store is.
        spool: a file for writes that `close` could not store in time; `migrate` stores them at the next start. Without
            it they are lost, which is logged. Two processes must not start with the same file at the same time.
        connections: the maximum number of connections to Postgres, at least 5; by default 23.
        read_url: one standby of this Postgres server for lists, searches, usage and the review, with as many
            connections; no address behind which several servers are.
        engine_options: options of SQLAlchemy's `create_async_engine`. On Postgres, `pool_size` (10) and `pool_timeout`
            (10 seconds) also bound the separate pool of the hot reads.

    Raises:
        ConfigurationError: a URL or an option is not valid.
    """
    # Chainlit is imported only when a layer is created.
    from datalayer.blobs import open_blob_store  # noqa: PLC0415
    from datalayer.chainlit_layer import ChainlitLayer  # noqa: PLC0415
    from datalayer.database import Database  # noqa: PLC0415
    from datalayer.errors import ConfigurationError  # noqa: PLC0415

    store = open_blob_store(blobs) if isinstance(blobs, str) else blobs
    options: dict[str, Any] = {"file_url": file_url, "on_write_failure": on_write_failure, "spool": spool}
    options["patience_seconds"] = patience_seconds
    if database_url.startswith("dynamodb:"):
        if connections is not None or read_url is not None or engine_options:
            raise ConfigurationError("`connections`, `read_url` and options of an engine are for SQL databases")
        return cast("ChainlitLayer", _dynamodb(database_url, store, **options))
    database = Database(database_url, connections=connections, **engine_options)
    standby = Database(read_url, connections=connections, **engine_options) if read_url else None
    return ChainlitLayer(database, store, read_database=standby, **options)


def _dynamodb(url: str, blobs: "BlobStore | None", **options: Any) -> "DynamoLayer":
    """The layer with the methods of `BaseDataLayer` and a few of `ChainlitLayer`; the others need a SQL database."""
    from datalayer.errors import ConfigurationError  # noqa: PLC0415

    try:
        from datalayer.dynamodb.layer import DynamoLayer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"a database URL that begins with dynamodb:// needs a package that is not installed ({error.name}): "
            "pip install 'threadkeeper[dynamodb]'"
        ) from None
    return DynamoLayer(url, blobs, **options)
