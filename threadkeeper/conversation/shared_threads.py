"""Reduces a shared thread to what its readers may see: the conversation, without votes and settings of its owner."""

from typing import Any

from threadkeeper.shared_view import SHOWN_STEP_METADATA

_SHARED = ("is_shared", "shared_at")


def keep_what_is_shared(thread: dict[str, Any]) -> None:
    """Remove votes, settings and bookkeeping from a ThreadDict that will be shown to others."""
    metadata = thread.get("metadata") or {}
    for key in metadata.keys() - set(_SHARED):
        del metadata[key]
    for step in thread["steps"]:
        step["feedback"] = None
        step["metadata"] = {key: value for key, value in step["metadata"].items() if key in SHOWN_STEP_METADATA}
        step["generation"] = None
