"""The knowledge of this process, opened at its first use: a server whose assistants know nothing loads none of it.

The chat and the jobs that train share one, because its worker and its indexes take memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadkeeper.knowledge.service import KnowledgeService


class KnowledgeOnDemand:
    """Opens the knowledge once.

    Args:
        open_service: opens it. Raises NoKnowledge if a package or a setting is missing.
    """

    def __init__(self, open_service: Callable[[], KnowledgeService]) -> None:
        self._open_service = open_service
        self._service: KnowledgeService | None = None
        self._opening = asyncio.Lock()

    async def service(self) -> KnowledgeService:
        """The knowledge, ready to train and to search.

        Raises:
            NoKnowledge: this server has none.
            DataLayerError: the database does not say what searches vectors; ask again later.
        """
        if self._service is None:
            async with self._opening:
                if self._service is None:
                    service = self._open_service()
                    try:
                        await service.prepare()
                    except BaseException:
                        await service.close()
                        raise
                    self._service = service
        return self._service

    async def close(self) -> None:
        """End the worker. The next use opens the knowledge again."""
        async with self._opening:
            service, self._service = self._service, None
            if service is not None:
                await service.close()
