"""Why a thread was opened, as its reviewer said: kept by their browser for this one thread, and for an hour.

Each view of the thread leaves its row in the audit with it, and nobody is asked again after each verdict.
"""

import base64
import binascii

from fastapi import Request, Response

LONGEST = 500
_COOKIE, _SECONDS = "review_purpose", 3600


def said_purpose(request: Request) -> str | None:
    """What was said for the thread of this address; None where nothing was."""
    kept = request.cookies.get(_COOKIE, "")
    try:
        return base64.urlsafe_b64decode(kept.encode()).decode()[:LONGEST].strip() or None
    except (ValueError, binascii.Error):
        return None


def keep_purpose(request: Request, response: Response, thread_id: str, purpose: str) -> None:
    """Have the browser say it with each request for this thread."""
    response.set_cookie(
        _COOKIE,
        base64.urlsafe_b64encode(purpose.encode()).decode(),
        max_age=_SECONDS,
        path=f"/review/threads/{thread_id}",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
