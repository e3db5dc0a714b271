"""`Idempotency-Key`: a POST that is sent again with the same key gets the first answer, and does nothing again."""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.keys import ApiReply
from threadkeeper.web.api.access import Writer
from threadkeeper.web.api.problems import Problem, invalid

LONGEST_KEY = 200
_STATE = "threadkeeper.once"
_DONE = "threadkeeper.done"
_KEPT_HEADERS = ("location", "etag", "content-type")


class Replayed(Exception):
    """The request was answered before, with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


async def _once(
    request: Request,
    caller: Writer,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST_KEY,
            description="Made up by the program for this request. Sent again within a day, it gets the first answer.",
        ),
    ] = None,
) -> None:
    if idempotency_key is None or caller.key is None:
        return
    layer: ChainlitLayer = request.state.layer
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
    digest = hashlib.sha256(asked).hexdigest()
    with acting_as(SYSTEM):
        reply = await layer.begin_reply(caller.key.id, idempotency_key, digest)
    if reply is None:
        request.scope[_STATE] = (caller.key.id, idempotency_key)
        return
    if reply.digest != digest:
        raise invalid("header.idempotency-key", "it was sent before with another request")
    if reply.status is None:
        sentence = "The first request with this key is still being answered."
        raise Problem(409, "in-progress", sentence, headers={"Retry-After": "1"})
    raise Replayed(Response(reply.body, reply.status, {**reply.headers, "Idempotency-Replayed": "true"}))


Once = Depends(_once)
"""The dependency of every route that makes something."""


def begun(request: Request) -> tuple[str, str] | None:
    """The id of the API key and the `Idempotency-Key` whose first answer is made now."""
    found: tuple[str, str] | None = request.scope.get(_STATE)
    return found


def note_done(request: Request, thread_id: str) -> None:
    """From here on, something is stored in this thread: the first answer is kept, even if it is an error."""
    request.scope[_DONE] = thread_id


def is_done(request: Request) -> bool:
    """Whether the request has stored something."""
    return _DONE in request.scope


async def keep(layer: ChainlitLayer, request: Request, name: tuple[str, str], response: Response, body: str) -> None:
    """Store the first answer. It is deleted with its thread."""
    kept = {key: value for key, value in response.headers.items() if key in _KEPT_HEADERS}
    thread_id: str | None = request.scope.get(_DONE)
    with acting_as(SYSTEM):
        await layer.end_reply(*name, ApiReply("", response.status_code, kept, body), thread_id)


async def drop(layer: ChainlitLayer, name: tuple[str, str]) -> None:
    """Forget the request: nothing was done, so it may be sent again."""
    with acting_as(SYSTEM):
        await layer.drop_reply(*name)
