"""Takes a request apart: key, project, provider, path and question; then `Exchange` passes it on.

Everything that can be refused is refused before the provider is asked. This module imports the client for HTTP and the
parsers, so `routes` imports it with the first request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from datalayer import SYSTEM, ApiKey, DataLayerError, Project, Rate, acting_as
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.model import TokenUsage
from threadkeeper.gateway.addresses import address_of
from threadkeeper.gateway.bodies import BEGINNING, MEGABYTE, CallerLeft, RequestBody, as_body
from threadkeeper.gateway.calls import CallBook, GatewayCall, GatewayStore, OnEnd, new_call
from threadkeeper.gateway.changes import NO_CHANGES, Changes
from threadkeeper.gateway.copies import as_json, decoded, is_long, names_of
from threadkeeper.gateway.endpoints import Endpoint, dialect_of
from threadkeeper.gateway.exchange import Exchange, Sending
from threadkeeper.gateway.headers import KEYS, caller_library, caller_system, request_headers
from threadkeeper.gateway.named_models import fallback_models, model_of_form
from threadkeeper.gateway.places import Place, Places
from threadkeeper.gateway.questions import Question, question_of, question_of_form
from threadkeeper.gateway.refusals import Refused, refusal, unforeseen
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.gateway.targets import Target
from threadkeeper.gateway.upstream import Upstream
from threadkeeper.gateway.usage_frames import with_usage

logger = logging.getLogger(__name__)

LEFT = 499
"""The status for a caller that closed the connection before its request was complete; nobody gets it."""
_MOST_TAGS = 50
_LONGEST_TAG = 100
# A shorter text would be masked where it is none.
_SHORTEST_KEY = 8


@dataclass(slots=True)
class Asked:
    """A request that was read: where it goes, and what it asks.

    Attributes:
        request: of the caller.
        headers: of the caller, by their names in lower case.
        key: the caller's.
        place: the provider.
        target: the address there.
        endpoint: what the address is for.
        upload: the body as it arrives.
        body: all of it, if it is JSON, or a form that must name an allowed model.
        question: what is read of it.
        value: the JSON value of the body.
        fields: more fields of the row of the call.
        changes: what the caller gets otherwise than the provider sends it.
        on_end: gets the row and the answer, before the caller gets the last byte, and gives the row as it is stored.
        again: gives another value of the body for the words of a refusal; None if the refusal is final.
    """

    request: Request
    headers: dict[str, str]
    key: ApiKey
    place: Place
    target: Target
    endpoint: Endpoint
    upload: RequestBody
    body: bytes | None
    question: Question
    value: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes = NO_CHANGES
    on_end: OnEnd | None = None
    again: Callable[[bytes], dict[str, Any] | None] | None = None


def headers_of(request: Request) -> dict[str, str]:
    """The headers of a request by their names, which ASGI gives in lower case; of several, the last one.

    Raises:
        Refused: a header is not valid UTF-8.
    """
    try:
        return {name.decode("ascii"): value.decode() for name, value in request.scope["headers"]}
    except UnicodeDecodeError:
        raise Refused(400, "header_refused", "A header of the request is not valid UTF-8.") from None


class Store(GatewayStore, Protocol):
    async def list_projects(self) -> list[Project]: ...
    async def default_project(self) -> str: ...
    async def take_rate(
        self, key_id: str, kind: Any, amount: int, per_minute: int, *, is_owed: bool = False
    ) -> Rate: ...


class Gateway:
    """Answers the requests of `/gateway/`."""

    def __init__(self, store: Store, book: CallBook, settings: GatewaySettings) -> None:
        self._store, self._book = store, book
        self.places = Places(store.list_projects, store.default_project)
        self._upstream = Upstream(settings.seconds)
        self.most_bytes = settings.megabytes * MEGABYTE
        # Addresses and models whose servers refuse `stream_options`.
        self._without_usage: set[tuple[str, str | None]] = set()

    def begin_reading(self) -> None:
        """Begin to read what a call needs of the store, beside the key of its request: one wait instead of four."""
        self.places.begin_reading()
        self._book.begin_reading()

    async def answer(self, request: Request, key: ApiKey) -> Response:
        """The response to a request with a valid key."""
        try:
            return await self.pass_on(await self._asked(request, key))
        except Refused as refused:
            return refusal(refused, dialect_of(request.scope["path"]))
        except CallerLeft:
            return Response(status_code=LEFT)
        except DataLayerError:
            raise
        except Exception:
            # Its body has the form that the official clients read.
            logger.exception("%s %s with the key %s fails", request.method, request.url.path, key.id)
            return refusal(unforeseen(), dialect_of(request.scope["path"]))

    async def pass_on(self, asked: Asked) -> Exchange:
        """The response to a request that was read.

        Raises:
            Refused: the key or a limit does not allow it.
        """
        sending, call = await self._prepared(asked)
        await self._book.begin(call)
        return Exchange(sending, call, self._book, self._upstream)

    async def close(self) -> None:
        """End the connections, and wait shortly until open rows are in the store's queue."""
        await self._upstream.close()
        await self._book.close()

    async def _asked(self, request: Request, key: ApiKey) -> Asked:
        project, provider, path = _parts(request)
        return await self.asked_at(request, key, await self.places.find(project, provider, key), path)

    async def asked_at(self, request: Request, key: ApiKey, place: Place, path: str) -> Asked:
        """Read a request for this path of a provider.

        Raises:
            Refused: its path or its body cannot be passed on, or the key may not use its model.
            CallerLeft: it did not come whole.
        """
        headers = headers_of(request)
        query = request.scope["query_string"].decode("latin-1")
        passes_key = place.provider.passes_key
        target, endpoint = address_of(place.base_url, path, query, request.method, headers, passes_key=passes_key)
        upload = RequestBody(request.receive, headers, self.most_bytes)
        if key.models and sum(name == b"content-type" for name, _ in request.scope["headers"]) > 1:
            raise Refused(400, "header_refused", "The request has several Content-Type.")
        body, question, value = await _read(upload, headers, endpoint, target, allowed=key.models)
        self._check_model(key, question, endpoint, request.method)
        return Asked(request, headers, key, place, target, endpoint, upload, body, question, value)

    async def _prepared(self, asked: Asked) -> tuple[Sending, GatewayCall]:
        request, key, place, headers = asked.request, asked.key, asked.place, asked.headers
        target, endpoint, body, question = asked.target, asked.endpoint, asked.body, asked.question
        await self._take_tokens(key, question)
        asks = endpoint.asks_usage and body is not None and "content-encoding" not in headers
        asks = asks and (place.base_url, question.model) not in self._without_usage
        asking = with_usage(body, asked.value) if asks and body is not None else None

        def again(said: bytes) -> tuple[bytes, bytes | None] | None:
            value = asked.again(said) if asked.again is not None else None
            if value is None:
                return None
            other = as_body(value)
            with_question = with_usage(other, value) if sending.original is not None else None
            return (other, None) if with_question is None else (with_question, other)

        secret = place.secret()
        is_read = asking is not None or asked.changes.rewrites

        def passed() -> list[tuple[str, str]]:
            raw = request.scope["headers"]
            accepted = [value.decode() for name, value in raw if name == b"accept-encoding"]
            found = request_headers(
                raw,
                key=secret,
                style=endpoint.key_style,
                passes_key=place.provider.passes_key,
                # Plain bytes alone can be changed.
                accept_encoding="identity" if is_read else ", ".join(accepted) if accepted else None,
            )
            if body is None and asked.upload.length:
                # Some servers refuse an upload in chunks.
                found.append(("content-length", str(asked.upload.length)))
            return found

        sending = Sending(
            request.method,
            target.url,
            passed,
            endpoint,
            body if asking is None else asking,
            asked.upload,
            original=None if asking is None else body,
            refuses_usage=lambda: self._without_usage.add((place.base_url, question.model)),
            changes=asked.changes,
            again=None if asked.again is None else again,
        )
        return sending, self._call(asked, headers, secret)

    def _call(self, asked: Asked, headers: dict[str, str], secret: str | None) -> GatewayCall:
        key, place, target, question = asked.key, asked.place, asked.target, asked.question
        version = target.model_version or headers.get("x-threadkeeper-model-version") or None
        call = new_call(
            asked.endpoint.kind,
            question,
            base_url=place.base_url,
            model_version=version,
            is_streaming=question.is_streaming,
            project_id=place.project.id,
            provider=place.name,
            deployment=place.deployment,
            user_id=key.user_id,
            key_id=key.id,
            tags=_tags(target, headers),
            library=caller_library(headers),
            operating_system=caller_system(headers),
            is_asking=asked.request.method == "POST",
            **asked.fields,
        )
        call.secrets = (*((secret,) if secret else ()), *_keys_of_caller(headers, target))
        call.on_usage, call.on_end = partial(self._take_answer, key), asked.on_end
        return call

    def _check_model(self, key: ApiKey, question: Question, endpoint: Endpoint, method: str) -> None:
        if not key.models or question.model in key.models:
            return
        if question.model or endpoint.kind != "other" or method != "GET":
            sentence = f"The key {key.prefix}… may not use the model {question.model or '(none named, or several)'}."
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
    in_query = target.url.query.get("key", "") if target.url.raw_query_string else ""
    yield from (key for key in (*sent, in_query) if len(key) >= _SHORTEST_KEY)


