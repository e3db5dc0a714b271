"""Models behind the openai package: OpenAI, Azure OpenAI, or any server that speaks the same protocol.

The package does authentication, addresses and time limits; `retries` repeats requests. Two things go around it because
of their cost: the request is sent with `client.post` (built of typed objects, a thread of 200 messages takes 30 ms of
CPU; as plain JSON 1 ms), and the answer is read as bytes (an object for each token costs five times as much). The
package's aiohttp transport halves the rest.

The transport records every attempt, so that each gets a row of usage.

Servers differ in what they accept. A request that is refused for an optional parameter is sent again without
it, or with its other name; without `stream`, the answer comes in one piece. One that is refused for its system message
is sent again with the prompt before the first question; one that asks for a longer answer than the server gives, with
the maximum that it names. All are remembered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
import httpx2
import openai

from threadkeeper.chat.messages import on_the_wire
from threadkeeper.chat.model import AnswerEvent, Attempt, Completion, ModelError, ModelRequest, Source
from threadkeeper.chat.providers.endings import SentEndings
from threadkeeper.chat.providers.gathering import gather, keep_received
from threadkeeper.chat.providers.openai_answers import StreamReading, read_completion
from threadkeeper.chat.providers.openai_errors import (
    clean,
    connection_error,
    demands_other_roles,
    longest_answer_of,
    refused_parameter,
    response_error,
    wait_demanded,
)
from threadkeeper.chat.providers.retries import Retries, is_temporary

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_DRAIN_SECONDS = 0.1
_MOST_LOWERED = 2
_ROLES = "system role"
_SAMPLING = ("top_p", "presence_penalty", "frequency_penalty", "logit_bias", "stop")
_OPTIONAL = ("temperature", *_SAMPLING, "max_completion_tokens", "max_tokens", "stream_options", "stream", _ROLES)


# The attempts of the current request.
_attempts: ContextVar[list[Attempt] | None] = ContextVar("attempts", default=None)


class _ReadTimeout(openai.APITimeoutError):
    """The server sent nothing for the whole time-out. The user has waited long enough: it is not asked again."""


class _HttpClient(openai.DefaultAioHttpClient):
    def __init__(self, secret: str | None) -> None:
        super().__init__()
        self._secret = secret or ""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        attempt, attempts = Attempt(), _attempts.get()
        if attempts is not None:
            attempts.append(attempt)
        try:
            response = await self._answer(request, attempt, **options)
        except (httpx2.RequestError, openai.APIConnectionError) as error:
            attempt.fail(connection_error(error, self._secret, answering=False))
            raise
        if response.is_error:
            attempt.fail(response_error(response, self._secret))
        return response

    async def _answer(self, request: httpx2.Request, attempt: Attempt, **options: Any) -> httpx2.Response:
        try:
            response = await super().send(request, **options)
            attempt.status_code = response.status_code
            if response.is_error:
                # The body says why. After another attempt nobody would read it.
                await response.aread()
        except httpx2.ReadTimeout as error:
            raise _ReadTimeout(request) from error
        except aiohttp.ClientError as error:
            # The transport translates most errors, but not those of a server that does not speak HTTP.
            raise httpx2.RemoteProtocolError(str(error), request=request) from error
        return response


def openai_client(base_url: str, api_key: str | None, timeout_seconds: float, max_retries: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=api_key or "no-key",  # the package requires one, many local servers do not
        max_retries=max_retries,
        timeout=_timeout(timeout_seconds),
        http_client=_HttpClient(api_key),
    )


def azure_client(
    endpoint: str, api_key: str | None, api_version: str, timeout_seconds: float, max_retries: int
) -> openai.AsyncOpenAI:
    return openai.AsyncAzureOpenAI(
        azure_endpoint=endpoint,
        api_key=api_key,
        api_version=api_version,
        max_retries=max_retries,
        timeout=_timeout(timeout_seconds),
        http_client=_HttpClient(api_key),
    )


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))


class OpenAIModel:
    demo = False
    path = "/chat/completions"

    def __init__(self, client: openai.AsyncOpenAI, source: Source, sent_endings: SentEndings) -> None:
        """
        Args:
            client: sends the requests.
            source: the server behind it.
            sent_endings: whether the calls that are stored show that this provider ends its answers in words.
        """
        self.source = source
        self._client = client.copy(max_retries=0)
        self._max_retries = client.max_retries
        self._timeout_seconds = client.timeout.read if isinstance(client.timeout, httpx2.Timeout) else None
        self._secret = client.api_key
        self._refused: set[tuple[str, str, object]] = set()
        # Whether this server has ended a streamed answer with a finish_reason or usage. Then [DONE] alone ends none.
        # One for all its models: a gateway writes the end of every stream. Answers in one piece prove nothing.
        self._sends_endings = False
        self._sent_endings = sent_endings
        self._takes_system_role: set[str] = set()
        self._longest_answers: dict[str, int] = {}
        # OpenAI's reasoning models accept only the new name, most other servers only the old one.
        names = ["max_completion_tokens", "max_tokens"]
        self._limit_names = names if source.provider in ("openai", "azure") else names[::-1]

    async def load(self) -> None:
        """Does nothing: everything is loaded."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        response = await self._post(request, stream=True)
        keep_received(response)
        try:
            reading = StreamReading(self._secret)
            attempt = request.attempts[-1]
            try:
                chunks = response.aiter_bytes()
                async for chunk in chunks:
                    events = reading.feed(chunk)
                    attempt.answered_by, attempt.service_tier = reading.model, reading.service_tier
                    attempt.response_id = reading.response_id
                    for event in events:
                        yield event
                    if reading.failure:
                        raise reading.failure
                    if reading.done:
                        await _drain(chunks)
                        break
                    if events and request.gather_seconds:
                        await gather(response, request.gather_seconds)
            except (httpx2.RequestError, aiohttp.ClientError, TimeoutError) as error:
                # After the finish_reason the text is complete; only the usage can be missing.
                if not reading.complete:
                    for event in reading.rest():
                        yield event
                    raise reading.bill(connection_error(error, self._secret, answering=True)) from None
            events = reading.end()
            attempt.answered_by, attempt.service_tier = reading.model, reading.service_tier
            attempt.response_id = reading.response_id
            self._sends_endings = self._sends_endings or reading.has_ending
            if reading.is_unproven and await self._knows_endings():
                reading.refuse_end()
            for event in events:
                yield event
            if reading.failure:
                raise reading.failure
            yield reading.finish()
        finally:
            await response.aclose()

    async def _knows_endings(self) -> bool:
        """Whether this server ends its answers in words, here or before the start of this process."""
        self._sends_endings = self._sends_endings or await self._sent_endings(self.source.provider)
        return self._sends_endings

    async def complete(self, request: ModelRequest) -> Completion:
        response = await self._post(request, stream=False)
        return read_completion(response.content, self._secret)

    async def close(self) -> None:
        await self._client.close()

    async def _post(self, request: ModelRequest, *, stream: bool) -> httpx2.Response:
        known = {name for name in _OPTIONAL if (request.model, name, _value(request, name)) in self._refused}
        left_out, lowered = set(known), 0
        retries = Retries(request, self._max_retries, self._timeout_seconds or 0)
        while True:
            body = self._body(request, left_out, stream=stream)
            noting = _attempts.set(request.attempts)
            try:
                response = await self._send(body, stream=stream)
            except openai.APIStatusError as error:
                refusal = response_error(error.response, self._secret)
                if lowered < _MOST_LOWERED and self._lowers_limit(request, error.response):
                    lowered += 1
                    continue
                if (name := self._refused_part(request, error.response, refusal, body, left_out)) is not None:
                    part = "system message" if name == _ROLES else f"parameter {name}"
                    logger.warning("model %s refuses the %s; repeating the request without it", request.model, part)
                    left_out.add(name)
                elif not is_temporary(error.response, refusal) or not await retries.pause(
                    refusal, wait_demanded(error.response)
                ):
                    raise refusal from None
            except openai.APIConnectionError as error:
                failure = connection_error(error, self._secret, answering=False)
                if isinstance(error, _ReadTimeout) or not await retries.pause(failure, None):
                    raise failure from None
            except (openai.OpenAIError, ValueError, TypeError) as error:
                raise ModelError("server", clean(f"{type(error).__name__}: {error}", self._secret)) from None
            else:
                self._refused.update((request.model, name, _value(request, name)) for name in left_out - known)
                if _ROLES not in left_out:
                    self._takes_system_role.add(request.model)
                request.left_out.extend(name for name in ("temperature", *_SAMPLING) if name in left_out)
                return response
            finally:
                _attempts.reset(noting)

    def _lowers_limit(self, request: ModelRequest, response: httpx2.Response) -> bool:
        """Whether the server names a lower maximum for answers of this model, which is kept from now on."""
        wanted = self._limit_of(request)
        most = longest_answer_of(response, wanted) if wanted is not None else None
        if most is None:
            return False
        logger.warning("model %s gives at most %d tokens, not %d; repeating the request", request.model, most, wanted)
        self._longest_answers[request.model] = most
        return True

    def _limit_of(self, request: ModelRequest) -> int | None:
        if request.max_tokens is None:
            return None
        return min(request.max_tokens, self._longest_answers.get(request.model, request.max_tokens))

    def _refused_part(
        self,
        request: ModelRequest,
        response: httpx2.Response,
        refusal: ModelError,
        body: dict[str, Any],
        left_out: set[str],
    ) -> str | None:
        """The part of the request that is left out of the next one; None if the refusal is final."""
        name = refused_parameter(response, body)
        # A limit that the user set is never dropped.
        if name is not None and not (name in self._limit_names and left_out.intersection(self._limit_names)):
            return name
        if _ROLES in left_out:
            return None
        # A server can refuse a system message in words of its own. While the model has accepted none, it is asked once
        # more without.
        is_doubtful = refusal.kind == "refused" and request.model not in self._takes_system_role
        has_system = any(message["role"] == "system" for message in request.messages)
        return _ROLES if demands_other_roles(response) or (is_doubtful and has_system) else None

    async def _send(self, body: dict[str, Any], *, stream: bool) -> httpx2.Response:
        if not stream:
            return await self._client.post(self.path, cast_to=httpx2.Response, body=body)
        stream_cls = openai.AsyncStream[Any]
        # With cast_to=Response the package returns the response itself, although its signature names stream_cls.
        answer = await self._client.post(
            self.path, cast_to=httpx2.Response, body=body, stream=True, stream_cls=stream_cls
        )
        return cast("httpx2.Response", cast("object", answer))

    def _body(self, request: ModelRequest, left_out: set[str], *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "messages": on_the_wire(request.messages, plain_roles=_ROLES in left_out),
        }
        if request.temperature is not None and "temperature" not in left_out:
            body["temperature"] = request.temperature
        body |= {name: value for name, value in _sampling(request).items() if name not in left_out}
        if (most := self._limit_of(request)) is not None:
            body[next(name for name in self._limit_names if name not in left_out)] = most
        if stream and "stream" not in left_out:
            body["stream"] = True
            if "stream_options" not in left_out:
                body["stream_options"] = {"include_usage": True}
        return body


def _value(request: ModelRequest, name: str) -> object:
    """The refused value: a temperature that is out of range does not rule out other temperatures."""
    if name in ("stream", "stream_options", _ROLES):
        return None
    if name in _SAMPLING:
        return getattr(request.sampling, name)
    return request.temperature if name == "temperature" else request.max_tokens


def _sampling(request: ModelRequest) -> dict[str, Any]:
    """The parameters that are set, as they are sent."""
    sampling = request.sampling
    values: dict[str, Any] = {name: getattr(sampling, name) for name in _SAMPLING}
    values["logit_bias"], values["stop"] = dict(sampling.logit_bias), list(sampling.stop)
    return {name: value for name, value in values.items() if value not in (None, {}, [])}


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the rest after [DONE], so that the connection can be used again. A slow server loses its connection."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                continue
    except TimeoutError:
        logger.debug("the server kept the stream open after [DONE]")
