"""Where forms lead back to, and ids as they come in addresses."""

from urllib.parse import quote

from fastapi import HTTPException, Response
from fastapi.responses import RedirectResponse

from datalayer.cleaning import known_id
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.pages.forms import Posted
from threadkeeper.web.review.reader import ReviewReader

_SEE_OTHER = 303


def known_or_gone(record_id: str) -> str:
    """The id; what can be none is answered as what is not there."""
    known = known_id(record_id)
    if known is None:
        raise HTTPException(404)
    return known


def thread_address(thread_id: str, form: Posted, step_id: str = "") -> str:
    """Where a form leads back to: the thread, at the answer that it was about, else at the page that it was on."""
    back, answer = form.one("back", longest=8_000), step_id or form.one("answer", longest=100)
    page = "" if step_id else form.one("page", longest=10)
    said = (("queue", form.one("queue", longest=10)), ("page", page), ("answer", answer), ("back", back))
    parts = [f"{name}={quote(value, safe='')}" for name, value in said if value]
    return _address(thread_id, parts, answer)


def item_address(thread_id: str, step_id: str) -> str:
    """An answer that came from the queue."""
    return _address(thread_id, ["queue=1", f"answer={quote(step_id, safe='')}"], step_id)


def to(address: str) -> Response:
    """Has the browser ask for the address, now that the form has done its work."""
    return RedirectResponse(address, _SEE_OTHER)


async def is_own(layer: ReviewReader, person: Person, thread_id: str) -> bool:
    """Whether the thread is this person's own, and opening it is nobody else's business."""
    return await layer.get_thread_author(thread_id) == person.identifier


def _address(thread_id: str, parts: list[str], answer: str) -> str:
    query = "?" + "&".join(parts) if parts else ""
    return f"/review/threads/{quote(thread_id, safe='')}{query}" + (
        f"#answer-{quote(answer, safe='')}" if answer else ""
    )
