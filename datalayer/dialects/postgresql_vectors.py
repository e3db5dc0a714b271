"""Vectors in Postgres with pgvector: a column of `halfvec` beside the stored bytes, and an HNSW index for each size.

A small training is searched exactly, through the btree of its assistant. A large one is searched through HNSW with
`hnsw.iterative_scan`: without it, the index returns its nearest rows of all assistants and the filter leaves a tenth.
"""

import struct
from collections.abc import Sequence

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import VectorsMissing

_MOST_DIMENSIONS = 4_000
_SCAN = "relaxed_order"
_VERSION = (0, 8)
_VISIBLE = '"assistantId" = :assistant AND since <= :number AND (until IS NULL OR until > :number)'
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
    async def prepare(connection: AsyncConnection) -> None:
        """Create the extension and the column, if they are not there.

        Raises:
            VectorsMissing: the server has no pgvector, or an older one, or this user may not create it.
        """
        versions = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
        installed = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        found = (await connection.execute(installed)).scalar()
        if found is None:
            available = (await connection.execute(versions)).scalar()
            if available is None:
                raise VectorsMissing("the server does not have pgvector")
            try:
                async with connection.begin_nested():
                    await connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            except DBAPIError:
                raise VectorsMissing("the database user may not create the extension vector") from None
            found = (await connection.execute(installed)).scalar_one()
        if tuple(int(part) for part in found.split(".")[:2]) < _VERSION:
            raise VectorsMissing(f"pgvector {found} is older than {'.'.join(map(str, _VERSION))}")
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
    async def index(connection: AsyncConnection, dimensions: int) -> None:
        """Create the index of the vectors of this size, if it is not there."""
        if dimensions > _MOST_DIMENSIONS:
            return
        await connection.execute(
            text(
                f"CREATE INDEX IF NOT EXISTS passage_vectors_{dimensions:d} ON passage_vectors USING hnsw"
                f" ((embedding::halfvec({dimensions:d})) halfvec_cosine_ops) WHERE dimensions = {dimensions:d}"
            )
        )

    @staticmethod
    async def nearest(
        connection: AsyncConnection, assistant_id: str, number: int, vector: bytes, *, count: int, is_exact: bool
    ) -> list[tuple[int, float]]:
        """The ids of the passages nearest to a vector and their cosines, nearest first. Needs a transaction.

        Args:
            is_exact: whether all vectors of the training are compared, as for a small one.
        """
        dimensions = len(vector) // 2
        distance = f"embedding::halfvec({dimensions:d}) <=> CAST(:vector AS halfvec({dimensions:d}))"
        values = {"assistant": assistant_id, "number": number, "vector": as_text(vector), "count": count}
        if not is_exact and dimensions <= _MOST_DIMENSIONS:
            settings = text(
                "SELECT set_config('hnsw.iterative_scan', :scan, true), set_config('hnsw.ef_search', :width, true)"
            )
            width = str(min(max(count, 40), 1000))
            await connection.execute(settings, {"scan": _SCAN, "width": width})
            order = distance
        else:
            # An index has no sum, so the rows of the assistant are compared one by one.
            order = f"({distance}) + 0"
        statement = text(
            f'SELECT "passageId", {order} AS distance FROM passage_vectors'  # noqa: S608  numbers alone
            f" WHERE {_VISIBLE} AND dimensions = {dimensions:d} ORDER BY {order} LIMIT :count"
        )
        found = [(row[0], 1.0 - row[1]) for row in await connection.execute(statement, values)]
        return sorted(found, key=lambda one: -one[1])


def as_text(vector: bytes) -> str:
    """The vector as pgvector reads it."""
    return f"[{','.join(f'{number:.6g}' for number in struct.unpack(f'<{len(vector) // 2}e', vector))}]"
