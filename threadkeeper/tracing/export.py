"""Sends the spans to a collector by OTLP over HTTP, in a thread beside the event loop.

A collector that is away costs nothing but its spans: they wait in a queue of bounded length and are dropped. The log
says so once, and once more when the collector takes spans again; the exporter itself would log each attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from threadkeeper.tracing import hooks
from threadkeeper.tracing.environment import collector
from threadkeeper.tracing.spans import OpenTelemetrySpans

logger = logging.getLogger(__name__)

_NAME = "threadkeeper"
_UNKNOWN = "unknown_service"
_CLOSE_SECONDS = 2.0
_SIZES = (OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE)
_WITH_TEXTS = (512, 128)
"""The spans that wait, and those in a request, if they have texts; otherwise 2,048 and 512."""
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_QUEUE = "opentelemetry.sdk._shared_internal"


class Exporting:
    """Makes spans and sends them until it is closed."""

    def __init__(self, *, takes_texts: bool) -> None:
        """`takes_texts`: whether spans have the texts of people.

        Raises:
            ValueError: a variable of OpenTelemetry has a value that cannot be used.
        """
        self._exporter = _ToldOnce(OTLPSpanExporter())
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        # Some MB of texts at most, unless the operator wants other numbers.
        is_smaller = takes_texts and not any(name in os.environ for name in _SIZES)
        queue, batch = _WITH_TEXTS if is_smaller else (None, None)
        processor = BatchSpanProcessor(self._exporter, max_queue_size=queue, max_export_batch_size=batch)
        self._provider.add_span_processor(processor)
        # Not the tracer of the whole process: Chainlit brings packages that would send their own spans with it.
        hooks.use(OpenTelemetrySpans(self._provider.get_tracer(_NAME, version(_NAME)), takes_texts=takes_texts))

    async def close(self) -> None:
        """Send what is left, for two seconds at most."""
        hooks.use(None)
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.force_flush()
            # Sent too late, when the loop has ended, it is nobody's news.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(sent.set)

        # The time-out that the provider takes is not kept. Nothing waits for a daemon when the process ends.
        threading.Thread(target=send, name="send-last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await sent.wait()
        except TimeoutError:
            self._exporter.shutdown()


class _ToldOnce(SpanExporter):
    """Another exporter, of which the log says when it begins to fail and when it ends to.

    The reason is in the log lines of the exporter, which are heard here and go no further.
    """

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter, self._lost, self._reason = exporter, 0, "no reason is given"
        logging.getLogger(_EXPORTER).addFilter(self._hear)
        logging.getLogger(_QUEUE).addFilter(_is_not_of_full_queue)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                logger.warning("the collector %s takes no traces, which are dropped: %s", collector(), self._reason)
            self._lost += len(spans)
        elif self._lost:
            logger.warning("the collector %s takes traces again; spans that were dropped: %d", collector(), self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _hear(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            self._reason = record.getMessage()
        return False


def _is_not_of_full_queue(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Queue full")


def _resource() -> Resource:
    found = Resource.create({"service.version": version(_NAME)})
    if str(found.attributes.get(SERVICE_NAME, _UNKNOWN)).startswith(_UNKNOWN):
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name none.
        found = found.merge(Resource({SERVICE_NAME: _NAME}))
    return found
