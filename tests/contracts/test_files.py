"""Files of a chat on each kind of store, from upload to deletion: nothing is lost and nothing is left behind."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import chainlit as cl
import pytest
from sqlalchemy import select

import datalayer
from datalayer.blobs import BlobOptions, open_blob_store
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import blob_deletions, elements
from tests.contracts.test_erasure import rows
from tests.support.blob_places import FolderPlace, NetworkPlace, Place, azure_blob_place, data_lake_place, s3_place
from tests.support.patience import until
from tests.support.records import new_id, opened, step, thread, user_id, vote

PDF = b"%PDF-1.4\n" + os.urandom(300_000)
# Larger than two of the largest chunks that a store sends.
LARGE = os.urandom(1024**2) * 11
LONG_NAME = "文書🦆é" * 74 + ".pdf"
NETWORKS = ["azure-blob", "data-lake", "s3"]


@pytest.fixture(params=["folder", *NETWORKS])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    match request.param:
        case "folder":
            folder = tmp_path / "store"
            folder.mkdir()
            yield FolderPlace(f"file://{folder}", BlobOptions(), folder)
        case "azure-blob":
            async with azure_blob_place(request.getfixturevalue("azurite_server")) as blob_place:
                yield blob_place
        case "data-lake":
            async with data_lake_place() as lake_place:
                yield lake_place
        case _:
            async with s3_place(request.getfixturevalue("s3_service")) as bucket_place:
                yield bucket_place


@pytest.fixture
async def chat(database_url: str, place: Place) -> AsyncIterator[ChainlitLayer]:
    """A data layer that stores its files in that place."""
    layer = datalayer.create_data_layer(database_url, open_blob_store(place.url, place.options), on_write_failure=None)
    yield layer
    await layer.close()


@pytest.fixture
async def impatient(database_url: str, place: NetworkPlace) -> AsyncIterator[ChainlitLayer]:
    """A data layer that soon tries again what its store did not answer."""
    layer = datalayer.create_data_layer(database_url, place.impatient(), patience_seconds=120, on_write_failure=None)
    yield layer
    await layer.close()


async def queued(layer: ChainlitLayer) -> list[str]:
    async with layer.database.read() as connection:
        return list((await connection.execute(select(blob_deletions.c.objectKey))).scalars())


async def nothing_queued(layer: ChainlitLayer) -> bool:
    return await queued(layer) == []


async def talk(layer: ChainlitLayer, source: Path) -> tuple[str, str, list[Any]]:
    """Alice's question with a PDF, a picture and an empty file; returns their ids and the elements."""
    source.write_bytes(PDF)
    empty = source.with_suffix(".empty")
    empty.touch()
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 1))
        of = {"thread_id": thread_id, "for_id": written["id"]}
        sent: list[Any] = [
            cl.Pdf(name=LONG_NAME, path=str(source), **of),
            cl.Image(name="picture.png", content=b"\x89PNG" + PDF, mime="image/png", **of),
            cl.File(name="nothing", path=str(empty), **of),
        ]
        await asyncio.gather(*map(layer.create_element, sent))
    return thread_id, written["id"], sent


@pytest.mark.parametrize("end", ["receipt", "thread", "user", "elements", "step", "cut"])
async def test_a_chat_with_a_pdf_and_a_picture_is_deleted_completely(
    chat: ChainlitLayer, place: Place, tmp_path: Path, end: str
) -> None:
    before = await rows(chat)
    thread_id, step_id, sent = await talk(chat, tmp_path / "upload")
    contents = [PDF, b"\x89PNG" + PDF, b""]
    assert await queued(chat) == []
    with datalayer.acting_as("alice"):
        for element, content in zip(sent, contents, strict=True):
            found = await opened(chat, thread_id, element.id)
            assert found is not None
            assert found[1] == content
            record = found[0]
            assert (record.name, record.byte_size) == (element.name, len(content))
            assert record.sha256 == hashlib.sha256(content).hexdigest()
            part = await chat.open_element(thread_id, element.id, 2, 10)
            assert part is not None
            assert b"".join([chunk async for chunk in part[1]]) == content[2:10]
        keys = {found["objectKey"] for found in (await chat.get_thread(thread_id))["elements"]}
        assert {blob.key async for blob in chat.blobs.list()} == keys
        if end == "receipt":
            receipt = await chat.delete_thread_with_receipt(thread_id)
            assert (set(receipt.files), receipt.files_left) == (keys, ())
        elif end == "user":
            receipt = await chat.delete_user("alice")
            assert (set(receipt.files), receipt.files_left) == (keys, ())
        elif end == "elements":
            for element in sent:
                await chat.delete_element(element.id, thread_id)
        elif end == "step":
            await chat.delete_step(step_id)
        elif end == "cut":
            first = step(thread_id, createdAt="2020-01-01T00:00:00Z")
            await chat.create_step(first)
            assert await chat.cut_thread(thread_id, first["id"]) == 1
    assert end == "thread" or await place.remains() == []
    assert await queued(chat) == []
    with datalayer.acting_as("alice"):
        await chat.delete_thread(thread_id)
    assert await place.remains() == []
    assert await rows(chat) == {**before, "users": 0 if end == "user" else 1}


