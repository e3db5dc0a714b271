"""The route of stored files: who gets them, and that nothing uploaded runs as a page of ours."""

from collections.abc import AsyncIterator

import chainlit as cl
import httpx
import pytest
from fastapi import FastAPI

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.records import new_id, opened, thread, user_id
from threadkeeper.web.files import file_url, files_router


@pytest.fixture
async def http(layer: ChainlitLayer) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(files_router(lambda: layer))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def store(layer: ChainlitLayer, name: str, mime: str | None, content: bytes) -> str:
    """Alice's file; gives its link."""
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        element = cl.File(thread_id=thread_id, for_id=new_id(), name=name, content=content, mime=mime)
        await layer.create_element(element)
        found = await opened(layer, thread_id, element.id)
    assert found is not None
    return file_url(found[0])


@pytest.mark.parametrize(
    ("mime", "served_as", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("application/pdf", "application/pdf", "inline"),
        ("audio/mpeg", "audio/mpeg", "inline"),
        ("text/plain", "text/plain; charset=utf-8", "inline"),
        ("text/html", "text/plain; charset=utf-8", "inline"),
        ("TEXT/HTML; charset=x", "text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("application/xhtml+xml", "application/octet-stream", "attachment"),
        ("application/javascript", "application/octet-stream", "attachment"),
        ("nonsense\r\nX: y", "application/octet-stream", "attachment"),
        (None, "application/octet-stream", "attachment"),
    ],
)
async def test_nothing_that_was_uploaded_runs_as_a_page(
    layer: ChainlitLayer, http: httpx.AsyncClient, mime: str | None, served_as: str, disposition: str
) -> None:
    link = await store(layer, "x", mime, b"<script>alert(1)</script>")
    with datalayer.acting_as("alice"):
        answer = await http.get(link)
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == served_as
    assert answer.headers["content-disposition"].startswith(disposition)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "public" not in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["报告 2026.pdf", "a/b\\c", 'quote"; x="y', "line\nbreak", "..", "🧵" * 100, "?#%"])
async def test_a_name_of_any_kind_makes_a_link_that_works(
    layer: ChainlitLayer, http: httpx.AsyncClient, name: str
) -> None:
    link = await store(layer, name, "text/plain", b"content")
    with datalayer.acting_as("alice"):
        answer = await http.get(link)
    assert (answer.status_code, answer.content) == (200, b"content")


async def test_it_works_for_its_owner_alone(layer: ChainlitLayer, http: httpx.AsyncClient) -> None:
    link = await store(layer, "x", "text/plain", b"private")
    await user_id(layer, "bob")
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            answer = await http.get(link)
        unknown = await http.get(f"/files/{new_id()}/{new_id()}/x")
        assert (answer.status_code, answer.text) == (404, unknown.text)


@pytest.mark.parametrize("path", ["/files/no/uuid/x", "/files/../../etc/passwd", "/files/%2e%2e/%2e%2e/x"])
async def test_a_link_that_was_made_up_leads_nowhere(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_a_file_that_the_store_has_lost_is_not_found(
    layer: ChainlitLayer, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    link = await store(layer, "x", "text/plain", b"x")
    async for blob in layer.blobs.list():
        await layer.blobs.delete(blob.key)
    with datalayer.acting_as("alice"):
        assert (await http.get(link)).status_code == 404
    assert "the file of an element is missing" in caplog.text
