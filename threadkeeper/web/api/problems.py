"""Errors of the API as problem details (RFC 9457)."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from datalayer import AlreadyExists, DataLayerError, InvalidRecord
from threadkeeper.web.auth.keys import KeyRefused
from threadkeeper.web.statuses import status_of

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_KINDS = {400: "malformed", 401: "key-invalid", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_KINDS_OF_LAYER = {404: "not-found", 409: "conflict", 412: "changed", 422: "invalid", 503: "unavailable", 500: "error"}
# Fields of errors of the layer that are parameters of the query; the others are in the body.
_OF_QUERY = ("cursor", "interval", "zone")
_MOST_FIELDS = 20
_LONGEST_FIELD = 200
_LONGEST_DETAIL = 500
_UNAVAILABLE = "The storage cannot be reached at the moment. Please try again."
_FAILED = "Something went wrong. The reason is in the server's log."


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Where it is: `body.name`, `query.limit`, `header.if-match`.")
    detail: str


class ProblemDetails(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = Field(description="`urn:threadkeeper:problem:` and the kind, for programs.")
    title: str
    status: int
    detail: str = Field(description="A sentence for people.")
    errors: list[FieldProblem] = Field(default_factory=list)


@dataclass(eq=False)
class Problem(Exception):
    """An error that a program gets.

    `errors` are pairs of a field and what is wrong with it.
    """

    status: int
    kind: str
    detail: str
    errors: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] | None = None

    def response(self) -> Response:
        body = ProblemDetails(
            type=f"urn:threadkeeper:problem:{self.kind}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=[FieldProblem(field=field, detail=detail) for field, detail in self.errors],
        )
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return JSONResponse(body.model_dump(), self.status, headers=headers, media_type=MEDIA_TYPE)


def invalid(field: str, detail: str) -> Problem:
    """The problem of one field that is not valid."""
    return Problem(422, "invalid", f"{field}: {detail}", [(field, detail)])


def not_found(what: str) -> Problem:
    return Problem(404, "not-found", f"There is no such {what}.")


def no_route(status: int, path: str, methods: Collection[str]) -> Problem:
    """The problem of a request that no route takes. `methods`: those of the routes of the path."""
    documented = "The routes are at /api/v1/docs."
    if status != HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(404, "not-found", f"There is no {path[:_LONGEST_FIELD]}. {documented}")
    allowed = ", ".join(sorted(methods))
    sentence = f"{path[:_LONGEST_FIELD]} takes {allowed}. {documented}"
    return Problem(405, "method-not-allowed", sentence, headers={"Allow": allowed})


def changed(what: str = "record") -> Problem:
    """The problem of an `If-Match` whose record was changed."""
    sentence = f"The {what} was changed meanwhile. Read it again."
    return Problem(412, "changed", sentence, [("header.if-match", "it is of an older version")])


def problem_of(error: Exception) -> Problem:
    """The problem of an exception; one that was not foreseen is logged, and not told."""
    if isinstance(error, HTTPException) and isinstance(error.__cause__, Problem):
        # Raised while FastAPI read the body.
        error = error.__cause__
    problem: Problem | None = None
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, KeyRefused):
        problem = Problem(error.status, error.kind, error.sentence, headers=error.headers)
    elif isinstance(error, RequestValidationError):
        problem = _of_fields(error)
    elif isinstance(error, HTTPException) and error.status_code == HTTPStatus.BAD_REQUEST and error.__cause__:
        problem = invalid("body", _unreadable(error.__cause__))
    elif isinstance(error, HTTPException):
        kind, headers = _KINDS.get(error.status_code, "error"), error.headers
        problem = Problem(error.status_code, kind, str(error.detail), headers=headers)
    elif isinstance(error, DataLayerError):
        problem = _of_layer(error)
    if problem is None:
        logger.error("a request of a program failed", exc_info=error)
        return Problem(500, "error", _FAILED)
    return problem


def _of_fields(error: RequestValidationError) -> Problem:
    """The problem of fields that are not valid; of very many, the first ones are told."""
    errors = error.errors()
    found = [_told(one) for one in errors[:_MOST_FIELDS]]
    sentence = "; ".join(f"{field}: {detail}" for field, detail in found)
    more = len(errors) - len(found)
    return Problem(422, "invalid", f"{sentence}; and {more} more" if more else sentence, found)


def _told(error: Mapping[str, Any]) -> tuple[str, str]:
    """The field of an error of the validation, and what is wrong with it."""
    where, detail = error["loc"], str(error["msg"])
    if error["type"] == "json_invalid":
        # The place is a position in the body.
        reason = (error.get("ctx") or {}).get("error", detail)
        where, detail = where[:1], f"it is no JSON, from character {where[-1]} on: {reason}"
    elif error["type"].startswith("union_tag"):
        ctx = error.get("ctx") or {}
        where = (*where, str(ctx.get("discriminator", "")).strip("'"))
        detail = f"it must be {ctx['expected_tags']}" if "expected_tags" in ctx else "Field required"
    elif where == ("body",) and isinstance(error.get("input"), bytes):
        detail = "it is read as JSON only with the header Content-Type: application/json"
    # The types of a union stand there, too.
    named = (str(part) for part in where if "[" not in str(part))
    return ".".join(named)[:_LONGEST_FIELD], detail[:_LONGEST_DETAIL]


def _unreadable(cause: BaseException) -> str:
    """Why FastAPI could not read a body as JSON, if it was not the JSON's syntax."""
    if isinstance(cause, UnicodeDecodeError):
        return "it is not UTF-8, or it is compressed: send JSON in UTF-8 without a Content-Encoding"
    if isinstance(cause, RecursionError):
        return "its JSON is nested too deeply"
    return f"it cannot be read as JSON: {str(cause)[:_LONGEST_FIELD] or type(cause).__name__}"


def _of_layer(error: DataLayerError) -> Problem | None:
    """The problem of an error of the layer that was foreseen."""
    # Of what belongs to others, a program learns no more than that there is nothing for it.
    status = status_of(error)
    kind = "exists" if isinstance(error, AlreadyExists) else _KINDS_OF_LAYER[status]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        logger.error("a request of a program was answered with 503: %s", error)
        return Problem(status, kind, _UNAVAILABLE, headers={"Retry-After": "5"})
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    if status == HTTPStatus.PRECONDITION_FAILED:
        return changed()
    if isinstance(error, InvalidRecord) and error.field is not None:
        return invalid(f"{'query' if error.field in _OF_QUERY else 'body'}.{error.field}", str(error))
    if isinstance(error, AlreadyExists) and error.field is not None:
        return Problem(status, kind, f"{error}.", [(f"body.{error.field}", "it is in use")])
    return Problem(status, kind, "There is no such record." if status == HTTPStatus.NOT_FOUND else f"{error}.")
