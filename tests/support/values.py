"""Values for the keys of a StepDict and an ElementDict, and the values that a reader gets."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from datalayer import InvalidRecord
from datalayer.cleaning import clean_json, clean_text, clean_time, known_id
from tests.unit.test_cleaning import ANY_JSON, ANY_TEXT

OBJECTS = st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3)
TIMES = st.datetimes().map(lambda moment: moment.isoformat())
IDS = st.uuids().map(str)

# Values of the types that Chainlit declares.
STEP_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "name": ANY_TEXT,
    "type": st.sampled_from(["tool", "run", "user_message", "assistant_message"]),
    "parentId": IDS,
    "command": ANY_TEXT,
    "modes": OBJECTS,
    "streaming": st.booleans(),
    "waitForAnswer": st.booleans(),
    "isError": st.booleans(),
    "metadata": OBJECTS,
    "tags": st.lists(ANY_TEXT, max_size=3),
    "input": ANY_TEXT,
    "output": ANY_TEXT,
    "createdAt": TIMES,
    "start": TIMES,
    "end": TIMES,
    "generation": OBJECTS,
    "showInput": st.booleans() | st.sampled_from(["json", "true", "false"]),
    "defaultOpen": st.booleans(),
    "icon": ANY_TEXT,
    "autoCollapse": st.booleans(),
    "language": ANY_TEXT,
}
ELEMENT_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["image", "text", "file", "custom"]),
    "url": ANY_TEXT,
    "chainlitKey": ANY_TEXT,
    "name": ANY_TEXT,
    "display": st.sampled_from(["inline", "side", "page"]),
    "size": st.sampled_from(["small", "medium", "large"]),
    "language": ANY_TEXT,
    "page": st.integers(0, 1000),
    "props": OBJECTS,
    "autoPlay": st.booleans(),
    "playerConfig": OBJECTS,
    "forId": IDS,
    "mime": ANY_TEXT,
}
_TIMES = {"createdAt", "start", "end"}
_IDS = {"parentId", "forId"}
_RESERVED = {"id", "threadId", "feedback", "path", "objectKey", "createdAt"}


def fields(kinds: Mapping[str, st.SearchStrategy[Any]], *, without: frozenset[str] = frozenset()) -> Any:
    """Dictionaries of known keys, mostly with values of the declared type, and of unknown keys."""
    known = {key: kind | kind | ANY_JSON for key, kind in kinds.items() if key not in without}
    unknown = st.dictionaries(
        ANY_TEXT.filter(lambda key: clean_text(key) not in {*_RESERVED, *kinds}), ANY_JSON, max_size=2
    )
    return st.builds(lambda a, b: {**a, **b}, st.fixed_dictionaries({}, optional=known), unknown)


def as_read(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a reader gets: without nulls, with normalised times and ids, and with numbers as doubles."""
    found = {}
    for key, value in sent.items():
        cleaned = _time(value) if key in _TIMES else _id(value) if key in _IDS else clean_json(value)
        if cleaned is not None:
            found[clean_text(key)] = as_doubles(cleaned)
    return found


def as_doubles(value: Any) -> Any:
    """The value with large numbers rounded to doubles, because JSONB stores all their digits."""
    if isinstance(value, dict):
        return {key: as_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= 2**53:
        return value
    try:
        return float(value)
    except OverflowError:
        return value


def _time(value: Any) -> Any:
    try:
        return (clean_time(value, "time") if isinstance(value, str) else None) or clean_json(value)
    except InvalidRecord:
        return clean_json(value)


def _id(value: Any) -> Any:
    return (known_id(value) if isinstance(value, str) else None) or clean_json(value)
