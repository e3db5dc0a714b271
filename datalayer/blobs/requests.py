"""One request to a store over a network: it ends in time, and what goes wrong becomes an error of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from datalayer.errors import BlobError


@asynccontextmanager
async def request(
    seconds: float, failures: tuple[type[Exception], ...], translate: Callable[[Exception], BlobError]
) -> AsyncIterator[None]:
    """What is awaited inside has so many seconds, the SDK's own retries included.

    Args:
        seconds: how long all of it may take.
        failures: what the SDK raises.
        translate: makes one of ours of it. The SDK's own text is not passed on: it may quote a signed address.

    Raises:
        BlobError: it took too long, or the SDK gave up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except failures as error:
        raise translate(error) from None
    except TimeoutError:
        raise BlobError(f"the store of files gave no answer within {seconds:g} seconds") from None
