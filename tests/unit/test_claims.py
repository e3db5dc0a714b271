"""A turn whose claim the database does not store in time, and one that another process stops."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

import datalayer
from tests.support.patience import until
from tests.support.records import new_id
from threadkeeper.conversation import claims
from threadkeeper.conversation.claims import Claims
from threadkeeper.conversation.turn_order import Turns


class Page:
    """A session of a thread."""

    thread_id: str


async def test_a_claim_that_comes_too_late_for_its_turn_holds_up_no_other(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 600.0)
    path = shutil.copyfile(migrated_sqlite, tmp_path / "chat.db")
    layer, thread_id = datalayer.create_data_layer(f"sqlite:///{path}"), new_id()
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        held = Claims(layer)
        async with held.turn(thread_id, waits=True):
            assert "a turn runs without a claim: no answer" in caplog.text
        other.execute("COMMIT")
        # The claim is stored first, because it was called first.
        await until(lambda: layer.claim_turn(thread_id, new_id(), 60))
        held.stop()
    finally:
        other.close()
        await layer.close()


async def test_a_turn_is_stopped_by_another_process(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_KEEP_EVERY_SECONDS", 0.05)
    url = f"sqlite:///{shutil.copyfile(migrated_sqlite, tmp_path / 'chat.db')}"
    layer, other = datalayer.create_data_layer(url), datalayer.create_data_layer(url)
    thread_id, held, cancels = new_id(), Claims(layer), 0
    await layer.update_thread(thread_id, name="x")

    async def turn() -> None:
        nonlocal cancels
        async with held.turn(thread_id, waits=True):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1
                # It stores its text so far, and is not disturbed by the next looks.
                await asyncio.wait([asyncio.create_task(other.ping()), asyncio.create_task(asyncio.sleep(0.3))])
                raise

    running = asyncio.create_task(turn())
    await until(lambda: held._held)
    behind, turns, page = asyncio.create_task(turn()), Turns(held), Page()
    page.thread_id = thread_id
    turns.of(page).running.append(behind)  # type: ignore[arg-type]
    await until(lambda: held.is_waiting(behind))
    assert turns.stop_answering(thread_id) == [], "a question that waits is answered"
    behind.cancel()
    await asyncio.wait([behind])
    assert not held.is_waiting(behind)
    holder = await until(lambda: other.stop_turn(thread_id))
    await asyncio.wait([running])
    assert (running.cancelled(), cancels) == (True, 1)

    async def is_released() -> bool:
        return await other.stop_turn(thread_id, holder) is None

    await until(is_released)
    held.stop()
    for one in (layer, other):
        await one.close()
