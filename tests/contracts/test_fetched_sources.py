"""Data sources with an address: fetched in a training, unchanged when their bytes are, and never lost by a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from datalayer import BlobNotFound, DataSource, InvalidRecord, SourceChanged, SourceResult, Training
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.files.verify import FileCheck
from tests.support.knowledge import source
from tests.support.model_server import ModelServer
from tests.support.training_rig import Rig
from tests.support.web_site import Page, Site
from tests.unit.test_attachments import pdf
from threadkeeper.knowledge.fetching.base import Fetched, FetchSettings
from threadkeeper.knowledge.fetching.fetcher import Fetcher
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.knowledge.training import TrainingFailed

# A process of its own reads each page, and the library that reads HTML takes most of a second of CPU time to import.
HARBOUR = "The harbour opens at six in the morning, on every day of the year, also on holidays."
HTML = (
    f"<!doctype html><html><head><title>Harbour</title></head><body><article><p>{HARBOUR}</p></article></body></html>"
)


class WebRig(Rig):
    """A rig whose training fetches from a site on loopback."""

    site: Site

    def allow(self, *hosts: str) -> None:
        settings = FetchSettings(url_hosts(hosts), seconds=5, megabytes=1)
        self.trainer.settings = replace(self.trainer.settings, fetching=settings)

    async def put_address(self, path: str, kind: str = "url", named: str = "Page", **options: Any) -> DataSource:
        given = {"address": self.site.address(path), **options}
        return await self.layer.put_source(replace(source(title=named, options=given), kind=kind))

    async def result(self, training: Training, of: DataSource) -> SourceResult:
        return (await self.layer.trained_sources(training.id))[of.id][0]

    @property
    def trained_texts(self) -> list[str]:
        """What was embedded, without the questions of the threshold and the one text that tells the dimensions."""
        return [text for text in self.embedded[1:] if "harbour" in text or "boat" in text or "text:" in text]


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[WebRig]:
    made = WebRig(layer, model_server)
    async with Site() as site:
        made.site = site
        made.allow(f"http://127.0.0.1:{site.port}=127.0.0.0/8")
        yield made
    await made.close()


async def test_a_page_is_fetched_trained_and_found(rig: WebRig) -> None:
    rig.site.pages["/harbour"] = Page(HTML, headers={"Content-Type": "text/html"}, etag='"1"')
    rig.site.pages["/boats.pdf"] = Page(pdf("Every boat over twelve metres needs a pilot."))
    rig.site.pages["/notes"] = Page("# Boats\n\nA boat is tied up.", headers={"Content-Type": "text/markdown"})
    page, boats, notes = [await rig.put_address(path, named=path) for path in ("/harbour", "/boats.pdf", "/notes")]
    training = await rig.train()
    assert (training.state, training.counts.documents, training.counts.failed_documents) == ("success", 3, 0)
    assert (await rig.found("When does the harbour open?"))[0].startswith("The harbour opens at six")
    (document,) = await rig.layer.list_documents(training.id, page.id)
    assert document.title == "Harbour"
    (document,) = await rig.layer.list_documents(training.id, boats.id)
    assert document.pages == 1
    assert (await rig.result(training, notes)).loader == "markdown 1"
    found = await rig.result(training, page)
    assert found.fetch is not None
    assert found.fetch["state"] == "new"
    stored = await rig.layer.get_source(page.id)
    assert stored is not None
    assert stored.fetched is not None
    assert (stored.fetched["etag"], stored.sha256) == ('"1"', found.sha256)
    assert (await rig.layer.read_source(page.id))[1] == HTML.encode()
    assert (await rig.layer.knowledge_states(["librarian"]))["librarian"].changed_sources == 0
    report = await FileCheck(rig.layer.database, rig.layer.blobs, repair=True, grace_seconds=0).run()
    assert report.left == 0


@pytest.mark.parametrize("has_etag", [True, False])
async def test_unchanged_bytes_are_not_embedded_again(rig: WebRig, has_etag: bool) -> None:
    rig.site.pages["/harbour"] = Page(HARBOUR, etag='"1"' if has_etag else None)
    page = await rig.put_address("/harbour")
    await rig.train()
    rig.server.forget()
    again = await rig.train()
    assert (again.counts.documents, again.counts.reused_documents, rig.trained_texts) == (1, 1, [])
    found = await rig.result(again, page)
    assert found.fetch is not None
    assert found.fetch["state"] == "unchanged"
    assert len([visit for visit in rig.site.visits if "If-None-Match" in visit.headers]) == int(has_etag)
    rig.site.pages["/harbour"] = Page(HARBOUR.replace("six", "seven"), etag='"2"')
    changed = await rig.train()
    assert (changed.counts.documents, changed.counts.reused_documents) == (1, 0)
    assert "at seven" in (await rig.found("When does the harbour open?"))[0]
    assert "at six" not in " ".join(await rig.found("When does the harbour open?"))


@pytest.mark.parametrize("has_etag", [True, False])
async def test_a_lost_file_is_fetched_and_stored_again(rig: WebRig, has_etag: bool) -> None:
    rig.site.pages["/harbour"] = Page(HARBOUR, etag='"1"' if has_etag else None)
    page = await rig.put_address("/harbour")
    await rig.train()
    stored = await rig.layer.get_source(page.id)
    assert stored is not None
    await rig.layer.blobs.delete(str(stored.object_key))
    # Other settings need the file.
    other = WebRig(rig.layer, rig.server, "words:32")
    other.site = rig.site
    try:
        away = await rig.layer.start_training("librarian")
        failed_reason = await _reason_of(other, away)
        other.allow(f"http://127.0.0.1:{rig.site.port}=127.0.0.0/8")
        healed = await other.train()
    finally:
        await other.close()
    assert failed_reason == ("not_fetched", "no_hosts", None)
    assert (healed.counts.documents, (await rig.result(healed, page)).refused) == (1, None)
    assert (await rig.layer.read_source(page.id))[1] == HARBOUR.encode()
    report = await FileCheck(rig.layer.database, rig.layer.blobs, repair=True, grace_seconds=0).run()
    assert (report.left, (await rig.layer.read_source(page.id))[1]) == (0, HARBOUR.encode())


async def _reason_of(rig: WebRig, training: Training) -> tuple[str | None, str, str | None]:
    with pytest.raises(TrainingFailed):
        await rig.trainer.train(training.id)
    ((result, _),) = (await rig.layer.trained_sources(training.id)).values()
    assert result.fetch is not None
    return result.refused, result.fetch["kind"], result.fetch["kept"]


@pytest.mark.parametrize("what", ["gone", "robots", "host", "too_large", "network"])
async def test_what_was_known_stays_when_it_cannot_be_fetched(rig: WebRig, what: str) -> None:
    rig.site.pages["/harbour"] = Page(HARBOUR)
    page = await rig.put_address("/harbour")
    first = await rig.train()
    if what == "gone":
        rig.site.pages = {}
    elif what == "robots":
        rig.site.pages["/robots.txt"] = Page("User-agent: *\nDisallow: /")
    elif what == "host":
        rig.allow("docs.example.com")
    elif what == "too_large":
        rig.site.pages["/harbour"] = Page("x" * 2_000_000)
    else:
        rig.allow(f"http://127.0.0.1:{rig.site.port}=10.0.0.0/8")
    again = await rig.train()
    assert (again.state, again.is_current, again.counts.documents) == ("success", True, 1)
    assert again.number == first.number + 1
    assert (await rig.found("When does the harbour open?"))[0].startswith("The harbour opens at six")
    found = await rig.result(again, page)
    kinds = {"gone": "status", "network": "private"}
    assert found.fetch is not None
    assert (found.fetch["state"], found.fetch["kind"]) == ("failed", kinds.get(what, what))
    assert found.fetch["kept"] == ((await rig.layer.get_source(page.id)) or page).fetched["at"]  # type: ignore[index]
    assert (found.refused, found.documents) == (None, 1)
    # Other settings embed what is kept, too.
    other = WebRig(rig.layer, rig.server, "words:32")
    other.site = rig.site
    try:
        assert (await other.train()).counts.documents == 1
    finally:
        await other.close()


async def test_a_page_that_was_never_fetched_is_told_and_the_others_are_trained(rig: WebRig) -> None:
    rig.site.pages["/harbour"] = Page(HARBOUR)
    page, missing = await rig.put_address("/harbour"), await rig.put_address("/missing")
    training = await rig.train()
    assert (training.state, training.counts.documents, training.counts.failed_documents) == ("success", 1, 1)
    found = await rig.result(training, missing)
    assert found.fetch is not None
    assert (found.refused, found.fetch["kind"], found.fetch["values"]["status"]) == ("not_fetched", "status", 404)
    await rig.layer.delete_source(page.id)
    with pytest.raises(TrainingFailed):
        await rig.train()


async def test_an_unexpected_error_of_one_source_does_not_fail_the_others(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.site.pages |= {"/harbour": Page(HARBOUR), "/other": Page("A boat is tied up.")}
    page, other = await rig.put_address("/harbour"), await rig.put_address("/other")
    fetch = Fetcher.fetch

    async def surprised(self: Fetcher, asked: DataSource) -> Fetched:
        if asked.id == page.id:
            raise ValueError("nobody thought of this")
        return await fetch(self, asked)

    monkeypatch.setattr(Fetcher, "fetch", surprised)
    training = await rig.train()
    assert (training.state, training.counts.documents) == ("success", 1)
    assert ((await rig.result(training, page)).fetch or {})["kind"] == "unexpected"
    assert (await rig.result(training, other)).documents == 1


async def test_a_scanned_pdf_of_an_address_is_refused_as_a_file_is(rig: WebRig) -> None:
    rig.site.pages |= {"/scan.pdf": Page(pdf(None)), "/harbour": Page(HARBOUR)}
    await rig.put_address("/harbour")
    scan = await rig.put_address("/scan.pdf")
    found = await rig.result(await rig.train(), scan)
    assert (found.refused, (found.fetch or {})["state"]) == ("without_text", "new")


async def test_the_records_of_an_api_are_documents(rig: WebRig) -> None:
    def answer(number: int, items: list[dict[str, Any]], following: str | None) -> None:
        rig.site.pages[f"/api?p={number}"] = Page(json.dumps({"data": items, "next": following}))

    answer(1, [{"id": 1, "name": "One", "body": "text: the first boat"}], "/api?p=2")
    answer(2, [{"id": 2, "name": "Two", "body": "text: the second boat"}], None)
    options: dict[str, Any] = {
        "records": "data",
        "columns": ["body"],
        "title": "name",
        "record_id": "id",
        "next": "next",
    }
    api = await rig.put_address("/api?p=1", "api", **options)
    training = await rig.train()
    listed = await rig.layer.list_documents(training.id, api.id)
    assert [(one.title, one.record_id) for one in listed] == [("One", "1"), ("Two", "2")]
    rig.server.forget()
    answer(2, [{"id": 2, "name": "Two", "body": "text: a boat that changed"}], None)
    again = await rig.train()
    assert (again.counts.documents, again.counts.reused_documents) == (2, 1)
    assert rig.trained_texts == ["Two\ntext: a boat that changed"]
    # One page away: nothing of it is taken, and what was known stays.
    rig.site.pages["/api?p=2"] = Page(status=500)
    failed = await rig.train()
    assert (failed.counts.documents, (await rig.result(failed, api)).documents) == (2, 2)


async def test_another_address_forgets_the_content_of_the_first(rig: WebRig) -> None:
    rig.site.pages["/harbour"] = Page(HARBOUR)
    page = await rig.put_address("/harbour")
    await rig.train()
    stored = await rig.layer.get_source(page.id)
    assert stored is not None
    renamed = await rig.layer.put_source(replace(stored, title="Renamed"))
    assert (renamed.sha256, renamed.fetched) == (stored.sha256, stored.fetched)
    moved = await rig.layer.put_source(replace(stored, options={"address": rig.site.address("/other")}))
    assert (moved.sha256, moved.object_key, moved.fetched) == (None, None, None)
    with pytest.raises(BlobNotFound):
        await rig.layer.blobs.read(str(stored.object_key))
    with pytest.raises(TrainingFailed):
        await rig.train()


async def test_what_was_fetched_is_not_kept_for_a_source_that_changed_meanwhile(layer: ChainlitLayer) -> None:
    asked = replace(source(options={"address": "https://docs.example.com/"}), kind="url")
    stored = await layer.put_source(asked)
    kept = await layer.keep_fetched(stored, {"at": "now"}, b"content")
    assert (kept.byte_size, kept.fetched, (await layer.read_source(stored.id))[1]) == (7, {"at": "now"}, b"content")
    for old in (stored, replace(kept, options={"address": "https://other.example.com/"})):
        with pytest.raises(SourceChanged):
            await layer.keep_fetched(old, {"at": "later"}, b"other")
    assert await layer.keep_fetched(kept, {"at": "later"}) == replace(kept, fetched={"at": "later"})
    same = await layer.keep_fetched(kept, {"at": "last"}, b"content")
    assert (same.object_key, same.sha256) == (kept.object_key, kept.sha256)
    await layer.delete_source(stored.id)
    with pytest.raises(SourceChanged):
        await layer.keep_fetched(kept, {"at": "too late"}, b"x")


@pytest.mark.parametrize("kind", ["url", "api"])
@pytest.mark.parametrize("options", [{}, {"address": ""}, {"address": 7}])
async def test_a_source_without_an_address_is_refused(layer: ChainlitLayer, kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord, match="needs an address"):
        await layer.put_source(replace(source(options=options), kind=kind))


async def test_a_source_that_is_deleted_while_it_is_fetched_is_left_out(rig: WebRig) -> None:
    deleted = asyncio.Event()
    rig.site.pages |= {"/harbour": Page(HARBOUR, waits_for=deleted), "/other": Page("A boat is tied up.")}
    page, other = await rig.put_address("/harbour"), await rig.put_address("/other")
    started = await rig.layer.start_training("librarian")

    async def delete(training: Training) -> None:
        if training.done_sources == 1:
            await rig.layer.delete_source(page.id)
            deleted.set()

    done = await rig.trainer.train(started.id, progress=delete)
    assert (done.state, done.counts.documents) == ("success", 1)
    assert (await rig.result(done, page)).refused == "deleted"
    assert (await rig.result(done, other)).documents == 1
