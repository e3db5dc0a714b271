"""Values that a database cannot store are replaced; other values do not change."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer import InvalidRecord
from datalayer.cleaning import clean_id, clean_json, clean_text, clean_time, known_id, utc_now

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=20,
)


@given(ANY_TEXT)
def test_clean_text_can_be_stored_and_valid_text_is_unchanged(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean_text(cleaned) == cleaned
    if "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text):
        assert cleaned == text


@given(ANY_JSON)
def test_clean_json_is_json(value: Any) -> None:
    cleaned = clean_json(value)
    assert json.loads(json.dumps(cleaned, allow_nan=False)) == cleaned
    assert clean_json(cleaned) == cleaned


def test_values_that_json_cannot_hold_become_text() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert clean_json({1: moment, "bytes": b"x", "tuple": (1, None)}) == {
        "1": str(moment),
        "bytes": "b'x'",
        "tuple": [1, None],
    }


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-14, 14))
def test_text_order_is_time_order(moment: datetime, hours: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    earlier, later = clean_time(there, "time"), clean_time((there + timedelta(microseconds=1)).isoformat(), "time")
    assert earlier is not None
    assert later is not None
    assert earlier < later
    assert len(earlier) == len("2026-01-01T00:00:00.000000Z")


def test_stored_times_and_ids_are_not_changed() -> None:
    moment, plain = utc_now(), "0b9b6f0e-6f9f-4f3e-9d8e-0123456789ab"
    assert clean_time(moment, "time") is moment
    assert known_id(plain) is plain
    assert clean_time("2026-01-01T23:59:59.000000+00:00", "time") == "2026-01-01T23:59:59.000000Z"


@pytest.mark.parametrize(
    "nonsense",
    ["yesterday", "2026-13-01", "12", {"a": 1}, "2026-02-30T00:00:00.000000Z", "2026-01-01T00:00:60.000000Z"],
)
def test_an_invalid_time_is_refused(nonsense: Any) -> None:
    with pytest.raises(InvalidRecord, match="createdAt"):
        clean_time(nonsense, "createdAt")


def test_ids_have_one_form() -> None:
    plain = "0b9b6f0e-6f9f-4f3e-9d8e-0123456789ab"
    assert clean_id(plain.upper(), "id") == clean_id(plain.replace("-", ""), "id") == known_id(f"{{{plain}}}") == plain
    assert known_id("no uuid") is None
    with pytest.raises(InvalidRecord, match="thread id 'no uuid'"):
        clean_id("no uuid", "thread id")


def test_no_two_times_are_equal() -> None:
    moments = [utc_now() for _ in range(10_000)]
    assert moments == sorted(set(moments))
