"""The route of stored files: access, ranges, and that uploads do not run as pages of this origin."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import chainlit as cl
import httpx
import pytest
from fastapi import FastAPI

import datalayer
from datalayer import BlobError, OpenBlob
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.azurite import AzuriteServer
from tests.support.blob_places import azure_blob_place
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.records import new_id, opened, thread
from tests.web.conftest import Serve
from threadkeeper.login.accounts import Authenticator
from threadkeeper.login.passwords import Passwords
from threadkeeper.web.auth.chainlit_logins import register_logins
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.files import file_url, files_router
from threadkeeper.web.mount import mount

PASSWORD = "the analytical engine"
CONTENT = bytes(range(256)) * 20
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'

LogIn = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
def mounted(
    layer: ChainlitLayer, passwords: Passwords, chainlit_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    monkeypatch.setattr("chainlit.data._data_layer", layer)
    monkeypatch.setattr("chainlit.data._data_layer_initialized", True)
    register_logins(layer, authenticator=Authenticator(layer, passwords))
    mount(chainlit_app, files_router(layer), gate=Gate(layer))
    return chainlit_app


@pytest.fixture
async def visitor(mounted: FastAPI, serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor without a login."""
    async with serve() as client:
        yield client


@pytest.fixture
async def log_in(layer: ChainlitLayer, passwords: Passwords, visitor: httpx.AsyncClient) -> AsyncIterator[LogIn]:
    """Create an account; returns its browser."""
    async with AsyncExitStack() as clients:

        async def enter(name: str) -> httpx.AsyncClient:
            await layer.add_account(name, await passwords.hash(PASSWORD))
            client = httpx.AsyncClient(base_url=visitor.base_url, **PLAIN_HTTP, timeout=30)
            await clients.enter_async_context(client)
            (await client.post("/login", data={"username": name, "password": PASSWORD})).raise_for_status()
            return client

        yield enter


@pytest.fixture
async def alice(log_in: LogIn) -> httpx.AsyncClient:
    return await log_in("alice")


async def store(layer: ChainlitLayer, name: str, mime: str | None, content: bytes) -> str:
    """A file of alice; returns its link."""
    with datalayer.acting_as("alice"):
        account = await layer.get_user("alice")
        assert account is not None
        thread_id = await thread(layer, account.id)
        element = cl.File(thread_id=thread_id, for_id=new_id(), name=name, content=content or b"x", mime=mime)
        if not content:
            element.content = b""
        await layer.create_element(element)
        found = await opened(layer, thread_id, element.id)
    assert found is not None
    return file_url(found[0])


def thread_of(link: str) -> str:
    return link.split("/")[2]


