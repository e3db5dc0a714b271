"""What the finish_reasons of servers mean: a whole answer, one that is too long, filtered or failed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest

from tests.unit.test_answer import Sink
from tests.unit.test_model import request_for
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.model import AnswerEvent, Delta, Finish, Model, ModelRequest, Thought
from threadkeeper.chat.providers.openai_answers import StreamReading


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("max_tokens", "length"),
        ("LENGTH", "length"),
        ("sensitive", "filtered"),
        ("SAFETY", "filtered"),
        ("eos", "complete"),
        ("content_filter: PROHIBITED_CONTENT", "filtered"),
        ("FinishReason.MAX_TOKENS", "length"),
        ("FinishReason.STOP", "complete"),
        ("refusal", "filtered"),
        ("guardrail_intervened", "filtered"),
        ("model_context_window_exceeded", "length"),
        ("ERROR_LIMIT", "length"),
        ("COMPLETE", "complete"),
    ],
)
async def test_finish_reasons_of_other_servers_have_a_status(reason: str, status: str) -> None:
    reading = StreamReading("")
    reading.feed(f'data: {{"choices": [{{"delta": {{"content": "a"}}, "finish_reason": "{reason}"}}]}}\n\n'.encode())
    reading.end()
    assert reading.failure is None
    outcome = Outcome(finish=reading.finish())
    outcome.add(Delta("a"))
    assert (outcome.finish and outcome.finish.reason, outcome.status) == (reason, status)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "model_length", "FinishReason.MAX_TOKENS"])
async def test_thought_that_used_the_limit_up_is_told_whatever_the_server_calls_it(
    model: Model, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    async def think(_request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        yield Thought("Hm.")
        yield Finish(reason, None, None)

    monkeypatch.setattr(model, "stream", think)
    outcome = await stream_answer(model, request_for("any"), Sink())
    assert outcome.error is not None
    assert outcome.error.kind == "thought_limit"


@pytest.mark.parametrize(("reason", "kind"), [({"type": "stop"}, None), ({"type": "abort", "message": "x"}, "server")])
def test_a_finish_reason_can_be_an_object(reason: dict[str, str], kind: str | None) -> None:
    """As SGLang writes it on some of its ways."""
    reading = StreamReading("")
    reading.feed(
        f"data: {json.dumps({'choices': [{'delta': {'content': 'a'}, 'finish_reason': reason}]})}\n\n".encode()
    )
    reading.end()
    assert (reading.failure and reading.failure.kind) == kind
