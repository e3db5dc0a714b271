"""Asks a model server which models it offers, at its `/models`, with the client that also asks questions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Failure = Literal["refused", "no_list", "not_a_list", "unreachable", "timeout"]
_NOT_FOUND = 404
MOST_BYTES = 2_000_000
"""Of an answer."""


@dataclass(frozen=True, slots=True)
class ModelListServer:
    """A server with a list of models: its base URL and key. On Azure, the endpoint and the version of the interface."""

    base_url: str
    key: str | None = field(default=None, repr=False)
    azure_version: str | None = None


class ListFailed(Exception):
    """A server has not given its list of models.

    Attributes:
        kind: "refused" by its status, "no_list" at this address, "not_a_list" if the answer is something else,
            "unreachable", or "timeout".
        words: the status and the words of the server, or what happened to the connection; never a key.
        status: the HTTP status; None without an answer.
    """

    def __init__(self, kind: Failure, words: str, status: int | None = None) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind, self.words, self.status = kind, words, status


def load() -> None:
    """Import what the first list needs, which takes half a second."""
    import_module("threadkeeper.chat.providers.openai")


async def models_of(server: ModelListServer, seconds: float) -> tuple[str, ...]:
    """The names of the server's models, sorted.

    Args:
        server: which one.
        seconds: the longest wait for a connection, and for the answer.

    Raises:
        ListFailed: it has not given them.
    """
    # See `load`: processes that ask no model server do not need it.
    import aiohttp  # noqa: PLC0415
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415

    from threadkeeper.chat.providers.openai_errors import clean, response_error  # noqa: PLC0415

    secret = server.key or ""
    try:
        client = _client(server, seconds)
    except (ValueError, httpx2.InvalidURL) as error:
        words = f"the address of a proxy, as in HTTPS_PROXY, is not valid: {error}"
        raise ListFailed("unreachable", clean(words, secret)) from None
    async with client:
        try:
            async with client.models.with_streaming_response.list() as response:
                answer = json.loads(await _bounded(response.iter_bytes()))
            return tuple(sorted({str(model["id"]) for model in answer["data"]}))
        except openai.APIStatusError as error:
            kind: Failure = "no_list" if error.status_code == _NOT_FOUND else "refused"
            raise ListFailed(kind, response_error(error.response, secret).detail, error.status_code) from None
        except (openai.APIConnectionError, httpx2.RequestError, aiohttp.ClientError, TimeoutError) as error:
            words = _root_of(error)
            # The transport calls every lost connection a time-out; only the innermost cause says what happened.
            kind = "timeout" if "Timeout" in words else "unreachable"
            raise ListFailed(kind, clean(words, secret)) from None
        except (openai.APIError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ListFailed("not_a_list", clean(f"{type(error).__name__}: {error}", secret)) from None


def _client(server: ModelListServer, seconds: float) -> AsyncOpenAI:
    from threadkeeper.chat.providers.openai import azure_client, openai_client  # noqa: PLC0415

    if server.azure_version is not None:
        return azure_client(server.base_url, server.key, server.azure_version, seconds, 0)
    return openai_client(server.base_url, server.key, seconds, 0)


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    """All of an answer. Raises ListFailed as soon as it is too long."""
    read = bytearray()
    async for chunk in chunks:
        read += chunk
        if len(read) > MOST_BYTES:
            raise ListFailed("not_a_list", f"the answer has more than {MOST_BYTES:,} bytes")
    return bytes(read)


def _root_of(error: BaseException) -> str:
    while beneath := error.__cause__ or error.__context__:
        error = beneath
    told = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
