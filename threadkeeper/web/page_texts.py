"""Rewrites the texts of Socket.IO events for Chainlit's page (`threadkeeper.formulas.page`).

Streamed text (`stream_token`) is rewritten where it is sent, because its rewriting needs the text before it.
"""

from collections.abc import Mapping
from typing import Any

from threadkeeper.formulas.page import for_page

_OF_ONE_STEP = ("new_message", "update_message", "stream_start")


def texts_for_page(event: str, data: Any) -> Any:
    """The data of the event as the page must get it. The given data is not changed: it is stored as it is."""
    if event in _OF_ONE_STEP and isinstance(data, Mapping):
        return step_for_page(data)
    if event == "resume_thread" and isinstance(data, Mapping):
        return thread_for_page(data)
    return data


def thread_for_page(thread: Mapping[str, Any], *, shared: bool = False) -> dict[str, Any]:
    """A ThreadDict as the page must get it. `shared`: for the view of a shared thread."""
    return {**thread, "steps": [step_for_page(step, shared=shared) for step in thread.get("steps") or ()]}


def step_for_page(step: Mapping[str, Any], *, shared: bool = False) -> dict[str, Any]:
    """A StepDict as the page must get it.

    The page shows a `language` as code. It shows questions as they were typed, but in a shared thread as Markdown.
    """
    changed = dict(step)
    if step.get("type") == "user_message" and not shared:
        return changed
    if not step.get("language") and isinstance(step.get("output"), str):
        changed["output"] = for_page(step["output"])
    if step.get("showInput") is True and isinstance(step.get("input"), str):
        changed["input"] = for_page(step["input"])
    return changed
