"""Model calls with default values, for tests that set one field."""

from typing import Any

from datalayer.records.usage import LlmCall
from tests.support.records import new_id

MORNING = "2026-03-10T12:00:00.000000Z"


def call(requested_at: str = MORNING, **fields: Any) -> LlmCall:
    """An answered call of the chat, with other fields if given."""
    values = {"kind": "chat", "model": "gpt-x", "provider": "openai", "status_code": 200, **fields}
    return LlmCall(id=values.pop("id", None) or new_id(), requested_at=requested_at, **values)
