"""The URLs that forms lead back to, and the ids in URLs."""

from urllib.parse import quote

from fastapi import HTTPException

from datalayer.cleaning import known_id
from threadkeeper.web.pages.forms import Posted


def known_or_404(record_id: str) -> str:
    """The id in its normal form.

    Raises:
        HTTPException: 404, as for a record that does not exist, if it cannot be an id.
    """
    known = known_id(record_id)
    if known is None:
        raise HTTPException(404)
    return known


def thread_address(thread_id: str, form: Posted, step_id: str = "") -> str:
    """The thread that a form came from: at the answer that the form changed, else on the page that it was on."""
    back, answer = form.one("back", longest=8_000), step_id or form.one("answer", longest=100)
    page = "" if step_id else form.one("page", longest=10)
    kept = (("queue", form.one("queue", longest=10)), ("page", page), ("answer", answer), ("back", back))
    parts = [f"{name}={quote(value, safe='')}" for name, value in kept if value]
    return _address(thread_id, parts, answer)


def item_address(thread_id: str, step_id: str) -> str:
    """An answer taken from the queue, in its thread."""
    return _address(thread_id, ["queue=1", f"answer={quote(step_id, safe='')}"], step_id)


def _address(thread_id: str, parts: list[str], answer: str) -> str:
    query = "?" + "&".join(parts) if parts else ""
    return f"/review/threads/{quote(thread_id, safe='')}{query}" + (
        f"#answer-{quote(answer, safe='')}" if answer else ""
    )
