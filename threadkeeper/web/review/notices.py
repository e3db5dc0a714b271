"""What was done by a form, to be told on the page after it: kept by the browser for a minute, and told once.

An address that says it could be passed on, and would tell of what was never done.
"""

from fastapi import Request, Response

_COOKIE, _PATH, _SECONDS = "review_notice", "/review", 60


def keep_notice(request: Request, response: Response, *said: object) -> Response:
    """Have the browser say it with its next page of the review: words without a dot, blank or comma."""
    response.set_cookie(
        _COOKIE,
        ".".join(map(str, said)),
        max_age=_SECONDS,
        path=_PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


def kept_notice(request: Request) -> tuple[str, ...]:
    """What is to be told; an empty word where there is nothing."""
    return tuple(request.cookies.get(_COOKIE, "")[:200].split("."))


def told(request: Request, response: Response) -> Response:
    """The page that tells it; the next does not."""
    if _COOKIE in request.cookies:
        response.delete_cookie(_COOKIE, path=_PATH)
    return response
