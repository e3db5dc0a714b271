"""What was read a moment ago is not read again, and what cannot be read now is taken as it was."""

import asyncio

import pytest

from datalayer.errors import StorageUnavailable
from threadkeeper.chat.metering.cached import CachedValue


class Source:
    """Says how often it was read, unless it is away."""

    def __init__(self) -> None:
        self.read, self.is_away = 0, False

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        if self.is_away:
            raise StorageUnavailable("away")
        self.read += 1
        return self.read


async def test_many_who_ask_at_once_wait_for_one_reading() -> None:
    source = Source()
    remembered = CachedValue("numbers", source, 60)
    assert remembered.newest is None
    assert await asyncio.gather(*(remembered.get() for _ in range(10))) == [1] * 10
    assert await remembered.get() == 1
    assert remembered.newest == 1


async def test_what_is_old_is_read_again_and_kept_where_it_cannot_be() -> None:
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


async def test_what_never_could_be_read_is_said() -> None:
    source = Source()
    source.is_away = True
    with pytest.raises(StorageUnavailable):
        await CachedValue("numbers", source, 60).get()
