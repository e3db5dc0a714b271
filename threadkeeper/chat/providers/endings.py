"""Whether a server ends its answers in words: what the calls of earlier processes show."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from datalayer.errors import DataLayerError

logger = logging.getLogger(__name__)

SentEndings = Callable[[str], Awaitable[bool]]
"""Whether this provider has ended a streamed answer with a finish_reason."""


class EndingStore(Protocol):
    async def has_sent_finish_reasons(self, provider: str) -> bool: ...


async def never_sent(_provider: str) -> bool:
    """Nothing is stored."""
    return False


def stored_endings(store: EndingStore) -> SentEndings:
    """Reads the stored calls. If they cannot be read, the end of the answer is not believed."""

    async def sent(provider: str) -> bool:
        try:
            return await store.has_sent_finish_reasons(provider)
        except (DataLayerError, TimeoutError) as error:
            logger.warning("cannot read how %s ended its answers; an answer counts as cut off: %s", provider, error)
            return True

    return sent
