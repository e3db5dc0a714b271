"""Of a PDF page is read what is seen: not what lies beside the CropBox, and once what is drawn twice to look bold."""

from __future__ import annotations

import io

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, NameObject, RectangleObject

from tests.unit.test_attachments import pdf
from threadkeeper.documents.worker import pdf_second
from threadkeeper.documents.worker.pdf import read_pdf
from threadkeeper.documents.worker.pdf_second import second_page


def drawn(*lines: str, crop: tuple[float, float, float, float] | None = None) -> bytes:
    """A PDF with a page of these operations, each in a text object of Helvetica 12."""
    writer = PdfWriter(clone_from=io.BytesIO(pdf("Any.")))
    stream = DecodedStreamObject()
    stream.set_data("\n".join(f"BT /F1 12 Tf {line} ET" for line in lines).encode())
    page = writer.pages[0]
    page[NameObject("/Contents")] = writer._add_object(stream)
    if crop is not None:
        page.cropbox = RectangleObject(crop)
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def lines_of(data: bytes) -> list[str]:
    text = read_pdf(data, max_pages=9, max_characters=9_999).text
    return text.removeprefix("[Page 1]\n").strip().split("\n")


ADVANCES = (7, 6.4, 3.7, 6.4, 6)
LETTERS = " ".join(f"({one}) Tj 0.3 0 Td ({one}) Tj {step} 0 Td" for one, step in zip("Fares", ADVANCES, strict=True))


@pytest.mark.parametrize(
    ("operations", "wanted"),
    [
        (["72 700 Td (A berth) Tj", "72.4 700 Td (A berth) Tj", "72 680 Td (costs) Tj"], ["A berth", "costs"]),
        (["72 700 Td [(Ber) -20 (ths)] TJ", "72 700.3 Td [(Ber) -20 (ths)] TJ"], ["Berths"]),
        # What goes on behind other text has no place of its own.
        (["72 700 Td (l) Tj (l) Tj (ama) Tj", "72.2 700 Td (l) Tj (l) Tj (ama) Tj"], ["llama"]),
        # Lines that say the same, and a table with the same number in two columns.
        (["14 TL 72 700 Td (same) Tj (same) ' (same) '"], ["same", "same", "same"]),
        (["72 700 Td (7) Tj 40 0 Td (7) Tj"], ["7 7"]),
        ([f"72 700 Td {LETTERS}"], ["Fares"]),
    ],
)
def test_what_is_drawn_twice_to_look_bold_is_read_once(operations: list[str], wanted: list[str]) -> None:
    assert lines_of(drawn(*operations)) == wanted


def test_letters_that_are_drawn_twice_stay_double_without_the_second_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_second, "find_spec", lambda _name: None)
    assert lines_of(drawn(f"72 700 Td {LETTERS}")) == ["FFaarreess"]


@pytest.mark.parametrize("crop", [(100, 100, 500, 700), (500, 700, 100, 100)])
def test_what_lies_beside_the_crop_box_is_not_read(crop: tuple[float, float, float, float]) -> None:
    places = {"Seen": "120 600", "Bleeds in": "80 300", "Left": "10 600", "Right": "510 600", "Above": "120 750"}
    data = drawn(*(f"{place} Td ({text}) Tj" for text, place in places.items()), "120 20 Td (Below) Tj", crop=crop)
    assert lines_of(data) == ["Seen", "Bleeds in"]
    assert second_page(data, 1).startswith("Seen")
    assert "Left" in PdfReader(io.BytesIO(data)).pages[0].extract_text()


def test_boxes_that_do_not_meet_hide_nothing() -> None:
    assert lines_of(drawn("120 600 Td (Seen) Tj", crop=(2_000, 2_000, 2_100, 2_100))) == ["Seen"]
