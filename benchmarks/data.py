"""The tables of each contender, filled with the same history by SQL on the server."""

import hashlib
import random
import string
import uuid
from functools import cache
from typing import Final

USER_ID: Final = "00000000-0000-4000-8000-000000000001"
USER: Final = "bench"
STEPS_PER_THREAD: Final = 11
LONG_STEPS: Final = 200
LONG_ELEMENTS: Final = 10
RARE_WORD: Final = "xylophone"
CJK_WORD: Final = "琥珀"
VOTED_EVERY: Final = 20
LONG_TEXTS: Final = 500
LONG_TEXT_WORDS: Final = 250

# The tables of Chainlit's SQLAlchemy layer as documented, without indexes except the keys.
SQLALCHEMY_SCHEMA: Final = """
CREATE TABLE users (id UUID PRIMARY KEY, identifier TEXT NOT NULL UNIQUE, metadata JSONB NOT NULL, "createdAt" TEXT);
CREATE TABLE threads (id UUID PRIMARY KEY, "createdAt" TEXT, name TEXT,
    "userId" UUID REFERENCES users ON DELETE CASCADE, "userIdentifier" TEXT, tags TEXT[], metadata JSONB);
CREATE TABLE steps (id UUID PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
    "threadId" UUID NOT NULL REFERENCES threads ON DELETE CASCADE, "parentId" UUID, streaming BOOLEAN NOT NULL,
    "waitForAnswer" BOOLEAN, "isError" BOOLEAN, metadata JSONB, tags TEXT[], input TEXT, output TEXT, "createdAt" TEXT,
    command TEXT, start TEXT, "end" TEXT, generation JSONB, "showInput" TEXT, language TEXT, indent INT,
    "defaultOpen" BOOLEAN);
CREATE TABLE elements (id UUID PRIMARY KEY, "threadId" UUID REFERENCES threads ON DELETE CASCADE, type TEXT, url TEXT,
    "chainlitKey" TEXT, name TEXT NOT NULL, display TEXT, "objectKey" TEXT, size TEXT, page INT, language TEXT,
    "forId" UUID, mime TEXT, props JSONB);
CREATE TABLE feedbacks (id UUID PRIMARY KEY, "forId" UUID NOT NULL,
    "threadId" UUID NOT NULL REFERENCES threads ON DELETE CASCADE, value INT NOT NULL, comment TEXT);
"""

# The same tables with what a careful developer would add; the indexes are created after the rows.
FLOOR_SCHEMA: Final = f"""
{SQLALCHEMY_SCHEMA}
ALTER TABLE threads ADD "updatedAt" TEXT;
"""
FLOOR_INDEXES: Final = """
CREATE INDEX ON threads ("userId", "updatedAt" DESC, id DESC);
CREATE INDEX ON steps ("threadId", "createdAt", id);
CREATE INDEX ON elements ("threadId");
CREATE INDEX ON feedbacks ("threadId", value);
CREATE INDEX ON feedbacks ("forId");
"""
FLOOR_SEARCH: Final = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX bench_texts ON steps USING gin (output gin_trgm_ops);
CREATE INDEX bench_names ON threads USING gin (name gin_trgm_ops);
"""
FLOOR_NO_SEARCH: Final = "DROP INDEX bench_texts, bench_names"

# The tables of Chainlit's asyncpg layer, with its indexes.
ASYNCPG_SCHEMA: Final = """
CREATE TYPE "StepType" AS ENUM ('assistant_message', 'embedding', 'llm', 'retrieval', 'rerank', 'run', 'system_message',
    'tool', 'undefined', 'user_message');
CREATE TABLE "User" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), metadata JSONB NOT NULL, identifier TEXT NOT NULL UNIQUE);
CREATE TABLE "Thread" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "deletedAt" TIMESTAMP(3), name TEXT, metadata JSONB NOT NULL,
    tags TEXT[] DEFAULT '{}', "userId" TEXT REFERENCES "User" ON DELETE SET NULL);
