"""Background tasks of the conversations, the window of a model, and the warm-up."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.context import tokens
from threadkeeper.chat.context.tokens import DEFAULT_WINDOW, context_window
from threadkeeper.chat.model import Model
from threadkeeper.conversation.background import BackgroundTasks
from threadkeeper.conversation.claims import Claims
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.turn import Answering
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.settings.settings import Settings


class LoadedModel:
    """A model that has nothing to load."""

    def __init__(self, *, demo: bool = False) -> None:
        self.demo = demo

    async def load(self) -> None:
        pass


@pytest.fixture
def layer(tmp_path: Path) -> ChainlitLayer:
    return datalayer.create_data_layer(f"sqlite:///{tmp_path}/chat.db")


async def test_the_log_has_the_failure_of_a_background_task(caplog: pytest.LogCaptureFixture) -> None:
    async def write_title() -> None:
        raise RuntimeError("no title")

    async def wait() -> None:
        await asyncio.Event().wait()

    tasks = BackgroundTasks()
    for work in (write_title, wait):
        tasks.start(work())
    while len(tasks.running()) > 1:
        await asyncio.sleep(0)
    (waiting,) = tasks.running()
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0)
    assert tasks.running() == []
    (record,) = caplog.records
    assert (record.levelno, record.exc_info[1].args if record.exc_info and record.exc_info[1] else None) == (
        logging.ERROR,
        ("no title",),
    )
    assert "write_title failed" in record.getMessage()


@pytest.mark.parametrize("demo", [True, False])
def test_a_configured_window_replaces_the_known_one(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, demo: bool
) -> None:
    def answering(**settings: Any) -> Answering:
        model = cast(Model, LoadedModel(demo=demo))
        return Answering(layer, model, Settings(**settings), Turns(Claims(layer)), BackgroundTasks())

    assert answering().window_of("gpt-4o-mini") == (DEFAULT_WINDOW if demo else context_window("gpt-4o-mini"))
    looked_up: list[str] = []
    monkeypatch.setattr(tokens, "context_window", looked_up.append)
    assert answering(openai_context_tokens=100).window_of("gpt-4o-mini") == 100
    assert looked_up == []


class Cycle:
    """An object that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def unfrozen() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("unfrozen")
@pytest.mark.slow
async def test_the_warm_up_frees_garbage_before_it_freezes_the_rest(layer: ChainlitLayer) -> None:
    garbage = weakref.ref(Cycle())
    assert garbage() is not None
    await Conversations(layer, cast(Model, LoadedModel()), Settings())._warm_up()
    assert gc.get_freeze_count() > 0
    assert garbage() is None
