"""Takes a request apart: key, project, provider, path and question; then `Exchange` passes it on.

Everything that can be refused is refused before the provider is asked. This module imports the client for HTTP and the
parsers, so `routes` imports it with the first request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from datalayer import SYSTEM, ApiKey, DataLayerError, Project, Rate, acting_as
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.model import TokenUsage
from threadkeeper.gateway.bodies import MEGABYTE, CallerLeft, RequestBody
from threadkeeper.gateway.calls import CallBook, GatewayCall, GatewayStore, new_call
from threadkeeper.gateway.copies import as_json, decoded
from threadkeeper.gateway.endpoints import Endpoint, endpoint_of
from threadkeeper.gateway.exchange import Exchange, Sending, refusal
from threadkeeper.gateway.headers import KEYS, caller_library, caller_system, request_headers
from threadkeeper.gateway.places import Place, Places
from threadkeeper.gateway.questions import Question, question_of, question_of_form
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.gateway.targets import Target, target_of
from threadkeeper.gateway.upstream import Upstream
from threadkeeper.gateway.usage_frames import with_usage
from threadkeeper.web.untouched import ACCEPTED

logger = logging.getLogger(__name__)

_LEFT = 499
_MOST_TAGS = 50
_LONGEST_TAG = 100
# A shorter text would be masked where it is none.
_SHORTEST_KEY = 8


class Store(GatewayStore, Protocol):
    async def list_projects(self) -> list[Project]: ...
    async def take_rate(
        self, key_id: str, kind: Any, amount: int, per_minute: int, *, is_owed: bool = False
    ) -> Rate: ...


class Gateway:
    """Answers the requests of `/gateway/`."""

    def __init__(self, store: Store, book: CallBook, settings: GatewaySettings) -> None:
        self._store, self._book = store, book
        self._places = Places(store.list_projects)
        self._upstream = Upstream(settings.seconds)
        self._most_bytes = settings.megabytes * MEGABYTE
        # Addresses and models whose servers refuse `stream_options`.
        self._without_usage: set[tuple[str, str | None]] = set()

    async def answer(self, request: Request, key: ApiKey) -> Response:
        """The response to a request with a valid key."""
        try:
            sending, call = await self._prepared(request, key)
            await self._book.begin(call)
        except Refused as refused:
            return refusal(refused)
        except CallerLeft:
            return Response(status_code=_LEFT)
        return Exchange(sending, call, self._book, self._upstream)

    async def close(self) -> None:
        """End the connections, and wait shortly until open rows are in the store's queue."""
        await self._upstream.close()
        await self._book.close()

    async def _prepared(self, request: Request, key: ApiKey) -> tuple[Sending, GatewayCall]:
        project, provider, path = _parts(request)
        place = await self._places.find(project, provider, key)
        headers = {name.lower(): value for name, value in request.headers.items()}
        target, endpoint = self._target(request, place, path)
        upload = RequestBody(request.receive, headers, self._most_bytes)
        body, question, value = await _read(upload, headers, endpoint, target)
        self._check_model(key, question, endpoint, request.method)
        await self._take_tokens(key, question)
        asking = None
        if endpoint.asks_usage and body is not None and "content-encoding" not in headers:
            refusing = place.base_url, question.model
            asking = None if refusing in self._without_usage else with_usage(body, value)
        secret = place.secret()
        sending = Sending(
            request.method,
            target.url,
            request_headers(
                request.scope["headers"],
                key=secret,
                style=endpoint.key_style,
                passes_key=place.provider.passes_key,
                # A frame can be taken out of plain bytes only.
                accept_encoding="identity" if asking is not None else request.scope.get(ACCEPTED),
            ),
            endpoint,
            body if asking is None else asking,
            upload,
            original=None if asking is None else body,
            refuses_usage=lambda: self._without_usage.add((place.base_url, question.model)),
        )
        call = self._call(
            key, place, target=target, endpoint=endpoint, question=question, headers=headers, secret=secret
        )
        call.is_asking = request.method == "POST"
        return sending, call

    def _target(self, request: Request, place: Place, path: str) -> tuple[Target, Endpoint]:
        query = request.scope["query_string"].decode("latin-1")
        host = urlsplit(place.base_url).hostname or ""
        target = target_of(place.base_url, path, query)
        endpoint = endpoint_of(host, target.path, request.method)
        if endpoint.key_style == "x-goog-api-key" and not place.provider.passes_key:
            # Gemini takes keys in the query, too.
            target = target_of(place.base_url, path, query, without=("key",))
        return target, endpoint

    def _call(
        self,
        key: ApiKey,
        place: Place,
        *,
        target: Target,
        endpoint: Endpoint,
        question: Question,
        headers: dict[str, str],
        secret: str | None,
    ) -> GatewayCall:
        version = target.model_version or headers.get("x-threadkeeper-model-version") or None
        call = new_call(
            endpoint.kind,
            question,
            base_url=place.base_url,
            model_version=version,
            is_streaming=question.is_streaming,
            project_id=place.project.id,
            provider=place.name,
            deployment=place.provider.deployment or place.provider.slug,
            user_id=key.user_id,
            key_id=key.id,
            tags=_tags(target, headers),
            library=caller_library(headers),
            operating_system=caller_system(headers),
        )
        call.secrets = (*((secret,) if secret else ()), *_keys_of_caller(headers, target))
        call.on_usage = partial(self._take_answer, key)
        return call

    def _check_model(self, key: ApiKey, question: Question, endpoint: Endpoint, method: str) -> None:
        if not key.models or question.model in key.models:
            return
        if question.model or endpoint.kind != "other" or method != "GET":
            sentence = f"The key {key.prefix}… may not use the model {question.model or '(none named)'}."
            raise Refused(403, "model_not_allowed", f"{sentence} It may use {', '.join(key.models)}.")

    async def _take_tokens(self, key: ApiKey, question: Question) -> None:
        """Take the tokens of the question from the rate of the key."""
        if key.tokens_per_minute is None or not question.messages:
            return
        tokens = await message_tokens(question.messages, counter_for(question.model or ""))
        try:
            with acting_as(SYSTEM):
                rate = await self._store.take_rate(key.id, "tokens", tokens, key.tokens_per_minute)
        except DataLayerError:
            raise Refused(503, "storage_unavailable", "The rate of the key cannot be checked now.") from None
        if not rate.allowed:
            sentence = f"The key {key.prefix}… allows {rate.limit} tokens a minute."
            raise Refused(429, "rate_exceeded", sentence, {"Retry-After": str(max(1, round(rate.retry_after)))})

    async def _take_answer(self, key: ApiKey, usage: TokenUsage) -> None:
        """Take the tokens of an answer from the rate of the key, after it has ended."""
        if key.tokens_per_minute is None:
            return
        try:
            with acting_as(SYSTEM):
                await self._store.take_rate(
                    key.id, "tokens", usage.completion_tokens, key.tokens_per_minute, is_owed=True
                )
        except DataLayerError as error:
            logger.error("the tokens of an answer are not taken from the rate of its key: %s", error)


