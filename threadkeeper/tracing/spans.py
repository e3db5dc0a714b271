"""Makes the spans, by OpenTelemetry's semantic conventions for generative AI and for HTTP.

The span of a call is made when the call has ended, from the row that is stored of it, so that both say the same. No
span has texts of people, not even in the words of an error, unless the operator asks for them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from datalayer.cleaning import utc_now
from datalayer.records.usage import STOPPED, LlmCall, LlmCallPayload
from threadkeeper.tracing.hooks import CallFacts, NotePassages, NoteRequest

_OPERATIONS = {
    "embedding": "embeddings",
    "completion": "text_completion",
    **{kind: kind for kind in ("image", "audio", "moderation", "other")},
}
"""By the kind of a call; of all others it is `chat`."""
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
"""The names of the conventions, by ours."""
_TRACEPARENT = "traceparent"
_OF_A_TRACE = (_TRACEPARENT, "tracestate")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STOPPED = "threadkeeper.stopped"
MOST_CHARACTERS = 10_000
"""Of people's texts in each attribute. Spans wait in memory, and collectors refuse large ones."""
_CUT = "…"
_OF_A_PART = 50
"""Characters of JSON around the text of a part."""

_answer: ContextVar[Span | None] = ContextVar("answer_span", default=None)


class OpenTelemetrySpans:
    """`hooks.Spans` with a tracer of OpenTelemetry."""

    def __init__(self, tracer: Tracer, *, takes_texts: bool) -> None:
        self._tracer, self.takes_texts = tracer, takes_texts
        self._headers = TraceContextTextMapPropagator()

    def call(self, row: LlmCall, facts: CallFacts, payload: LlmCallPayload | None) -> None:
        start, operation = _nanoseconds(row.requested_at), _OPERATIONS.get(row.kind, "chat")
        attributes = _of_call(row, operation) | _of_facts(facts)
        if self.takes_texts and payload is not None and operation != "embeddings":
            attributes |= _texts(row, payload)
        span = self._tracer.start_span(
            f"{operation} {row.model}", kind=SpanKind.CLIENT, attributes=_known(attributes), start_time=start
        )
        if row.has_failed:
            _fail(span, row.error_kind or str(row.status_code))
        span.end(start + round((row.seconds or 0.0) * 1e9))

    @contextmanager
    def answer(self, thread_id: str) -> Iterator[object]:
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": thread_id}
        with self._around("invoke_agent", SpanKind.INTERNAL, attributes) as span:
            token = _answer.set(span)
            try:
                yield None
            finally:
                _answer.reset(token)

    def note_assistant(self, slug: str, version: int) -> None:
        if (span := _answer.get()) is not None:
            span.update_name(f"invoke_agent {slug}")
            span.set_attributes({"gen_ai.agent.name": slug, "gen_ai.agent.version": str(version)})

    def note_failure(self, kind: str) -> None:
        if (span := _answer.get()) is not None:
            _fail(span, kind)

    @contextmanager
    def retrieval(self, assistant: str, thread_id: str | None, question: str) -> Iterator[NotePassages]:
        attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": assistant,
            "gen_ai.conversation.id": thread_id,
            "gen_ai.retrieval.query.text": question[:MOST_CHARACTERS] if self.takes_texts else None,
        }
        with self._around(f"retrieval {assistant}", SpanKind.CLIENT, attributes) as span:
            yield lambda number: span.set_attribute("threadkeeper.passages", number)

    @contextmanager
    def request(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[NoteRequest]:
        found = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
        before = self._headers.extract({name: value for name, value in found if name in _OF_A_TRACE})
        attributes = {"http.request.method": method, "url.path": path}
        with self._around(method, SpanKind.SERVER, attributes, before) as span:

            def note(status: int, route: str | None) -> None:
                span.set_attribute("http.response.status_code", status)
                if route is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                if status >= 500:
                    _fail(span, str(status))

            yield note

    def traceparent(self) -> str | None:
        headers = dict[str, str]()
        self._headers.inject(headers)
        return headers.get(_TRACEPARENT)

    @contextmanager
    def continued(self, traceparent: str) -> Iterator[None]:
        token = contexts.attach(self._headers.extract({_TRACEPARENT: traceparent}))
        try:
            yield
        finally:
            contexts.detach(token)

    @contextmanager
    def _around(
        self, name: str, kind: SpanKind, attributes: Mapping[str, Any], before: Context | None = None
    ) -> Iterator[Span]:
        """A span around some work. `before`: the context of its parent, if that is not the current one."""
        # Of the clock by which calls are dated: it can be that of the database.
        start, began = _nanoseconds(utc_now()), time.perf_counter()
        span = self._tracer.start_span(name, before, kind, _known(attributes), start_time=start)
        token = contexts.attach(set_span_in_context(span, before))
        try:
            yield span
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute(_STOPPED, value=True)
            raise
        except Exception as error:
            _fail(span, str(getattr(error, "kind", type(error).__qualname__)))
            raise
        finally:
            contexts.detach(token)
            span.end(start + round((time.perf_counter() - began) * 1e9))


def _of_call(row: LlmCall, operation: str) -> dict[str, Any]:
    """The attributes that the row of a call gives; None is unknown."""
    is_stopped = row.finish_reason == STOPPED
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(row.provider or "", row.provider),
        "gen_ai.request.model": row.model,
        "gen_ai.request.stream": row.is_streaming,
        "gen_ai.response.model": row.answered_by,
        "gen_ai.response.finish_reasons": (row.finish_reason,) if row.finish_reason and not is_stopped else None,
        "gen_ai.response.time_to_first_chunk": row.first_token_seconds,
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": row.reasoning_tokens,
        "gen_ai.conversation.id": row.thread_id,
        "gen_ai.agent.name": row.assistant,
        "gen_ai.agent.version": None if row.assistant_version is None else str(row.assistant_version),
        "http.response.status_code": row.status_code,
        "threadkeeper.call.id": row.id,
        "threadkeeper.call.kind": row.kind,
        "threadkeeper.call.attempt": row.attempt,
        _STOPPED: is_stopped or None,
        "threadkeeper.usage.estimated": row.is_estimated or None,
    }