CREATE TABLE "Step" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "parentId" TEXT REFERENCES "Step" ON DELETE CASCADE,
    "threadId" TEXT REFERENCES "Thread" ON DELETE CASCADE, input TEXT, metadata JSONB NOT NULL, name TEXT, output TEXT,
    type "StepType" NOT NULL, "showInput" TEXT DEFAULT 'json', "isError" BOOLEAN DEFAULT false,
    "startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3) NOT NULL);
CREATE TABLE "Element" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "threadId" TEXT REFERENCES "Thread" ON DELETE CASCADE,
    "stepId" TEXT NOT NULL REFERENCES "Step" ON DELETE CASCADE, metadata JSONB NOT NULL, mime TEXT, name TEXT NOT NULL,
    "objectKey" TEXT, url TEXT, "chainlitKey" TEXT, display TEXT, size TEXT, language TEXT, page INT, props JSONB);
CREATE TABLE "Feedback" (id TEXT PRIMARY KEY, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "stepId" TEXT REFERENCES "Step" ON DELETE SET NULL,
    name TEXT NOT NULL, value DOUBLE PRECISION NOT NULL, comment TEXT);
"""
ASYNCPG_INDEXES: Final = """
CREATE INDEX ON "Thread" ("createdAt");
CREATE INDEX ON "Thread" (name);
CREATE INDEX ON "Step" ("createdAt");
CREATE INDEX ON "Step" ("endTime");
CREATE INDEX ON "Step" ("parentId");
CREATE INDEX ON "Step" ("startTime");
CREATE INDEX ON "Step" ("threadId");
CREATE INDEX ON "Step" (type);
CREATE INDEX ON "Step" (name);
CREATE INDEX ON "Step" ("threadId", "startTime", "endTime");
CREATE INDEX ON "Element" ("stepId");
CREATE INDEX ON "Element" ("threadId");
CREATE INDEX ON "Feedback" ("stepId");
CREATE INDEX ON "Feedback" (name);
CREATE INDEX ON "Feedback" (value);
CREATE INDEX ON "Feedback" (name, value);
"""

LONG_THREAD: Final = "00000000-0000-4000-8000-000000000002"
# One of eleven steps also contains these characters.
_COMMON: Final = "的一是了我不人在他有这个上们来到"
_ISO: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""


def history(threads: int, *, updated_at: bool) -> str:
    """SQL that creates threads of 11 steps, one minute apart, and an oldest thread of 200 steps, in Chainlit's tables.

    Args:
        updated_at: fill the column `updatedAt` of threads.
    """
    last = f", to_char(moment + interval '{STEPS_PER_THREAD} seconds', {_ISO})" if updated_at else ""
    return f"""
INSERT INTO users (id, identifier, metadata, "createdAt")
    VALUES ('{USER_ID}', '{USER}', '{{}}', '2024-01-01T00:00:00Z');
CREATE TEMP TABLE t AS {_threads(threads)};
INSERT INTO threads (id, "createdAt", name, "userId", "userIdentifier", metadata{', "updatedAt"' if updated_at else ""})
    SELECT id::uuid, to_char(moment, {_ISO}), name, '{USER_ID}', '{USER}', '{{}}'{last} FROM t;
CREATE TEMP TABLE s AS {_steps(threads)};
INSERT INTO steps (id, name, type, "threadId", streaming, metadata, output, "createdAt", start, "end")
    SELECT id::uuid, 'bench', type, thread::uuid, false, '{{}}', output, at, at, at
    FROM (SELECT *, to_char(moment, {_ISO}) AS at FROM s) s;
INSERT INTO feedbacks (id, "forId", "threadId", value)
    SELECT gen_random_uuid(), id::uuid, thread::uuid, 1 FROM s WHERE voted;
