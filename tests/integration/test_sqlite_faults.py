"""A full disk under SQLite, or a file locked by another process, while fifty writers write."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datalayer import StorageUnavailable, create_data_layer
from tests.support import full_disk
from tests.support.many_writers import ManyWriters
from tests.support.records import new_id, step
from tests.support.server import ROOT

pytestmark = pytest.mark.slow

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA busy_timeout=30000")
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    (tmp_path / "chat.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'chat.db'}"


@contextlib.asynccontextmanager
async def held_by_another_process(url: str) -> AsyncIterator[None]:
    """Within the block, another process holds a write lock on the file."""
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD, urlsplit(url).path, stdin=pipe, stdout=pipe
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


async def test_a_full_disk_loses_no_acknowledged_write_and_reports_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    what, command = full_disk.command(folder)
    program = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    *_, line, numbers = output.decode().splitlines()
    print(f"{what}: {line}")
    counts = json.loads(numbers)
    assert counts["lost"] == counts["older"] == counts["half"] == counts["disordered"] == 0
    assert counts["failures"]["StorageUnavailable"]


async def test_a_lock_shorter_than_the_patience_loses_no_write(sqlite_url: str) -> None:
    layer, witness = create_data_layer(sqlite_url), create_data_layer(sqlite_url)
    writers = ManyWriters(layer)
    async with writers.writing():
        for _ in range(2):
            await writers.more_acknowledged(200)
            async with held_by_another_process(sqlite_url):
                stored = writers.acknowledged
                await asyncio.sleep(1.5)
                # A batch can have been in progress; after it, nothing is written.
                assert writers.acknowledged <= stored + 400
                await witness.ping()
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.failures.total() == 0
    await layer.close()
    await witness.close()


async def test_a_lock_longer_than_the_patience_is_reported(sqlite_url: str) -> None:
    layer, witness = create_data_layer(sqlite_url, patience_seconds=0.5), create_data_layer(sqlite_url)
    writers = ManyWriters(layer)
    async with writers.writing():
        await writers.more_acknowledged(200)
        async with held_by_another_process(sqlite_url):
            with pytest.raises(StorageUnavailable):
                await layer.create_step(step(new_id()))
        await writers.more_acknowledged(200)
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.reasons == {"StorageUnavailable"}
    await layer.close()
    await witness.close()
