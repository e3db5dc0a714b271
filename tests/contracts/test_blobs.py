"""What every blob store does; each store has a subclass that says how to make one."""

import asyncio
from pathlib import Path

import pytest

import datalayer
from datalayer.blobs import BlobStore, LocalBlobs, open_blob_store


class BlobStoreContract:
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        raise NotImplementedError

    async def test_content_comes_back(self, store: BlobStore, tmp_path: Path) -> None:
        for number, content in enumerate([b"", b"x", b"\x00\xff" * 100_000]):
            await store.put(f"thread/{number}", content, "application/octet-stream")
            assert await store.read(f"thread/{number}") == content
        (tmp_path / "source").write_bytes(b"from a path")
        await store.put("thread/path", tmp_path / "source", "text/plain")
        assert await store.read("thread/path") == b"from a path"

    async def test_a_second_content_replaces_the_first(self, store: BlobStore) -> None:
        await store.put("thread/a", b"first and longer", "text/plain")
        await store.put("thread/a", b"second", "text/plain")
        assert await store.read("thread/a") == b"second"

    async def test_what_is_not_there(self, store: BlobStore) -> None:
        with pytest.raises(datalayer.BlobNotFound):
            await store.read("thread/nothing")
        await store.delete("thread/nothing")

    async def test_deleted_is_gone(self, store: BlobStore) -> None:
        await store.put("thread/a", b"x", "text/plain")
        await store.put("thread/b", b"y", "text/plain")
        await store.delete("thread/a")
        with pytest.raises(datalayer.BlobNotFound):
            await store.read("thread/a")
        assert await store.read("thread/b") == b"y"

    async def test_many_at_once(self, store: BlobStore) -> None:
        await asyncio.gather(*(store.put("thread/same", bytes([n]) * 10_000, "text/plain") for n in range(20)))
        content = await store.read("thread/same")
        assert content in [bytes([n]) * 10_000 for n in range(20)], "whole, of one of the writers"

    async def test_it_answers(self, store: BlobStore) -> None:
        await store.ping()

    @pytest.mark.parametrize(
        "key", ["", "/", "../x", "a/../x", "/etc/passwd", "a//b", "a/", ".", "a\\b", "a\x00b", "é"]
    )
    async def test_a_key_that_leads_elsewhere_is_refused(self, store: BlobStore, key: str) -> None:
        with pytest.raises(datalayer.BlobError, match="key"):
            await store.put(key, b"x", "text/plain")
        with pytest.raises(datalayer.BlobError, match="key"):
            await store.read(key)
        with pytest.raises(datalayer.BlobError, match="key"):
            await store.delete(key)


class TestLocalBlobs(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return LocalBlobs(tmp_path / "files")

    async def test_an_upload_that_fails_leaves_the_old_content_and_no_remains(self, tmp_path: Path) -> None:
        store = LocalBlobs(tmp_path / "files")
        await store.put("thread/a", b"old", "text/plain")
        with pytest.raises(datalayer.BlobError):
            await store.put("thread/a", tmp_path / "no such file", "text/plain")
        assert await store.read("thread/a") == b"old"
        assert [path.name for path in (tmp_path / "files" / "thread").iterdir()] == ["a"]

    async def test_the_last_file_takes_the_folder_along(self, tmp_path: Path) -> None:
        store = LocalBlobs(tmp_path / "files")
        await store.put("thread/a", b"x", "text/plain")
        await store.delete("thread/a")
        assert list((tmp_path / "files").iterdir()) == []

    async def test_a_folder_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "files").write_text("a file")
        store = LocalBlobs(tmp_path / "files")
        with pytest.raises(datalayer.BlobError, match="folder"):
            await store.ping()
        with pytest.raises(datalayer.BlobError, match="folder"):
            await store.put("thread/a", b"x", "text/plain")

    def test_a_url_names_it(self, tmp_path: Path) -> None:
        store = open_blob_store(f"file://{tmp_path}/a%20folder")
        assert isinstance(store, LocalBlobs)
        assert store.folder == tmp_path / "a folder"

    @pytest.mark.parametrize("url", ["", "file://", "file:///", "relative", "ftp://host/x", "file://host/x"])
    def test_a_url_that_names_nothing_is_refused(self, url: str) -> None:
        with pytest.raises(datalayer.ConfigurationError):
            open_blob_store(url)