async def _read(
    upload: RequestBody, headers: dict[str, str], endpoint: Endpoint, target: Target, *, allowed: Sequence[str]
) -> tuple[bytes | None, Question, Any]:
    """The body if it was read whole, the question in it, and the value of its JSON.

    `allowed`: the models that the key allows; empty if it allows all.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if upload.is_empty:
        upload.is_complete.set()
        return None, Question(endpoint.model), None
    if kind.endswith(("/json", "+json")) or not kind:
        body = await upload.whole()
        encoding = headers.get("content-encoding", "")
        reading = partial(_question_in, body, encoding, endpoint, target, allowed=allowed)
        question, value = await asyncio.to_thread(reading) if is_long(body, encoding) else reading()
        return body, question, value
    if not allowed:
        await upload.begin()
        return None, question_of_form(endpoint, upload.beginning), None
    # A second model may come last, so the provider gets nothing before all of it was read.
    body = await upload.whole()
    return body, await asyncio.to_thread(_question_in_form, body, headers, endpoint), None


def _question_in_form(body: bytes, headers: dict[str, str], endpoint: Endpoint) -> Question:
    """The question in a whole form, whose model is the only one that it can name."""
    plain = decoded(body, headers.get("content-encoding", ""))
    if plain is None:
        return Question(endpoint.model)
    named = endpoint.model or model_of_form(headers.get("content-type", ""), plain)
    return replace(question_of_form(endpoint, plain[:BEGINNING]), model=named)


def _question_in(
    body: bytes, encoding: str, endpoint: Endpoint, target: Target, *, allowed: Sequence[str]
) -> tuple[Question, Any]:
    plain = decoded(body, encoding)
    value = as_json(plain) if plain is not None else None
    question = question_of(endpoint, value, path=target.path)
    if allowed and isinstance(value, dict) and not set(fallback_models(value)) <= set(allowed):
        question = replace(question, model=None)
    if allowed and endpoint.model is None and plain is not None and isinstance(value, dict):
        # Which of several the provider reads, is not known. Some providers read names in any case.
        named = [name for name in names_of(plain) if name.lower() == "model"]
        if len(named) > 1:
            question = replace(question, model=None)
    return question, value


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
