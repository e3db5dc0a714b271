"""Failed, concurrent and late uploads, and files after a crash: no partial and no wrong file is left."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chainlit as cl
import pytest
from chainlit.config import FILES_DIRECTORY
from chainlit.context import context_var
from sqlalchemy import update

import datalayer
from datalayer.blobs import LocalBlobs, StoredBlob
from datalayer.blobs.base import Content
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import blob_deletions, elements
from datalayer.takeout.export import export_user
from tests.contracts.test_elements import only, text_element
from tests.contracts.test_files import nothing_queued, queued
from tests.support import program
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.records import new_id, opened, step, thread

LONG_AGO = "2020-01-01T00:00:00.000000Z"


class HeldBlobs(LocalBlobs):
    """A folder store that waits before storing or deleting, or fails, as the test sets it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held: dict[bytes, asyncio.Event] = {}
        self.failures = 0
        self.asked = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        self.asked.set()
        if isinstance(content, bytes) and content in self.held:
            await self.held[content].wait()
        if self.failures:
            self.failures -= 1
            raise datalayer.BlobError("the store is away")
        stored = await super().put(key, content, mime, name=name)
        await self.released.wait()
        return stored

    async def delete(self, key: str) -> None:
        if self.failures:
            self.failures -= 1
            raise datalayer.BlobError("the store is away")
        await super().delete(key)

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def blobs(tmp_path: Path) -> HeldBlobs:
    return HeldBlobs(tmp_path / "blobs")


@pytest.fixture
def reported() -> list[datalayer.WriteFailure]:
    return []


@pytest.fixture
async def chat(
    database_url: str, blobs: HeldBlobs, reported: list[datalayer.WriteFailure]
) -> AsyncIterator[ChainlitLayer]:
    async def report(failure: datalayer.WriteFailure) -> None:
        reported.append(failure)

    layer = datalayer.create_data_layer(database_url, blobs, on_write_failure=report)
    yield layer
    await layer.close()


@pytest.fixture
def impatient(chat: ChainlitLayer) -> ChainlitLayer:
    """The layer gives up an upload soon, also one that is only slow because the machine is busy."""
    chat._uploads._patience = 2
    return chat


async def test_a_failed_upload_is_retried(chat: ChainlitLayer, blobs: HeldBlobs, reported: list[Any]) -> None:
    blobs.failures = 2
    thread_id = await thread(chat, None)
    element = text_element(thread_id, new_id(), "content")
    await chat.create_element(element)
    assert await opened(chat, thread_id, element.id) is not None
    assert (len(blobs.files()), reported) == (1, [])


async def test_a_read_of_a_thread_waits_for_its_files_in_progress(chat: ChainlitLayer, blobs: HeldBlobs) -> None:
    thread_id = await thread(chat, None)
    element = text_element(thread_id, new_id(), "content")
    blobs.released.clear()
    stored = asyncio.create_task(chat.create_element(element))
    await blobs.asked.wait()
    read = asyncio.create_task(chat.get_thread(thread_id))
    read_alone = asyncio.create_task(chat.get_element(thread_id, element.id))
    await asyncio.sleep(0.1)
    assert not read.done()
    assert not read_alone.done()
    blobs.released.set()
    assert await read_alone is not None
    found = await read
    assert found is not None
    assert [one["id"] for one in found["elements"] or []] == [element.id]
    await stored


async def test_a_thread_is_read_without_a_file_whose_store_does_not_answer(
    chat: ChainlitLayer, blobs: HeldBlobs
) -> None:
    thread_id = await thread(chat, None)
    blobs.released.clear()
    stored = asyncio.create_task(chat.create_element(text_element(thread_id, new_id(), "content")))
    await blobs.asked.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await chat.get_thread(thread_id)
    assert found is not None
    assert not found["elements"]
    assert not stored.done()
    blobs.released.set()
    await stored


