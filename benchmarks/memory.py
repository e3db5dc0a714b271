"""Memory use of listing: many pages one after another, each contender in its own process.

`python -m benchmarks.memory KIND` is that process. The database's URL is in BENCHMARK_URL, because it has a password.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
import uuid
from pathlib import Path

from chainlit.context import init_http_context

from benchmarks.contenders import OPENERS, Contender, fill
from benchmarks.measure import KINDS
from benchmarks.sections import TITLES, Judged, Section
from tests import chainlit_root
from tests.support.postgres import Databases

PAGES = 200
SECONDS = 20.0
"""Slow contenders list fewer pages."""
WARM_UPS = 20
MB = 1024 * 1024
_PROCESS = Path("/proc/self")
NOTHING_MB = 1.0
"""Everything below this rounds to +0 MB."""
_TITLE, _BUDGET, _PROMISED = "Memory while listing", "memory while listing", f"+0 MB (< {NOTHING_MB:g})"


async def measure(kind: str, url: str) -> dict[str, float]:
    """Growth in MB: of the process' largest size, and of the Python heap at its highest and at the end."""
    init_http_context()
    contender = await OPENERS[kind](url)
    try:
        # Code, plans and statements that are loaded once do not count: a user without threads loads them first.
        for _ in range(WARM_UPS):
            await contender.page(user_id=str(uuid.UUID(int=0)))
        gc.collect()
        before = resident_bytes("VmRSS")
        # Reset the peak.
        (_PROCESS / "clear_refs").write_text("5")
        pages = await _list(contender, PAGES, SECONDS)
        grown = resident_bytes("VmHWM") - before
        gc.collect()
        tracemalloc.start()
        await _list(contender, PAGES // 4, SECONDS)
        gc.collect()
        kept, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        await contender.close()
    return {"pages": pages, "process": grown / MB, "highest": highest / MB, "kept": kept / MB}


async def _list(contender: Contender, pages: int, seconds: float) -> int:
    end, cursor = time.monotonic() + seconds, None
    for number in range(pages):
        found = await contender.page(cursor)
        cursor = found.cursor if found.ids else None
        if time.monotonic() > end:
            return number + 1
    return pages


def resident_bytes(name: str) -> int:
    status = dict(line.split(":", 1) for line in (_PROCESS / "status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


async def section(databases: Databases, threads: int) -> Section:
    lines = [
        f"{PAGES} pages one after another at {threads:,} threads, each contender in its own process "
        f"(fewer pages if they take more than {SECONDS:g} seconds), in MB.",
        "",
        "| | pages | growth of the process | Python heap, highest | Python heap, left at the end |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    if sys.platform != "linux":
        judged = Judged(_BUDGET, _PROMISED, "not measured", None)
        return Section(_TITLE, ("Not measured: the numbers come from `/proc`, which only Linux has.",), (judged,))
    ours = 0.0
    for kind in KINDS:
        url = databases.create()
        try:
            await fill(url, kind, threads)
            answer = await measure_apart(kind, url)
        finally:
            databases.drop(url)
        cells = " | ".join(f"+{answer[name]:.1f}" for name in ("process", "highest", "kept"))
        lines.append(f"| {TITLES[kind]} | {answer['pages']:g} | {cells} |")
        if kind == "ours":
            ours = answer["process"]
    judged = Judged(_BUDGET, _PROMISED, f"+{ours:.1f} MB", ours < NOTHING_MB)
    return Section(_TITLE, tuple(lines), (judged,))


async def measure_apart(kind: str, url: str) -> dict[str, float]:
    """The result of `measure` in a new process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.memory", kind),
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"BENCHMARK_URL": url},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"listing as {kind} ended with {process.returncode}")
    # Chainlit can print other lines first.
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


if __name__ == "__main__":
    try:
        print(json.dumps(asyncio.run(measure(sys.argv[1], os.environ["BENCHMARK_URL"]))))
    finally:
        chainlit_root.cleanup()
