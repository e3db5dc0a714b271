"""The contract of every blob store, with a subclass of tests for each store."""

import asyncio
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from aiobotocore.awsrequest import AioAWSResponse
from azure.storage.filedatalake import AccountSasPermissions, ResourceTypes, generate_account_sas

import datalayer
from datalayer.blobs import BlobOptions, BlobStore, LocalBlobs, StoredBlob, open_blob_store
from datalayer.blobs.s3 import S3Blobs
from tests.support.azurite import AzuriteServer
from tests.support.blob_places import (
    AzureBlobPlace,
    DataLakePlace,
    FolderPlace,
    NetworkPlace,
    Place,
    S3Place,
    azure_blob_place,
    data_lake_place,
    s3_place,
)
from tests.support.certificate import self_signed
from tests.support.data_lake_server import DataLakeServer
from tests.support.patience import until
from tests.support.s3_server import S3Server

MEBIBYTE = 1024**2
# Larger than two of the largest chunks that a store sends, and not a multiple of a chunk.
LARGE = os.urandom(MEBIBYTE) * 11 + b"end"
# The default patience of the SDKs is minutes.
BOUNDED_SECONDS = 60


KEYS_THAT_LEAD_ELSEWHERE = [
    *("", "/", "../x", "a/../x", "/etc/passwd", "a//b", "a/", ".", "a\\b", "a\x00b", "a\n", "a?b", "a%2fb"),
    *(".part-x", "a/.x", "a.", "a./b", "a/..", "a ", " a/b", "a\x85b", "\ud800"),
    *("x" * 256, "é" * 128, "x/" * 512 + "x"),
]
KEYS_OF_OTHERS = [
    "ada@example.org/1b3e/2c4f",
    "auth0|5f7c/thread/Q3 report (final), v2+draft = done!.pdf",
    "Zoë/東京/C# & ~$notes' [1];.txt",
]
"""Keys as Chainlit's layers make them, of names of users and files."""
NAMES = [
    *("文" * 296 + ".pdf", "🦆" * 300, "é" * 300, "a" * 300 + ".txt", "x.html"),
    *('x"; filename="y.html', "a\r\nSet-Cookie: x=y", "../../etc/passwd", "%2e%2e", "", ".", "\ud800.txt"),
]


def stored(key: str, content: bytes) -> StoredBlob:
    return StoredBlob(key, len(content), hashlib.sha256(content).hexdigest())


