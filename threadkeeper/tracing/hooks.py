"""What is traced: calls to models, answers, searches for passages, and requests of programs.

While tracing is off, each function here returns after one comparison, and OpenTelemetry is not imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from datalayer.records.usage import LlmCall, LlmCallPayload

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a span says of a call beside its row: the address of the server, the id that the server gave the answer, and
    the parameters of the request."""

    base_url: str = ""
    response_id: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


NoteRequest = Callable[[int, str | None], None]
"""Takes the status of the response, and the route without the values of its parameters, if it is known."""


class Spans(Protocol):
    """Makes spans. `takes_texts`: with messages, answers and questions."""

    takes_texts: bool

    def call(self, row: LlmCall, facts: CallFacts, payload: LlmCallPayload | None) -> None:
        """A call that has ended."""

    def answer(self, thread_id: str) -> AbstractContextManager[object]:
        """An answer, inside of which its calls and searches are."""

    def retrieval(self, assistant: str, thread_id: str | None, question: str) -> AbstractContextManager[NotePassages]:
        """A search for passages."""

    def request(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> AbstractContextManager[NoteRequest]:
        """A request of a program, which goes on with the trace that its headers name."""

    def traceparent(self) -> str | None:
        """The header that names the current span; None if there is none."""

    def continued(self, traceparent: str) -> AbstractContextManager[object]:
        """Work that goes on with the trace that this header names."""

    def note_assistant(self, slug: str, version: int) -> None:
        """The assistant that gives the current answer."""

    def note_failure(self, kind: str) -> None:
        """Why there is no answer, or no whole one."""


NotePassages = Callable[[int], None]
"""Takes the number of passages that were found."""


class _Used:
    spans: Spans | None = None


def use(spans: Spans | None) -> None:
    """Make spans from now on with these; None: make none."""
    _Used.spans = spans


def takes_texts() -> bool:
    """Whether the spans of calls have the messages and the answer."""
    return _Used.spans is not None and _Used.spans.takes_texts


def record_calls(rows: Sequence[LlmCall], facts: CallFacts, payload: LlmCallPayload | None) -> None:
    """Make a span for each row of a call that has ended. Raises nothing: the rows must be stored all the same.

    Args:
        rows: of the attempts, the last one answered.
        facts: of the last one.
        payload: the content of the call, if it is known. Spans have it only if they take texts.
    """
    if (spans := _Used.spans) is None:
        return
    try:
        for row in rows[:-1]:
            spans.call(row, CallFacts(facts.base_url), None)
        spans.call(rows[-1], facts, payload)
    except Exception:
        logger.exception("the spans of a model call are not made", extra={"call_id": rows[-1].id})


def answer(thread_id: str) -> AbstractContextManager[object]:
    """Around an answer in a thread."""
    return nullcontext() if _Used.spans is None else _Used.spans.answer(thread_id)


def retrieval(assistant: str, thread_id: str | None, question: str) -> AbstractContextManager[NotePassages]:
    """Around a search for passages of this assistant."""
    if _Used.spans is None:
        return nullcontext(_ignore)
    return _Used.spans.retrieval(assistant, thread_id, question)


def request(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[NoteRequest]:
    """Around a request of a program."""
    if _Used.spans is None:
        return nullcontext(_ignore)
    return _Used.spans.request(method, path, headers)


def traceparent() -> str | None:
    """The header that names the current span, for work that another process may do later; None if there is none."""
    return None if _Used.spans is None else _Used.spans.traceparent()


def continued(traceparent: str | None) -> AbstractContextManager[object]:
    """Around work that goes on with the trace that this header names."""
    if _Used.spans is None or traceparent is None:
        return nullcontext()
    return _Used.spans.continued(traceparent)


def note_assistant(slug: str, version: int) -> None:
    """Say in the span of the current answer which assistant gives it."""
    if _Used.spans is not None:
        _Used.spans.note_assistant(slug, version)


def note_failure(kind: str) -> None:
    """Say in the span of the current answer that it failed."""
    if _Used.spans is not None:
        _Used.spans.note_failure(kind)


def _ignore(*_facts: object) -> None:
    pass
