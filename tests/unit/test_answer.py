"""One answer from the scripted server to a sink that records its calls."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.model_server import ModelServer
from tests.support.patience import PATIENCE_SECONDS
from threadkeeper.chat import pacing
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.model import Model, ModelRequest


class Sink:
    """Records every call with its time. `release` can delay `keep`."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.times: list[float] = []
        self.kept: list[str] = []
        self.thought = ""
        self.kept_thoughts: list[str] = []
        self.taken_back: list[str] = []
        self.keeping = 0
        self.most_at_once = 0
        self.changed = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.cancelled = False

    async def show(self, text: str) -> None:
        self.shown.append(text)
        self.times.append(time.perf_counter())
        self.changed.set()

    async def keep(self, text: str, thought: str) -> None:
        self.keeping += 1
        self.changed.set()
        self.most_at_once = max(self.most_at_once, self.keeping)
        try:
            await self.release.wait()
            self.kept.append(text)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.keeping -= 1
        self.changed.set()

    async def show_thought(self, text: str) -> None:
        self.thought += text
        self.changed.set()

    async def keep_thought(self, thought: str) -> None:
        self.kept_thoughts.append(thought)

    async def take_back(self, thought: str) -> None:
        self.taken_back.append("".join(self.shown))
        self.shown.clear()
        self.thought = thought
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def text(self) -> str:
        return "".join(self.shown)


def asking(name: str) -> ModelRequest:
    return ModelRequest([{"role": "user", "content": "Hello there"}], name)


def words(count: int) -> str:
    return "".join(f"word-{number} " for number in range(1, count + 1))


async def test_everything_is_shown_once_and_in_order(model: Model) -> None:
    sink = Sink()
    outcome = await stream_answer(model, asking("slow:60:0.002"), sink)
    assert sink.text == outcome.text == words(60)
    assert outcome.status == "complete"
    assert outcome.error is None
    assert outcome.finish is not None
    assert outcome.first_token_seconds is not None
    assert 0 < outcome.first_token_seconds < outcome.seconds


async def test_the_first_text_is_shown_at_once_and_the_rest_in_batches(model: Model) -> None:
    sink = Sink()
    gather = 0.1
    outcome = await stream_answer(model, asking("slow:150:0.004"), sink, gather_seconds=gather)
    assert sink.shown[0] == "word-1 "
    gaps = [later - earlier for earlier, later in pairwise(sink.times)]
    # The last batch can be early, because it is the rest at the end.
    assert min(gaps[:-1]) >= 0.9 * gather
    assert len(sink.shown) <= outcome.seconds / gather + 2


async def test_gathered_text_is_shown_while_the_model_pauses(model: Model) -> None:
    sink = Sink()
    answering = asyncio.create_task(stream_answer(model, asking("hang:40"), sink))
    await sink.until(lambda: sink.text == words(40))
    assert not answering.done()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering


async def test_the_answer_is_stored_at_its_first_token_and_while_it_grows(model: Model) -> None:
    sink = Sink()
    outcome = await stream_answer(model, asking("slow:100:0.005"), sink, keep_seconds=0.1)
    assert sink.kept[0] == "word-1 "
    assert 3 <= len(sink.kept) <= outcome.seconds / 0.1 + 1
    for earlier, later in pairwise(sink.kept):
        assert later.startswith(earlier)
        assert len(later) > len(earlier)
    assert sink.most_at_once == 1


async def test_a_slow_store_does_not_delay_the_stream(model: Model) -> None:
    sink = Sink()
    sink.release.clear()
    answering = asyncio.create_task(stream_answer(model, asking("slow:30:0.002"), sink, keep_seconds=0.01))
    await sink.until(lambda: sink.text == words(30))
    assert sink.keeping == sink.most_at_once == 1
    sink.release.set()
    await answering
    assert sink.keeping == 0
    assert sink.kept


async def test_no_store_call_is_left_running(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_GRACE_SECONDS", 0.05)
    sink = Sink()
    sink.release.clear()
    outcome = await stream_answer(model, asking("echo"), sink)
    assert outcome.status == "complete"
    assert sink.cancelled
    assert sink.keeping == 0


async def test_a_failing_store_or_browser_does_not_end_the_answer(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Sink):
        async def show(self, text: str) -> None:
            await super().show(text)
            raise ConnectionError("the browser has disconnected")

        async def keep(self, text: str, thought: str) -> None:
            raise OSError("the disk is full")

    sink = Failing()
    with caplog.at_level(logging.ERROR):
        outcome = await stream_answer(model, asking("slow:20:0.005"), sink, thread_id="thread-7")
    assert outcome.status == "complete"
    assert outcome.text == sink.text == words(20)
    assert "storing the answer in thread thread-7 failed" in caplog.text
    assert "showing the answer in thread thread-7 failed" in caplog.text
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("name", "kind", "status", "text"),
    [
        ("cut:5", "cut", "cut", words(5)),
        ("error:5", "server", "cut", words(5)),
        ("401", "auth", "error", ""),
        ("empty", "empty", "error", ""),
    ],
)
async def test_the_outcome_of_an_error_contains_the_text_so_far(
    model: Model, caplog: pytest.LogCaptureFixture, name: str, kind: str, status: str, text: str
) -> None:
    sink = Sink()
    outcome = await stream_answer(model, asking(name), sink, thread_id="thread-7")
    assert outcome.error is not None
    assert outcome.error.kind == kind
    assert outcome.status == status
    assert outcome.text == sink.text == text
    assert "thread thread-7" in caplog.text


