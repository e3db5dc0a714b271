"""The check of files finds every problem and repairs those that it can."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from datalayer.blobs import BlobStore, open_blob_store
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.files import verify
from datalayer.files.verify import FileCheck, FileProblem, FileReport
from datalayer.history.elements import MISSING_SINCE
from datalayer.schema.chat import blob_deletions, elements
from tests.contracts.test_elements import text_element
from tests.contracts.test_erasure import talk
from tests.support.blob_places import NetworkPlace, Place
from tests.support.knowledge import source
from tests.support.records import new_id


async def check(layer: ChainlitLayer, store: BlobStore | None = None, **options: Any) -> tuple[FileReport, set[Any]]:
    """The report, and kinds and keys of the problems; existing files count as old."""
    found: list[FileProblem] = []
    options = {"grace_seconds": -60.0, **options}
    report = await FileCheck(layer.database, store or layer.blobs, found=found.append, **options).run()
    assert len(found) == report.problems.total()
    return report, {(one.kind, one.key) for one in found}


async def change(layer: ChainlitLayer, key: str, **values: Any) -> None:
    async with layer.database.write() as connection:
        await connection.execute(update(elements).where(elements.c.objectKey == key).values(**values))


async def row(layer: ChainlitLayer, key: str) -> Any:
    async with layer.database.read() as connection:
        statement = select(elements).where(elements.c.objectKey == key)
        return (await connection.execute(statement)).mappings().one()


async def talks(layer: ChainlitLayer, number: int) -> list[str]:
    return [(await talk(layer, "alice"))[1] for _ in range(number)]


async def test_correct_files_have_no_problems(layer: ChainlitLayer) -> None:
    assert (await check(layer))[0].left == 0
    await talks(layer, 2)
    report, found = await check(layer)
    assert (found, report.left, report.rows, report.blobs, report.read_bytes) == (set(), 0, 2, 2, 2 * len(b"a file"))
    report, found = await check(layer, quick=True)
    assert (found, report.rows, report.read_bytes) == (set(), 2, 0)


@pytest.mark.parametrize("page", [1, 3, 200])
async def test_every_kind_of_problem_is_found_and_repaired_if_possible(
    layer: ChainlitLayer, any_place: Place, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_PAGE", page)
    layer._blobs = store = open_blob_store(any_place.url, any_place.options)
    missing, longer, other, nameless, fine = await talks(layer, 5)
    await store.delete(missing)
    await store.put(longer, b"a longer file", "text/plain")
    await store.put(other, b"A FILE", "text/plain")
    await change(layer, nameless, sha256=None, byteSize=None)
    orphan = f"{new_id()}/{new_id()}"
    await store.put(orphan, b"nobody's", "text/plain")
    await store.put(foreign := "bob@example.org/x/y", b"of another program", "text/plain")
    long_text = f"{new_id()}/text-{new_id()}-0011223344556677"
    await store.put(long_text, b"of a table of DynamoDB", "text/plain")
    wrong = {("missing", missing), ("size", longer), ("checksum", other), ("orphan", orphan)}

    report, found = await check(layer)
    assert found == wrong
    assert (report.left, report.rows, report.blobs, report.without_checksum) == (4, 5, 7, 1)
    assert (await check(layer, quick=True))[1] == wrong - {("checksum", other)}
    assert await store.read(orphan) == b"nobody's", "nothing is repaired unasked"
    assert (await row(layer, missing))["extra"] is None

    report, found = await check(layer, repair=True)
    assert found == wrong
    assert (report.left, report.checksums_added, dict(report.repaired)["orphan"], report.marked) == (3, 1, 1, 1)
    kept = await row(layer, missing)
    assert kept["extra"][MISSING_SINCE].endswith("Z")
    assert (await row(layer, nameless))["sha256"] == (await row(layer, fine))["sha256"]
    assert (await row(layer, nameless))["byteSize"] == len(b"a file")

    report, found = await check(layer)
    assert found == {("size", longer), ("checksum", other)}
    assert (report.known_missing, report.without_checksum, report.marked) == (1, 0, 0)

    for key in (missing, longer, other):
        await store.put(key, b"a file", "text/plain")
    report, found = await check(layer, repair=True)
    assert (found, report.found_again) == (set(), 1)
    assert await store.read(foreign) == b"of another program"
    assert await store.read(long_text) == b"of a table of DynamoDB"
    assert not (await row(layer, missing))["extra"]
    report, _ = await check(layer)
    assert (report.left, report.known_missing, report.found_again) == (0, 0, 0)


async def test_files_being_uploaded_or_deleted_are_no_problem(layer: ChainlitLayer) -> None:
    young, queued = f"{new_id()}/{new_id()}", f"{new_id()}/{new_id()}"
    await layer.blobs.put(young, b"its row comes", "text/plain")
    assert (await check(layer, repair=True, grace_seconds=3600.0))[1] == set()
    await layer.blobs.delete(young)
    await layer.blobs.put(queued, b"its row has gone", "text/plain")
    moment = "2026-01-01T00:00:00.000000Z"
    async with layer.database.write() as connection:
        await connection.execute(insert(blob_deletions).values(objectKey=queued, queuedAt=moment, dueAt=moment))
    assert (await check(layer, repair=True))[1] == set()
    assert await layer.blobs.read(queued) == b"its row has gone"


async def test_files_deleted_or_replaced_during_the_check_are_no_problem(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, gone = await talk(layer, "alice")
    other_id, replaced = await talk(layer, "alice")
    opened = layer.blobs.open

    async def late(key: str, *ends: Any) -> Any:
        if key == gone and await layer.get_thread(thread_id):
            await layer.delete_thread(thread_id)
        if key == replaced:
            found = (await layer.get_thread(other_id))["elements"][0]
            newer = text_element(other_id, found["forId"], "a newer file")
            newer.id = found["id"]
            await layer.create_element(newer)
            assert (await layer.get_thread(other_id))["elements"][0]["objectKey"] != replaced
        return await opened(key, *ends)

    monkeypatch.setattr(layer.blobs, "open", late)
    assert (await check(layer))[1] == set()


@pytest.mark.parametrize("any_place", ["azure-blob", "data-lake", "s3"], indirect=True)
@pytest.mark.slow
async def test_an_unreachable_store_is_reported_for_each_file(
    layer: ChainlitLayer, any_place: NetworkPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer._blobs = any_place.impatient()
    (key,) = await talks(layer, 1)
    opened = layer.blobs.open

    async def cut(*arguments: Any) -> Any:
        await any_place.network.go_down()
        try:
            return await opened(*arguments)
        finally:
            await any_place.network.come_up()

    monkeypatch.setattr(layer.blobs, "open", cut)
    report, found = await check(layer, repair=True)
    assert found == {("unreadable", key)}
    assert report.left == 1


async def test_an_interrupted_upload_is_found_and_discarded(any_place: Place, layer: ChainlitLayer) -> None:
    store = open_blob_store(any_place.url, any_place.options)
    await store.put("thread/whole", b"x", "text/plain")
    begun = asyncio.Event()

    async def never() -> Any:
        yield b"x" * 6 * 1024**2
        begun.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.put("thread/broken", never(), "text/plain"))
    await begun.wait()
    await asyncio.sleep(0.3)
    found = [one async for one in store.unfinished()]
    if any_place.url.startswith("azure-blob:"):
        assert found == [], "the service drops them by itself"
    else:
        (one,) = found
        assert one.modified.tzinfo is not None
        # As in another process, so that the uploading layer does not notice it.
        await store.discard(one)
        await store.discard(one)
        assert [one async for one in store.unfinished()] == []
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    assert [blob.key async for blob in store.list()] == ["thread/whole"]
    assert [blob.modified.tzinfo is not None async for blob in store.list()] == [True]
    await store.close()


async def test_the_files_of_data_sources_are_checked_too(layer: ChainlitLayer) -> None:
    fine, missing, longer, other = [
        await layer.put_source(source(title=name), name.encode()) for name in ("fine", "missing", "longer", "other")
    ]
    await layer.blobs.delete(str(missing.object_key))
    await layer.blobs.put(str(longer.object_key), b"longer than it was", "text/plain")
    await layer.blobs.put(str(other.object_key), b"OTHER", "text/plain")
    await layer.blobs.put("knowledge/nobody-s", b"nobody's", "text/plain")
    wrong = {
        ("missing", missing.object_key),
        ("size", longer.object_key),
        ("checksum", other.object_key),
        ("orphan", "knowledge/nobody-s"),
    }
    report, found = await check(layer)
    assert (found, report.rows, report.blobs) == (wrong, 4, 4)
    assert (await check(layer, quick=True))[1] == wrong - {("checksum", other.object_key)}
    report, _ = await check(layer, repair=True)
    assert (report.left, dict(report.repaired)["orphan"]) == (3, 1)
    assert (await layer.read_source(fine.id))[1] == b"fine"
    for broken in (missing, longer, other):
        await layer.put_source(broken, b"another file")
    assert (await check(layer))[1] == set()
