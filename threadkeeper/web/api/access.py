"""Who asks: a program by its key; or a page of ours by the login of its user, which reads only."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from datalayer import ApiKey, acting_user
from datalayer.records.keys import KeyScope
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.auth.keys import KeyGate, carried_secret

_READS = ("GET", "HEAD")


class Caller(NamedTuple):
    """The user as whom a request acts, and the key; None for a page of ours."""

    user_id: str
    identifier: str
    key: ApiKey | None


def caller_with(scope: KeyScope) -> Any:
    """The dependency: the caller, whose key has this scope. The caller's user acts in the rest of the request."""

    async def require(request: Request) -> Caller:
        if request.method in _READS and carried_secret(request) is None and _is_from_our_page(request):
            person = person_at(request)
            if person is not None:
                return Caller(person.id, person.identifier, None)
        gate: KeyGate = request.state.key_gate
        key = await gate.key(request, scope)
        acting_user.set(key.owner)
        return Caller(key.user_id, key.owner, key)

    return Depends(require)


def _is_from_our_page(request: Request) -> bool:
    """Whether the browser says that a page of this origin asks; it lets no page of another one say so."""
    return request.headers.get("sec-fetch-site") == "same-origin"


Reader = Annotated[Caller, caller_with("threads:read")]
Writer = Annotated[Caller, caller_with("threads:write")]
