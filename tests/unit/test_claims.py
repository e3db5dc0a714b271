"""A turn whose claim the database does not store in time."""

import shutil
import sqlite3
from pathlib import Path

import pytest

import datalayer
from tests.support.patience import until
from tests.support.records import new_id
from threadkeeper.conversation import claims
from threadkeeper.conversation.claims import Claims


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
