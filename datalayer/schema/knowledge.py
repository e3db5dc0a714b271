"""The tables of the knowledge of assistants. An assistant is a text id."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from datalayer.schema.chat import Identifier, Json, Number, Words, metadata
from datalayer.schema.ddl import follow
from datalayer.schema.usage import Money

data_sources = Table(
    "data_sources",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("assistantId", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("objectKey", Text),
    Column("byteSize", BigInteger),
    Column("sha256", Text),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    Column("fetched", Json),
)
Index("data_sources_of_assistant", data_sources.c.assistantId, data_sources.c.createdAt)
Index("data_sources_of_file", data_sources.c.objectKey)

trainings = Table(
    "trainings",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("assistantId", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("isCurrent", Boolean, nullable=False),
    Column("createdAt", Text, nullable=False),
    Column("startedBy", Text),
    Column("startedAt", Text),
    Column("finishedAt", Text),
    Column("model", Text),
    Column("dimensions", Integer),
    Column("chunkTokens", Integer),
    Column("chunkOverlap", Integer),
    Column("chunker", Integer),
    Column("windowTokens", Integer),
    Column("documents", Integer, nullable=False, server_default=text("0")),
    Column("failedDocuments", Integer, nullable=False, server_default=text("0")),
    Column("reusedDocuments", Integer, nullable=False, server_default=text("0")),
    Column("passages", Integer, nullable=False, server_default=text("0")),
    Column("vectors", Integer, nullable=False, server_default=text("0")),
    Column("words", BigInteger, nullable=False, server_default=text("0")),
    Column("characters", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("cost", Money),
    Column("threshold", Float),
    Column("expectedSources", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    # How many passages contain each word, by the hash of the word; compressed.
    Column("wordCounts", LargeBinary),
    Column("suggestions", Json),
    Column("failure", Json),
)
Index("trainings_in_order", trainings.c.assistantId, trainings.c.number, unique=True)
RUNS = trainings.c.state.in_(["new", "training"])
_RUNS_IN_DDL = text("state IN ('new', 'training')")
Index(
    "one_training_at_a_time",
    trainings.c.assistantId,
    unique=True,
    postgresql_where=_RUNS_IN_DDL,
    sqlite_where=_RUNS_IN_DDL,
)
_CURRENT = text('"isCurrent"')
Index("one_current_training", trainings.c.assistantId, unique=True, postgresql_where=_CURRENT, sqlite_where=_CURRENT)

# What a training took of each source. Without a foreign key to the source, because it outlives the source.
training_sources = Table(
    "training_sources",
    metadata,
    Column("trainingId", Identifier, ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True),
    Column("sourceId", Identifier, primary_key=True),
    Column("title", Text, nullable=False),
    Column("sha256", Text),
    Column("loader", Text),
    Column("options", Json),
    Column("taken", Json),
    Column("refused", Text),
    Column("documents", Integer, nullable=False),
    Column("failedDocuments", Integer, nullable=False),
    Column("fetch", Json),
)

# A document is part of the trainings with a number from `since` to before `until`. `seen` is the newest training that
# found it in its source.
documents = Table(
    "documents",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("assistantId", Text, nullable=False),
    Column("sourceId", Identifier, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    Column("seen", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("recordId", Text),
    Column("suggestion", Text),
    Column("pages", Integer),
    Column("passages", Integer, nullable=False),
    Column("words", BigInteger, nullable=False),
    Column("characters", BigInteger, nullable=False),
)
_LIVE = text("until IS NULL")
Index(
    "one_live_document",
    documents.c.sourceId,
    documents.c.key,
    documents.c.fingerprint,
    unique=True,
    postgresql_where=_LIVE,
    sqlite_where=_LIVE,
)
Index("documents_of_assistant", documents.c.assistantId, documents.c.since)

passages = Table(
    "passages",
    metadata,
    Column("id", Number, primary_key=True),
    Column("documentId", Identifier, ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    Column("tokens", Integer, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
    # Each with the key of its assistant, as in the search of threads.
    Column("words", Words, nullable=False),
    sqlite_autoincrement=True,
)
Index("passages_of_document", passages.c.documentId, passages.c.position)

# The vectors of each passage; `since` and `until` are those of the document. Where the server has pgvector,
# `dialects.postgresql_vectors` adds the column `embedding`.
passage_vectors = Table(
    "passage_vectors",
    metadata,
    Column("passageId", Number, ForeignKey("passages.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("assistantId", Text, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    Column("dimensions", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)
Index("passage_vectors_of_assistant", passage_vectors.c.assistantId, passage_vectors.c.since)

KNOWLEDGE_TABLES = (data_sources, trainings, training_sources, documents, passages, passage_vectors)

_POSTGRESQL = ("CREATE INDEX passages_words ON passages USING gin (words)",)
_SQLITE = (
    # As the index of the words of threads (`search_triggers`).
    """
CREATE VIRTUAL TABLE passage_words USING fts5(words, content='passages', content_rowid='id', detail='none',
    columnsize=0, tokenize="ascii tokenchars '_'")
""",
    """
CREATE TRIGGER passage_words_added AFTER INSERT ON passages BEGIN
    INSERT INTO passage_words (rowid, words) VALUES (NEW.id, NEW.words);
END
""",
    """
CREATE TRIGGER passage_words_removed AFTER DELETE ON passages BEGIN
    INSERT INTO passage_words (passage_words, rowid, words) VALUES ('delete', OLD.id, OLD.words);
END
""",
)


follow(passages, "after_create", _POSTGRESQL, "postgresql")
follow(passages, "after_create", _SQLITE, "sqlite")
follow(passages, "after_drop", ("DROP TABLE passage_words",), "sqlite")
