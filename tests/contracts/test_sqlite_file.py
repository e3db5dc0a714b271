"""The file of SQLite: only its owner can read it, and it contains no deleted words."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from tests.support.records import step, thread, user_id

SECRET = "zanzibarophone"


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    copy = tmp_path / "threadkeeper.db"
    copy.write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{copy}"


@pytest.mark.parametrize("what", ["thread", "thread with a receipt", "user", "step", "cut"])
async def test_the_file_does_not_contain_deleted_words(layer: ChainlitLayer, tmp_path: Path, what: str) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    first, second = step(thread_id, output="what stays"), step(thread_id, output=f"first {SECRET} last")
    for one in (first, second):
        await layer.create_step(one)
        # Separate writes, so that the index gets several parts.
        await layer.search_indexer.finish()
    assert SECRET.encode() in await everything(layer, tmp_path)
    match what:
        case "thread":
            await layer.delete_thread(thread_id)
        case "thread with a receipt":
            await layer.delete_thread_with_receipt(thread_id)
        case "user":
            await layer.delete_user("alice")
        case "step":
            await layer.delete_step(second["id"])
        case _:
            await layer.cut_thread(thread_id, first["id"], keep=set())
    # Earlier versions of messages are kept for reviewers until retention deletes them.
    await layer.apply_retention({"payloads": utc_now()})
    await layer.search_indexer.finish()
    assert SECRET[:6].encode() not in await everything(layer, tmp_path)


async def everything(layer: ChainlitLayer, folder: Path) -> bytes:
    async with layer.database.read() as connection:
        await connection.commit()
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
        words = (await connection.execute(text("SELECT block FROM search_words_data"))).scalars().all()
    return (folder / "threadkeeper.db").read_bytes() + b"".join(words)


async def test_only_its_owner_can_read_a_new_file(tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path}/new.db")
    await layer.migrate()
    files = list(tmp_path.glob("new.db*"))
    assert {file.name for file in files} == {"new.db", "new.db-wal", "new.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await layer.close()
