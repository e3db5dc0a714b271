"""Tracing: what it costs while it is off, what is a mistake in its settings, and that it never loses a row."""

import subprocess
import sys
from typing import Any

import pytest

from datalayer.records.usage import LlmCall, LlmCallPayload
from threadkeeper.chat.metering.keeping import CallKeeper
from threadkeeper.factories import open_telemetry
from threadkeeper.settings.settings import Settings, SettingsError
from threadkeeper.tracing import environment, hooks
from threadkeeper.tracing.hooks import CallFacts

PROGRAM = """
import sys
import threadkeeper.chat.metering.metered_model, threadkeeper.web.traced
from threadkeeper.tracing import environment, hooks
with hooks.answer("thread"), hooks.retrieval("assistant", None, "?") as note, hooks.request("GET", "/", ()) as noted:
    note(1), noted(200, None), hooks.note_failure("server"), hooks.note_assistant("a", 1)
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
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must start with http://"),
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
    assert {"dXNlcjpwdw==", "s3cret"} <= {*environment.header_secrets()}
    assert environment.collector() == "collector:4318"


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
