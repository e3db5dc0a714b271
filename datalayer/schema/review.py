"""The tables of the review: verdicts, queue, copies, views, earlier versions, the audit and the index of answers.

Only the audit outlives a thread. It names the thread by its id and contains none of its content.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
    true,
)
from sqlalchemy.types import TypeEngine

from datalayer.schema.chat import Identifier, Json, Tags, feedbacks, metadata, steps, threads
from datalayer.schema.usage import Money, llm_calls

_Number: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _of_thread(name: str = "threadId", **options: Any) -> Column[Any]:
    return Column(name, Identifier, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False, **options)


def _user(name: str, ondelete: str) -> Column[Any]:
    return Column(name, Identifier, ForeignKey("users.id", ondelete=ondelete), nullable=ondelete == "SET NULL")


# One current verdict per reviewer and answer. It is kept when an edit removes the answer.
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("stepId", Identifier, nullable=False),
    _of_thread(),
    _user("reviewerId", "CASCADE"),
    Column("label", Text, nullable=False),
    Column("reasons", Tags),
    Column("note", Text),
    Column("betterAnswer", Text),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    UniqueConstraint("stepId", "reviewerId", name="one_verdict_per_reviewer"),
)
Index("verdicts_of_thread", verdicts.c.threadId)
Index("verdicts_of_reviewer", verdicts.c.reviewerId, verdicts.c.updatedAt)
Index("verdicts_of_label", verdicts.c.label, verdicts.c.stepId)

# The history of verdicts: a row for each time a verdict was given, changed or withdrawn (without a label).
verdict_changes = Table(
    "verdict_changes",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("stepId", Identifier, nullable=False),
    _of_thread(),
    _user("reviewerId", "CASCADE"),
    Column("label", Text),
    Column("reasons", Tags),
    Column("note", Text),
    Column("betterAnswer", Text),
    Column("changedAt", Text, nullable=False),
)
Index("verdict_changes_of_step", verdict_changes.c.stepId, verdict_changes.c.changedAt)
Index("verdict_changes_of_thread", verdict_changes.c.threadId)
Index("verdict_changes_of_reviewer", verdict_changes.c.reviewerId)

# The queue. An item is open until it is done. The reviewer who opens it has a lock on it until the lock expires.
review_items = Table(
    "review_items",
    metadata,
    Column("stepId", Identifier, primary_key=True),
    _of_thread(),
    Column("reason", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
    Column("wanted", Integer, nullable=False),
    _user("assignedTo", "SET NULL"),
    _user("lockedBy", "SET NULL"),
    Column("lockedUntil", Text),
    Column("doneAt", Text),
)
IS_OPEN = review_items.c.doneAt.is_(None)
Index(
    "open_review_items",
    review_items.c.reason,
    review_items.c.createdAt,
    review_items.c.stepId,
    postgresql_where=IS_OPEN,
    sqlite_where=IS_OPEN,
)
Index("review_items_of_thread", review_items.c.threadId)
Index("review_items_of_reviewer", review_items.c.assignedTo, review_items.c.doneAt)
Index("locked_review_items", review_items.c.lockedBy)

review_views = Table(
    "review_views",
    metadata,
    Column("id", Identifier, primary_key=True),
    _user("ownerId", "CASCADE"),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("isShared", Boolean, nullable=False),
    Column("createdAt", Text, nullable=False),
    UniqueConstraint("ownerId", "name", name="one_view_of_a_name"),
)

thread_marks = Table(
    "thread_marks",
    metadata,
    _of_thread(primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("note", Text),
    _user("userId", "SET NULL"),
    Column("createdAt", Text, nullable=False),
)
Index("threads_marked", thread_marks.c.kind, thread_marks.c.threadId)
Index("thread_marks_of_user", thread_marks.c.userId)

# A row for each thread that is a copy. Without a foreign key to the original: deleting the original deletes its copies
# too, in `history/deletion.py`.
thread_origins = Table(
    "thread_origins",
    metadata,
    _of_thread(primary_key=True),
    Column("originalId", Identifier, nullable=False),
    Column("originalStepId", Identifier),
    _user("reviewerId", "SET NULL"),
    Column("createdAt", Text, nullable=False),
    Column("betterStepId", Identifier),
    Column("linkedAt", Text),
)
Index("copies_of_thread", thread_origins.c.originalId)
Index("thread_origins_of_reviewer", thread_origins.c.reviewerId)

# Earlier versions of edited messages ("edited"), and the messages that such an edit removed ("removed"), with the steps
# that they belonged to.
VERSION_CHANGES = ("edited", "removed")
step_versions = Table(
    "step_versions",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("stepId", Identifier, nullable=False),
    _of_thread(),
    Column("change", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("createdAt", Text),
    Column("replacedAt", Text, nullable=False),
    Column("parentId", Identifier),
    sqlite_autoincrement=True,
)
Index("step_versions_of_thread", step_versions.c.threadId, step_versions.c.id)
Index("step_versions_of_step", step_versions.c.stepId)

# Append-only: triggers refuse every update, and every deletion of an entry that no row of `audit_retentions` covers.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("at", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text),
    Column("subjectId", Identifier),
    Column("ownerId", Identifier),
    Column("purpose", Text),
    Column("details", Json),
    sqlite_autoincrement=True,
)
Index("audit_of_owner", audit_entries.c.ownerId, audit_entries.c.id)
Index("audit_of_subject", audit_entries.c.subjectId, audit_entries.c.id)
Index("audit_of_actor", audit_entries.c.actor, audit_entries.c.id)
Index("audit_in_order", audit_entries.c.at)

# Permission to delete audit entries older than `olderThan`. These rows are never deleted.
audit_retentions = Table(
    "audit_retentions",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("olderThan", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text),
    sqlite_autoincrement=True,
)

# A mark for each thread with rows in `review_answers` that are out of date.
review_pending = Table(
    "review_pending",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("threadId", Identifier, nullable=False),
    sqlite_autoincrement=True,
)

# The index of answers: a narrow row for each answer, by which reviewers filter and sort. It is derived from the other
# tables and can be rebuilt from them. See `history/answers.py`.
answers = Table(
    "review_answers",
    metadata,
    Column("stepId", Identifier, primary_key=True),
    _of_thread(),
    Column("userId", Identifier),
    Column("createdAt", Text, nullable=False),
    Column("runId", Identifier),
    Column("tags", Tags),
    Column("thumb", Integer),
    Column("isCommented", Boolean, nullable=False),
    Column("assistant", Text),
    Column("model", Text),
    Column("tokens", BigInteger),
    Column("cost", Money),
    Column("seconds", Float),
    Column("isError", Boolean, nullable=False),
    Column("verdicts", Integer, nullable=False),
    # The answer was removed from its thread and is kept because of its vote.
    Column("isRemoved", Boolean, nullable=False, server_default=false()),
    # The assistant with its version (`Assistant.reference`), and whether the answer is its `idk` text.
    Column("assistantVersion", Text),
    Column("isUnknown", Boolean, nullable=False, server_default=false()),
)
# A query uses a partial index only if its condition is written exactly as in the index.
IS_REVIEWED = answers.c.verdicts > literal_column("0")
IS_COMMENTED = answers.c.isCommented.is_(true())
IS_ERROR = answers.c.isError.is_(true())
IS_TAGGED = answers.c.tags.is_not(None)
_PLACE = (answers.c.createdAt, answers.c.stepId)
Index("review_answers_in_order", *_PLACE)
Index("review_answers_of_thread", answers.c.threadId)
Index("review_answers_of_user", answers.c.userId, *_PLACE)
Index("review_answers_of_assistant", answers.c.assistant, *_PLACE)
Index("review_answers_of_version", answers.c.assistantVersion, *_PLACE)
Index("review_answers_of_model", answers.c.model, *_PLACE)
Index("review_answers_by_cost", answers.c.cost)
for _name, _condition, _first in (
    ("thumb", answers.c.thumb.is_not(None), (answers.c.thumb,)),
    ("comment", IS_COMMENTED, ()),
    ("error", IS_ERROR, ()),
    ("verdict", IS_REVIEWED, ()),
    ("tag", IS_TAGGED, ()),
):
    Index(f"review_answers_with_{_name}", *_first, *_PLACE, postgresql_where=_condition, sqlite_where=_condition)
# The triggers that write marks on these tables are created with this table; see `review_triggers`.
for _table in (threads, steps, feedbacks, llm_calls, review_pending, step_versions):
    answers.add_is_dependent_on(_table)
REVIEW_TABLES = (
    *(verdicts, verdict_changes, review_items, review_views, thread_marks, thread_origins, step_versions),
    *(audit_retentions, audit_entries, review_pending, answers),
)
