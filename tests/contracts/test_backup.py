"""A backup made while others write is restored whole, into an empty place."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from datalayer import create_data_layer
from datalayer.backup.backup import Backup, BackupReport
from datalayer.backup.manifest import MANIFEST, POSTGRES_DUMP, SQLITE_COPY, UNFINISHED
from datalayer.backup.restore import Restoration, RestoreReport
from datalayer.blobs import LocalBlobs, copying
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.database import Database, dialect_of
from datalayer.errors import BackupError, BlobError
from datalayer.files.verify import FileCheck
from datalayer.history.elements import MISSING_SINCE
from tests.contracts.test_erasure import ids, talk
from tests.support.dumps import run_command
from tests.support.knowledge import source
from tests.support.patience import until
from tests.support.postgres import Databases
from tests.support.records import user_id

pytestmark = pytest.mark.without_pooler  # pg_dump needs a connection to the server itself


@dataclass
class Place:
    """An empty place to restore into."""

    url: str
    file: Path | None
    blobs: LocalBlobs

    async def restore(self, folder: Path, failed: Callable[[str, str], None] = lambda *_: None) -> RestoreReport:
        return await Restoration(folder, self.url, self.blobs, self.file, failed=failed).run()

    async def restored(self) -> ChainlitLayer:
        return create_data_layer(self.url, f"file://{self.blobs.folder}")


@pytest.fixture
async def place(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    blobs = LocalBlobs(tmp_path / "restored-blobs")
    if engine == "sqlite":
        file = tmp_path / "restored.db"
        yield Place(f"sqlite:///{file}", file, blobs)
        return
    databases: Databases = request.getfixturevalue("postgres")
    url = databases.create()
    yield Place(url, None, blobs)
    databases.drop(url)


def dump(url: str, folder: Path) -> None:
    """Write the dump of a Postgres database, and of none other."""
    if url.startswith("postgresql"):
        run_command(dialect_of(url).dump_commands(url, folder / POSTGRES_DUMP)[0], url)


def restore_dump(url: str, folder: Path) -> None:
    if url.startswith("postgresql"):
        run_command(dialect_of(url).dump_commands(url, folder / POSTGRES_DUMP)[1], url)


async def back_up(layer: ChainlitLayer, url: str, folder: Path) -> BackupReport:
    """A whole backup, with the dump of Postgres."""
    report = await Backup(url, layer.blobs, folder).run()
    if not report.is_finished:
        await asyncio.to_thread(dump, url, folder)
        report = await Backup(url, layer.blobs, folder).run()
    return report


def leave_log(path: Path) -> None:
    """Write a log of another SQLite database there, as a process that was killed leaves it."""
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE of_another (id)")
        shutil.copyfile(f"{other}-wal", path)


async def gone(layer: ChainlitLayer, thread_id: str, key: str) -> None:
    """Delete a thread, and wait until its file is deleted."""
    await layer.delete_thread(thread_id)

    async def is_gone() -> bool:
        return key not in [blob.key async for blob in layer.blobs.list()]

    await until(is_gone)


async def check(layer: ChainlitLayer) -> None:
    """As `verify` and `files verify`."""
    assert (await FileCheck(layer.database, layer.blobs, grace_seconds=-60).run()).left == 0
    report = await layer.verify_usage()
    assert report.left == 0
    assert report.is_compared


async def test_a_backup_made_while_others_write_and_delete_is_restored_whole(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [await talk(layer, f"user{number}") for number in range(6)]
    is_done = asyncio.Event()
    deleted = 0
    held: list[str] = []

    async def write() -> None:
        nonlocal deleted
        made: list[tuple[str, str]] = before[4:]
        while not is_done.is_set():
            made.append(await talk(layer, "bob"))
            await layer.delete_thread(made.pop(0)[0])
            deleted += 1

    async def hold(name: str) -> None:
        """The first time, wait for more deletions than there are threads of this writer."""
        if name not in held:
            held.append(name)
            begun = deleted
            await until(lambda: writing.done() or deleted >= begun + 3)

    copying, listing = Backup._copy_all, Backup._list

    async def copy_slowly(self: Backup, database: Database) -> None:
        await copying(self, database)
        await hold("before the copy of the database")

    async def list_late(self: Backup, *databases: Database) -> None:
        await hold("after the copy of the database")
        await listing(self, *databases)

    monkeypatch.setattr(Backup, "_copy_all", copy_slowly)
    monkeypatch.setattr(Backup, "_list", list_late)
    writing = asyncio.create_task(write())
    try:
        report = await back_up(layer, database_url, tmp_path / "backup")
    finally:
        is_done.set()
        await writing
    assert report.is_finished
    assert (len(held), deleted >= 6) == (2, True)
    assert (report.missing, report.damaged, report.failed) == (0, 0, 0)
    restore_dump(place.url, tmp_path / "backup")
    assert (await place.restore(tmp_path / "backup")).is_finished
    restored = await place.restored()
    try:
        assert await restored.migrate() == []
        await check(restored)
        for thread_id, key in before[:4]:
            assert await restored.get_thread(thread_id) == await layer.get_thread(thread_id)
            assert await restored.blobs.read(key) == await layer.blobs.read(key)
    finally:
        await restored.close()


async def test_a_file_that_is_deleted_after_the_copy_of_the_database_does_no_harm(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    kept, _ = await talk(layer, "alice")
    made: list[tuple[str, str]] = []
    first = await Backup(database_url, layer.blobs, folder).run() if place.file is None else None
    made.append(await talk(layer, "bob"))
    await asyncio.to_thread(dump, database_url, folder)
    if first is not None:
        await gone(layer, *made[0])
        report = await Backup(database_url, layer.blobs, folder).run()
    else:
        listing = Backup._list
        copies = 0

        async def list_late(self: Backup, *databases: Database) -> None:
            nonlocal copies
            copies += 1
            if copies == 1:
                # Not copied by the first pass, and in the copy of the database.
                await LocalBlobs(folder / "files").delete(made[0][1])
                await gone(layer, *made[0])
            await listing(self, *databases)

        monkeypatch.setattr(Backup, "_list", list_late)
        report = await Backup(database_url, layer.blobs, folder).run()
        assert copies == 2, "the database is copied again"
    assert (report.is_finished, report.files, report.missing) == (True, 1, 0)
    restore_dump(place.url, folder)
    done = await place.restore(folder)
    assert (done.restored, done.marked) == (1, 0 if place.file else 1)
    restored = await place.restored()
    try:
        await check(restored)
        assert await restored.get_thread(kept) is not None
        old = await restored.get_thread(made[0][0])
        assert (old is None) == (place.file is not None)
        assert old is None or MISSING_SINCE in old["elements"][0]
    finally:
        await restored.close()


async def test_an_interrupted_backup_and_restoration_continue(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    made = [await talk(layer, f"user{number}") for number in range(4)]
    broken = {made[1][1], made[2][1]}
    opening, putting = LocalBlobs.open, LocalBlobs.put

    async def open_some(self: LocalBlobs, key: str, *rest: int) -> object:
        if self.folder == layer.blobs.folder and key in broken:  # type: ignore[attr-defined]
            raise BlobError("the store does not answer")
        return await opening(self, key, *rest)

    monkeypatch.setattr(copying, "_PAUSE_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "open", open_some)
        found: dict[str, str] = {}
        report = await Backup(database_url, layer.blobs, folder, found=found.__setitem__).run()
    assert (report.copied, report.failed, report.is_finished) == (2, 2, False)
    assert found == dict.fromkeys(broken, "the store does not answer")
    assert (folder / UNFINISHED).exists()
    with pytest.raises(BackupError, match="is not finished; run `threadkeeper backup` again"):
        await place.restore(folder)
    await asyncio.to_thread(dump, database_url, folder)
    report = await Backup(database_url, layer.blobs, folder).run()
    assert (report.copied, report.files, report.is_finished) == (2, 4, True)
    assert not (folder / UNFINISHED).exists()

    async def put_some(self: LocalBlobs, key: str, *rest: object, **options: object) -> object:
        if key in broken:
            raise BlobError("the store is full")
        return await putting(self, key, *rest, **options)  # type: ignore[arg-type]

    restore_dump(place.url, folder)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "put", put_some)
        failed: dict[str, str] = {}
        done = await place.restore(folder, failed.__setitem__)
    assert (done.restored, done.failed, done.is_finished) == (2, 2, False)
    assert failed == dict.fromkeys(broken, "the store is full")
    assert place.file is None or not place.file.exists(), "the database comes last"
    if place.file is not None:
        leave_log(place.file.with_name(f"{place.file.name}.part-wal"))
    done = await place.restore(folder)
    assert (done.there, done.restored, done.is_finished) == (2, 2, True)
    restored = await place.restored()
    try:
        await check(restored)
        assert await ids(restored) == await ids(layer)
    finally:
        await restored.close()


async def test_damage_is_found_and_a_used_place_is_refused(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place
) -> None:
    folder = tmp_path / "backup"
    _, key = await talk(layer, "alice")
    assert (await back_up(layer, database_url, folder)).is_finished
    refused = {
        folder: "holds a finished backup",
        tmp_path: "is not empty, and holds no backup",
        layer.blobs.folder / "backup": "is in the folder of the file store",  # type: ignore[attr-defined]
    }
    for used, words in refused.items():
        with pytest.raises(BackupError, match=words):
            await Backup(database_url, layer.blobs, used).run()
    with pytest.raises(BackupError, match=f"is not a backup: it has no {MANIFEST}"):
        await place.restore(tmp_path)
    database = folder / (POSTGRES_DUMP if place.file is None else SQLITE_COPY)
    whole = database.read_bytes()
    database.write_bytes(whole[:-1])
    with pytest.raises(BackupError, match="is damaged; nothing was restored"):
        await place.restore(folder)
    database.write_bytes(whole)
    restore_dump(place.url, folder)
    await place.blobs.put("somebody/elses", b"x", "text/plain")
    with pytest.raises(BackupError, match="has a file that is not of this backup"):
        await place.restore(folder)
    await place.blobs.delete("somebody/elses")
    copy = folder / "files" / key
    content = copy.read_bytes()
    copy.write_bytes(content.upper())
    failed: dict[str, str] = {}
    assert not (await place.restore(folder, failed.__setitem__)).is_finished
    assert list(failed) == [key]
    assert "differs from the manifest" in failed[key]
    assert [blob async for blob in place.blobs.list()] == []
    copy.write_bytes(content)
    if place.file is not None:
        for end in ("-wal", "-shm", "-journal", ""):
            used = place.file.with_name(place.file.name + end)
            used.touch()
            with pytest.raises(BackupError, match=f"{used} exists; a backup is restored into an empty place only"):
                await place.restore(folder)
            used.unlink()
    manifest = (folder / MANIFEST).read_bytes()
    # Cut within a line, cut after the first line, and not even text.
    for damaged in (manifest[:-20], manifest[: manifest.index(b"\n") + 1], b"\xe9" + manifest, b""):
        (folder / MANIFEST).write_bytes(damaged)
        with pytest.raises(BackupError, match=r"the manifest .* is damaged; nothing was restored"):
            await place.restore(folder)
        assert [blob async for blob in place.blobs.list()] == []
    (folder / MANIFEST).write_bytes(manifest)
    lines = manifest.decode().splitlines()
    assert json.loads(lines[1]) == {
        **json.loads(lines[1]),
        "key": key,
        "size": len(content),
        "name": "notes.txt",
        "mime": "text/plain",
    }
    header = json.loads(lines[0]) | {"engine": "another"}
    (folder / MANIFEST).write_text("\n".join([json.dumps(header), *lines[1:]]))
    with pytest.raises(BackupError, match="the backup is of another, and DATABASE_URL is of"):
        await place.restore(folder)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)  # SQLite: a file that exists is refused
async def test_only_a_whole_dump_is_taken_and_only_a_database_restored_from_it(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place
) -> None:
    async def refused(folder: Path, words: str, url: str = place.url) -> None:
        with pytest.raises(BackupError, match=words):
            await Restoration(folder, url, place.blobs, None).run()

    without_files, dumped = tmp_path / "without-files", tmp_path / "without-files" / POSTGRES_DUMP
    await user_id(layer, "alice")
    await Backup(database_url, layer.blobs, without_files).run()
    dumped.touch()
    with pytest.raises(BackupError, match="is not a dump of Postgres; delete it, and run `threadkeeper backup` again"):
        await Backup(database_url, layer.blobs, without_files).run()
    dumped.unlink()
    assert (await back_up(layer, database_url, without_files)).is_finished
    other = create_data_layer(place.url, f"file://{tmp_path / 'other-blobs'}")
    try:
        await other.migrate()
        await refused(without_files, "has tables, but not the rows of the backup")
        await talk(layer, "alice")
        await back_up(layer, database_url, tmp_path / "backup")
        await user_id(other, "admin")
        await refused(tmp_path / "backup", "has tables, but not the rows of the backup")
        await talk(other, "bob")
        await back_up(layer, database_url, tmp_path / "later")
        await refused(tmp_path / "later", "none of its rows names one of the backup's 1 files")
    finally:
        await other.close()
    thread_id, _ = await talk(layer, "bob")
    await refused(tmp_path / "later", "the database is in use: it has a row of 2", database_url)
    kept = await layer.get_thread(thread_id)
    assert kept is not None
    assert MISSING_SINCE not in kept["elements"][0]


async def test_files_that_the_store_lacks_or_that_differ_from_their_row_are_reported(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, place: Place
) -> None:
    (_, lost), (_, changed) = await talk(layer, "alice"), await talk(layer, "bob")
    known = str((await layer.put_source(source(), b"known")).object_key)
    for key in (lost, known):
        await layer.blobs.delete(key)
    await layer.blobs.put(changed, b"another", "text/plain")
    found: dict[str, str] = {}
    await Backup(database_url, layer.blobs, tmp_path / "backup").run()
    await asyncio.to_thread(dump, database_url, tmp_path / "backup")
    folder = tmp_path / ("backup" if place.file is None else "another")
    report = await Backup(database_url, layer.blobs, folder, found=found.__setitem__).run()
    assert (report.is_finished, report.missing, report.damaged, report.files) == (True, 2, 1, 1)
    assert "missing in the store" in found[known]
    assert "missing in the store" in found[lost]
    assert "differs from its row" in found[changed]
    restore_dump(place.url, folder)
    lacking: dict[str, str] = {}
    done = await place.restore(folder, lacking.__setitem__)
    assert (done.is_finished, done.failed, done.sources_without_file) == (True, 0, 1)
    assert "lacks the file of the data source" in lacking.pop(known)
    assert lacking == {}
