"""Who asks: a program by its key; or a page of ours by the login of its user, which reads only."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from datalayer import ApiKey, acting_user
from datalayer.records.keys import KeyScope
from threadkeeper.web.api.problems import invalid
from threadkeeper.web.auth.gate import Person, person_at
from threadkeeper.web.auth.keys import KeyGate, carried_secret

_READS = ("GET", "HEAD")
_TAKEN, _CALLERS = "threadkeeper.taken", "threadkeeper.callers"


class Caller(NamedTuple):
    """The user as whom a request acts, the key (None for a page of ours), and the user's role now."""

    user_id: str
    identifier: str
    key: ApiKey | None
    role: str = "user"

    @property
    def person(self) -> Person:
        return Person(self.user_id, self.identifier, self.role)


@cache
def caller_with(*scopes: KeyScope, from_pages: bool = True) -> Any:
    """The dependency: the caller, whose key has one of these scopes. The caller's user acts in the rest of the request.

    Args:
        scopes: of the key.
        from_pages: whether a page of ours may read with the login of its user.
    """

    async def require(request: Request) -> Caller:
        known: dict[object, Caller] = request.scope.setdefault(_CALLERS, {})
        if require not in known:
            known[require] = await found(request)
            # Nobody without a key learns what a route takes.
            _demand_known(request)
        return known[require]

    async def found(request: Request) -> Caller:
        if from_pages and request.method in _READS and carried_secret(request) is None and _is_from_our_page(request):
            person = person_at(request)
            if person is not None:
                return Caller(person.id, person.identifier, None, person.role)
        gate: KeyGate = request.state.key_gate
        key = await gate.key(request, *scopes)
        acting_user.set(key.owner)
        return Caller(key.user_id, key.owner, key, key.role)

    _requirements.add(require)
    return Depends(require)


_requirements: set[object] = set()


def requirements_of(dependant: Dependant) -> list[Callable[[Request], Awaitable[Caller]]]:
    """What a route requires of its caller; each finds the caller once. FastAPI asks only after it has read a body."""
    own = [dependant.call] if dependant.call in _requirements else []
    return [*own, *(one for inner in dependant.dependencies for one in requirements_of(inner))]  # type: ignore[list-item]


def takes_only(request: Request, names: Sequence[str]) -> None:
    """Let `caller_with` refuse other parameters: without the filter that one means, a reading would give too much."""
    request.scope[_TAKEN] = names


def _demand_known(request: Request) -> None:
    taken: Sequence[str] | None = request.scope.get(_TAKEN)
    if taken is not None and (unknown := [name for name in request.query_params if name not in taken]):
        raise invalid(f"query.{unknown[0][:60]}", f"there is no such parameter here: {', '.join(taken) or 'none is'}")


def _is_from_our_page(request: Request) -> bool:
    """Whether the browser says that a page of this origin asks; it lets no page of another one say so."""
    return request.headers.get("sec-fetch-site") == "same-origin"


Reader = Annotated[Caller, caller_with("threads:read")]
Writer = Annotated[Caller, caller_with("threads:write")]
UsageReader = Annotated[Caller, caller_with("usage:read")]
AssistantCaller = Annotated[Caller, caller_with("assistants")]
# What these read leaves rows in the audit or is about everyone: no link on a page of ours may do it.
ReviewCaller = Annotated[Caller, caller_with("reviews", from_pages=False)]
AccountCaller = Annotated[Caller, caller_with("account", from_pages=False)]
ProjectDeleter = Annotated[Caller, caller_with("account", "admin", from_pages=False)]
AdminCaller = Annotated[Caller, caller_with("admin", from_pages=False)]