def _of_facts(facts: CallFacts) -> dict[str, Any]:
    address = urlsplit(facts.base_url)
    return {
        "server.address": address.hostname,
        "server.port": address.port,
        "gen_ai.response.id": facts.response_id,
        "gen_ai.request.max_tokens": facts.max_tokens,
        "gen_ai.request.temperature": facts.temperature,
    }


def _texts(row: LlmCall, payload: LlmCallPayload) -> dict[str, Any]:
    """The newest messages and the answer, as the conventions write them in JSON, with MOST_CHARACTERS each."""
    asked, room = list[dict[str, Any]](), MOST_CHARACTERS
    for message in reversed(payload.messages or ()):
        if room <= 0:
            break
        parts, room = _parts(message["content"], room)
        asked.append({"role": message["role"], "parts": parts})
    answered = {
        "role": "assistant",
        "parts": _parts(payload.response or "", MOST_CHARACTERS)[0],
        "finish_reason": row.finish_reason or "error",
    }
    return {
        "gen_ai.input.messages": json.dumps(asked[::-1], ensure_ascii=False) if asked else None,
        "gen_ai.output.messages": json.dumps([answered], ensure_ascii=False) if payload.response else None,
    }


def _parts(content: Any, room: int) -> tuple[list[dict[str, Any]], int]:
    """The parts of a message, whose texts are cut to `room` characters, and what is left of it."""
    found = list[dict[str, Any]]()
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        room -= _OF_A_PART
        if room <= 0:
            break
        if part["type"] != "text":
            found.append(part)
            continue
        text = part["text"]
        found.append({"type": "text", "content": text if len(text) <= room else text[: room - 1] + _CUT})
        room -= len(text)
    return found, room


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _known(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(moment: str) -> int:
    """Since 1970."""
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(microseconds=1) * 1_000