async def pieces(content: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


class BrokenSource(Exception):
    """An error in the source of the content."""


async def half_of(content: bytes) -> AsyncIterator[bytes]:
    async for piece in pieces(content[: len(content) // 2]):
        yield piece
    raise BrokenSource


def check_disposition(given: str, name: str) -> None:
    """Check that the header is that of a download, and has as much of the name as a file system accepts."""
    header = Message()
    header["Content-Disposition"] = given
    assert header.get_content_disposition() == "attachment"
    assert header.get_filename(), "a plain name for those who know no other"
    encoded = re.search(r"filename\*=UTF-8''([!-~]+)$", given)
    assert encoded is not None
    decoded = unquote(encoded[1])
    assert 0 < len(decoded.encode()) <= 255
    assert not set(decoded) & set("/\\\r\n")
    assert name[:60] in decoded or not name.isprintable() or not name.strip(".") or name.startswith("..")
    assert decoded.endswith(".pdf") == name.endswith(".pdf")


@pytest.fixture
async def store(place: Place) -> AsyncIterator[BlobStore]:
    store = open_blob_store(place.url, place.options)
    yield store
    await store.close()


class BlobStoreContract:
    async def test_content_is_read_back(self, store: BlobStore, tmp_path: Path) -> None:
        for number, content in enumerate([b"", b"x", b"\x00\xff" * 100_000, LARGE]):
            key, source = f"thread/{number}", tmp_path / "source"
            source.write_bytes(content)
            for given in (content, source, pieces(content)):
                assert await store.put(key, given, "application/octet-stream") == stored(key, content)
                assert await store.read(key) == content

    async def test_storing_again_replaces_the_content(self, store: BlobStore, place: Place) -> None:
        for content in (b"first and longer", b"second", LARGE, b"", LARGE[::-1]):
            await store.put("thread/a", content, "text/plain")
            assert await store.read("thread/a") == content
            assert [(blob.key, blob.size) async for blob in store.list()] == [("thread/a", len(content))]
        await store.delete("thread/a")
        assert await place.remains() == []

    async def test_a_missing_blob_is_not_found(self, store: BlobStore) -> None:
        for key in ("thread/nothing", "nothing"):
            with pytest.raises(datalayer.BlobNotFound):
                await store.read(key)
            with pytest.raises(datalayer.BlobNotFound):
                await store.open(key, 3, 5)
            await store.delete(key)
        assert [blob async for blob in store.list()] == []
        assert [blob async for blob in store.list("nothing")] == []

    async def test_a_deleted_blob_is_not_found(self, store: BlobStore, place: Place) -> None:
        await store.put("thread/a", b"x", "text/plain")
        await store.put("thread/b", LARGE, "text/plain")
        await store.delete("thread/a")
        with pytest.raises(datalayer.BlobNotFound):
            await store.read("thread/a")
        assert await store.read("thread/b") == LARGE
        await store.delete("thread/b")
        assert await place.remains() == [], "not so much as an empty folder"

    async def test_a_range_of_a_blob(self, store: BlobStore) -> None:
        await store.put("thread/a", LARGE, "text/plain")
        size = len(LARGE)
        for start, end in [
            *((0, None), (0, 1), (5, 10), (size - 3, None), (0, size), (3, 3), (0, 0)),
            *((4 * MEBIBYTE - 1, 8 * MEBIBYTE + 1), (size - 1, size + 1000), (1, 9 * MEBIBYTE)),
        ]:
            async with await store.open("thread/a", start, end) as blob:
                content = b"".join([chunk async for chunk in blob])
            assert content == LARGE[start:end]
            assert (blob.size, blob.start, blob.end) == (size, start, min(size if end is None else end, size))
        for start in (size, size + 1):
            async with await store.open("thread/a", start, size + 5) as blob:
                assert [chunk async for chunk in blob] == []
            assert (blob.size, blob.start, blob.end) == (size, size, size)
        with pytest.raises(ValueError, match="range"):
            await store.open("thread/a", 5, 4)

    async def test_a_range_of_an_empty_blob_is_empty(self, store: BlobStore) -> None:
        await store.put("thread/a", b"", "text/plain")
        for start, end in [(0, None), (0, 0), (0, 10), (3, None)]:
            async with await store.open("thread/a", start, end) as blob:
                assert [chunk async for chunk in blob] == []
            assert (blob.size, blob.start, blob.end) == (0, 0, 0)

    async def test_an_opened_blob_closes_without_being_read(self, store: BlobStore) -> None:
        await store.put("thread/a", LARGE, "text/plain")
        for _ in range(5):
            async with await store.open("thread/a"):
                pass
            async with await store.open("thread/a") as blob:
                async for _ in blob:
                    break
        assert await store.read("thread/a") == LARGE

    async def test_concurrent_uploads_and_reads(self, store: BlobStore, place: Place) -> None:
        await asyncio.gather(*(store.put("thread/same", bytes([n]) * 10_000, "text/plain") for n in range(20)))
        content = await store.read("thread/same")
        assert content in [bytes([n]) * 10_000 for n in range(20)], "whole, of one of the writers"
        await asyncio.gather(*(store.put(f"thread/{n}", bytes([n]) * 10_000, "text/plain") for n in range(20)))
        assert [await store.read(f"thread/{n}") for n in range(20)] == [bytes([n]) * 10_000 for n in range(20)]
        await asyncio.gather(*(store.delete(f"thread/{n}") for n in [*range(20), "same"]))
        assert await place.remains() == []

    async def test_two_concurrent_large_uploads_to_one_key_do_not_mix(self, store: BlobStore, place: Place) -> None:
        contents = [bytes([n]) * (9 * MEBIBYTE + n) for n in (1, 2)]
        results = await asyncio.gather(*(store.put("thread/a", content, "text/plain") for content in contents))
        assert results == [stored("thread/a", content) for content in contents]
        assert await store.read("thread/a") in contents
        await store.delete("thread/a")
        assert await place.remains() == []

    async def test_two_interleaved_streams_to_one_key_do_not_mix(self, store: BlobStore) -> None:
        contents, barrier = [bytes([n]) * (9 * MEBIBYTE) for n in (1, 2)], asyncio.Barrier(2)

        async def in_step(content: bytes) -> AsyncIterator[bytes]:
            async for piece in pieces(content, MEBIBYTE):
                await barrier.wait()
                yield piece

        puts = (store.put("thread/a", in_step(content), "text/plain") for content in contents)
        results = await asyncio.gather(*puts, return_exceptions=True)
        whole = [content for content, result in zip(contents, results, strict=True) if isinstance(result, StoredBlob)]
        assert await store.read("thread/a") in whole
        for result in results:
            # Unlike a file, a stream cannot be sent again.
            assert isinstance(result, StoredBlob) or "another upload" in str(result)

    async def test_concurrent_storing_and_deleting_in_one_folder(self, store: BlobStore) -> None:
        for _ in range(10):
            await store.put("thread/old", b"old", "text/plain")
            await asyncio.gather(store.put("thread/new", b"new", "text/plain"), store.delete("thread/old"))
            assert await store.read("thread/new") == b"new"
            await store.delete("thread/new")

    async def test_blobs_are_listed(self, store: BlobStore) -> None:
        sizes = {f"{thread}/element-{n}": n for thread in ("one", "one-more", "two") for n in range(4)}
        for key, size in sizes.items():
            await store.put(key, b"x" * size, "text/plain")
        assert {blob.key: blob.size async for blob in store.list()} == sizes
        ones = {key: size for key, size in sizes.items() if key.startswith("one/")}
        assert {blob.key: blob.size async for blob in store.list("one")} == ones
        assert {blob.key: blob.size async for blob in store.list("one/")} == ones

    async def test_ping(self, store: BlobStore, place: Place) -> None:
        await store.ping()
        await store.ping()
        assert await place.remains() == []

    async def test_a_store_can_be_closed_twice_and_used_again(self, store: BlobStore) -> None:
        await store.put("thread/a", b"x", "text/plain")
        await store.close()
        await store.close()
        assert await store.read("thread/a") == b"x"

    async def test_a_key_that_leads_out_of_the_store_is_refused(self, store: BlobStore) -> None:
        for key in KEYS_THAT_LEAD_ELSEWHERE:
            with pytest.raises(datalayer.BlobError, match="key"):
                await store.put(key, b"x", "text/plain")
            with pytest.raises(datalayer.BlobError, match="key"):
                await store.read(key)
            with pytest.raises(datalayer.BlobError, match="key"):
                await store.delete(key)
            with pytest.raises(datalayer.BlobError, match="key"):
                await store.signed_url(key, 60)
            if key not in ("", "a/"):
                with pytest.raises(datalayer.BlobError, match="key"):
                    _ = [blob async for blob in store.list(key)]

    async def test_keys_of_other_programs_are_read_listed_and_deleted(self, store: BlobStore) -> None:
        for key in KEYS_OF_OTHERS:
            assert await store.put(key, key.encode(), "text/plain") == stored(key, key.encode())
        assert {blob.key async for blob in store.list()} == {*KEYS_OF_OTHERS}
        for key in KEYS_OF_OTHERS:
            assert await store.read(key) == key.encode()
            assert [blob.key async for blob in store.list(key.rpartition("/")[0])] == [key]
            await store.delete(key)
        assert [blob async for blob in store.list()] == []

    async def test_a_failing_source_leaves_no_blob(self, store: BlobStore, place: Place) -> None:
        for content in (b"short" * 10, LARGE):
            with pytest.raises(BrokenSource):
                await store.put("thread/a", half_of(content), "text/plain")
            with pytest.raises(datalayer.BlobNotFound):
                await store.read("thread/a")
        with pytest.raises(datalayer.BlobError, match="cannot be read"):
            await store.put("thread/a", Path("/nowhere/at/all"), "text/plain")
        assert await self.whole(place) == []
        await store.put("thread/a", b"old", "text/plain")
        with pytest.raises(BrokenSource):
            await store.put("thread/a", half_of(LARGE), "text/plain")
        assert await store.read("thread/a") == b"old"
        await store.delete("thread/a")
        assert await self.whole(place) == []

    async def test_a_cancelled_upload_leaves_no_blob(self, store: BlobStore, place: Place) -> None:
        half, never = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield LARGE
            half.set()
            await never.wait()

        upload = asyncio.create_task(store.put("thread/a", slow(), "text/plain"))
        await half.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        with pytest.raises(datalayer.BlobNotFound):
            await store.read("thread/a")
        assert await self.whole(place) == []

    async def whole(self, place: Place) -> list[str]:
        """The remains that a store should not have."""
        return await place.remains()

    @pytest.mark.slow
    async def test_memory_stays_flat(self, place: Place, tmp_path: Path) -> None:
        file, digest = tmp_path / "large", hashlib.sha256()
        with file.open("wb") as writing:
            for _ in range(64):
                piece = os.urandom(MEBIBYTE)
                digest.update(piece)
                writing.write(piece)
        asked = {"url": place.url, "options": asdict(place.options), "file": str(file)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.blob_memory"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(json.dumps(asked).encode())
        found = json.loads(output)
        print(
            f"{place.url.partition(':')[0]}: peak memory grew by {found['upload_kib']} KiB and {found['download_kib']}"
        )
        assert (found["stored"], found["read"], found["size"]) == (
            digest.hexdigest(),
            digest.hexdigest(),
            64 * MEBIBYTE,
        )
        # A few copies of one chunk, but never the whole content.
        assert found["upload_kib"] < 40 * 1024
        assert found["download_kib"] < 40 * 1024


class NetworkContract(BlobStoreContract):
    @pytest.fixture
    async def impatient(self, place: NetworkPlace) -> AsyncIterator[BlobStore]:
        store = place.impatient()
        yield store
        await store.close()

    @pytest.mark.slow
    async def test_an_unreachable_store_is_reported_in_time(
        self, store: BlobStore, impatient: BlobStore, place: NetworkPlace
    ) -> None:
        await store.put("thread/old", b"old", "text/plain")
        await place.network.go_down()
        begun = time.monotonic()
        with pytest.raises(datalayer.BlobError, match=r"cannot be reached|did not answer"):
            await impatient.put("thread/new", LARGE, "text/plain")
        assert time.monotonic() - begun < BOUNDED_SECONDS
        works = (impatient.read("thread/old"), impatient.delete("thread/old"), impatient.ping())
        for error in await asyncio.gather(*works, return_exceptions=True):
            assert type(error) is datalayer.BlobError
            assert re.search("cannot be reached|did not answer", str(error))
        await place.network.come_up()
        assert [blob.key async for blob in store.list()] == ["thread/old"]
        await store.put("thread/new", LARGE, "text/plain")
        assert {blob.key async for blob in store.list()} == {"thread/old", "thread/new"}

    @pytest.mark.parametrize("content", [b"old", None], ids=["replacing", "new"])
    @pytest.mark.slow
    async def test_an_interrupted_upload(
        self, store: BlobStore, impatient: BlobStore, place: NetworkPlace, content: bytes | None
    ) -> None:
        if content is not None:
            await store.put("thread/a", content, "text/plain")
        place.network.cut_after(len(LARGE) // 2)
        begun = time.monotonic()
        with pytest.raises(datalayer.BlobError, match=r"cannot be reached|did not answer"):
            await impatient.put("thread/a", LARGE, "text/plain")
        assert time.monotonic() - begun < BOUNDED_SECONDS
        assert place.network.cuts > 0
        await place.network.go_down()
        await place.network.come_up()
        if content is None:
            with pytest.raises(datalayer.BlobNotFound):
                await store.read("thread/a")
            assert [blob async for blob in store.list()] == []
        else:
            assert await store.read("thread/a") == content
        assert await store.put("thread/a", LARGE, "text/plain") == stored("thread/a", LARGE)
        assert await store.read("thread/a") == LARGE
        assert [blob.key async for blob in store.list()] == ["thread/a"], "one, however often it was tried"

    async def test_an_upload_is_complete_although_its_last_answer_was_lost(
        self, store: BlobStore, place: NetworkPlace
    ) -> None:
        for content in (LARGE, LARGE[::-1]):
            place.network.lose_the_answer_to(place.last_request)
            assert await store.put("thread/a", content, "text/plain") == stored("thread/a", content)
            assert await store.read("thread/a") == content
        assert place.network.cuts == 2
        await store.delete("thread/a")
        assert await place.remains() == []

    @pytest.mark.slow
    async def test_a_store_that_stops_answering_ends_in_a_timeout_error(
        self, store: BlobStore, impatient: BlobStore, place: NetworkPlace
    ) -> None:
        await store.put("thread/a", LARGE, "text/plain")
        place.network.fall_silent()
        begun = time.monotonic()
        with pytest.raises(datalayer.BlobError, match=r"cannot be reached|did not answer"):
            await impatient.read("thread/a")
        assert time.monotonic() - begun < BOUNDED_SECONDS

    async def test_an_interrupted_download_is_an_error(
        self, store: BlobStore, impatient: BlobStore, place: NetworkPlace
    ) -> None:
        await store.put("thread/a", LARGE, "text/plain")
        read = b""
        with pytest.raises(datalayer.BlobError):
            async with await impatient.open("thread/a") as blob:
                async for chunk in blob:
                    read += chunk
                    await place.network.go_down()
        assert len(read) < len(LARGE)

    async def test_ping_reports_the_cause(self, place: NetworkPlace) -> None:
        for url, options in [(place.missing, place.options), *((place.url, refused) for refused in place.refused)]:
            store = open_blob_store(url, options)
            words = r"there is no such (container|bucket)" if url == place.missing else r"credential|key"
            with pytest.raises(datalayer.BlobError, match=words) as caught:
                await store.ping()
            await store.close()
            assert not isinstance(caught.value, datalayer.BlobNotFound)
            for secret in (options.azure_key, options.s3_secret_access_key):
                # Every message contains a key of one letter.
                assert secret is None or len(secret) < 2 or secret not in str(caught.value)

    @pytest.fixture
    def links(self, place: NetworkPlace) -> None:
        """Prepare the server to serve signed URLs."""

    async def test_a_signed_url_serves_only_its_file(self, store: BlobStore, links: None) -> None:
        await store.put("thread/a", b"<b>hello</b>", "text/html", name="page.html")
        await store.put("thread/b", b"another", "text/plain")
        url = await store.signed_url("thread/a", 300)
        assert url is not None
        async with httpx.AsyncClient() as client:
            answer = await client.get(url)
            assert (answer.status_code, answer.content) == (200, b"<b>hello</b>")
            assert answer.headers["content-type"] == "text/html"
            assert answer.headers["content-disposition"].startswith("attachment; ")
            part = await client.get(url, headers={"Range": "bytes=3-7"})
            assert (part.status_code, part.content) == (206, b"hello")
            bare = await client.get(url.partition("?")[0])
            assert bare.status_code in (401, 403, 404)
            for change in self.tampered(url):
                assert (await client.get(change)).status_code == 403, change
            await store.delete("thread/a")
            assert (await client.get(url)).status_code == 404

    def tampered(self, url: str) -> Iterator[str]:
        """URLs that were changed after signing."""
        yield url.replace("thread/a", "thread/b")
        yield re.sub("sig=..", "sig=AA", url)
        yield re.sub("sp=r", "sp=rw", url)
        yield re.sub("se=2", "se=3", url)

    async def test_a_signed_url_of_a_key_of_another_program(self, store: BlobStore, links: None) -> None:
        async with httpx.AsyncClient() as client:
            for key in KEYS_OF_OTHERS:
                await store.put(key, key.encode(), "text/plain")
                assert (await client.get(str(await store.signed_url(key, 60)))).content == key.encode()

    async def test_a_signed_url_expires(self, store: BlobStore, links: None) -> None:
        await store.put("thread/a", b"hello", "text/plain")
        short, long = [str(await store.signed_url("thread/a", seconds)) for seconds in (1, 300)]
        async with httpx.AsyncClient() as client:

            async def has_expired() -> bool:
                return (await client.get(short)).status_code == 403

            await until(has_expired)
            assert (await client.get(long)).status_code == 200
        for seconds in (0, -1, 8 * 24 * 3600):
            with pytest.raises(ValueError, match="can be valid"):
                await store.signed_url("thread/a", seconds)

    async def test_every_file_name_becomes_a_valid_header(self, store: BlobStore, links: None) -> None:
        url = await store.signed_url("thread/a", 60)
        assert url is not None
        async with httpx.AsyncClient() as client:
            for name in NAMES:
                await store.put("thread/a", b"hello", "image/png\r\nX-Evil: 1", name=name)
                answer = await client.get(url)
                assert answer.status_code == 200, name
                assert answer.headers["content-type"] == "application/octet-stream"
                assert not {"set-cookie", "x-evil"} & set(answer.headers)
                check_disposition(answer.headers["content-disposition"], name)


class TestFolder(BlobStoreContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> FolderPlace:
        folder = tmp_path / "files"
        folder.mkdir()
        return FolderPlace(f"file://{folder}", BlobOptions(), folder)

    async def test_a_folder_has_no_signed_urls(self, store: BlobStore) -> None:
        await store.put("thread/a", b"x", "text/plain")
        assert await store.signed_url("thread/a", 60) is None

    async def test_an_unusable_folder_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "files").write_text("a file")
        store = LocalBlobs(tmp_path / "files")
        with pytest.raises(datalayer.BlobError, match="folder"):
            await store.ping()
        with pytest.raises(datalayer.BlobError, match="folder"):
            await store.put("thread/a", b"x", "text/plain")
        (tmp_path / "files").unlink()
        await store.put("thread/a", b"x", "text/plain")
        assert [blob.key async for blob in store.list()] == ["thread/a"]

    async def test_a_symbolic_link_out_of_the_folder_is_not_listed(self, store: BlobStore, place: FolderPlace) -> None:
        (place.folder / "elsewhere").symlink_to("/etc", target_is_directory=True)
        assert [blob async for blob in store.list()] == []

    def test_the_url_of_a_folder(self, tmp_path: Path) -> None:
        store = open_blob_store(f"file://{tmp_path}/a%20folder")
        assert isinstance(store, LocalBlobs)
        assert store.folder == tmp_path / "a folder"


class TestAzureBlob(NetworkContract):
    @pytest.fixture
    async def place(self, azurite_server: AzuriteServer) -> AsyncIterator[AzureBlobPlace]:
        async with azure_blob_place(azurite_server) as place:
            yield place

    async def whole(self, place: Place) -> list[str]:
        # Azure deletes uncommitted blocks after a week and has no request to delete them.
        assert isinstance(place, AzureBlobPlace)
        return [blob.name async for blob in place.service.get_container_client(place.container).list_blobs()]

    async def test_a_connection_string(self, place: AzureBlobPlace, azurite_server: AzuriteServer) -> None:
        text = (
            f"DefaultEndpointsProtocol=http;AccountName={azurite_server.account};AccountKey={azurite_server.key};"
            f"BlobEndpoint={place.options.azure_endpoint};"
        )
        store = open_blob_store(place.url, BlobOptions(azure_connection_string=text))
        await store.put("thread/a", b"x", "text/plain")
        url = await store.signed_url("thread/a", 60)
        assert url is not None
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).content == b"x"
        await store.close()
        other = open_blob_store("azure-blob://another/box", BlobOptions(azure_connection_string=text))
        for _ in range(2):
            with pytest.raises(datalayer.BlobError, match="two different accounts"):
                await other.ping()
        await other.close()


class TestDataLake(NetworkContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[DataLakePlace]:
        async with data_lake_place() as place:
            yield place

    async def test_an_account_without_a_hierarchical_namespace_is_named(self, azurite_server: AzuriteServer) -> None:
        async with azure_blob_place(azurite_server) as place:
            store = open_blob_store(place.url.replace("azure-blob://", "azure://"), place.options)
            with pytest.raises(datalayer.BlobError, match="for one without it use azure-blob://"):
                await store.ping()
            await store.close()

    async def test_a_sas_is_not_revealed(self, place: DataLakePlace) -> None:
        sas = generate_account_sas(
            place.server.account,
            place.server.key,
            resource_types=ResourceTypes(file_system=True, object=True),
            permission=AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        for token in (sas, f"?{sas}"):
            options = replace(place.options, azure_key=None, azure_sas=token)
            store = open_blob_store(place.url, options)
            await store.put("thread/a", LARGE, "text/plain")
            assert await store.read("thread/a") == LARGE
            assert [blob.key async for blob in store.list()] == ["thread/a"]
            await store.ping()
            assert await store.signed_url("thread/a", 60) is None
            await store.delete("thread/a")
            await store.close()
        changed = open_blob_store(place.url, replace(options, azure_sas=sas.replace("sp=r", "sp=rx")))
        with pytest.raises(datalayer.BlobError, match="credential was refused") as caught:
            await changed.ping()
        assert "sig" not in str(caught.value)
        await changed.close()

    async def test_a_managed_identity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate = self_signed(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        async with DataLakeServer(context) as server, DataLakeServer() as identity:
            identity.token = server.token
            server.containers["box"] = {}
            # The one credential that production has, of all that `DefaultAzureCredential` tries.
            for name, value in {**identity.identity, "AZURE_TOKEN_CREDENTIALS": "prod"}.items():
                monkeypatch.setenv(name, value)
            options = BlobOptions(azure_endpoint=server.url, ca_file=str(certificate))
            store = open_blob_store("azure://keeper/box", options)
            await store.ping()
            await store.put("thread/a", b"hello", "image/png", name="duck.png")
            urls = [await store.signed_url("thread/a", 60) for _ in range(2)]
            assert sum("userdelegationkey" in request for request in server.requests) == 1
            async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(certificate))) as client:
                for url in urls:
                    assert url is not None
                    answer = await client.get(url)
                    assert (answer.status_code, answer.content) == (200, b"hello")
                    assert answer.headers["content-disposition"].startswith('inline; filename="duck.png"')
                    for change in NetworkContract.tampered(self, url):
                        assert (await client.get(change)).status_code == 403
            await store.close()
            identity.token = "of another tenant"
            stranger = open_blob_store("azure://keeper/box", options)
            with pytest.raises(datalayer.BlobError, match="credential was refused"):
                await stranger.ping()
            await stranger.close()
            monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
            nobody = open_blob_store("azure://keeper/box", options)
            with pytest.raises(datalayer.BlobError, match="no credential for Azure was found"):
                await nobody.ping()
            await nobody.close()


class TestS3(NetworkContract):
    @pytest.fixture
    async def place(self, s3_service: S3Server) -> AsyncIterator[S3Place]:
        async with s3_place(s3_service) as place:
            yield place

    @pytest.fixture
    def links(self, place: NetworkPlace, s3_service: S3Server) -> None:
        s3_service.check_signatures(checked=False)

    def tampered(self, url: str) -> Iterator[str]:
        # moto checks neither signature nor expiry of a URL, so the test inspects the URL instead.
        query = dict(part.split("=") for part in urlsplit(url).query.split("&"))
        assert query["X-Amz-Expires"] == "300"
        assert re.fullmatch("[0-9a-f]{64}", query["X-Amz-Signature"])
        yield from ()

    async def test_a_signed_url_expires(self, store: BlobStore, links: None) -> None:
        url = await store.signed_url("thread/a", 2)
        assert url is not None
        # moto serves it without an expiry.
        assert "X-Amz-Expires=2&" in url
        for seconds in (0, -1, 8 * 24 * 3600):
            with pytest.raises(ValueError, match="can be valid"):
                await store.signed_url("thread/a", seconds)

    @pytest.mark.parametrize("passed_on", [True, False])
    async def test_a_repeated_completion_of_an_upload(self, store: BlobStore, place: S3Place, passed_on: bool) -> None:
        """Some servers answer the repeated request with an error; moto reports success a second time."""
        assert isinstance(store, S3Blobs)
        asked: list[str] = []

        async def read() -> bytes:
            return b"<Error><Code>NoSuchUpload</Code></Error>"

        async def answer(request: Any, **_: object) -> AioAWSResponse | None:
            asked.append(request.url)
            if passed_on and len(asked) == 1:
                return None
            return AioAWSResponse(request.url, 404, {}, SimpleNamespace(read=read))

        (await store._connected()).meta.events.register("before-send.s3.CompleteMultipartUpload", answer)
        await store.put("thread/a", b"old", "text/plain")
        place.network.lose_the_answer_to(place.last_request)
        if passed_on:
            assert await store.put("thread/a", LARGE, "text/plain") == stored("thread/a", LARGE)
        else:
            with pytest.raises(datalayer.BlobError, match="lost the upload"):
                await store.put("thread/a", LARGE, "text/plain")
        assert await store.read("thread/a") == (LARGE if passed_on else b"old")
        assert len(asked) == 1 + passed_on


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            *("", "file://", "file:///", "relative", "ftp://host/x", "file://host/x", "s3://", "azure://", "azure://a"),
            *("azure://a/", "azure://a/b/../c", "s3://bucket//x", "s3://key:secret@bucket", "s3://bucket/x?y=z"),
            *("azure://a/b#c", "https://account.blob.core.windows.net/x", "s3://[", "azure-blob://a/b/.hidden"),
        ],
    )
    def test_an_invalid_url_is_refused(self, url: str) -> None:
        with pytest.raises(datalayer.ConfigurationError) as caught:
            open_blob_store(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "options",
        [
            BlobOptions(azure_key="a2V5", azure_sas="sig=x"),
            BlobOptions(azure_connection_string="x", azure_key="a2V5"),
            BlobOptions(azure_key="not base64"),
            BlobOptions(azure_endpoint="account.dfs.core.windows.net"),
            BlobOptions(azure_endpoint="https://host/?sig=x"),
            BlobOptions(azure_endpoint="https://[host"),
        ],
    )
    def test_contradicting_options_are_refused(self, options: BlobOptions) -> None:
        for scheme in ("azure", "azure-blob"):
            with pytest.raises(datalayer.ConfigurationError):
                open_blob_store(f"{scheme}://account/container", options)

    def test_the_representation_has_no_secrets(self) -> None:
        secrets = dict.fromkeys(
            ("azure_connection_string", "azure_key", "azure_sas", "s3_secret_access_key", "s3_session_token"), "hunter2"
        )
        assert "hunter2" not in repr(BlobOptions(**secrets))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("url", "module", "extra"),
        [
            ("azure://a/b", "azure.storage.filedatalake", "azure"),
            ("azure-blob://a/b", "azure.storage.blob", "azure"),
            ("s3://a", "aioboto3", "s3"),
        ],
    )
    def test_a_missing_package_is_named(self, url: str, module: str, extra: str) -> None:
        """In a process of its own without the package."""
        program = f"""
import sys
import datalayer
assert not {{"azure", "aioboto3", "botocore"}} & set(sys.modules), "imported without need"
sys.modules[{module!r}] = None
try:
    datalayer.open_blob_store({url!r})
except datalayer.ConfigurationError as error:
    assert "pip install 'threadkeeper[{extra}]'" in str(error), error
else:
    raise SystemExit("opened")
"""
        subprocess.run([sys.executable, "-c", program], check=True)

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("azure://account/box", BlobOptions(azure_connection_string="nonsense-hunter2")),
            ("azure-blob://account/box", BlobOptions(azure_connection_string="AccountName=account;AccountKey=hunter2")),
            ("s3://box", BlobOptions(s3_endpoint="nonsense", s3_region="x")),
        ],
    )
    async def test_malformed_credentials_are_refused(self, url: str, options: BlobOptions) -> None:
        store = open_blob_store(url, replace(options, patience_seconds=2))
        with pytest.raises(datalayer.BlobError) as caught:
            await store.ping()
        assert "hunter2" not in str(caught.value)
        await store.close()
