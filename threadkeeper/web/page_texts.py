"""Rewrites the texts of Socket.IO events for Chainlit's page: formulas (`threadkeeper.formulas.page`) and citations.

Streamed text (`stream_token`) is rewritten where it is sent, because its rewriting needs the text before it.
"""

from collections.abc import Mapping
from typing import Any

from threadkeeper import citations
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
    """A ThreadDict as the page must get it. `shared`: for the view of a shared thread.

    There the page opens elements at the side, because it finds elements of a page of their own for their owner alone.
    """
    changed = {**thread, "steps": [step_for_page(step, shared=shared) for step in thread.get("steps") or ()]}
    if shared:
        elements = thread.get("elements") or ()
        changed["elements"] = [
            {**element, "display": "side"} if element.get("display") == "page" else element for element in elements
        ]
    return changed


def step_for_page(step: Mapping[str, Any], *, shared: bool = False) -> dict[str, Any]:
    """A StepDict as the page must get it.

    The page shows a `language` as code. It shows questions as they were typed, but in a shared thread as Markdown.
    """
    changed = dict(step)
    if step.get("type") == "user_message" and not shared:
        return changed
    if not step.get("language") and isinstance(step.get("output"), str):
        output = step["output"]
        if step.get("type") == "assistant_message":
            output = citations.for_page(output, step.get("metadata"))
        changed["output"] = for_page(output)
    if step.get("showInput") is True and isinstance(step.get("input"), str):
        changed["input"] = for_page(step["input"])
    return changed
