"""A collector of OpenTelemetry for tests: takes traces by OTLP over HTTP, and decodes them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

SERVER, CLIENT, INTERNAL = 2, 3, 1
"""Kinds of spans, as the protocol counts them."""
_ERROR = 2


@dataclass(frozen=True)
class Collected:
    """One span. Ids are in hexadecimal; times are nanoseconds since 1970."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    begins: int
    ends: int
    attributes: dict[str, Any]
    has_failed: bool
    error: str
    resource: dict[str, Any]


@dataclass
class Collector:
    """Runs in threads until the end of the `with` block. `status`: with what it answers."""

    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                if collector.status == 200:
                    assert self.path == "/v1/traces"
                    collector.bodies.append(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spans(self) -> list[Collected]:
        """All spans so far, in the order in which they began."""
        found: list[Collected] = []
        for body in list(self.bodies):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _attributes(of_resource.resource.attributes)
                found += [_span(span, resource) for scope in of_resource.scope_spans for span in scope.spans]
        return sorted(found, key=lambda one: one.begins)

    def of_thread(self, thread_id: str) -> list[Collected]:
        """The spans of the traces in which this thread is answered."""
        traces = {one.trace_id for one in self.spans if one.attributes.get("gen_ai.conversation.id") == thread_id}
        return [one for one in self.spans if one.trace_id in traces]


def _span(span: Any, resource: dict[str, Any]) -> Collected:
    return Collected(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        span.status.code == _ERROR,
        span.status.message,
        resource,
    )


def _attributes(pairs: Sequence[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
