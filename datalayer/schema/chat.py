"""The tables of users, threads, steps, elements, votes and the search.

Names and quoted camelCase columns are those of Chainlit's official SQLAlchemy schema, so that an existing database is
adopted in place. Columns and tables that this schema lacks are added by the migrations.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    and_,
    false,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

Identifier: TypeEngine[str] = Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Json: TypeEngine[Any] = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
# Tokens of `search_tokens`, separated by blanks.
Words: TypeEngine[str] = Text().with_variant(postgresql.TSVECTOR(), "postgresql")
Number: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
Tags: TypeEngine[Any] = JSON(none_as_null=True).with_variant(postgresql.ARRAY(Text()), "postgresql")

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("identifier", Text, nullable=False, unique=True),
    Column("metadata", Json, nullable=False),
    Column("createdAt", Text),
    Column("role", Text, nullable=False, server_default=text("'user'")),
    Column("disabledAt", Text),
    Column("loginsEndedAt", Text),
    # The name as names are compared (`history.user_names`). A user without it is found by the exact name only: an older
    # database may have several users whose names differ in case, and Chainlit's own layer may add users too.
    Column("nameKey", Text),
)
Index("one_user_per_name", users.c.nameKey, unique=True)

# A table of its own, because Chainlit's code may read all columns of `users`.
credentials = Table(
    "credentials",
    metadata,
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("passwordHash", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
)

# Each recorded login has a row until it expires. Only a hash of its token is stored.
logins = Table(
    "logins",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("tokenHash", Text, nullable=False, unique=True),
    Column("startedAt", Text, nullable=False),
    Column("expiresAt", Text, nullable=False),
    Column("seenAt", Text, nullable=False),
    Column("agent", Text),
    Column("endedAt", Text),
)
Index("logins_of_user", logins.c.userId, logins.c.startedAt)

threads = Table(
    "threads",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("createdAt", Text),
    Column("updatedAt", Text),
    Column("name", Text),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE")),
    Column("userIdentifier", Text),
    Column("tags", Tags),
    Column("metadata", Json),
    # When its owner pinned or archived it; a temporary thread is deleted after `expiresAt`.
    Column("pinnedAt", Text),
    Column("archivedAt", Text),
    Column("expiresAt", Text),
    # Whether its owner gave a thumb in it. The database keeps them (`thread_triggers`); nobody else writes them.
    Column("votedUp", Boolean, nullable=False, server_default=false(), info={"is_derived": True}),
    Column("votedDown", Boolean, nullable=False, server_default=false(), info={"is_derived": True}),
)
Index("threads_by_activity", threads.c.userId, threads.c.updatedAt.desc(), threads.c.id.desc())
IS_PINNED = threads.c.pinnedAt.is_not(None)
IS_ARCHIVED = threads.c.archivedAt.is_not(None)
IS_TEMPORARY = threads.c.expiresAt.is_not(None)
IS_LISTED = and_(~IS_ARCHIVED, ~IS_TEMPORARY)
HAS_TAGS = threads.c.tags.is_not(None)
VOTED = {1: threads.c.votedUp.is_(true()), 0: threads.c.votedDown.is_(true())}
"""The condition for each thumb."""
for _name, _chosen in (
    ("archived_threads", IS_ARCHIVED),
    # Retention reads all of it: temporary threads are few.
    ("temporary_threads", IS_TEMPORARY),
    # The list does not read what was archived.
    ("listed_threads", IS_LISTED),
    ("tagged_threads", and_(HAS_TAGS, IS_LISTED)),
    ("pinned_threads", IS_PINNED),
):
    Index(
        _name,
        threads.c.userId,
        threads.c.updatedAt.desc(),
        threads.c.id.desc(),
        postgresql_where=_chosen,
        sqlite_where=_chosen,
    )
for _name, _chosen in (("threads_voted_up", VOTED[1]), ("threads_voted_down", VOTED[0])):
    # The last two columns tell what is not listed without a look at the thread.
    _order = threads.c.updatedAt.desc(), threads.c.id.desc(), threads.c.archivedAt, threads.c.expiresAt
    Index(_name, threads.c.userId, *_order, postgresql_where=_chosen, sqlite_where=_chosen)

# How many of a user's listed threads have a tag: the sum of the rows. The database adds a row for each change
# (`thread_triggers`), so that two changes never wait for each other; whoever reads many rows adds them up.
folder_counts = Table(
    "folder_counts",
    metadata,
    Column("id", Number, primary_key=True),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The owner's name as in the thread, by which is decided who may read.
    Column("userIdentifier", Text),
    Column("tag", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("folder_counts_of_user", folder_counts.c.userId)

# A mark for each deleted thread, which keeps it deleted (`deletion_triggers`). The time is of the database's clock.
deleted_threads = Table(
    "deleted_threads",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("deletedAt", Text, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("threadId", Identifier, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    Column("parentId", Identifier),
    Column("command", Text),
    Column("modes", Json),
    Column("disableFeedback", Boolean, nullable=False, server_default=text("false")),
    Column("streaming", Boolean, nullable=False, server_default=text("false")),
    Column("waitForAnswer", Boolean),
    Column("isError", Boolean),
    Column("metadata", Json),
    Column("tags", Tags),
    Column("input", Text),
    Column("output", Text),
    Column("createdAt", Text),
    Column("start", Text),
    Column("end", Text),
    Column("generation", Json),
    Column("showInput", Text),
    Column("defaultOpen", Boolean),
    Column("autoCollapse", Boolean),
    Column("language", Text),
    Column("indent", Integer),
    Column("extra", Json),
    Column("updatedAt", Text),
)
Index("steps_in_order", steps.c.threadId, steps.c.createdAt, steps.c.id)


# A query uses the index of favourites only if its condition is written exactly as in the index. Another program may
# have stored invalid JSON in SQLite; neither the index nor the query may fail because of it.
def _favorite_on_postgresql(column: str) -> TextClause:
    return text(f"""{column} @> '{{"favorite": true}}'::jsonb""")


def _favorite_on_sqlite(column: str) -> TextClause:
    return text(f"CASE WHEN json_valid({column}) THEN json_extract({column}, '$.favorite') END = 1")


FAVORITE_ON_POSTGRESQL = _favorite_on_postgresql("steps.metadata")
FAVORITE_ON_SQLITE = _favorite_on_sqlite("steps.metadata")
Index(
    "favorite_steps",
    steps.c.threadId,
    postgresql_where=_favorite_on_postgresql("metadata"),
    sqlite_where=_favorite_on_sqlite("metadata"),
)

elements = Table(
    "elements",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("threadId", Identifier, ForeignKey("threads.id", ondelete="CASCADE")),
    Column("type", Text),
    Column("url", Text),
    Column("chainlitKey", Text),
    Column("name", Text, nullable=False),
    Column("display", Text),
    Column("objectKey", Text),
    Column("byteSize", BigInteger),
    Column("sha256", Text),
    Column("size", Text),
    Column("page", Integer),
    Column("language", Text),
    Column("forId", Identifier),
    Column("mime", Text),
    Column("autoPlay", Boolean),
    Column("playerConfig", Json),
    Column("props", Json),
    Column("extra", Json),
    Column("createdAt", Text),
)
Index("elements_of_thread", elements.c.threadId, elements.c.createdAt)
Index("elements_of_step", elements.c.forId)
Index("elements_of_file", elements.c.objectKey)

# Files to delete from the blob store after `dueAt`, unless an element refers to them by then: files of deleted rows,
# and of uploads that have no row yet. Without foreign keys, because a row here outlives thread and element.
blob_deletions = Table(
    "blob_deletions",
    metadata,
    Column("id", Number, primary_key=True),
    Column("objectKey", Text, nullable=False),
    Column("threadId", Identifier),
    Column("queuedAt", Text, nullable=False),
    Column("dueAt", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("blob_deletions_of_file", blob_deletions.c.objectKey)

feedbacks = Table(
    "feedbacks",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("forId", Identifier, nullable=False),
    Column("threadId", Identifier, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    Column("value", Integer, nullable=False),
    Column("comment", Text),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE")),
    Column("updatedAt", Text),
    Column("reasons", Tags),
)
Index("feedbacks_of_thread", feedbacks.c.threadId)
# Finds both "does this thread have such a vote" and "which threads have such votes".
Index("votes_of_user", feedbacks.c.userId, feedbacks.c.value, feedbacks.c.threadId)
# One vote per user and step; in an application without users, one vote per step.
NAMED_VOTE = feedbacks.c.userId.is_not(None)
NAMELESS_VOTE = feedbacks.c.userId.is_(None)
Index(
    "one_vote_per_user",
    feedbacks.c.forId,
    feedbacks.c.userId,
    unique=True,
    postgresql_where=NAMED_VOTE,
    sqlite_where=NAMED_VOTE,
)
Index(
    "one_nameless_vote",
    feedbacks.c.forId,
    unique=True,
    postgresql_where=NAMELESS_VOTE,
    sqlite_where=NAMELESS_VOTE,
)

# The history of votes: a row for each time a vote was cast, changed or withdrawn (value NULL). If only the step was
# deleted and not its thread, the last row is the last state of the vote.
feedback_changes = Table(
    "feedback_changes",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("feedbackId", Identifier, nullable=False),
    Column("forId", Identifier, nullable=False),
    Column("threadId", Identifier, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    Column("userId", Identifier),
    Column("value", Integer),
    Column("comment", Text),
    Column("changedAt", Text, nullable=False),
    Column("reasons", Tags),
)
Index("feedback_changes_of_step", feedback_changes.c.forId, feedback_changes.c.changedAt)
Index("feedback_changes_of_thread", feedback_changes.c.threadId)

# The searchable words: a row for the texts of each step, and a row without a step for the title of each thread.
# `search_triggers` has the index of the words and the triggers that write marks.
search_texts = Table(
    "search_texts",
    metadata,
    Column("id", Number, primary_key=True),
    Column("threadId", Identifier, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    Column("stepId", Identifier, ForeignKey("steps.id", ondelete="CASCADE")),
    Column("words", Words, nullable=False),
)
TITLE = search_texts.c.stepId.is_(None)
Index("search_texts_of_thread", search_texts.c.threadId)
Index("one_search_text_per_step", search_texts.c.stepId, unique=True)
Index("one_title_per_thread", search_texts.c.threadId, unique=True, postgresql_where=TITLE, sqlite_where=TITLE)

# A mark for each changed text that is not indexed yet. Ids are never reused. `userId` is the owner of the thread at
# that moment, so that a search finds the marks of its user without reading those of others.
search_pending = Table(
    "search_pending",
    metadata,
    Column("id", Number, primary_key=True),
    Column("threadId", Identifier, nullable=False),
    Column("stepId", Identifier),
    Column("userId", Identifier),
    sqlite_autoincrement=True,
)
Index("search_pending_of_user", search_pending.c.userId)

# The progress of indexing the rows that are older than the index. A row is deleted when its table is finished.
search_backlog = Table(
    "search_backlog",
    metadata,
    Column("table", Text, primary_key=True),
    Column("position", Identifier),
)

migrations = Table(
    "threadkeeper_migrations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("appliedAt", Text, nullable=False),
    # "before" if the version before goes on working, else "after"; older versions noted none.
    Column("phase", Text),
)
