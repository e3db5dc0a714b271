"""Bodies that are a file: what their `Content-Type` says."""

from typing import Any

from fastapi import Request

from threadkeeper.web.api.problems import invalid

BYTES: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""The content of such a body, or of a response, for the documentation of a route."""


def demand_no_form(request: Request) -> None:
    """Require that the body is the file itself.

    Raises:
        Problem: it is a form that contains the file, whose boundaries would be stored as a part of the file.
    """
    if media_type(request) == "multipart/form-data":
        sentence = "the body must be the file itself, not a form that contains it (curl: --data-binary @FILE, not -F)"
        raise invalid("header.content-type", sentence)


def media_type(request: Request) -> str | None:
    """The media type of the file that is the body; None if the request names none."""
    named = request.headers.get("content-type", "").split(";")[0].strip().lower()[:200]
    # curl's own for --data-binary, whatever the file is.
    return None if named == "application/x-www-form-urlencoded" else named or None