INSERT INTO elements (id, "threadId", type, url, name, display, "forId", mime)
    SELECT gen_random_uuid(), thread::uuid, 'file', 'https://example.org/' || n, 'file ' || n, 'inline', id::uuid,
        'text/plain' FROM s WHERE thread = '{LONG_THREAD}' AND n <= {LONG_ELEMENTS};
"""


def asyncpg_history(threads: int) -> str:
    """The same history in the tables of the asyncpg layer."""
    return f"""
INSERT INTO "User" (id, identifier, metadata) VALUES ('{USER_ID}', '{USER}', '{{}}');
CREATE TEMP TABLE t AS {_threads(threads)};
INSERT INTO "Thread" (id, "createdAt", "updatedAt", name, metadata, "userId")
    SELECT id, moment, moment + interval '{STEPS_PER_THREAD} seconds', name, '{{}}', '{USER_ID}' FROM t;
CREATE TEMP TABLE s AS {_steps(threads)};
INSERT INTO "Step" (id, "threadId", metadata, name, output, type, "startTime", "endTime")
    SELECT id, thread, '{{}}', 'bench', output, type::"StepType", moment, moment FROM s;
INSERT INTO "Feedback" (id, "stepId", name, value)
    SELECT gen_random_uuid(), id, 'user_feedback', 1 FROM s WHERE voted;
INSERT INTO "Element" (id, "threadId", "stepId", metadata, mime, name, url, display, props)
    SELECT gen_random_uuid(), thread, id, '{{"type": "file"}}', 'text/plain', 'file ' || n, 'https://example.org/' || n,
        'inline', '{{}}' FROM s WHERE thread = '{LONG_THREAD}' AND n <= {LONG_ELEMENTS};
"""


def thread_id(number: int) -> str:
    """The id of a thread, as `md5('t' || number)::uuid` in SQL."""
    return str(uuid.UUID(hashlib.md5(f"t{number}".encode(), usedforsecurity=False).hexdigest()))


def _threads(count: int) -> str:
    return f"""SELECT i, md5('t' || i)::uuid::text AS id, 'Thread ' || md5('n' || i) AS name,
        timestamp '2024-01-01' + i * interval '1 minute' AS moment FROM generate_series(1, {count}) AS i
        UNION ALL SELECT 0, '{LONG_THREAD}', 'A long one', timestamp '2023-12-31'"""


def _steps(count: int) -> str:
    return f"""SELECT md5('s' || t.i || '-' || n)::uuid::text AS id, t.id AS thread, n,
        CASE n % 2 WHEN 1 THEN 'user_message' ELSE 'assistant_message' END AS type,
        t.moment + n * interval '1 second' AS moment,
        repeat(md5('o' || t.i || '-' || n) || ' ', 10)
            || CASE WHEN n = 9 THEN translate(md5('c' || t.i), '0123456789abcdef', '{_COMMON}') ELSE '' END
            || CASE WHEN t.i = {count // 2} AND n = 5 THEN '{RARE_WORD}' ELSE '' END
            || CASE WHEN t.i = {count // 2} AND n = 7 THEN '这块{CJK_WORD}很漂亮' ELSE '' END AS output,
        t.i > 0 AND t.i % {VOTED_EVERY} = 0 AND n = 4 AS voted
        FROM t, LATERAL generate_series(1, CASE WHEN t.i = 0 THEN {LONG_STEPS} ELSE {STEPS_PER_THREAD} END) AS n"""


@cache
def long_texts() -> list[str]:
    """Reproducible texts of about 2 kB of invented words, a few of them frequent and most rare."""
    chooser = random.Random(2025)
    words = ["".join(chooser.choices(string.ascii_lowercase, k=chooser.randint(2, 12))) for _ in range(20_000)]
    return [
        " ".join(words[int(chooser.paretovariate(0.5)) % len(words)] for _ in range(LONG_TEXT_WORDS))
        for _ in range(LONG_TEXTS)
    ]