def _keys_of_caller(headers: dict[str, str], target: Target) -> Iterator[str]:
    """The keys that the caller sends, in headers and in the query."""
    sent = (headers.get(name, "").strip().rpartition(" ")[2] for name in KEYS)
    yield from (key for key in (*sent, target.url.query.get("key", "")) if len(key) >= _SHORTEST_KEY)


def with_our_key_alone(connection: HTTPConnection) -> HTTPConnection:
    """The request as the gate for keys reads it: our own key, in whatever header its client sends keys.

    A key of the provider beside it is none of ours. Without any of ours, the gate refuses the first one.
    """
    headers = connection.scope["headers"]
    others = [(name, value) for name, value in headers if name.lower().decode("latin-1") not in KEYS]
    sent = [value.strip() for name, value in headers if name.lower().decode("latin-1") in KEYS]
    bare = [value[7:].strip() if value[:7].lower() == b"bearer " else value for value in sent]
    ours = [value for value in bare if value.startswith(b"tk_")] or bare[:1]
    return HTTPConnection({**connection.scope, "headers": [*others, *((b"x-api-key", value) for value in ours)]})


async def _read(
    upload: RequestBody, headers: dict[str, str], endpoint: Endpoint, target: Target
) -> tuple[bytes | None, Question, Any]:
    """The body if it is JSON, the question in it, and its value."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if upload.is_empty:
        upload.is_complete.set()
        return None, Question(endpoint.model), None
    if kind.endswith(("/json", "+json")) or not kind:
        body = await upload.whole()
        plain = decoded(body, headers.get("content-encoding", ""))
        value = as_json(plain) if plain is not None else None
        return body, question_of(endpoint, value, path=target.path), value
    await upload.begin()
    return None, question_of_form(endpoint, upload.beginning), None


def _parts(request: Request) -> tuple[str, str, str]:
    """Project, provider and the raw path behind them."""
    raw = request.scope.get("raw_path", b"").decode("latin-1")
    _, found, behind = raw.partition("/gateway/")
    project, _, rest = behind.partition("/")
    provider, _, path = rest.partition("/")
    if not found or not project or not provider:
        raise Refused(404, "project_not_found", "The address is /gateway/{project}/{provider}/{path}.")
    return project, provider, path


def _tags(target: Target, headers: dict[str, str]) -> tuple[str, ...]:
    own = headers.get("x-threadkeeper-tags", "")
    wanted = [*target.tags, *(tag.strip() for tag in own.split(","))]
    cleaned = ("".join(filter(str.isprintable, tag))[:_LONGEST_TAG].strip() for tag in wanted)
    return tuple(dict.fromkeys(filter(None, cleaned)))[:_MOST_TAGS]
