"""Concurrent writers that record the acknowledged writes and compare them with the stored data.

Each writer has its own thread and writes as Chainlit does: it calls the creation of a step and its later states in
sequence without waiting, with votes and updates of the thread between them. Every state has its number twice, in its
text and in its metadata, so that the comparison detects an older state and a partly written state.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from datalayer import DataLayerError
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.records import new_id, step, vote

LATER_STATES = 3
_PADDING = " word" * 200


@dataclass
class Counts:
    """The result of a run. `compared_with` prints it."""

    acknowledged: int
    failures: Counter[str]
    lost: int = 0
    older: int = 0
    half: int = 0
    disordered: int = 0

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {name}" for name, count in sorted(self.failures.items())) or "none"
        return (
            f"{self.acknowledged} writes acknowledged, failed: {failures}; "
            f"lost {self.lost}, older than acknowledged {self.older}, half {self.half}, out of order {self.disordered}"
        )

    @property
    def reasons(self) -> set[str]:
        """The types of the failures, without NotFound, which follows from a failed creation of the step or thread."""
        return set(self.failures) - {"NotFound"}

    @property
    def broken(self) -> int:
        return self.lost + self.older + self.half + self.disordered


@dataclass
class _Acknowledged:
    """The newest acknowledged number of each record of one writer."""

    thread_id: str = field(default_factory=new_id)
    called: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    votes: dict[str, int] = field(default_factory=dict)
    rounds: int = -1


class ManyWriters:
    """Writers on one layer. They write within `writing`, which ends when every call has returned."""

    def __init__(self, layer: ChainlitLayer, count: int = 50) -> None:
        self._layer = layer
        self._writers = [_Acknowledged() for _ in range(count)]
        self._failures: Counter[str] = Counter()
        self._untyped: list[BaseException] = []
        self._acknowledged = 0
        self._enough = asyncio.Event()

    @property
    def acknowledged(self) -> int:
        """The number of acknowledged writes so far."""
        return self._acknowledged

    @property
    def failed(self) -> int:
        """The number of failed writes so far."""
        return self._failures.total()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        writers = [asyncio.create_task(self._write(own)) for own in self._writers]
        try:
            yield
        finally:
            self._enough.set()
            await asyncio.gather(*writers)
            self._enough.clear()
        assert not self._untyped, f"failures without a type: {self._untyped[:3]}"

    async def more_acknowledged(self, count: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until this many more writes are acknowledged."""
        goal = self._acknowledged + count
        async with asyncio.timeout(seconds):
            while self._acknowledged < goal:
                await asyncio.sleep(0.01)

    async def _write(self, own: _Acknowledged) -> None:
        for number in itertools.count(own.rounds + 1):
            one = step(own.thread_id)
            own.called.append(one["id"])
            calls: list[Coroutine[Any, Any, None]] = [
                self._call(self._layer.create_step(_state(one, 0)), own.steps, one["id"], 0)
            ]
            calls += [
                self._call(self._layer.update_step(_state(one, state)), own.steps, one["id"], state)
                for state in range(1, LATER_STATES + 1)
            ]
            if number % 3 == 0:
                cast = vote(one["id"], number % 2, str(number))
                calls.append(self._call(self._layer.upsert_feedback(cast), own.votes, one["id"], number))
                calls.append(self._update_thread(own, number))
            await asyncio.gather(*(asyncio.create_task(call) for call in calls))
            if self._enough.is_set():
                return

    async def _update_thread(self, own: _Acknowledged, number: int) -> None:
        newest = {own.thread_id: own.rounds}
        update = self._layer.update_thread(own.thread_id, name=f"round {number}", metadata={"round": number})
        await self._call(update, newest, own.thread_id, number)
        own.rounds = max(own.rounds, newest[own.thread_id])

    async def _call(self, call: Coroutine[Any, Any, Any], newest: dict[str, int], record_id: str, number: int) -> None:
        try:
            await call
        except DataLayerError as error:
            self._failures[type(error).__name__] += 1
        except BaseException as error:
            self._untyped.append(error)
        else:
            self._acknowledged += 1
            newest[record_id] = max(newest.get(record_id, -1), number)

    async def compared_with(self, layer: ChainlitLayer) -> Counts:
        """Compare the acknowledged writes with the data that another layer reads."""
        counts = Counts(self._acknowledged, self._failures)
        for own in self._writers:
            stored = await layer.get_thread(own.thread_id)
            if stored is None:
                counts.lost += len(own.steps) + len(own.votes) + (own.rounds >= 0)
                continue
            _compare_steps(own, stored["steps"], counts)
            if own.rounds >= 0:
                kept = (stored["metadata"] or {}).get("round", -1)
                counts.lost += kept < 0
                counts.older += 0 <= kept < own.rounds
                counts.half += stored["name"] != f"round {kept}"
        print(counts)
        return counts


def _compare_steps(own: _Acknowledged, found: list[dict[str, Any]], counts: Counts) -> None:
    stored = {one["id"]: one for one in found}
    counts.disordered += [one["id"] for one in found] != [one for one in own.called if one in stored]
    for step_id, newest in own.steps.items():
        if step_id not in stored:
            counts.lost += 1
            continue
        state = int(stored[step_id]["output"].split()[0])
        counts.older += state < newest
    for one in found:
        counts.half += int(one["output"].split()[0]) != one["metadata"]["state"] or not one["output"].endswith(_PADDING)
    for step_id in own.votes:
        counts.lost += (stored.get(step_id) or {}).get("feedback") is None


def _state(one: dict[str, Any], number: int) -> dict[str, Any]:
    return {**one, "output": f"{number}{_PADDING}", "metadata": {"state": number}}
