"""Chainlit's own application with ours mounted into it, served over real HTTP inside the test's event loop."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from threadkeeper.passwords import Passwords

SECRET = "a secret for the tests, long enough to sign with"

Serve = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def chainlit_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    """`chainlit.server.app`, which is one for the whole process, and is left as it was found."""
    from chainlit.config import config  # noqa: PLC0415  after CHAINLIT_APP_ROOT is set
    from chainlit.server import app  # noqa: PLC0415

    for name in [name for name in os.environ if name.startswith("OAUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", SECRET)
    app.middleware_stack = None  # another test may have started it
    code = config.code
    callbacks = (code.password_auth_callback, code.header_auth_callback, code.oauth_callback)
    routes, middleware, handlers = app.router.routes[:], app.user_middleware[:], dict(app.exception_handlers)
    yield app
    code.password_auth_callback, code.header_auth_callback, code.oauth_callback = callbacks
    app.router.routes[:] = routes
    app.user_middleware[:] = middleware
    app.exception_handlers.clear()
    app.exception_handlers.update(handlers)
    app.middleware_stack = None
    for name in ("threadkeeper_routes", "threadkeeper_middleware"):
        if hasattr(app.state, name):
            delattr(app.state, name)


@pytest.fixture
def serve(chainlit_app: FastAPI) -> Serve:
    """Serves the application as it is mounted then; gives a client without a cookie."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[httpx.AsyncClient]:
        listener = socket.create_server(("127.0.0.1", 0))
        # Without its lifespan: Chainlit's ends the process.
        server = uvicorn.Server(uvicorn.Config(chainlit_app, lifespan="off", log_config=None, ws="websockets-sansio"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            await task

    return serving


async def no_gate(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Lets everyone pass; the system acts."""
    await app(scope, receive, send)
