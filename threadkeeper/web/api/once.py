"""`Idempotency-Key`: a POST that is sent again with the same key gets the first answer, and does nothing again."""

import hashlib
import hmac
import uuid
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.keys import ApiReply, KeyScope
from threadkeeper.web.api.access import Caller, caller_with
from threadkeeper.web.api.problems import Problem, invalid
from threadkeeper.web.auth.keys import carried_secret

LONGEST_KEY = 200
_STATE = "threadkeeper.once"
_DONE = "threadkeeper.done"
_UNFINISHED = "threadkeeper.unfinished"
_INSTEAD = "threadkeeper.kept_instead"
Begun = tuple[str, str, str]
"""The id of an API key, an `Idempotency-Key`, and the digest of its request."""
_KEPT_HEADERS = ("location", "etag", "content-type")


class Replayed(Exception):
    """The request was answered before, with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=LONGEST_KEY,
        description="Made up by the program for this request. Sent again within a day, it gets the first answer.",
    ),
]


def once_with(scope: KeyScope, *, from_pages: bool = True) -> Any:
    """The dependency of every route that makes something; its caller is that of `caller_with`."""
    dependency = caller_with(scope, from_pages=from_pages)

    async def once(request: Request, caller: Caller = dependency, idempotency_key: IdempotencyKey = None) -> None:
        if idempotency_key is not None:
            digest = digest_of(request)
            digest.update(await request.body())
            await begin_once(request, caller, idempotency_key, digest.hexdigest())

    return Depends(once)


def digest_of(request: Request) -> "hmac.HMAC":
    """The begin of the digest of a request; its body is to be added."""
    # Keyed with the secret, which is not stored: a body can have a password, which the plain digest would give away.
    secret = (carried_secret(request) or "").encode("utf-8", "replace")
    return hmac.new(secret, f"{request.method} {request.url.path}?{request.url.query}\n".encode(), hashlib.sha256)


async def begin_once(request: Request, caller: Caller, idempotency_key: str | None, digest: str) -> None:
    """Begin the first answer to an `Idempotency-Key`; for a route that reads its body itself.

    Raises:
        Replayed: it was answered before.
        Problem: it is being answered, or was sent with another request.
    """
    if idempotency_key is None or caller.key is None:
        return
    layer: ChainlitLayer = request.state.layer
    with acting_as(SYSTEM):
        reply = await layer.begin_reply(caller.key.id, idempotency_key, digest)
    if reply is None:
        request.scope[_STATE] = (caller.key.id, idempotency_key, digest)
        return
    if reply.digest != digest:
        raise invalid("header.idempotency-key", "it was sent before with another request")
    if reply.status is None:
        sentence = "The first request with this key is still being answered."
        raise Problem(409, "in-progress", sentence, headers={"Retry-After": "1"})
    raise Replayed(Response(reply.body, reply.status, {**reply.headers, "Idempotency-Replayed": "true"}))


Once = once_with("threads:write")


def begun(request: Request) -> Begun | None:
    """The request whose first answer is made now."""
    found: Begun | None = request.scope.get(_STATE)
    return found


def id_for(request: Request) -> str | None:
    """The id of what the request makes, the same for each of its repetitions; None without an `Idempotency-Key`."""
    name = begun(request)
    return None if name is None else str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(name)))


def note_done(request: Request, thread_id: str | None = None) -> None:
    """From here on, something is stored, in this thread: the first answer is kept, even if it is an error."""
    request.scope[_DONE] = thread_id


def is_done(request: Request) -> bool:
    """Whether the request has stored something."""
    return _DONE in request.scope


def note_unfinished(request: Request) -> None:
    """The request is to be sent again: this answer is not kept, and a repetition is carried out."""
    request.scope[_UNFINISHED] = True


def is_unfinished(request: Request) -> bool:
    """Whether the request is to be sent again."""
    return _UNFINISHED in request.scope


def keep_instead(request: Request, problem: Problem) -> None:
    """Keep this problem as the first answer. The answer itself has a secret, which is stored nowhere."""
    request.scope[_INSTEAD] = problem.response()


def kept_instead(request: Request) -> Response | None:
    """What is kept in place of an answer that has a secret; None for other answers."""
    found: Response | None = request.scope.get(_INSTEAD)
    return found


async def keep(layer: ChainlitLayer, request: Request, name: Begun, response: Response, body: str) -> None:
    """Store the first answer. It is deleted with its thread."""
    kept = {key: value for key, value in response.headers.items() if key in _KEPT_HEADERS}
    thread_id: str | None = request.scope.get(_DONE)
    with acting_as(SYSTEM):
        key_id, named, digest = name
        await layer.end_reply(key_id, named, ApiReply(digest, response.status_code, kept, body), thread_id)


async def drop(layer: ChainlitLayer, name: Begun) -> None:
    """Forget the request: nothing was done, so it may be sent again."""
    with acting_as(SYSTEM):
        await layer.drop_reply(*name)
