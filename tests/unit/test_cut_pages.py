"""Pages of passages, cut out of a PDF."""

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest
from pypdf import PdfReader

from tests.unit.test_attachments import pdf
from threadkeeper.documents.pages import PlaceInPdf, cut_pages

DOCUMENT = pdf("Nets are dried here.", "Boats need a pilot.", "Cats sleep all day.")


def given(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return data

    return read


async def test_two_files_are_in_memory_at_the_same_time_at_most() -> None:
    reading = most = 0

    async def read() -> None:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await asyncio.sleep(0.01)
        reading -= 1

    cuts = (cut_pages("a.pdf", read, [PlaceInPdf(1, "x")], seconds=30) for _ in range(6))
    assert await asyncio.gather(*cuts) == [[None]] * 6
    assert most == 2


def texts(cut: bytes | None) -> list[str]:
    assert cut is not None
    return [page.extract_text().strip() for page in PdfReader(io.BytesIO(cut)).pages]


async def test_a_passage_gets_its_page_and_the_next_ones_if_it_goes_on_there() -> None:
    places = [
        PlaceInPdf(2, "Boats need a pilot."),
        PlaceInPdf(2, "a pilot.\n\nCats sleep all day."),
        PlaceInPdf(1, "words that no page has"),
        PlaceInPdf(9, "no such page"),
    ]
    one, two, unknown, missing = await cut_pages("a.pdf", given(DOCUMENT), places, seconds=30)
    assert texts(one) == ["Boats need a pilot."]
    assert texts(two) == ["Boats need a pilot.", "Cats sleep all day."]
    assert texts(unknown) == ["Nets are dried here."]
    assert missing is None


async def test_a_file_that_cannot_be_cut_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await cut_pages("broken.pdf", given(b"%PDF-1.4"), [PlaceInPdf(1, "x")], seconds=30) == [None]
    assert "'broken.pdf' (8 bytes) cannot be read" in caplog.text


async def test_a_file_that_takes_too_long_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await cut_pages("slow.pdf", given(DOCUMENT), [PlaceInPdf(1, "x")] * 2, seconds=0.001) == [None, None]
    assert "'slow.pdf'" in caplog.text


async def test_without_a_process_nothing_is_cut_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_process(*_arguments: str) -> None:
        raise OSError("no memory")

    monkeypatch.setattr("threadkeeper.documents.pages.start", no_process)
    assert await cut_pages("a.pdf", given(DOCUMENT), [PlaceInPdf(1, "x")], seconds=1) == [None]
    assert "no process can be started: no memory" in caplog.text
