"""Tracing: what it costs while it is off, what is a mistake in its settings, and that it never loses a row."""

import json
import subprocess
import sys
from typing import Any
from unittest.mock import MagicMock

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from datalayer.records.usage import LlmCall, LlmCallPayload
from threadkeeper.chat.metering.keeping import CallKeeper
from threadkeeper.factories import open_telemetry
from threadkeeper.logs import Redaction
from threadkeeper.settings.settings import Settings, SettingsError
from threadkeeper.tracing import environment, export, hooks
from threadkeeper.tracing.hooks import CallFacts
from threadkeeper.tracing.spans import MOST_CHARACTERS, OpenTelemetrySpans

PROGRAM = """
import sys
import threadkeeper.chat.metering.metered_model, threadkeeper.web.traced
from threadkeeper.tracing import environment, hooks
with hooks.answer("thread"), hooks.retrieval("assistant", None, "?") as note, hooks.request("GET", "/", ()) as noted:
    note(1), noted(200, None), hooks.note_failure("server"), hooks.note_assistant("a", 1)
with hooks.continued("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    assert hooks.traceparent() is None
print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))
"""


def test_without_the_setting_nothing_of_opentelemetry_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_setting_nothing_is_opened() -> None:
    assert open_telemetry(Settings(telemetry=False)) is None


def test_missing_packages_are_a_mistake_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None if name.endswith(".http") else object())
    with pytest.raises(SettingsError, match=r"install threadkeeper\[telemetry\]\.$"):
        open_telemetry(Settings(telemetry=True))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must be an address"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must be an address"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://:43x8", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be an address"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size must be a positive integer"),
    ],
)
def test_unusable_standard_variables_are_mistakes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=says):
        open_telemetry(Settings(telemetry=True))


def test_what_authorizes_at_the_collector_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20dXNlcjpwdw==,api-key=s3cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:pw@collector:4318")
    assert {"dXNlcjpwdw==", "s3cret", "pw"} <= {*environment.collector_secrets()}
    assert environment.collector() == "collector:4318"


@pytest.mark.parametrize(
    ("name", "endpoint", "url", "shown"),
    [
        ("ENDPOINT", "http://collector/s3cret/", "/s3cret/v1/traces", "/********/v1/traces"),
        ("ENDPOINT", "http://collector/?key=a%2Fb", "/v1/traces?key=a%2Fb", "/v1/traces?********"),
        ("TRACES_ENDPOINT", "http://collector/in/0a1b-c/v1/traces?k=v", "/in/0a1b-c/v1/traces?k=v", None),
        ("ENDPOINT", "http://collector/onlyletterstoken", "/onlyletterstoken/v1/traces", "/********/v1/traces"),
        # Plain words are no secrets; without them the reason says little.
        ("ENDPOINT", "http://collector/api/public/otel", "/api/public/otel/v1/traces", "/api/public/otel/v1/traces"),
        ("TRACES_ENDPOINT", "http://collector/v1/traces", "/v1/traces", "/v1/traces"),
        ("ENDPOINT", "http://a-token@collector", "http://a-token@collector", "http://********@collector"),
        ("ENDPOINT", "http://[collector/token", "http://[collector/token", "********"),
    ],
)
def test_what_the_url_of_the_collector_has_of_secrets_is_masked(
    monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str, url: str, shown: str | None
) -> None:
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", endpoint)
    redact = Redaction(environment.collector_secrets())
    expected = shown or "/********/v1/traces?********"
    said = "reason: HTTPConnectionPool(host='collector', port=80): Max retries exceeded with url: {} (Caused by …)"
    assert redact(said.format(url)) == said.format(expected)


def long_texts(most: int) -> tuple[LlmCall, LlmCallPayload]:
    row = LlmCall("call", "chat", "echo", "2026-01-01T00:00:00.000000Z")
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s" * most},
        *({"role": "user", "content": ""} for _ in range(most)),
        {"role": "assistant", "content": [{"type": "text", "text": "b" * most}, {"type": "picture", "bytes": 9}]},
        {"role": "user", "content": "newest"},
    ]
    return row, LlmCallPayload("call", messages, "a" * most)


def test_texts_in_spans_have_a_bounded_length() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    spans = OpenTelemetrySpans(provider.get_tracer("tests"), takes_texts=True)
    row, payload = long_texts(2 * MOST_CHARACTERS)
    spans.call(row, CallFacts(), payload)
    with spans.retrieval("assistant", None, "q" * 2 * MOST_CHARACTERS):
        pass
    call, search = kept.get_finished_spans()
    said = dict(call.attributes or {})
    asked, answered = (str(said[f"gen_ai.{name}.messages"]) for name in ("input", "output"))
    assert max(len(asked), len(answered)) <= MOST_CHARACTERS + 200
    assert [one["role"] for one in json.loads(asked)] == ["assistant", "user"]
    assert json.loads(asked)[-1]["parts"] == [{"type": "text", "content": "newest"}]
    (part,) = json.loads(answered)[0]["parts"]
    assert part["content"].endswith("a…")
    assert len(str(dict(search.attributes or {})["gen_ai.retrieval.query.text"])) == MOST_CHARACTERS


@pytest.mark.parametrize(
    ("takes_texts", "variable", "sizes"),
    [(True, None, (512, 128)), (False, None, (None, None)), (True, "OTEL_BSP_MAX_QUEUE_SIZE", (None, None))],
)
def test_fewer_spans_wait_if_they_have_texts(
    monkeypatch: pytest.MonkeyPatch, takes_texts: bool, variable: str | None, sizes: tuple[int | None, int | None]
) -> None:
    made = list[Any]()

    def processor(_exporter: object, **values: Any) -> MagicMock:
        made.append((values["max_queue_size"], values["max_export_batch_size"]))
        return MagicMock()

    monkeypatch.setattr(hooks._Used, "spans", None)
    monkeypatch.setattr(export, "OTLPSpanExporter", MagicMock())
    monkeypatch.setattr(export, "BatchSpanProcessor", processor)
    if variable:
        monkeypatch.setenv(variable, "100")
    export.Exporting(takes_texts=takes_texts)
    assert made == [sizes]


class _Rows:
    def __init__(self) -> None:
        self.kept: list[tuple[LlmCall, LlmCallPayload | None]] = []

    async def record_call(self, call: LlmCall, payload: LlmCallPayload | None = None) -> None:
        self.kept.append((call, payload))

    async def list_prices(self) -> list[Any]:
        return []

    async def extend(self, call_id: str, *, seconds: float) -> None: ...

    async def release(self, call_id: str) -> None: ...


class _Broken:
    takes_texts = True

    def call(self, *_: object) -> None:
        raise RuntimeError("no span")


@pytest.mark.parametrize("keep_payloads", [True, False])
async def test_a_row_is_stored_whatever_becomes_of_its_span(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, keep_payloads: bool
) -> None:
    monkeypatch.setattr(hooks._Used, "spans", _Broken())
    rows, row = _Rows(), LlmCall("call", "chat", "echo", "2026-01-01T00:00:00.000000Z")
    payload = LlmCallPayload("call", [], "answer")
    keeper = CallKeeper(rows, keep_payloads=keep_payloads)
    await keeper.keep([row], lambda _: payload, CallFacts(), has_reserved=False)
    assert rows.kept == [(row, payload if keep_payloads else None)]
    assert "the spans of a model call are not made" in caplog.text

    def unreadable(_: LlmCall) -> LlmCallPayload:
        raise ValueError("unreadable")

    await keeper.keep([row], unreadable, CallFacts(), has_reserved=False)
    assert rows.kept[1:] == [(row, None)]
