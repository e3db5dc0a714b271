"""Values keep their form in DynamoDB's items."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.cleaning import clean_json
from datalayer.dynamodb.items import attributes_of, from_attribute, size_of, to_attribute, values_of

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("tk:json"), inner, max_size=3),
    max_leaves=12,
)


@given(value=VALUES)
def test_any_value_is_read_back(value: Any) -> None:
    assert from_attribute(to_attribute(value)) == value


@pytest.mark.parametrize(
    "number",
    [
        0,
        -1,
        10**37,
        10**38,
        10**60,
        -(10**400),
        0.1,
        1e22,
        1e-140,
        5e-324,
        1.7e308,
        -1e126,
        2.0**53,
        2.0**60,
        -(3.0**50),
    ],
)
def test_a_number_is_read_back_and_never_has_more_digits_than_dynamodb_takes(number: float) -> None:
    attribute = to_attribute(number)
    assert from_attribute(attribute) == number
    if "N" in attribute:
        sent = Decimal(attribute["N"])
        assert from_attribute({"N": format(sent.normalize(), "f")}) == number, "the service has a form of its own"
        assert len(sent.as_tuple().digits) <= 38
        assert sent == 0 or Decimal("1e-130") <= abs(sent) <= Decimal("9.99e125")


def test_a_number_is_read_in_any_form_that_a_server_gives() -> None:
    read = [from_attribute({"N": text}) for text in ("7", "7.0", "1E+2", "0.25", "-0", "1E-7")]
    assert read == [7, 7, 100, 0.25, 0, 1e-7]
    assert [type(one) for one in read] == [int, int, int, float, int, float]


def test_a_value_that_is_nested_deeper_than_dynamodb_allows_is_read_back() -> None:
    value: Any = "in the middle"
    for _ in range(90):
        value = {"of": [value]}
    attribute = to_attribute(clean_json(value))
    assert from_attribute(attribute) == value
    assert _depth(attribute) <= 32


def test_keys_of_the_table_and_of_ours_can_be_keys_of_a_dictionary() -> None:
    values = {
        "PK": "p",
        "SK": 1,
        "UserThreadPK": 2,
        "tk:updatedAt": 3,
        "tk:key:PK": 4,
        "": 5,
        "PK2": {"PK": 6, "tk:": 7},
    }
    item = attributes_of(values | {"none": None})
    assert not {"PK", "SK", "UserThreadPK", "", "tk:updatedAt"} & item.keys()
    assert values_of({**item, "PK": {"S": "THREAD#1"}, "SK": {"S": "STEP#1"}, "tk:updatedAt": {"S": "ours"}}) == values


def test_sets_and_bytes_of_other_programs_are_read() -> None:
    assert from_attribute({"SS": ["a", "b"]}) == ["a", "b"]
    assert from_attribute({"NS": ["1", "2.5"]}) == [1, 2.5]
    assert from_attribute({"B": b"\x00"}) == "AA=="


def test_a_size_counts_bytes() -> None:
    assert size_of({"S": "工具"}) == 6
    assert size_of(to_attribute({"ab": ["cd", True]})) >= 2 + 2 + 1


def _depth(attribute: Any) -> int:
    ((kind, value),) = attribute.items()
    inner = value.values() if kind == "M" else value if kind == "L" else ()
    return 1 + max(map(_depth, inner), default=0)
