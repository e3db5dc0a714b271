"""The roles that routes require. A route names its role in its signature, as one of these dependencies.

`tests/web/test_roles.py` requests every route with every role and without a login, and fails for an unlisted route.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection

from datalayer import SYSTEM, acting_as
from threadkeeper.web.auth.gate import Person, person_at

ADMIN, REVIEWER = "admin", "reviewer"


def may_review(person: Person) -> bool:
    """Whether the person may open other users' threads; each opening is written to the audit."""
    return person.role in (REVIEWER, ADMIN)


def is_admin(person: Person) -> bool:
    """Whether the person may see the audit."""
    return person.role == ADMIN


async def _logged_in(connection: HTTPConnection) -> Person:
    person = person_at(connection)
    if person is None:
        raise HTTPException(401, "Please log in.")
    return person


async def _reviewer(person: "LoggedIn") -> Person:
    # The same answer as for a page that does not exist: others must not learn that there is one.
    if not may_review(person):
        raise HTTPException(404, "There is no such page.")
    return person


async def _admin(person: "LoggedIn") -> Person:
    if not is_admin(person):
        raise HTTPException(404, "There is no such page.")
    return person


LoggedIn = Annotated[Person, Depends(_logged_in)]
Reviewer = Annotated[Person, Depends(_reviewer)]
Admin = Annotated[Person, Depends(_admin)]


def sees_all_usage(person: Person) -> bool:
    """Whether the person may see everyone's calls."""
    return is_admin(person)


@contextmanager
def reading_usage(person: Person) -> Iterator[None]:
    """Within the block, the data layer returns exactly the calls that this person may see."""
    with acting_as(SYSTEM if sees_all_usage(person) else person.identifier):
        yield