@pytest.mark.parametrize(
    ("mime", "served_as", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("application/pdf", "application/pdf", "inline"),
        ("audio/mpeg", "audio/mpeg", "inline"),
        ("text/plain", "text/plain; charset=utf-8", "attachment"),
        ("text/html", "text/plain; charset=utf-8", "attachment"),
        ("TEXT/HTML; charset=x", "text/plain; charset=utf-8", "attachment"),
        ("text/javascript", "text/plain; charset=utf-8", "attachment"),
        ("text/xml", "text/plain; charset=utf-8", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/json", "application/json", "attachment"),
        ("application/xml", "application/octet-stream", "attachment"),
        ("application/xhtml+xml", "application/octet-stream", "attachment"),
        ("application/javascript", "application/octet-stream", "attachment"),
        ("nonsense\r\nX: y", "application/octet-stream", "attachment"),
        ("image/png\r\nX: y", "application/octet-stream", "attachment"),
        (None, "application/octet-stream", "attachment"),
    ],
)
async def test_uploads_do_not_run_as_a_page(
    layer: ChainlitLayer, alice: httpx.AsyncClient, mime: str | None, served_as: str, disposition: str
) -> None:
    link = await store(layer, "x", mime, b"<script>alert(1)</script>")
    answer = await alice.get(link)
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == served_as
    assert answer.headers["content-disposition"].startswith(f"{disposition};")
    assert answer.headers["x-content-type-options"] == "nosniff"
    if served_as != "application/pdf":
        assert answer.headers["content-security-policy"] == ("default-src 'none'; style-src 'unsafe-inline'; sandbox")
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("name", ["报告 2026.pdf", "a/b\\c", 'quote"; x="y', "line\nbreak", "..", "🧵" * 300, "?#%"])
async def test_links_work_with_any_file_name(layer: ChainlitLayer, alice: httpx.AsyncClient, name: str) -> None:
    link = await store(layer, name, "text/plain", b"content")
    answer = await alice.get(link)
    assert (answer.status_code, answer.content) == (200, b"content")


async def test_a_link_works_only_for_its_owner(
    layer: ChainlitLayer, alice: httpx.AsyncClient, visitor: httpx.AsyncClient, log_in: LogIn
) -> None:
    link = await store(layer, "x", "text/plain", b"private")
    bob = await log_in("bob")
    for client in (bob, visitor):
        unknown = await client.get(f"/files/{new_id()}/{new_id()}/x")
        for method in ("GET", "HEAD"):
            for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
                answer = await client.request(method, link, headers=headers)
                assert answer.status_code == 404
                assert "etag" not in answer.headers
        assert (await client.get(link)).text == unknown.text
    assert (await alice.get(link)).text == "private"


async def test_files_of_a_thread_are_shared_while_the_thread_is(
    layer: ChainlitLayer, alice: httpx.AsyncClient, visitor: httpx.AsyncClient, log_in: LogIn
) -> None:
    link = await store(layer, "x", "image/png", CONTENT)
    bob = await log_in("bob")
    await layer.update_thread(thread_of(link), metadata={"is_shared": True})
    first = await bob.get(link)
    assert (first.status_code, first.content) == (200, CONTENT)
    assert (await visitor.get(link)).status_code == 404, "shared threads are for those who log in"
    assert (await alice.get(link)).status_code == 200
    await layer.update_thread(thread_of(link), metadata={"is_shared": False})
    assert (await bob.get(link, headers={"If-None-Match": first.headers["etag"]})).status_code == 404


@pytest.mark.parametrize("path", ["/files/no/uuid/x", "/files/../../etc/passwd", "/files/%2e%2e/%2e%2e/x"])
async def test_an_invented_link_is_not_found(alice: httpx.AsyncClient, path: str) -> None:
    answer = await alice.get(path)
    assert answer.status_code == 404 or b"<!doctype html>" in answer.content


async def test_a_file_that_the_store_has_lost_is_not_found(
    layer: ChainlitLayer, alice: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    link = await store(layer, "x", "text/plain", b"x")
    for key in [blob.key async for blob in layer.blobs.list()]:
        await layer.blobs.delete(key)
    assert (await alice.get(link)).status_code == 404
    assert "the file of an element is missing" in caplog.text


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=5000-", 5000, 5119),
        ("bytes=5119-9999", 5119, 5119),
        ("bytes=-1", 5119, 5119),
        ("bytes=-9999", 0, 5119),
        ("BYTES = 0-4", 0, 4),
    ],
)
async def test_a_single_range_is_served(
    layer: ChainlitLayer, alice: httpx.AsyncClient, asked: str, first: int, last: int
) -> None:
    link = await store(layer, "film.mp4", "video/mp4", CONTENT)
    answer = await alice.get(link, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/5120"
    assert answer.headers["content-length"] == str(last + 1 - first)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize(
    "asked", ["bytes=9-2", "bytes=0-1,4-5", "bytes=a-b", "bytes=-", "bytes=-0", "lines=1-2", "bytes=١-٢", ""]
)
async def test_an_invalid_range_gets_the_whole_file(layer: ChainlitLayer, alice: httpx.AsyncClient, asked: str) -> None:
    link = await store(layer, "film.mp4", "video/mp4", CONTENT)
    answer = await alice.get(link, headers={b"Range": asked.encode()})
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert (answer.headers["accept-ranges"], answer.headers["content-length"]) == ("bytes", "5120")


@pytest.mark.parametrize(("content", "asked"), [(CONTENT, "bytes=5120-"), (b"", "bytes=0-"), (b"", "bytes=-1")])
async def test_a_range_past_the_end_is_refused_with_the_size(
    layer: ChainlitLayer, alice: httpx.AsyncClient, content: bytes, asked: str
) -> None:
    link = await store(layer, "film.mp4", "video/mp4", content)
    answer = await alice.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


async def test_an_empty_file_is_served(layer: ChainlitLayer, alice: httpx.AsyncClient) -> None:
    answer = await alice.get(await store(layer, "x.txt", "text/plain", b""))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


async def test_if_range_with_another_etag_gets_the_whole_file(layer: ChainlitLayer, alice: httpx.AsyncClient) -> None:
    link = await store(layer, "film.mp4", "video/mp4", CONTENT)
    for known, status in ((ETAG, 206), ('"older"', 200), (f"W/{ETAG}", 200), ("Sat, 21 Nov 2026 10:00:00 GMT", 200)):
        answer = await alice.get(link, headers={"Range": "bytes=1-2", "If-Range": known})
        assert answer.status_code == status
        assert answer.content == (CONTENT[1:3] if status == 206 else CONTENT)


async def test_content_that_the_browser_has_is_not_sent_again(layer: ChainlitLayer, alice: httpx.AsyncClient) -> None:
    link = await store(layer, "x.png", "image/png", CONTENT)
    for known in (ETAG, f"W/{ETAG}", f'"older", {ETAG}'):
        answer = await alice.get(link, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)
    answer = await alice.get(link, headers={"If-None-Match": '"older"'})
    assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_head_requests_send_headers_only(layer: ChainlitLayer, alice: httpx.AsyncClient) -> None:
    link = await store(layer, "x.txt", "text/plain", CONTENT)
    whole, head = await alice.get(link), await alice.head(link)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    assert whole.content == CONTENT, "it is not compressed on its way"
    assert whole.headers["content-length"] == "5120"


async def endless(seen: list[str]) -> AsyncIterator[bytes]:
    try:
        while True:
            await asyncio.sleep(0)
            yield bytes(64 * 1024)
    finally:
        seen.append("ended")


async def test_the_blob_is_closed_when_the_reader_disconnects(
    layer: ChainlitLayer, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await store(layer, "film.mp4", "video/mp4", CONTENT)
    seen: list[str] = []

    async def open_endless(_key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        return OpenBlob(10**12, 0, 10**12, endless(seen), lambda: seen.append("closed"))

    monkeypatch.setattr(layer.blobs, "open", open_endless)
    async with alice.stream("GET", link) as answer:
        assert len(await anext(answer.aiter_raw())) > 0
        assert seen == []
    await until(lambda: {"closed", "ended"} <= set(seen))


async def test_a_store_that_fails_midway_truncates_the_response(
    layer: ChainlitLayer,
    alice: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = await store(layer, "film.mp4", "video/mp4", CONTENT)

    async def half() -> AsyncIterator[bytes]:
        yield CONTENT[:100]
        raise BlobError("the cable was pulled")

    async def open_half(_key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        return OpenBlob(len(CONTENT), 0, len(CONTENT), half())

    monkeypatch.setattr(layer.blobs, "open", open_half)
    with pytest.raises(httpx.RemoteProtocolError):
        await alice.get(link)
    assert "a download stopped before its end: the cable was pulled" in caplog.text
    assert thread_of(link) in [getattr(record, "thread_id", None) for record in caplog.records]


async def test_an_unreachable_store_is_reported(
    layer: ChainlitLayer, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await store(layer, "x.png", "image/png", CONTENT)

    async def away(*_arguments: object) -> OpenBlob:
        raise BlobError("nobody is there")

    monkeypatch.setattr(layer.blobs, "open", away)
    answer = await alice.get(link)
    assert answer.status_code == 503
    assert "nobody" not in answer.text


SHOWN = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


async def test_a_file_is_served_here_if_the_store_signs_no_link(
    layer: ChainlitLayer, mounted: FastAPI, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(mounted, files_router(layer, redirect_seconds=60), gate=Gate(layer))
    link = await store(layer, "x.png", "image/png", CONTENT)

    async def refused(*_arguments: object) -> str:
        raise BlobError("the identity may not make a user delegation key")

    monkeypatch.setattr(layer.blobs, "signed_url", refused)
    answer = await alice.get(link, headers=SHOWN)
    assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_browsers_are_redirected_to_the_store_if_configured(
    database_url: str, azurite_server: AzuriteServer, mounted: FastAPI, alice: httpx.AsyncClient, log_in: LogIn
) -> None:
    bob = await log_in("bob")
    async with azure_blob_place(azurite_server) as place:
        layer = datalayer.create_data_layer(database_url, datalayer.open_blob_store(place.url, place.options))
        mount(mounted, files_router(layer, redirect_seconds=2), gate=Gate(layer))
        link = await store(layer, "点.html", "text/html", CONTENT)
        sent_on = await alice.get(link, headers=SHOWN)
        assert (sent_on.status_code, sent_on.headers["cache-control"]) == (307, "no-store")
        assert sent_on.headers["referrer-policy"] == "no-referrer"
        async with httpx.AsyncClient(**PLAIN_HTTP) as nobody:
            there = sent_on.headers["location"]
            answer = await nobody.get(there)
            assert (answer.status_code, answer.content) == (200, CONTENT)
            assert answer.headers["content-disposition"].startswith("attachment;")
            assert urlsplit(there).port == place.network.port

            async def is_expired() -> bool:
                return (await nobody.get(there)).status_code == 403

            await until(is_expired)
        again = await alice.get(link, headers=SHOWN, follow_redirects=True)
        assert again.content == CONTENT, "our own link goes on working"
        for fetched in ({"Sec-Fetch-Mode": "cors"}, {}):
            assert (await alice.get(link, headers=fetched)).status_code == 200, "a script could not read it there"
        for page, status in (("http://t/review/threads/x", 200), ("http://t/thread/x", 307), ("http://[", 307)):
            within = {**SHOWN, "Referer": page}
            assert (await alice.get(link, headers=within)).status_code == status, "a page's policy loads it from here"
        assert (await alice.head(link, headers=SHOWN)).status_code == 200
        assert (await bob.get(link, headers=SHOWN)).status_code == 404
        await layer.close()


async def test_a_local_folder_has_no_links_to_redirect_to(
    layer: ChainlitLayer, mounted: FastAPI, alice: httpx.AsyncClient
) -> None:
    mount(mounted, files_router(layer, redirect_seconds=60), gate=Gate(layer))
    link = await store(layer, "x.png", "image/png", CONTENT)
    answer = await alice.get(link, headers=SHOWN)
    assert (answer.status_code, answer.content) == (200, CONTENT)
