"""What `/v1` needs of the application."""

from __future__ import annotations

from dataclasses import dataclass

from threadkeeper.gateway.v1.servers import DEMO, ModelServers


@dataclass(frozen=True, slots=True)
class V1Parts:
    """`servers`: whose models are offered."""

    servers: ModelServers = DEMO
