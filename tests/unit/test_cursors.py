"""Cursors: encoded values are decoded, and all other texts are refused."""

import base64
import json
from decimal import Decimal

import pytest

from datalayer import InvalidRecord
from datalayer.cleaning import known_id
from datalayer.cursors import decode, decode_number, encode

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_an_encoded_cursor_is_decoded() -> None:
    assert decode(encode("2026", ID), str, known_id) == ["2026", ID]
    assert decode(encode("0.5"), Decimal) == [Decimal("0.5")]
    assert decode_number("12") == 12


def test_an_older_cursor_stays_valid() -> None:
    older = base64.urlsafe_b64encode(json.dumps(["2026", ID]).encode()).decode()
    assert encode("2026", ID) == older


@pytest.mark.parametrize(
    "content",
    ["", "nothing", "[1]", "1", "null", '["2026"]', f'["2026", "{ID}", "more"]', '["2026", "no id"]', f'[1, "{ID}"]'],
)
def test_an_encoded_value_that_is_not_a_place_is_refused(content: str) -> None:
    cursor = base64.urlsafe_b64encode(content.encode()).decode()
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(cursor, str, known_id)


@pytest.mark.parametrize("cursor", ["é", "AAA", "[" * 100_000, "NaN"])
def test_text_that_is_not_a_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(cursor, str)


def test_an_invalid_number_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(encode("no number"), Decimal)
    for cursor in ("", "-1", "1.5", "²", "9" * 19):
        with pytest.raises(InvalidRecord, match="cursor"):
            decode_number(cursor)
