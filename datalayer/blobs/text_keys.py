"""The keys of long texts, which the data layer on DynamoDB keeps in the blob store. No SQL row names them."""

import re

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEY = re.compile(rf"{_ID}/text-({_ID})-[0-9a-f]{{16}}")


def key_of(thread_id: str, record_id: str, ending: str) -> str:
    """The key of a text of a step, of the vote on it, of an element or of the thread. The ending has 16 hexadecimal
    digits."""
    return f"{thread_id}/text-{record_id}-{ending}"


def record_of(object_key: str) -> str | None:
    """The id of the step, element or thread whose text has this key, or None if it is the key of another file."""
    found = _KEY.fullmatch(object_key)
    return found[1] if found else None
