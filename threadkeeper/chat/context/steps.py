"""What the context and the conversation read in StepDicts."""

from collections.abc import Mapping
from typing import Any

Step = Mapping[str, Any]

NOTICE_STATUS = "notice"
"""`metadata.status` of a message that the chat itself wrote: stored and shown, but never part of the context."""


def metadata_of(step: Step) -> Mapping[str, Any]:
    return step.get("metadata") or {}


def is_notice(step: Step) -> bool:
    return metadata_of(step).get("status") == NOTICE_STATUS