@pytest.mark.parametrize(("name", "status"), [("length", "length"), ("filtered", "filtered")])
async def test_an_answer_ended_by_the_server_has_its_status(model: Model, name: str, status: str) -> None:
    assert (await stream_answer(model, asking(name), Sink())).status == status


async def test_stop_shows_the_text_so_far_and_ends_the_request(model_server: ModelServer, model: Model) -> None:
    sink, outcome = Sink(), Outcome()
    answering = asyncio.create_task(
        stream_answer(model, asking("slow:2000:0.002"), sink, outcome=outcome, gather_seconds=3600)
    )
    await sink.until(lambda: bool(sink.shown))
    while len(outcome.text) < 100:
        await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert len(sink.shown) == 2
    assert sink.text == outcome.text
    assert words(2000).startswith(outcome.text)
    assert outcome.status == "stopped"
    async with asyncio.timeout(PATIENCE_SECONDS):
        await model_server.client_left()


async def test_repeated_stops_wait_for_the_current_store_call(model: Model) -> None:
    sink, outcome = Sink(), Outcome()
    sink.release.clear()
    answering = asyncio.create_task(stream_answer(model, asking("slow:2000:0.002"), sink, outcome=outcome))
    await sink.until(lambda: sink.keeping == 1 and bool(sink.shown))
    for _ in range(3):
        answering.cancel()
        await asyncio.sleep(0)
    assert not answering.done()
    sink.release.set()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert (sink.keeping, sink.cancelled, len(sink.kept)) == (0, False, 1)
    assert sink.text == outcome.text


async def test_stop_before_the_first_token_shows_nothing(model: Model) -> None:
    sink, outcome = Sink(), Outcome()
    answering = asyncio.create_task(stream_answer(model, asking("hang"), sink, outcome=outcome))
    await asyncio.sleep(0.05)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert (sink.shown, sink.kept, outcome.text, outcome.status) == ([], [], "", "stopped")


@pytest.mark.parametrize("shape", ["think", "reasoning_content", "openrouter", "mistral"])
async def test_thought_is_shown_beside_the_answer(model: Model, shape: str) -> None:
    sink = Sink()
    outcome = await stream_answer(model, asking(f"think:{shape}"), sink)
    assert (outcome.thought.strip(), outcome.text) == ("Pondering Hello there", "You said: Hello there")
    assert (sink.thought, sink.text) == (outcome.thought, outcome.text)
    assert sink.taken_back == []
    assert sink.kept_thoughts == [], "a short thought is stored once, with the answer"
    assert outcome.status == "complete"


@pytest.mark.parametrize("shape", ["closing", "closing-inline"])
async def test_text_that_turns_out_to_be_thought_is_taken_back(model: Model, shape: str) -> None:
    sink = Sink()
    outcome = await stream_answer(model, asking(f"think:{shape}:0.01"), sink, gather_seconds=0.01)
    assert (outcome.thought.strip().rstrip("."), outcome.text) == ("Pondering Hello there", "You said: Hello there")
    assert (sink.thought, sink.text) == (outcome.thought, outcome.text)
    assert len(sink.taken_back) == 1
    assert sink.taken_back[0].startswith("Pond")


async def test_a_long_thought_is_stored_while_it_grows(model: Model) -> None:
    sink = Sink()
    await stream_answer(model, asking("think:think:0.02"), sink, keep_seconds=0.1)
    assert len(sink.kept_thoughts) >= 1
    assert all("Pondering Hello there\n".startswith(kept) for kept in sink.kept_thoughts)
    assert sink.kept[-1].startswith("You")


@pytest.mark.parametrize(
    ("name", "kind", "log"),
    [
        ("think-limit:reasoning", "thought_limit", "MAX_TOKENS of this answer: 300"),
        ("think-limit:unclosed", "thought_limit", "MAX_TOKENS of this answer: 300"),
        ("think-limit:anthropic", "thought_limit", "MAX_TOKENS of this answer: 300"),
        ("think-only:think", "thought_only", "only thought"),
    ],
)
async def test_an_answer_that_is_only_thought_is_an_error(
    model: Model, caplog: pytest.LogCaptureFixture, name: str, kind: str, log: str
) -> None:
    sink = Sink()
    outcome = await stream_answer(model, replace(asking(name), max_tokens=300), sink)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.status, outcome.text) == (kind, "error", "")
    assert sink.thought.strip() == outcome.thought.strip() == "Pondering Hello there"
    assert log in caplog.text