@pytest.mark.parametrize("place", NETWORKS, indirect=True)
@pytest.mark.slow
async def test_an_upload_during_an_outage_is_stored_once(
    impatient: ChainlitLayer, place: NetworkPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "upload"
    source.write_bytes(LARGE)
    thread_id = await thread(impatient, None)
    element = cl.File(thread_id=thread_id, for_id=new_id(), name="large", path=str(source))
    place.network.cut_after(6 * 1024**2)
    upload = asyncio.create_task(impatient.create_element(element))
    written = step(thread_id)
    await impatient.create_step(written)
    assert [one["id"] for one in (await impatient.get_thread(thread_id))["steps"]] == [written["id"]]
    await until(lambda: "an upload failed and is retried" in caplog.text)
    await place.network.go_down()
    await place.network.come_up()
    await upload
    found = await opened(impatient, thread_id, element.id)
    assert found is not None
    assert found[1] == LARGE
    # An interrupted attempt leaves a hidden file in the thread's folder on Data Lake, and parts of the same key on S3.
    names = {Path(name).name for name in await place.remains()}
    shown = {name for name in names if name != thread_id and not name.startswith(".part-")}
    assert shown == {str(found[0].object_key).split("/")[1]}
    assert [blob.key async for blob in impatient.blobs.list()] == [found[0].object_key]
    assert await queued(impatient) == []


@pytest.mark.parametrize("place", NETWORKS, indirect=True)
@pytest.mark.slow
async def test_a_file_is_deleted_after_an_outage_of_the_store(
    impatient: ChainlitLayer, place: NetworkPlace, tmp_path: Path
) -> None:
    thread_id, _, _ = await talk(impatient, tmp_path / "upload")
    await place.network.go_down()
    receipt = await impatient.delete_thread_with_receipt(thread_id)
    assert (len(receipt.files_left), receipt.files) == (3, ())
    assert sorted(await queued(impatient)) == sorted(receipt.files_left)
    async with impatient.database.read() as connection:
        assert (await connection.execute(select(elements.c.id))).all() == []
    await place.network.come_up()
    await until(lambda: nothing_queued(impatient))
    assert await place.remains() == []


@pytest.mark.parametrize("place", NETWORKS, indirect=True)
async def test_a_refused_upload_is_reported_at_once_and_not_retried(
    database_url: str, place: NetworkPlace, caplog: pytest.LogCaptureFixture
) -> None:
    for url, options in [(place.missing, place.options), *((place.url, refused) for refused in place.refused)]:
        layer = datalayer.create_data_layer(database_url, open_blob_store(url, options))
        thread_id = await thread(layer, None)
        element = cl.File(thread_id=thread_id, for_id=new_id(), name="x", content=b"x")
        with pytest.raises(datalayer.BlobRefused):
            await layer.create_element(element)
        await layer.close()
    assert not any("an upload failed and is retried" in record.message for record in caplog.records)


@pytest.mark.parametrize("linked", [False, True])
async def test_missing_signed_urls_are_logged_once(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, linked: bool
) -> None:
    link = (lambda element: f"/files/{element.id}") if linked else None
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'files'}", file_url=link)
    thread_id = await thread(layer, None)
    for _ in range(2):
        await layer.create_element(cl.Text(name="note", content="x", thread_id=thread_id, for_id=new_id()))
    warnings = [record for record in caplog.records if "without file_url" in record.message]
    assert [record.levelname for record in warnings] == ([] if linked else ["WARNING"])
    await layer.close()
