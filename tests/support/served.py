"""An ASGI application over real HTTP, in the event loop of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from threadkeeper.web.mount import served as served_by_us


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The URL of the application, which is served until the end of the block.

    Without its lifespan: Chainlit's ends the process. `uvicorn.Server.serve` would end up to 0.3 s after it is told.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    # As `threadkeeper serve` does.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    app = served_by_us(app) if hasattr(getattr(app, "state", None), "threadkeeper_middleware") else app
    config = uvicorn.Config(app, http="h11", lifespan="off", log_config=None, ws="websockets-sansio")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    # Sets the headers of every response.
    await server.on_tick(0)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for listening in server.servers:
            listening.close()
        listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        while server.server_state.connections or server.server_state.tasks:
            await asyncio.sleep(0.005)
        for listening in server.servers:
            await listening.wait_closed()
