"""A move copies every file, and continues after an interruption."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import update

from datalayer.blobs import BlobStore, open_blob_store
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.files import move as file_move
from datalayer.files.move import FileMove, MoveReport
from datalayer.schema.chat import elements
from tests.contracts.test_erasure import talk
from tests.support.blob_places import NetworkPlace, Place

LARGE = b"0123456789abcdef" * 400_000 + b"end"


async def contents(store: BlobStore) -> dict[str, bytes]:
    return {blob.key: await store.read(blob.key) async for blob in store.list()}


@pytest.fixture
async def target(any_place: Place) -> AsyncIterator[BlobStore]:
    store = open_blob_store(any_place.url, any_place.options)
    yield store
    await store.close()


async def fill(layer: ChainlitLayer) -> dict[str, bytes]:
    """Files with and without rows in the layer's folder."""
    for number in range(3):
        await talk(layer, f"user{number}")
    await layer.blobs.put("without/a-row", LARGE, "text/plain")
    await layer.blobs.put("without/anything", b"", "text/plain")
    return await contents(layer.blobs)


def move(layer: ChainlitLayer, source: BlobStore, target: BlobStore, **options: Any) -> FileMove:
    return FileMove(layer.database, source, target, **options)


async def test_files_are_moved_to_another_store_and_back(
    layer: ChainlitLayer, target: BlobStore, any_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_move, "_PAGE", 2)
    files = await fill(layer)
    plan = await move(layer, layer.blobs, target).plan()
    assert (plan.copied, plan.there, plan.copied_bytes) == (5, 0, sum(map(len, files.values())))
    assert await any_place.remains() == [], "a plan writes nothing"
    report = await move(layer, layer.blobs, target).run()
    assert (report.copied, report.there, report.failed, report.copied_bytes) == (5, 0, 0, plan.copied_bytes)
    assert await contents(target) == files == await contents(layer.blobs)
    report = await move(layer, layer.blobs, target).run()
    assert (report.copied, report.there) == (0, 5)
    for key in files:
        await layer.blobs.delete(key)
    report = await move(layer, target, layer.blobs).run(delete_source=True)
    assert (report.copied, report.failed) == (5, 0)
    assert await contents(layer.blobs) == files


async def test_an_interrupted_move_continues(layer: ChainlitLayer, target: BlobStore) -> None:
    files = await fill(layer)
    first = asyncio.Event()

    def stop(report: MoveReport) -> None:
        if report.copied == 2:
            first.set()

    work = asyncio.create_task(move(layer, layer.blobs, target, at_once=1, progressed=stop).run())
    await first.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    there = len(await contents(target))
    assert 2 <= there < 5
    report = await move(layer, layer.blobs, target).run()
    assert (report.copied, report.there) == (5 - there, there)
    assert await contents(target) == files


async def test_a_damaged_copy_is_replaced(layer: ChainlitLayer, target: BlobStore) -> None:
    files = await fill(layer)
    for key, content in files.items():
        await target.put(key, b"\x00" * len(content), "text/plain")
    report = await move(layer, layer.blobs, target).run()
    assert (report.copied, report.there) == (4, 1), "the empty one is right"
    assert await contents(target) == files


@pytest.mark.parametrize("any_place", ["azure-blob", "data-lake", "s3"], indirect=True)
@pytest.mark.slow
async def test_a_move_survives_a_short_outage(layer: ChainlitLayer, target: BlobStore, any_place: NetworkPlace) -> None:
    files = await fill(layer)
    failed: list[str] = []
    impatient = any_place.impatient()
    await any_place.network.go_down()
    report = await move(layer, layer.blobs, impatient, failed=lambda key, _: failed.append(key)).run(delete_source=True)
    assert (set(failed), report.failed, report.deleted) == (set(files), 5, 0)
    assert await contents(layer.blobs) == files, "nothing is deleted unless all is well"
    await impatient.close()
    await any_place.network.come_up()
    assert (await move(layer, layer.blobs, target).run()).copied == 5
    assert await contents(target) == files


async def test_the_source_is_deleted_only_after_all_files_were_checked(layer: ChainlitLayer, target: BlobStore) -> None:
    files = await fill(layer)
    damaged = next(key for key in files if not key.startswith("without/"))
    wrong, right = hashlib.sha256(b"x").hexdigest(), hashlib.sha256(files[damaged]).hexdigest()

    async def say(sha256: str) -> None:
        async with layer.database.write() as connection:
            await connection.execute(update(elements).where(elements.c.objectKey == damaged).values(sha256=sha256))

    await say(wrong)
    failed: dict[str, str] = {}
    report = await move(layer, layer.blobs, target, failed=failed.__setitem__).run(delete_source=True)
    assert (report.failed, report.deleted) == (1, 0)
    assert "its SHA-256 differs from its row" in failed[damaged]
    assert await contents(layer.blobs) == files == await contents(target)
    await say(right)
    report = await move(layer, layer.blobs, target).run(delete_source=True)
    assert (report.failed, report.deleted, report.left) == (0, 5, 0)
    assert await contents(layer.blobs) == {}
    assert await contents(target) == files


async def test_a_file_deleted_during_the_move_stays_deleted(
    layer: ChainlitLayer, target: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = await fill(layer)
    opened = layer.blobs.open

    async def late(key: str, *ends: Any) -> Any:
        await layer.blobs.delete("without/a-row")
        return await opened(key, *ends)

    monkeypatch.setattr(layer.blobs, "open", late)
    report = await move(layer, layer.blobs, target).run()
    assert (report.copied, report.failed) == (4, 0)
    assert await contents(target) == {key: content for key, content in files.items() if key != "without/a-row"}
