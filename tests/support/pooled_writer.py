"""A process that writes many threads through a pooler, beside others that do the same, and reads them back."""

import asyncio
import json
import sys

from datalayer import create_data_layer
from tests.support.many_writers import ManyWriters

_WRITERS = 20


async def write(url: str, count: int) -> None:
    layer = create_data_layer(url)
    await layer.migrate()
    writers = ManyWriters(layer, _WRITERS)
    async with writers.writing():
        await writers.more_acknowledged(count)
    counts = await writers.compared_with(layer)
    await layer.close()
    print(json.dumps(vars(counts)))


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
