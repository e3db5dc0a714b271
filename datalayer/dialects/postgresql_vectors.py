"""Vectors in Postgres with pgvector: a column of `halfvec` beside the stored bytes, and an HNSW index for each size.

A small training is searched exactly, through the btree of its assistant. A large one is searched through HNSW with
`hnsw.iterative_scan`: without it, the index returns its nearest rows of all assistants and the filter leaves a tenth.
"""

import math
import struct
from collections.abc import Sequence
from functools import cache

from sqlalchemy import BigInteger, Integer, Text, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import VectorReads, VectorsMissing

_MOST_DIMENSIONS = 4_000
_SCAN = "relaxed_order"
_VERSION = (0, 8)
_VISIBLE = """"assistantId" = CAST(:assistant AS text) AND since <= CAST(:number AS integer)
 AND (until IS NULL OR until > CAST(:number AS integer))"""
_INDEX_SECONDS = 6 * 3600.0
_INSTALLED = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
_BUILDING = text(
    "SELECT true FROM pg_stat_progress_create_index"
    " WHERE relid = CAST('passage_vectors' AS regclass) AND datname = current_database()"
)
_INVALID = text("SELECT true FROM pg_index WHERE indexrelid = to_regclass(CAST(:name AS text)) AND NOT indisvalid")
_SETTINGS = text("SELECT set_config('hnsw.iterative_scan', :scan, true), set_config('hnsw.ef_search', :width, true)")
_FILL = text("""
    UPDATE passage_vectors AS stored SET embedding = CAST(given.embedding AS halfvec)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:parts AS integer[]), CAST(:embeddings AS text[]))
        AS given (id, part, embedding)
    WHERE stored."passageId" = given.id AND stored.part = given.part
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("parts", type_=ARRAY(Integer)),
    bindparam("embeddings", type_=ARRAY(Text)),
)


class PgVector:
    """The vectors of one server, after `prepare` has found pgvector."""

    @staticmethod
    async def look(connection: AsyncConnection) -> str | None:
        """The version of pgvector in the database; None if it is only available. Creates nothing.

        Raises:
            VectorsMissing: the server has no pgvector, or an older one.
        """
        versions = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
        found: str | None = (await connection.execute(_INSTALLED)).scalar()
        version = found or (await connection.execute(versions)).scalar()
        if version is None:
            raise VectorsMissing("the server does not have pgvector")
        if tuple(int(part) for part in version.split(".")[:2]) < _VERSION:
            raise VectorsMissing(f"pgvector {version} is older than {'.'.join(map(str, _VERSION))}")
        return found

    @classmethod
    async def prepare(cls, connection: AsyncConnection) -> None:
        """Create the extension and the column, if they are not there.

        Raises:
            VectorsMissing: the server has no pgvector, or an older one, or this user may not create it.
        """
        if await cls.look(connection) is None:
            try:
                async with connection.begin_nested():
                    await connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            except DBAPIError:
                raise VectorsMissing("the database user may not create the extension vector") from None
        # The library is loaded by its first value; before that, a misspelt setting would be accepted.
        await connection.execute(text("SELECT CAST('[1]' AS vector)"))
        scan = text("SELECT set_config('hnsw.iterative_scan', :scan, true)")
        await connection.execute(scan, {"scan": _SCAN})
        setting = text("SELECT setting FROM pg_settings WHERE name = 'hnsw.iterative_scan'")
        if (await connection.execute(setting)).scalar() != _SCAN:
            raise VectorsMissing("pgvector does not take the setting hnsw.iterative_scan")
        column = text(
            "SELECT attstorage FROM pg_attribute"
            " WHERE attrelid = CAST('passage_vectors' AS regclass) AND attname = 'embedding' AND NOT attisdropped"
        )
        storage = (await connection.execute(column)).scalar()
        if storage is None:
            await connection.execute(text("ALTER TABLE passage_vectors ADD COLUMN IF NOT EXISTS embedding halfvec"))
        if storage not in ("m", b"m"):
            # In the row, because an exact search reads all of them; the stored bytes move out of the row instead.
            await connection.execute(text("ALTER TABLE passage_vectors ALTER COLUMN embedding SET STORAGE MAIN"))

    @staticmethod
    async def unfilled(connection: AsyncConnection, limit: int) -> list[tuple[int, int, bytes]]:
        """Vectors that were stored when pgvector was not there."""
        statement = text('SELECT "passageId", part, vector FROM passage_vectors WHERE embedding IS NULL LIMIT :most')
        return [(row[0], row[1], row[2]) for row in await connection.execute(statement, {"most": limit})]

    @staticmethod
    async def fill(connection: AsyncConnection, vectors: Sequence[tuple[int, int, bytes]]) -> None:
        """Store vectors, by passage and part, for the search."""
        ids, parts, texts = zip(*((passage, part, as_text(vector)) for passage, part, vector in vectors), strict=True)
        await connection.execute(_FILL, {"ids": list(ids), "parts": list(parts), "embeddings": list(texts)})

    @staticmethod
    async def index(database: VectorReads, dimensions: int) -> None:
        """Create the index of the vectors of this size, if it is not there. Writes go on meanwhile."""
        if dimensions > _MOST_DIMENSIONS:
            return
        name = f"passage_vectors_{dimensions:d}"
        async with database.read() as connection:
            if (await connection.execute(_BUILDING)).scalar():
                # By another process. Until it is ready, the search compares all vectors of a training.
                return
            if (await connection.execute(_INVALID, {"name": name})).scalar():
                # Its build was cut off.
                await _patiently(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            await _patiently(
                connection,
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON passage_vectors USING hnsw"
                f" ((embedding::halfvec({dimensions:d})) halfvec_cosine_ops) WHERE dimensions = {dimensions:d}",
            )

    @staticmethod
    async def nearest(
        database: VectorReads, assistant_id: str, number: int, vector: bytes, *, count: int, is_exact: bool
    ) -> list[tuple[int, float]]:
        """The ids of the passages nearest to a vector and their cosines, nearest first.

        Args:
            is_exact: whether all vectors of the training are compared, as for a small one.
        """
        dimensions = len(vector) // 2
        values = {"assistant": assistant_id, "number": number, "vector": as_text(vector), "count": count}
        if is_exact or dimensions > _MOST_DIMENSIONS:
            rows = await database.fetch(nearest_sql(dimensions, is_exact=True), values)
        else:
            width = str(min(max(count, 40), 1000))
            async with database.transaction() as connection:
                await connection.execute(_SETTINGS, {"scan": _SCAN, "width": width})
                rows = (await connection.execute(nearest_sql(dimensions, is_exact=False), values)).all()
        # The distance from or to a zero vector is NaN, which would be above any threshold in SQL, and has no order.
        cosines = ((row[0], 0.0 if math.isnan(row[1]) else 1.0 - row[1]) for row in rows)
        return sorted(cosines, key=lambda one: -one[1])


async def _patiently(connection: AsyncConnection, statement: str) -> None:
    """Run a statement that takes longer than the time limit of all others, and that must be outside a transaction."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute(statement, timeout=_INDEX_SECONDS)


@cache
def nearest_sql(dimensions: int, *, is_exact: bool) -> TextClause:
    """The statement that finds the nearest vectors of this size.

    The vector is read in a subquery: a plan that is kept for all values would read its text again for each row.
    """
    asked = f"(SELECT CAST(CAST(:vector AS text) AS halfvec({dimensions:d})))"
    distance = f"embedding::halfvec({dimensions:d}) <=> {asked}"
    # An index has no sum, so the rows of the assistant are compared one by one.
    order = f"({distance}) + 0" if is_exact else distance
    return text(
        f'SELECT "passageId", {order} AS distance FROM passage_vectors'  # noqa: S608  numbers alone
        f" WHERE {_VISIBLE} AND dimensions = {dimensions:d} ORDER BY distance LIMIT CAST(:count AS bigint)"
    )


class _Texts(dict[int, str]):
    """The numbers of float16, by their bits, as texts: each is written once."""

    def __missing__(self, bits: int) -> str:
        found = self[bits] = f"{struct.unpack('<e', struct.pack('<H', bits))[0]:.6g}"
        return found


_TEXTS = _Texts()


def as_text(vector: bytes) -> str:
    """The vector as pgvector reads it."""
    return f"[{','.join(map(_TEXTS.__getitem__, struct.unpack(f'<{len(vector) // 2}H', vector)))}]"
