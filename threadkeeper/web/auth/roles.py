"""Who may see what, in one place: a route says whom it is for by one of these dependencies, and nothing else decides.

`tests/web/test_roles.py` walks every route for every role and for nobody, and fails for a route that it does not know.
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
    """Whether the threads of others are this person's to open, each with a row in the audit."""
    return person.role in (REVIEWER, ADMIN)


def _logged_in(connection: HTTPConnection) -> Person:
    person = person_at(connection)
    if person is None:
        raise HTTPException(401, "Please log in.")
    return person


def _reviewer(person: "LoggedIn") -> Person:
    # Whoever may not know of a page gets the answer of one that is not there.
    if not may_review(person):
        raise HTTPException(404, "There is no such page.")
    return person


def _admin(person: "LoggedIn") -> Person:
    if not is_admin(person):
        raise HTTPException(404, "There is no such page.")
    return person


def is_admin(person: Person) -> bool:
    """Whether the audit and what is kept for how long are this person's to see."""
    return person.role == ADMIN


LoggedIn = Annotated[Person, Depends(_logged_in)]
Reviewer = Annotated[Person, Depends(_reviewer)]
Admin = Annotated[Person, Depends(_admin)]


def sees_all_usage(person: Person) -> bool:
    """Whether the calls of everyone are this person's to see, and not only their own."""
    return is_admin(person)


@contextmanager
def reading_usage(person: Person) -> Iterator[None]:
    """Within the block the data layer gives out the calls that this person may see, and no others."""
    with acting_as(SYSTEM if sees_all_usage(person) else person.identifier):
        yield
