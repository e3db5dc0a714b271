"""What the next page tells about a form that was sent. It is in a cookie: in a URL it could be passed on, and would
report an action that never happened."""

from fastapi import Request, Response

_SECONDS = 60


class Notices:
    """The notices of the pages below a path.

    Args:
        name: the name of the cookie.
        path: these pages show the notices.
    """

    def __init__(self, name: str, path: str) -> None:
        self._name, self._path = name, path

    def set(self, request: Request, response: Response, *words: object) -> Response:
        """Have the next page show a notice: its kind and its values, without dots, blanks or commas."""
        set_cookie(request, response, self._name, ".".join(map(str, words)), path=self._path, seconds=_SECONDS)
        return response

    def read(self, request: Request) -> tuple[str, ...]:
        """The notice to show; a single empty word without one."""
        return tuple(request.cookies.get(self._name, "")[:200].split("."))

    def clear(self, request: Request, response: Response) -> Response:
        """Delete the notice from the browser, so that it is shown once."""
        if self._name in request.cookies:
            response.delete_cookie(self._name, path=self._path)
        return response


def set_cookie(request: Request, response: Response, name: str, value: str, *, path: str, seconds: int) -> None:
    """Set a cookie that scripts do not see and that no other site's page sends."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
