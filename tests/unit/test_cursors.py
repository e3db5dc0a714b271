"""Cursors: encoded values are decoded, and all other texts and cursors of other lists are refused."""

import base64
from decimal import Decimal

import pytest

from datalayer import InvalidRecord
from datalayer.cleaning import known_id
from datalayer.cursors import decode, encode, number

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_an_encoded_cursor_is_decoded() -> None:
    assert decode(encode("list", "2026", ID), "list", str, known_id) == ["2026", ID]
    assert decode(encode("list", "0.5"), "list", Decimal) == [Decimal("0.5")]
    assert decode(encode("list", "12"), "list", number) == [12]


def test_a_cursor_of_another_list_is_refused() -> None:
    for other in (encode("other", "2026", ID), encode("2026", ID), encode("list", "list", "2026", ID)):
        with pytest.raises(InvalidRecord, match="cursor"):
            decode(other, "list", str, known_id)


@pytest.mark.parametrize(
    "content",
    [
        *("", "nothing", "[1]", "1", "null", "[]", '["list"]', '["list", "2026"]', f'["list", "2026", "{ID}", "more"]'),
        *('["list", "2026", "no id"]', f'["list", 1, "{ID}"]', f'[1, "2026", "{ID}"]'),
    ],
)
def test_an_encoded_value_that_is_not_a_place_is_refused(content: str) -> None:
    cursor = base64.urlsafe_b64encode(content.encode()).decode()
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(cursor, "list", str, known_id)


@pytest.mark.parametrize("cursor", ["é", "AAA", "[" * 100_000, "NaN"])
def test_text_that_is_not_a_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(cursor, "list", str)


def test_an_invalid_number_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="cursor"):
        decode(encode("list", "no number"), "list", Decimal)
    for cursor in ("", "-1", "1.5", "²", "9" * 19):
        with pytest.raises(InvalidRecord, match="cursor"):
            decode(encode("list", cursor), "list", number)
