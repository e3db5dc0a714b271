"""A month of model calls, created by SQL in the database, and hand-written queries on it."""

from dataclasses import dataclass
from typing import Final

SINCE: Final = "2026-03-01T00:00:00.000000Z"
MIDDLE: Final = "2026-03-16T00:00:00.000000Z"
UNTIL: Final = "2026-03-31T00:00:00.000000Z"
DAYS: Final = 30
USERS: Final = 200
USER_ID: Final = f"00000000-0000-4000-8000-{1_000_000_007:012x}"
"""The id of one of the users."""
# The numbers of failed calls and of calls without a price, per thousand.
_FAILED, _UNPRICED = 20, 10
_BEGIN: Final = 1_772_323_200

_COLUMNS = """id, provider, "userId", assistant, kind, model, "answeredBy", attempt, "isStreaming", "statusCode",
    "errorKind", "finishReason", "promptTokens", "completionTokens", "cachedTokens", "reasoningTokens", "isEstimated",
    "queryCharacters", "responseCharacters", "requestedAt", "respondedAt", seconds, "firstTokenSeconds",
    "tokensPerSecond", "inputCost", "outputCost", "totalCost", price, tags, library, "operatingSystem\""""


def postgresql(calls: int) -> tuple[str, ...]:
    """Statements that insert this many calls, evenly over the month, into an empty database of our layer."""
    return _statements(
        numbers=f"generate_series(0::bigint, {calls - 1}) AS n(i)",
        identity="('00000000-0000-4000-8000-' || lpad(to_hex({}), 12, '0'))::uuid",
        moment=f"""to_char(to_timestamp({_BEGIN} + i * {DAYS * 86_400 / calls}::float8) AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
        cost="{}::numeric / 1000000",
        json="'{}'::jsonb",
        tags="ARRAY['team-' || (i % 4), 'web']",
    )


def sqlite(calls: int) -> tuple[str, ...]:
    """The same for SQLite."""
    return _statements(
        numbers="(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n "
        f"WHERE i < {calls - 1}) SELECT i FROM n)",
        identity="printf('00000000-0000-4000-8000-%012x', {})",
        moment=f"strftime('%Y-%m-%dT%H:%M:%f', {_BEGIN} + i * {DAYS * 86_400 / calls}, 'unixepoch') || '000Z'",
        cost="{} * 1000000",
        json="'{}'",
        tags="json_array('team-' || (i % 4), 'web')",
    )


def _statements(*, numbers: str, identity: str, moment: str, cost: str, json: str, tags: str) -> tuple[str, ...]:
    # Reproducible pseudo-random numbers.
    failed, unpriced = f"i * 7919 % 1000 < {_FAILED}", f"i * 104729 % 1000 < {_UNPRICED}"
    answered = f"CASE WHEN {failed} THEN NULL ELSE {{}} END"
    costs = f"CASE WHEN {failed} OR {unpriced} THEN NULL ELSE {{}} END"
    prompt, completion = "200 + i * 31 % 4000", "20 + i * 17 % 900"
    seconds = "(0.5 + i * 13 % 7000 / 1000.0)"
    who = identity.format(f"1000000000 + i * 7919 % {USERS}")
    price = json.replace("{}", '{"source": "own prices", "input": "2", "output": "8"}')
    return (
        f"""INSERT INTO users (id, identifier, metadata, role)
            SELECT DISTINCT {who}, 'user ' || (i * 7919 % {USERS}), {json}, 'user' FROM {numbers}""",
        f"""INSERT INTO llm_calls ({_COLUMNS})
            SELECT {identity.format("i * 2654435761 % 1099511627776")}, 'openai', {who}, 'assistant ' || (i % 3),
                CASE WHEN i % 5 = 0 THEN 'title' ELSE 'chat' END, 'model-' || (i * 31 % 5), 'model-' || (i * 31 % 5), 1,
                true, CASE WHEN {failed} THEN 429 ELSE 200 END, CASE WHEN {failed} THEN 'RateLimit' END, 'stop',
                {answered.format(prompt)}, {answered.format(completion)}, {answered.format("i * 31 % 100")},
                {answered.format("0")}, false, 4 * ({prompt}), 4 * ({completion}), {moment}, {moment}, {seconds},
                {answered.format("0.1 + i * 23 % 1500 / 1000.0")}, {answered.format(f"({completion}) / {seconds}")},
                {costs.format(cost.format(f"(2 * ({prompt}))"))}, {costs.format(cost.format(f"(8 * ({completion}))"))},
                {costs.format(cost.format(f"(2 * ({prompt}) + 8 * ({completion}))"))}, {price},
                CASE WHEN i % 3 = 0 THEN {tags} END, 'openai 3.50', 'Linux'
            FROM {numbers}""",
    )


# The figures of a row of statistics. The first two are compared.
_FIGURES = """count(*), sum("promptTokens"), sum("completionTokens"), sum("cachedTokens"), sum("reasoningTokens"),
    sum("inputCost"), sum("outputCost"), sum("totalCost"), avg(seconds), avg("tokensPerSecond"),
    avg("firstTokenSeconds"), count(*) FILTER (WHERE "isEstimated"),
    count(*) FILTER (WHERE "errorKind" IS NOT NULL OR "statusCode" >= 400),
    count(*) FILTER (WHERE "totalCost" IS NULL AND "promptTokens" + "completionTokens" > 0)"""
_PERCENTILES = 'percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY "firstTokenSeconds")'
_WITHIN = f"""FROM llm_calls WHERE "requestedAt" >= '{SINCE}' AND "requestedAt" < '{UNTIL}'"""
_DAY = 'substr("requestedAt", 1, 10)'
_PAGE = """SELECT c.*, u.identifier FROM llm_calls c LEFT JOIN users u ON u.id = c."userId"
    WHERE "requestedAt" >= '{since}' AND "requestedAt" < '{until}' ORDER BY {order} LIMIT 51"""


@dataclass(frozen=True)
class Floor:
    """Each query as one hand-written statement."""

    by_day: str
    own_by_day: str
    totals: str
    by_model: str
    by_user: str
    page: str
    page_from_the_middle: str
    dearest: str


def _floor(figures: str) -> Floor:
    by = f"SELECT {figures}, {{}} AS of {_WITHIN} GROUP BY of"
    newest = '"requestedAt" DESC, c.id DESC'
    return Floor(
        by_day=by.format(_DAY),
        own_by_day=f"""SELECT {figures}, {_DAY} AS of {_WITHIN} AND "userId" = '{USER_ID}' GROUP BY of""",
        totals=f"SELECT {figures} {_WITHIN}",
        by_model=by.format("model"),
        by_user=by.format('"userId"'),
        page=_PAGE.format(since=SINCE, until=UNTIL, order=newest),
        page_from_the_middle=_PAGE.format(since=SINCE, until=MIDDLE, order=newest),
        dearest=_PAGE.format(since=SINCE, until=UNTIL, order='coalesce("totalCost", -1) DESC, c.id DESC'),
    )


POSTGRESQL: Final = _floor(f"{_FIGURES}, {_PERCENTILES}")
SQLITE: Final = _floor(_FIGURES)
"""Without percentiles, for which SQLite has no aggregate."""