async def test_a_long_outage_is_reported_and_leaves_no_partial_upload(
    impatient: ChainlitLayer, blobs: HeldBlobs, reported: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    thread_id = await thread(impatient, None)
    blobs.failures = 10**6
    written, element = step(thread_id), text_element(thread_id, new_id(), "content")
    upload = asyncio.create_task(impatient.create_element(element))
    await impatient.create_step(written)
    with pytest.raises(datalayer.BlobError, match="away"):
        await upload
    assert [(one.what, one.thread_id, one.record_id) for one in reported] == [("file", thread_id, element.id)]
    (line,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert (line.__dict__["thread_id"], line.__dict__["record_id"]) == (thread_id, element.id)
    found = await impatient.get_thread(thread_id)
    assert ([one["id"] for one in found["steps"]], found["elements"]) == ([written["id"]], [])
    blobs.failures = 0
    await until(lambda: nothing_queued(impatient))
    assert blobs.files() == []


async def test_the_newest_of_two_uploads_of_an_element_is_the_only_file_kept(
    chat: ChainlitLayer, blobs: HeldBlobs
) -> None:
    thread_id = await thread(chat, None)
    for slow in (b"first", b"second"):
        element = text_element(thread_id, new_id(), b"first")
        newer = text_element(thread_id, element.for_id or "", b"second")
        newer.id = element.id
        blobs.held = {slow: asyncio.Event()}
        uploads = [asyncio.create_task(chat.create_element(one)) for one in (element, newer)]
        await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
        blobs.held[slow].set()
        await asyncio.gather(*uploads)
        found = await opened(chat, thread_id, element.id)
        assert found is not None
        assert (found[1], found[0].byte_size) == (b"second", 6)
        await until(lambda: nothing_queued(chat))
        assert [path.read_bytes() for path in blobs.files()] == [b"second"]
        await chat.delete_element(element.id, thread_id)
    assert blobs.files() == []


@pytest.mark.parametrize("end", ["element", "step", "cut", "thread", "session"])
async def test_an_upload_that_ends_after_the_deletion_is_not_kept(
    chat: ChainlitLayer, blobs: HeldBlobs, end: str
) -> None:
    thread_id = await thread(chat, None)
    question, answer = step(thread_id, createdAt="2020-01-01T00:00:00Z"), step(thread_id)
    for one in (question, answer):
        await chat.create_step(one)
    element = text_element(thread_id, answer["id"], b"late")
    blobs.held = {b"late": asyncio.Event()}
    upload = asyncio.create_task(chat.create_element(element))
    await blobs.asked.wait()
    if end == "element":
        await chat.delete_element(element.id, thread_id)
    elif end == "step":
        await chat.delete_step(answer["id"])
    elif end == "cut":
        assert await chat.cut_thread(thread_id, question["id"]) == 1
    elif end == "thread":
        await chat.delete_thread(thread_id)
    else:
        upload.cancel()
    blobs.held[b"late"].set()
    await asyncio.wait([upload])
    await until(lambda: nothing_queued(chat))
    assert blobs.files() == []
    assert await chat.get_element(thread_id, element.id) is None


@pytest.mark.parametrize("end", ["element", "step"])
async def test_a_row_written_after_its_deletion_is_removed(chat: ChainlitLayer, blobs: HeldBlobs, end: str) -> None:
    thread_id = await thread(chat, None)
    answer = step(thread_id)
    await chat.create_step(answer)
    element = text_element(thread_id, answer["id"], b"late")
    blobs.released.clear()
    upload = asyncio.create_task(chat.create_element(element))
    await until(lambda: [path for path in blobs.files() if not path.name.startswith(".part-")])
    deletion = chat.delete_element(element.id, thread_id) if end == "element" else chat.delete_step(answer["id"])
    deleted = asyncio.create_task(deletion)
    await asyncio.sleep(0)
    blobs.released.set()
    await asyncio.gather(upload, deleted)
    await until(lambda: nothing_queued(chat))
    assert (blobs.files(), await chat.get_element(thread_id, element.id)) == ([], None)


async def test_the_older_file_is_kept_if_the_newer_cannot_be_stored(impatient: ChainlitLayer, blobs: HeldBlobs) -> None:
    thread_id = await thread(impatient, None)
    element = text_element(thread_id, new_id(), "older")
    await impatient.create_element(element)
    element.content = "newer"
    blobs.failures = 10**6
    with pytest.raises(datalayer.BlobError):
        await impatient.create_element(element)
    blobs.failures = 0
    found = await opened(impatient, thread_id, element.id)
    assert found is not None
    assert (found[1], found[0].byte_size) == (b"older", 5)


async def test_close_does_not_wait_for_an_unavailable_store(
    chat: ChainlitLayer, blobs: HeldBlobs, reported: list[Any]
) -> None:
    thread_id = await thread(chat, None)
    blobs.failures = 10**6
    upload = asyncio.create_task(chat.create_element(text_element(thread_id, new_id(), "content")))
    await blobs.asked.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await chat.close()
    with pytest.raises(datalayer.BlobError, match="before the data layer was closed"):
        await upload
    assert [one.what for one in reported] == ["file"]


async def test_close_waits_for_uploads_in_progress(chat: ChainlitLayer, blobs: HeldBlobs, database_url: str) -> None:
    thread_id = await thread(chat, None)
    element = text_element(thread_id, new_id(), b"late")
    blobs.held = {b"late": asyncio.Event()}
    upload = asyncio.create_task(chat.create_element(element))
    await blobs.asked.wait()
    asyncio.get_running_loop().call_later(0.2, blobs.held[b"late"].set)
    await chat.close()
    await upload
    later = datalayer.create_data_layer(database_url, blobs)
    assert await opened(later, thread_id, element.id) is not None
    await later.close()


# After a crash

CRASH = """
import asyncio, os, signal, sys, datalayer
from tests.contracts.test_elements import text_element
from tests.support.records import new_id, thread

async def crash(database_url, blobs, thread_id, at):
    layer = datalayer.create_data_layer(database_url, blobs)
    put = layer.blobs.put

    async def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    async def killed_after(*content, **of):
        await put(*content, **of)
        await killed()

    await layer.update_thread(thread_id, name="a thread")
    if at == "row":
        layer.blobs.put = killed_after
    else:
        layer.blobs.delete = killed
    await layer.create_element(text_element(thread_id, new_id(), "left behind"))
    await layer.delete_thread(thread_id)

asyncio.run(crash(*sys.argv[1:]))
"""


def crash(database_url: str, blobs: HeldBlobs, thread_id: str, at: str) -> None:
    arguments = [CRASH, database_url, f"file://{blobs.folder}", thread_id, at]
    done = program.run(program.PROGRAM, arguments, directory=blobs.folder.parent)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
async def test_a_deletion_interrupted_by_a_crash_is_finished_at_the_next_start(
    chat: ChainlitLayer, blobs: HeldBlobs, database_url: str
) -> None:
    thread_id = new_id()
    await asyncio.to_thread(crash, database_url, blobs, thread_id, "deletion")
    assert await chat.get_thread(thread_id) is None
    assert (len(blobs.files()), len(await queued(chat))) == (1, 1)
    blobs.failures = 1
    await chat.migrate()
    await until(lambda: nothing_queued(chat))
    assert (blobs.files(), blobs.failures) == ([], 0)


@pytest.mark.slow
async def test_a_file_left_by_a_crashed_upload_is_deleted_after_the_time_limit(
    chat: ChainlitLayer, blobs: HeldBlobs, database_url: str
) -> None:
    thread_id = new_id()
    await asyncio.to_thread(crash, database_url, blobs, thread_id, "row")
    assert (await chat.get_thread(thread_id))["elements"] == []
    await chat.migrate()
    await asyncio.sleep(0.3)
    assert (len(blobs.files()), len(await queued(chat))) == (1, 1)
    async with chat.database.write() as connection:
        await connection.execute(update(blob_deletions).values(dueAt=LONG_AGO))
    chat.file_deleter.note()
    await until(lambda: nothing_queued(chat))
    assert blobs.files() == []


async def test_a_queued_file_that_an_element_uses_again_is_not_deleted(chat: ChainlitLayer, blobs: HeldBlobs) -> None:
    thread_id = await thread(chat, None)
    first, second = (text_element(thread_id, new_id(), content) for content in ("one", "two"))
    for element in (first, second):
        await chat.create_element(element)
    keys = [one["objectKey"] for one in (await chat.get_thread(thread_id))["elements"]]
    blobs.failures = 1
    await chat.delete_element(first.id, thread_id)
    assert await queued(chat) == keys[:1]
    # As the import of a takeout may do.
    async with chat.database.write() as connection:
        await connection.execute(update(elements).where(elements.c.id == second.id).values(objectKey=keys[0]))
    chat.file_deleter.note()
    await until(lambda: nothing_queued(chat))
    found = await opened(chat, thread_id, second.id)
    assert found is not None
    assert found[1] == b"one"


async def test_an_invalid_key_from_another_program_counts_as_a_missing_file(
    chat: ChainlitLayer, blobs: HeldBlobs, tmp_path: Path
) -> None:
    """As in an adopted database."""
    await chat.add_account("alice", "no real hash")
    owner = await chat.get_user("alice")
    assert owner is not None
    thread_id = await thread(chat, owner.id)
    element = text_element(thread_id, new_id(), "content")
    await chat.create_element(element)
    other = f"{owner.id}/{element.id}/why?.png"
    async with chat.database.write() as connection:
        await connection.execute(update(elements).values(objectKey=other))
    with datalayer.acting_as("alice"):
        assert await opened(chat, thread_id, element.id) is None
    report = await export_user(chat.database, blobs, "alice", tmp_path / "takeout.zip")
    assert (report.missing, report.counts["elements"]) == ([other], 1)
    receipt = await chat.delete_thread_with_receipt(thread_id)
    assert (receipt.files, receipt.files_left) == ((), (other,))
    assert await queued(chat) == []


# Paths that may be read


@pytest.fixture
def session_folder() -> Any:
    """The folder of the current session of Chainlit's."""
    folder = FILES_DIRECTORY / new_id()
    folder.mkdir(parents=True)
    session = SimpleNamespace(files_dir=folder)
    token = context_var.set(SimpleNamespace(session=session))  # type: ignore[arg-type]
    yield folder
    context_var.reset(token)


async def test_a_path_is_read_in_the_folder_of_the_session_and_in_allowed_folders(
    chat: ChainlitLayer, session_folder: Path, tmp_path: Path
) -> None:
    thread_id = await thread(chat, None)
    for path in (session_folder / "upload", tmp_path / "made by the application"):
        path.write_bytes(b"mine")
        element = cl.File(thread_id=thread_id, for_id=new_id(), name="x", path=str(path))
        await chat.create_element(element)
        found = await opened(chat, thread_id, element.id)
        assert found is not None
        assert found[1] == b"mine"


@pytest.mark.parametrize("way", ["plain", "dots", "link", "without a session"])
async def test_a_path_into_the_uploads_of_another_session_is_refused(
    chat: ChainlitLayer, session_folder: Path, blobs: HeldBlobs, reported: list[Any], way: str
) -> None:
    thread_id = await thread(chat, None)
    other = FILES_DIRECTORY / new_id()
    other.mkdir()
    secret = other / "secret"
    secret.write_bytes(b"another's")
    link = session_folder / "link"
    link.symlink_to(secret)
    path = {"dots": session_folder / ".." / other.name / "secret", "link": link}.get(way, secret)
    element = cl.File(thread_id=thread_id, for_id=new_id(), name="x", path=str(path))
    token = context_var.set(None) if way == "without a session" else None  # type: ignore[arg-type]
    with pytest.raises(datalayer.Forbidden):
        await chat.create_element(element)
    if token is not None:
        context_var.reset(token)
    assert (blobs.files(), await queued(chat), [one.what for one in reported]) == ([], [], ["file"])
    assert (await chat.get_thread(thread_id))["elements"] == []


async def test_a_path_that_is_not_a_regular_file_is_not_read(chat: ChainlitLayer, tmp_path: Path) -> None:
    thread_id = await thread(chat, None)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere", Path("/dev/zero")):
        element = cl.File(thread_id=thread_id, for_id=new_id(), name="x", path=str(path))
        with pytest.raises(datalayer.InvalidRecord):
            await chat.create_element(element)
    assert (await chat.get_thread(thread_id))["elements"] == []


async def test_a_custom_element_is_never_read_from_a_path(
    chat: ChainlitLayer, blobs: HeldBlobs, tmp_path: Path
) -> None:
    thread_id = await thread(chat, None)
    (tmp_path / "secret").write_bytes(b"the server's own")
    element = cl.CustomElement(thread_id=thread_id, for_id=new_id(), name="Card", props={"a": 1})
    element.path = str(tmp_path / "secret")
    element.content = None
    await chat.create_element(element)
    assert ((await only(chat, thread_id))["objectKey"], blobs.files()) == (None, [])


async def test_the_path_in_a_dictionary_is_not_stored(chat: ChainlitLayer, tmp_path: Path) -> None:
    thread_id = await thread(chat, None)
    (tmp_path / "mine").write_bytes(b"mine")
    element = cl.File(thread_id=thread_id, for_id=new_id(), name="x", path=str(tmp_path / "mine"))
    await chat.create_element(element)
    assert str(tmp_path) not in str(await only(chat, thread_id))
