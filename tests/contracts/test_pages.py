"""The pages of a user's threads together contain the whole list, even during writes.

A reader who goes from page to page gets every unchanged thread exactly once, in the order of the list. A thread that
changes meanwhile moves to the front: the reader gets it at most once, and finds it on the first page when starting
again.
"""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id, page, step, user_id

# Some times are equal, and a page must end between them.
MOMENTS = ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z", "2026-01-02T00:00:00.000000Z"]
THREADS = st.lists(st.sampled_from(MOMENTS), min_size=1, max_size=25)
# For each page: its size, whether a write runs concurrently with the read, and the write. They are drawn in advance,
# because the number of pages depends on which of the two is first.
Visit = tuple[int, bool, list[tuple[str, int]]]
VISITS = st.lists(
    st.tuples(
        st.integers(1, 7),
        st.booleans(),
        st.lists(st.tuples(st.sampled_from(["touch", "delete", "begin"]), st.integers(0, 24)), max_size=4),
    ),
    max_size=12,
)
QUIET: Visit = (7, False, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(moments=THREADS, visits=VISITS)
async def test_pages_contain_every_thread_once_during_writes(
    layer: ChainlitLayer, moments: list[str], visits: list[Visit]
) -> None:
    owner = await user_id(layer, "pages " + new_id())
    made = [new_id() for _ in moments]
    for one, moment in zip(made, moments, strict=True):
        await layer.create_step(step(one, createdAt=moment))
    await asyncio.gather(*(layer.update_thread(one, user_id=owner) for one in made))
    touched: set[str] = set()
    seen: list[str] = []
    after, more, plan = None, True, iter(visits)
    while more:
        first, at_once, disturbances = next(plan, QUIET)
        calls = [disturb(layer, what, made, at, owner, touched) for what, at in disturbances]
        if not at_once:
            await asyncio.gather(*calls)
            calls = []
        found, *_ = await asyncio.gather(page(layer, owner, first=first, after=after), *calls)
        seen += [one["id"] for one in found.data]
        after, more = found.pageInfo.endCursor or after, found.pageInfo.hasNextPage
    untouched = [one for one in seen if one in made and one not in touched]
    order = {one: (moment, one) for one, moment in zip(made, moments, strict=True)}
    assert untouched == sorted((one for one in made if one not in touched), key=order.__getitem__, reverse=True)
    assert len(seen) == len(set(seen)), "none comes twice"


async def disturb(layer: ChainlitLayer, what: str, made: list[str], at: int, owner: str, touched: set[str]) -> Any:
    thread_id = new_id() if what == "begin" else made[at % len(made)]
    touched.add(thread_id)
    if what == "delete":
        return await layer.delete_thread(thread_id)
    await layer.create_step(step(thread_id))
    return await layer.update_thread(thread_id, user_id=owner) if what == "begin" else None
