"""Data in the browser between two pages of the review: the result of a form, and the purpose of an opened thread.

Both are in cookies. In a URL they could be passed on, and would report an action that never happened or give a
purpose that somebody else wrote.
"""

import base64
import binascii

from fastapi import Request, Response

LONGEST_PURPOSE = 500
_NOTICE, _NOTICE_PATH, _NOTICE_SECONDS = "review_notice", "/review", 60
_PURPOSE, _PURPOSE_SECONDS = "review_purpose", 3600


def set_notice(request: Request, response: Response, *words: object) -> Response:
    """Have the next page of the review show a notice: its kind and its values, without dots, blanks or commas."""
    _set_cookie(request, response, _NOTICE, ".".join(map(str, words)), path=_NOTICE_PATH, seconds=_NOTICE_SECONDS)
    return response


def read_notice(request: Request) -> tuple[str, ...]:
    """The notice to show; a single empty word without one."""
    return tuple(request.cookies.get(_NOTICE, "")[:200].split("."))


def clear_notice(request: Request, response: Response) -> Response:
    """Delete the notice from the browser, so that it is shown once."""
    if _NOTICE in request.cookies:
        response.delete_cookie(_NOTICE, path=_NOTICE_PATH)
    return response


def set_purpose(request: Request, response: Response, thread_id: str, purpose: str) -> None:
    """Have the browser send the purpose with every request for this thread, for an hour.

    Each view of the thread is written to the audit with it, and the reviewer is not asked again after each verdict.
    """
    value = base64.urlsafe_b64encode(purpose.encode()).decode()
    _set_cookie(request, response, _PURPOSE, value, path=f"/review/threads/{thread_id}", seconds=_PURPOSE_SECONDS)


def read_purpose(request: Request) -> str | None:
    """The purpose given for the thread of this URL; None without one."""
    kept = request.cookies.get(_PURPOSE, "")
    try:
        return base64.urlsafe_b64decode(kept.encode()).decode()[:LONGEST_PURPOSE].strip() or None
    except (ValueError, binascii.Error):
        return None


def _set_cookie(request: Request, response: Response, name: str, value: str, *, path: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
