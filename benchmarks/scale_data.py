"""A history of years for `benchmarks.scale`, made by SQL on the server, past the data layer.

A larger history is a longer one: the same users, as many threads a day, the same last month. All ids follow from a
number, so that the benchmark knows them. What triggers and background tasks would derive is made here too, by the same
rules, because they would need hours for ten million steps: the words of the search, the index of answers, the thumbs of
threads and the counts of tags.
"""

import hashlib
import random
import uuid
from functools import cache
from typing import Final

from datalayer.history.search_tokens import owner_key, tokens

USERS: Final = 2_000
THREADS_A_DAY: Final = 1_667
"""A hundred thousand threads are sixty days."""
STEPS: Final = 10
TURNS: Final = 3
TEXTS: Final = 20_000
END: Final = "2026-11-30"
MONTH: Final = ("2026-11-01T00:00:00.000000Z", "2026-12-01T00:00:00.000000Z")
EVERYDAY_WORD: Final = "word1"
CJK_WORD: Final = "琥珀"
REVIEWER: Final = "rita"
_ISO: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""
# One of twenty threads belongs to the user with the number 0.
_OWNER: Final = f"CASE WHEN i % 20 = 0 THEN 0 ELSE 1 + i::bigint * 7919 % {USERS - 1} END"
TABLES: Final = (
    # Not the payloads: an index of their partitions would stay invalid.
    *("threads", "steps", "feedbacks", "llm_calls", "search_texts", "review_answers"),
    *("verdicts", "review_items"),
)


def user_name(number: int) -> str:
    return f"user{number}"


def user_id(number: int) -> str:
    return _id(f"u{number}")


def thread_id(number: int) -> str:
    return _id(f"t{number}")


def call_id(thread: int, step: int) -> str:
    return _id(f"c{thread}-{step}")


def owner(thread: int) -> int:
    """The number of the user whose thread this is."""
    return 0 if thread % 20 == 0 else 1 + thread * 7919 % (USERS - 1)


def rare_word(thread: int) -> str:
    """A word that only the questions of this thread have."""
    return f"ticket{thread}"


def _id(text: str) -> str:
    return str(uuid.UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()))


@cache
def texts() -> list[tuple[int, str, str, str, str]]:
    """Reproducible texts of about 300 bytes with their number, their tokens, their beginning and its tokens.

    One of twenty is partly Chinese.
    """
    chance = random.Random(2026)
    made = []
    for number in range(TEXTS):
        words = [f"word{int(chance.paretovariate(0.8)) % 20_000}" for _ in range(38)]
        if number % 20 == 0:
            words.append("这块" + (CJK_WORD if number % 1_000 == 0 else "石头") + "很漂亮")
        text, question = " ".join(words), " ".join(words[:12])
        made.append((number, text, " ".join(tokens(text)), question, " ".join(tokens(question))))
    return made


def users() -> list[tuple[int, str, str, str]]:
    """The number, id, name and key of the search of each user."""
    return [(number, user_id(number), user_name(number), owner_key(user_id(number))) for number in range(USERS)]


# Nothing is checked or indexed while the rows are inserted; the indexes are built from all rows afterwards.
BEGIN: Final = f"""
SET session_replication_role = replica;
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid IN (
    {", ".join(f"'{table}'::regclass" for table in TABLES)});
CREATE TEMP TABLE u (n int, id uuid, identifier text, key text);
CREATE TEMP TABLE x (n int PRIMARY KEY, output text, tokens text, question text, question_tokens text);
"""
REINDEX: Final = tuple(f"REINDEX TABLE {table}" for table in TABLES)


