"""A cached value is not read again while it is fresh, and is reused if a read fails."""

import asyncio

import pytest

from datalayer.errors import StorageUnavailable
from threadkeeper.chat.metering.cached import CachedValue


class Source:
    """Returns the number of reads so far, unless it is unavailable."""

    def __init__(self) -> None:
        self.read, self.is_away = 0, False

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        if self.is_away:
            raise StorageUnavailable("away")
        self.read += 1
        return self.read


async def test_concurrent_callers_share_one_read() -> None:
    source = Source()
    remembered = CachedValue("numbers", source, 60)
    assert remembered.newest is None
    assert await asyncio.gather(*(remembered.get() for _ in range(10))) == [1] * 10
    assert await remembered.get() == 1
    assert remembered.newest == 1


async def test_an_old_value_is_read_again_or_reused_if_that_fails() -> None:
    source = Source()
    remembered = CachedValue("numbers", source, 0.01)
    assert await remembered.get() == 1
    await asyncio.sleep(0.02)
    assert await remembered.get() == 2
    source.is_away = True
    await asyncio.sleep(0.02)
    assert await remembered.get() == 2
    source.is_away = False
    await asyncio.sleep(0.02)
    assert await remembered.get() == 3


async def test_a_failing_first_read_raises() -> None:
    source = Source()
    source.is_away = True
    with pytest.raises(StorageUnavailable):
        await CachedValue("numbers", source, 60).get()


async def test_a_read_that_has_begun_is_waited_for() -> None:
    source = Source()
    remembered = CachedValue("numbers", source, 60)
    remembered.begin_reading()
    await asyncio.sleep(0)
    remembered.begin_reading()
    assert source.read == 0
    assert await remembered.get() == 1
    remembered.begin_reading()
    await asyncio.sleep(0.01)
    assert source.read == 1
    away = CachedValue("numbers", source, 60)
    source.is_away = True
    away.begin_reading()
    await asyncio.sleep(0.01)
    with pytest.raises(StorageUnavailable):
        await away.get()
