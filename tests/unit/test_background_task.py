"""The base of the background tasks: one run at a time, an empty context, growing pauses, a prompt stop."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator

import pytest

from datalayer import StorageUnavailable
from datalayer.background import task as background
from datalayer.background.task import BackgroundTask
from tests.support.patience import until

who = contextvars.ContextVar("who", default="nobody")


class Sample(BackgroundTask):
    """Records what each run sees. `act` decides the result."""

    def __init__(self, act: Callable[[], bool] = lambda: True, pause: float | None = None) -> None:
        super().__init__("sample")
        self.act = act
        self.pause = pause
        self.seen: list[str] = []
        self.reasons: list[str] = []
        self.pauses: list[float] = []
        self.hold: asyncio.Event | None = None

    async def _work(self) -> bool:
        self.seen.append(who.get())
        if self.hold is not None:
            await self.hold.wait()
        return self.act()

    def _report(self, reason: str) -> None:
        self.reasons.append(reason)

    def _next_pause(self) -> float | None:
        if self._failures:
            self.pauses.append(self._back_off(0.01, 0.05))
            return self.pauses[-1]
        return self.pause


async def test_runs_never_overlap_and_have_an_empty_context() -> None:
    who.set("alice")
    sample = Sample()
    sample.hold = asyncio.Event()
    first = sample._begin()
    assert sample._begin() is first
    sample.hold.set()
    assert first is not None
    await first
    assert sample.seen == ["nobody"]


async def test_pauses_double_after_failures_up_to_a_maximum_until_a_success() -> None:
    left: Iterator[bool | Exception] = iter(
        [StorageUnavailable("the database is away"), ValueError("secret"), False, False]
    )

    def act() -> bool:
        failure = next(left, True)
        if isinstance(failure, Exception):
            raise failure
        return failure

    sample = Sample(act)
    sample._begin_in(0)
    await until(lambda: len(sample.seen) >= 5 and not sample._is_running)
    assert sample.pauses == pytest.approx([0.02, 0.04, 0.05, 0.05])
    # The message quotes only errors of the library.
    assert sample.reasons == ["the database is away", "ValueError"]
    await asyncio.sleep(0.1)
    assert len(sample.seen) == 5


async def test_the_earlier_of_two_timers_counts() -> None:
    sample = Sample()
    sample._begin_in(60)
    sample._begin_in(0.01)
    sample._begin_in(60)
    await asyncio.sleep(0.1)
    assert len(sample.seen) == 1


async def test_stop_cancels_a_slow_run_and_starts_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "STOP_SECONDS", 0.05)
    sample = Sample(pause=0)
    sample.hold = asyncio.Event()
    task = sample._begin()
    await asyncio.sleep(0)
    await sample.stop()
    assert task is not None
    assert task.cancelled()
    assert sample._begin() is None
    sample._begin_in(0)
    await asyncio.sleep(0.02)
    assert sample.seen == ["nobody"]
