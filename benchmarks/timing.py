"""Timing. The contenders take turns, call by call, so that other work on the machine affects all of them equally."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import data
from benchmarks.contenders import Contender, new_step

SECONDS_EACH = 2.0
"""Maximum seconds per operation and contender. Slow contenders are measured fewer times."""
WARM_UPS = 6
SLOW_SECONDS = 0.1
IN_FLIGHT = 50
WRITERS_WRITES = 20
BURSTS = 3
SUSTAINED_SECONDS = 5.0

Call = Callable[[], Awaitable[Any]]


@dataclass
class Result:
    """The result of one contender for one operation: a median in ms, or writes per second for a burst."""

    value: float
    times: int
    wrong: str = ""
    """The error of the answer; empty if it was right."""
    note: str = ""


async def in_turns(
    calls: Mapping[str, Call], rounds: int, fault: Callable[[Any], str] = lambda _: ""
) -> dict[str, Result]:
    """The median of each call, in ms. The first answers are checked, and their time does not count."""
    times: dict[str, list[float]] = {kind: [] for kind in calls}
    wrong = {kind: fault(await call()) for kind, call in calls.items()}
    for call in calls.values():
        # From the sixth call on, Postgres and the drivers reuse their plans.
        for _ in range(WARM_UPS if rounds > WARM_UPS else 0):
            if await _timed(call) > SLOW_SECONDS:
                break
    for _ in range(rounds):
        for kind, call in calls.items():
            if sum(times[kind]) < SECONDS_EACH:
                times[kind].append(await _timed(call))
    return {kind: Result(statistics.median(taken) * 1000, len(taken), wrong[kind]) for kind, taken in times.items()}


async def bursts(contenders: Mapping[str, Contender]) -> dict[str, Result]:
    """Writes per second with many writers at once: the median of a few bursts, in turns."""
    found: dict[str, list[Result]] = {kind: [] for kind in contenders}
    for _ in range(BURSTS):
        for kind, one in contenders.items():
            found[kind].append(await _burst(one))
    return {kind: sorted(results, key=lambda one: one.value)[BURSTS // 2] for kind, results in found.items()}


async def sustained(contender: Contender, seconds: float = SUSTAINED_SECONDS) -> Result:
    """Acknowledged writes per second of many writers over a longer time, with texts of many words.

    A background indexer runs at the same time. The note of the result says how long it needed after the last write.
    """
    texts = data.long_texts()
    begun = time.perf_counter()

    async def work(writer: int) -> int:
        written = 0
        while time.perf_counter() - begun < seconds:
            step = new_step(data.thread_id(1 + writer % 20), texts[(writer + written * IN_FLIGHT) % len(texts)])
            await contender.write(step, created=True)
            await contender.write(step, created=False)
            written += 2
        return written

    answers: list[Any] = await asyncio.gather(*(work(n) for n in range(IN_FLIGHT)), return_exceptions=True)
    taken = time.perf_counter() - begun
    failed = [error for error in answers if isinstance(error, BaseException)]
    if failed:
        return Result(0.0, 1, type(failed[0]).__name__)
    behind = await _timed(contender.catch_up)
    return Result(sum(answers) / taken, 1, note=f"all found {behind:.0f} s later" if behind > 1 else "")


async def _timed(call: Call) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def _burst(contender: Contender) -> Result:
    """Each of the writers creates a step, updates it, and goes on to the next."""

    async def work(writer: int) -> None:
        for _ in range(WRITERS_WRITES // 2):
            step = new_step(data.thread_id(1 + writer % 20))
            await contender.write(step, created=True)
            await contender.write(step, created=False)

    begun = time.perf_counter()
    answers: list[Any] = await asyncio.gather(*(work(n) for n in range(IN_FLIGHT)), return_exceptions=True)
    taken = time.perf_counter() - begun
    failed = [error for error in answers if error]
    return Result(IN_FLIGHT * WRITERS_WRITES / taken, 1, type(failed[0]).__name__ if failed else "")
