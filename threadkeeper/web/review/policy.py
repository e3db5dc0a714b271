"""The settings of the review for its pages: a dependency, and whether a purpose is needed."""

from typing import Annotated

from fastapi import Depends, Request

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.gate import Person


async def _policy(request: Request) -> ReviewPolicy:
    policy: ReviewPolicy = request.state.review_policy
    return policy


Policy = Annotated[ReviewPolicy, Depends(_policy)]


async def needs_purpose(policy: ReviewPolicy, layer: ChainlitLayer, person: Person, thread_id: str) -> bool:
    """Whether the person must give a purpose to open this thread: not for their own."""
    return policy.asks_purpose and await layer.get_thread_author(thread_id) != person.identifier
