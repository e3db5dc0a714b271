"""What `/v1` needs of the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from threadkeeper.gateway.v1.servers import DEMO, ModelServers
from threadkeeper.offered_models import OfferedModels
from threadkeeper.program_turns import KeepExchange

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.chat.assistants import Retriever


@dataclass(frozen=True, slots=True)
class V1Parts:
    """What `/v1` needs.

    Attributes:
        servers: that have the models.
        models: on offer, those of the chat; None for those of the server's setting.
        layer: has the assistants; None offers none.
        retriever: finds their passages.
        default_prompt: of assistants without one.
        keep: keeps exchanges as threads; None ignores `store`.
    """

    servers: ModelServers = DEMO
    layer: ChainlitLayer | None = None
    retriever: Retriever | None = None
    default_prompt: str = ""
    keep: KeepExchange | None = None
    models: OfferedModels | None = None

    @property
    def offered(self) -> OfferedModels:
        """The models on offer."""
        return self.models or OfferedModels(self.servers.chat.models)
