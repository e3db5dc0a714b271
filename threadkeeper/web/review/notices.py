"""Data in the browser between two pages of the review: the result of a form, and the purpose of an opened thread.

Both are in cookies. In a URL they could be passed on, and would report an action that never happened or give a
purpose that somebody else wrote.
"""

import base64
import binascii

from fastapi import Request, Response

from threadkeeper.web.pages.notices import Notices, set_cookie

LONGEST_PURPOSE = 500
NOTICES = Notices("review_notice", "/review")
_PURPOSE, _PURPOSE_SECONDS = "review_purpose", 3600


def set_purpose(request: Request, response: Response, thread_id: str, purpose: str) -> None:
    """Have the browser send the purpose with every request for this thread, for an hour.

    Each view of the thread is written to the audit with it, and the reviewer is not asked again after each verdict.
    """
    value = base64.urlsafe_b64encode(purpose.encode()).decode()
    set_cookie(request, response, _PURPOSE, value, path=f"/review/threads/{thread_id}", seconds=_PURPOSE_SECONDS)


def read_purpose(request: Request) -> str | None:
    """The purpose given for the thread of this URL; None without one."""
    kept = request.cookies.get(_PURPOSE, "")
    try:
        return base64.urlsafe_b64decode(kept.encode()).decode()[:LONGEST_PURPOSE].strip() or None
    except (ValueError, binascii.Error):
        return None