def history(threads: int) -> tuple[tuple[str, str], ...]:
    """What is made, and the SQL that makes it from the temporary tables `u` and `x`."""
    seconds = 86_400 / THREADS_A_DAY
    return (
        (
            "users",
            f"""INSERT INTO users (id, identifier, metadata, "createdAt", "nameKey")
                SELECT id, identifier, '{{}}', '2024-01-01T00:00:00.000000Z', identifier FROM u;
            INSERT INTO users (id, identifier, metadata, role, "nameKey")
                VALUES (md5('{REVIEWER}')::uuid, '{REVIEWER}', '{{}}', 'admin', '{REVIEWER}')""",
        ),
        (
            "threads",
            f"""CREATE TEMP TABLE t AS SELECT i, md5('t' || i)::uuid AS id, {_OWNER} AS owner,
                    timestamp '{END}' - ({threads} - i + 1) * interval '{seconds:.6f} seconds' AS moment
                FROM generate_series(1, {threads}) i;
            ANALYZE t, u, x;
            INSERT INTO threads (id, "createdAt", "updatedAt", name, "userId", "userIdentifier", tags, metadata,
                    "pinnedAt", "archivedAt", "votedUp", "votedDown")
                SELECT t.id, to_char(moment, {_ISO}), to_char(moment + interval '64 seconds', {_ISO}),
                    'Conversation ' || i, u.id, u.identifier,
                    CASE WHEN i % 7 = 0 THEN ARRAY['tag' || i % 5] END, '{{}}',
                    CASE WHEN i % 1999 = 0 THEN to_char(moment, {_ISO}) END,
                    CASE WHEN i % 9 < 2 THEN to_char(moment, {_ISO}) END,
                    i % 20 < 2 AND i / 20 % 2 = 1, i % 20 < 2 AND i / 20 % 2 = 0
                FROM t JOIN u ON u.n = t.owner ORDER BY i;
            INSERT INTO folder_counts ("userId", "userIdentifier", tag, threads)
                SELECT u.id, u.identifier, 'tag' || i % 5, count(*) FROM t JOIN u ON u.n = t.owner
                WHERE i % 7 = 0 AND i % 9 >= 2 GROUP BY u.id, u.identifier, i % 5""",
        ),
        (
            "steps",
            f"""INSERT INTO steps (id, name, type, "threadId", "parentId", metadata, input, output, "createdAt", start,
                    "end", "isError")
                SELECT {_step("j")}, 'bench', {_kinds("'run'", "'user_message'", "'assistant_message'", "'tool'")},
                    t.id, CASE WHEN j = 9 OR j % 3 > 0 THEN {_step("j - CASE j WHEN 9 THEN 3 ELSE j % 3 END")} END,
                    '{{}}', '', {_kinds("''", "question || ' ticket' || i", "output", "output")},
                    {_at("j")}, {_at("j")}, {_at("j")}, j = 5 AND i % 100 = 0
                FROM t, generate_series(0, {STEPS - 1}) j, x
                WHERE x.n = {_text_number()} ORDER BY i, j""",
        ),
        (
            "words of the search",
            f"""INSERT INTO search_texts ("threadId", "stepId", words)
                SELECT t.id, {_step("j")},
                    (u.key || replace(CASE WHEN j < 9 AND j % 3 = 1 THEN question_tokens || ' ticket' || i
                        ELSE tokens END, ' ', ' ' || u.key))::tsvector
                FROM t JOIN u ON u.n = t.owner, generate_series(0, {STEPS - 1}) j, x
                WHERE x.n = {_text_number()} AND (j = 9 OR j % 3 > 0);
            INSERT INTO search_texts ("threadId", words)
                SELECT t.id, (u.key || 'conversation ' || u.key || i)::tsvector FROM t JOIN u ON u.n = t.owner""",
        ),
        (
            "calls of models",
            f"""INSERT INTO llm_calls (id, provider, "userId", "threadId", "stepId", kind, model, "answeredBy", attempt,
                    "isStreaming", "statusCode", "finishReason", "promptTokens", "completionTokens", "isEstimated",
                    "queryCharacters", "responseCharacters", "requestedAt", "respondedAt", seconds, "firstTokenSeconds",
                    "tokensPerSecond", "inputCost", "outputCost", "totalCost", price)
                SELECT md5('c' || i || '-' || j)::uuid, 'openai', u.id, t.id,
                    CASE WHEN j < 9 THEN {_step("j")} END, CASE j WHEN 9 THEN 'title' ELSE 'chat' END,
                    'model-' || i % 5, 'model-' || i % 5, 1, true, 200, 'stop', 900 + i % 700, 200 + i % 300, false,
                    4000, 1000, {_at("j")}, {_at("j")}, 3.5, 0.4, 60, 0.001, 0.002, (i % 997)::numeric / 10000,
                    '{{"source": "own prices", "input": "2", "output": "8"}}'
                FROM t JOIN u ON u.n = t.owner, unnest(ARRAY[2, 5, 8, 9]) j ORDER BY i, j;
            INSERT INTO llm_call_payloads ("callId", messages, response, "createdAt")
                SELECT md5('c' || i || '-' || j)::uuid, jsonb_build_array(jsonb_build_object('content', x.output)),
                    x.output, {_at("j")}
                FROM t, unnest(ARRAY[2, 5, 8, 9]) j, x WHERE x.n = {_text_number()} AND {_at("j")} >= '{MONTH[0]}'""",
        ),
        (
            "votes, verdicts and the queue",
            f"""CREATE TEMP TABLE v AS SELECT i, {_step("5")} AS id, t.id AS thread, u.id AS owner,
                    (i / 20 % 2) AS value, {_at("9")} AS at
                FROM t JOIN u ON u.n = t.owner WHERE i % 20 < 2;
            INSERT INTO feedbacks (id, "forId", "threadId", value, comment, "userId", "updatedAt")
                SELECT gen_random_uuid(), id, thread, value, CASE WHEN i % 3 = 0 THEN 'not this' END, owner, at FROM v;
            INSERT INTO verdicts (id, "stepId", "threadId", "reviewerId", label, "createdAt", "updatedAt")
                SELECT gen_random_uuid(), id, thread, md5('{REVIEWER}')::uuid, 'wrong', at, at
                FROM v WHERE value = 0 AND i / 40 % 10 < 5;
            INSERT INTO review_items ("stepId", "threadId", reason, "createdAt", wanted, "doneAt")
                SELECT id, thread, 'thumbs_down', at, 1, CASE WHEN i / 40 % 10 < 9 THEN at END
                FROM v WHERE value = 0""",
        ),
        (
            "the index of answers",
            f"""INSERT INTO review_answers ("stepId", "threadId", "userId", "createdAt", "runId", tags, thumb,
                    "isCommented", model, tokens, cost, seconds, "isError", verdicts)
                SELECT {_step("j")}, t.id, u.id, {_at("j")}, {_step("j - 2")},
                    CASE WHEN i % 7 = 0 THEN ARRAY['tag' || i % 5] END,
                    CASE WHEN j = 5 AND i % 20 < 2 THEN i / 20 % 2 END, j = 5 AND i % 20 < 2 AND i % 3 = 0,
                    'model-' || i % 5, 1100 + i % 700 + i % 300, (i % 997)::numeric / 10000, 3.5, j = 5 AND i % 100 = 0,
                    CASE WHEN j = 5 AND i % 20 < 2 AND i / 20 % 2 = 0 AND i / 40 % 10 < 5 THEN 1 ELSE 0 END
                FROM t JOIN u ON u.n = t.owner, unnest(ARRAY[2, 5, 8]) j ORDER BY i, j""",
        ),
    )


def _step(number: str) -> str:
    return f"md5('s' || i || '-' || ({number}))::uuid"


def _at(number: str) -> str:
    return f"to_char(moment + ({number}) * interval '7 seconds', {_ISO})"


def _kinds(run: str, question: str, answer: str, tool: str) -> str:
    return f"CASE WHEN j = 9 THEN {tool} ELSE CASE j % 3 WHEN 0 THEN {run} WHEN 1 THEN {question} ELSE {answer} END END"


def _text_number() -> str:
    return f"(i::bigint * 31 + j * 977) % {TEXTS}"
