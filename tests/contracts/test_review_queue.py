"""The queue gives each answer to one reviewer at a time, also across processes, until enough have judged it."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text, update

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.review import AnswerFilter, ReviewItem, Sampled, Verdict
from datalayer.review import access, queue
from datalayer.review import verdicts as review_verdicts
from datalayer.review.queue_api import queue_cursor
from datalayer.schema.review import review_items
from tests.support.records import new_id, step
from tests.support.reviewing import account, reviewing, talk


@pytest.fixture
async def layer(layer: ChainlitLayer) -> ChainlitLayer:
    for identifier in ("rita", "rob"):
        await account(layer, identifier, "reviewer")
    await account(layer, "ada", "admin")
    return layer


async def many(layer: ChainlitLayer, count: int) -> list[str]:
    """Answers of one thread."""
    turn = await talk(layer)
    ids = [turn.answer]
    with datalayer.acting_as("alice"):
        for at in range(1, count):
            given = step(turn.thread, str(at), type="assistant_message")
            await layer.create_step(given)
            ids.append(given["id"])
    return ids


async def test_the_queue_gets_all_thumbs_down_and_a_sample_of_the_others(layer: ChainlitLayer) -> None:
    down = [(await talk(layer, thumb=0)).answer for _ in range(3)]
    judged = await talk(layer, thumb=0)
    others = await many(layer, 200)
    with reviewing():
        await layer.put_verdict(Verdict(judged.answer, "wrong"))
        assert await layer.fill_queue(percent=0) == Sampled(3, 0)
        tenth = await layer.fill_queue(percent=10)
        assert 5 <= tenth.sample <= 45
        assert await layer.fill_queue(percent=10) == Sampled(0, 0)
        drawn = {item.step_id for item in await layer.list_queue()} - set(down)
        rest = await layer.fill_queue(percent=100)
        listed = await layer.list_queue(limit=1000)
        assert tenth.sample + rest.sample == len(others)
        # The sample is the same in every database, and a larger sample contains a smaller one.
        assert drawn == {one for one in others if one[32:] < f"{round(65536 / 10):04x}"}
        for percent in (-1, 101):
            with pytest.raises(datalayer.InvalidRecord):
                await layer.fill_queue(percent=percent)
        assert await layer.fill_queue(percent=100, since="2100-01-01") == Sampled(0, 0)
    assert {item.step_id for item in listed} == {*down, *others}
    assert {item.step_id for item in listed if item.reason == "thumbs_down"} == set(down)


async def test_assigned_items_come_first_then_thumbs_down_then_the_sample(
    layer: ChainlitLayer,
) -> None:
    plain, down, mine = await talk(layer), await talk(layer, thumb=0), await talk(layer)
    with reviewing():
        await layer.fill_queue(percent=100)
        assert await layer.enqueue_answers([mine.answer], reviewer="rita") == 1
        with pytest.raises(datalayer.InvalidRecord):
            await layer.enqueue_answers([mine.answer], reviewer="alice")
        await account(layer, "gone", "reviewer")
        with datalayer.acting_as(datalayer.SYSTEM):
            await layer.set_disabled("gone", True)
        with pytest.raises(datalayer.InvalidRecord):
            await layer.enqueue_answers([mine.answer], reviewer="gone")
        assert [row.step_id for row in (await layer.list_answers(AnswerFilter(assigned_to="rita"))).rows] == [
            mine.answer
        ]
        taken = []
        while item := await layer.take_next():
            taken.append(item.step_id)
            await layer.put_verdict(Verdict(item.step_id, "correct"))
        assert taken == [mine.answer, down.answer, plain.answer]
        assert len(await layer.list_queue(is_done=True)) == 3
        progress = await layer.review_progress()
    assert [(one.reviewer, one.done, one.open, one.locked, one.verdicts) for one in progress] == [("rita", 3, 0, 0, 3)]


async def test_an_item_is_locked_until_it_expires_or_is_released(layer: ChainlitLayer) -> None:
    await talk(layer, thumb=0)
    with reviewing():
        await layer.fill_queue(percent=0)
        item = await layer.take_next()
        assert item is not None
        assert item.locked_by == "rita"
        # Asking again returns the locked item.
        assert (await layer.take_next() or item).step_id == item.step_id
        assert await layer.take_next(other_than=[item.step_id]) is None
        assert [(one.reviewer, one.locked) for one in await layer.review_progress()] == [("rita", 1), (None, 0)]
    with reviewing("rob"):
        assert await layer.take_next() is None
        assert not await layer.keep_lock(item.step_id)
        assert not await layer.release_item(item.step_id)
    with reviewing():
        assert await layer.release_item(item.step_id)
    with reviewing("rob"):
        assert await layer.take_next(lock_seconds=3600) is not None
        assert await layer.keep_lock(item.step_id, lock_seconds=0.01)
        await asyncio.sleep(0.02)
        assert not await layer.keep_lock(item.step_id)
    with reviewing():
        again = await layer.take_next()
        assert again is not None
        assert (again.step_id, again.locked_by) == (item.step_id, "rita")
        for seconds in (0, 10**6):
            with pytest.raises(datalayer.InvalidRecord):
                await layer.take_next(lock_seconds=seconds)


async def test_an_assigned_item_is_given_to_its_assignee_only(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0)
    with reviewing():
        await layer.fill_queue(percent=0)
        assert await layer.take_next() is not None
        await layer.enqueue_answers([turn.answer], reviewer="rita")
        assert [item.locked_by for item in await layer.list_queue()] == ["rita"], "the assignee keeps her lock"
        await layer.enqueue_answers([turn.answer], reviewer="rob")
        (item,) = await layer.list_queue()
        assert (item.assigned_to, item.locked_by, item.locked_until) == ("rob", None, None)
        assert await layer.take_next() is None
        assert not await layer.keep_lock(turn.answer)
    with reviewing("rob"):
        assert (await layer.take_next()) is not None
        await layer.enqueue_answers([turn.answer])
        assert [item.locked_by for item in await layer.list_queue()] == ["rob"]


async def test_a_lock_from_before_an_assignment_gives_no_item(layer: ChainlitLayer) -> None:
    """An earlier version left such locks in the database when it assigned items."""
    turn = await talk(layer, thumb=0)
    with reviewing():
        await layer.enqueue_answers([turn.answer], reviewer="rob")
        async with layer.database.write() as connection:
            rita = (await access.demand(connection, "rita")).id
            locked = {"lockedBy": rita, "lockedUntil": "2100-01-01T00:00:00.000000Z"}
            await connection.execute(update(review_items).values(**locked))
        assert await layer.take_next() is None


async def test_a_page_of_the_queue_reads_no_other_items(layer: ChainlitLayer, engine: str) -> None:
    """However long the queue is: the items of each reason are read in the order of their index."""
    async with layer.database.read() as connection:
        rita = (await access.demand(connection, "rita")).id
    later = (1, "2026-01-01T00:00:00.000000Z", new_id())
    async with layer.database.write() as connection:
        if engine == "postgres":
            for how in ("seqscan", "sort"):
                await connection.execute(text(f"SET LOCAL enable_{how} = off"))
        for after in (None, later):
            page = queue._open(rita, [], limit=20, after=after)
            compiled = page.compile(layer.database.engine.sync_engine, compile_kwargs={"literal_binds": True})
            explain = {"postgres": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[engine]
            plan = "\n".join(str(row[-1]) for row in await connection.exec_driver_sql(explain + str(compiled)))
            assert plan.count("open_review_items") >= 3, plan
            assert plan.count("reason = '") + plan.count("reason=?") >= 3, plan
            if after is not None:
                assert "ROW(" in plan or "(createdAt,stepId)>" in plan, plan


async def test_items_are_listed_with_users_and_on_request_with_questions(layer: ChainlitLayer) -> None:
    asked = await talk(layer, question="How long is " + "x" * 200)
    other = await talk(layer, "bob", question="")
    with reviewing():
        await layer.fill_queue(percent=100)
        items = {item.step_id: item for item in await layer.list_queue(excerpts=True)}
        assert (items[asked.answer].user, items[other.answer].user) == ("alice", "bob")
        assert items[asked.answer].question == ("How long is " + "x" * 200)[:100]
        assert {item.question for item in await layer.list_queue()} == {None}
        assert [item.step_id for item in await layer.list_queue(thread_id=other.thread)] == [other.answer]


async def test_an_item_is_done_after_the_wanted_number_of_different_reviewers(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0)
    with reviewing():
        await layer.fill_queue(percent=0, wanted=2)
        assert await layer.take_next() is not None
        await layer.put_verdict(Verdict(turn.answer, "wrong"))
        assert await layer.take_next() is None
        assert [item.done_at for item in await layer.list_queue()] == [None]
    with reviewing("rob"):
        assert await layer.take_next() is not None
        await layer.put_verdict(Verdict(turn.answer, "wrong"))
    with reviewing("ada"):
        assert await layer.take_next() is None
        assert await layer.list_queue() == []
    with reviewing("rob"):
        await layer.remove_verdict(turn.answer)
    with reviewing("ada"):
        assert await layer.take_next() is not None


async def test_concurrent_verdicts_of_two_reviewers_both_count(layer: ChainlitLayer, database_url: str) -> None:
    turn = await talk(layer, thumb=0)
    other = create_data_layer(database_url)
    cleaned = review_verdicts.clean(Verdict(turn.answer, "wrong"))
    with reviewing():
        await layer.fill_queue(percent=0, wanted=2)
    try:
        async with layer.database.write() as connection:
            rita = (await access.demand(connection, "rita")).named
            await review_verdicts.put(connection, layer.database.dialect, cleaned, rita, utc_now())
            with reviewing("rob"):
                second = asyncio.create_task(other.put_verdict(Verdict(turn.answer, "wrong")))
            assert not (await asyncio.wait([second], timeout=0.3))[0]
        await second
    finally:
        await other.close()
    with reviewing():
        assert [item.step_id for item in await layer.list_queue(is_done=True)] == [turn.answer]


async def test_reviewers_are_not_given_answers_of_their_own_threads(layer: ChainlitLayer) -> None:
    turn = await talk(layer, "rita", thumb=0)
    with reviewing():
        await layer.fill_queue(percent=0)
        assert await layer.take_next() is None
    with reviewing("rob"):
        item = await layer.take_next()
    assert item is not None
    assert item.step_id == turn.answer


async def test_no_item_is_locked_for_two_reviewers_in_four_processes(
    layer: ChainlitLayer, database_url: str, tmp_path: Path
) -> None:
    """Reviewers in four processes take and judge items until none is left."""
    ids = await many(layer, 60)
    reviewers = [f"reviewer {at}" for at in range(8)]
    for identifier in reviewers:
        await account(layer, identifier, "reviewer")
    replicas = [create_data_layer(database_url) for _ in range(4)]
    with reviewing():
        await layer.fill_queue(percent=100)
    given: list[tuple[str, str]] = []

    async def review(identifier: str, replica: ChainlitLayer) -> None:
        with reviewing(identifier):
            while item := await replica.take_next():
                given.append((item.step_id, identifier))
                await asyncio.sleep(0)
                await replica.put_verdict(Verdict(item.step_id, "correct"))

    try:
        await asyncio.gather(*(review(one, replicas[at % 4]) for at, one in enumerate(reviewers)))
    finally:
        for replica in replicas:
            await replica.close()
    assert sorted(step_id for step_id, _ in given) == sorted(ids)
    assert len({identifier for _, identifier in given}) > 1
    with reviewing():
        assert await layer.list_queue() == []
        progress = await layer.review_progress()
    assert sum(one.done for one in progress) == len(ids)


async def test_concurrent_requests_lock_different_items(layer: ChainlitLayer, database_url: str) -> None:
    """All ask at once and keep their items: all items are different."""
    await many(layer, 6)
    other = create_data_layer(database_url)
    names = [f"reviewer {at}" for at in range(10)]
    for identifier in names:
        await account(layer, identifier, "reviewer")
    with reviewing():
        await layer.fill_queue(percent=100)

    async def take(identifier: str, replica: ChainlitLayer) -> ReviewItem | None:
        with reviewing(identifier):
            return await replica.take_next()

    try:
        for _ in range(3):
            items = await asyncio.gather(*(take(one, (layer, other)[at % 2]) for at, one in enumerate(names)))
            held = [item.step_id for item in items if item is not None]
            assert len(held) == len(set(held)) == 6
            async with layer.database.write() as connection:
                await connection.execute(update(review_items).values(lockedBy=None, lockedUntil=None))
    finally:
        await other.close()


async def test_views_are_private_unless_shared(layer: ChainlitLayer) -> None:
    with reviewing():
        mine = await layer.put_view("bad ones", "thumb=down")
        with pytest.raises(datalayer.AlreadyExists):
            await layer.put_view("bad ones", "thumb=up", is_shared=True)
        assert await layer.list_views() == [mine]
    with reviewing("rob"):
        assert await layer.list_views() == []
        shared = await layer.put_view("a shared one", "words=x", is_shared=True)
        assert not await layer.remove_view(mine.id)
    with reviewing():
        assert await layer.list_views() == [shared, mine]
        assert await layer.remove_view(mine.id)
        for name in ("", "x" * 300):
            with pytest.raises(datalayer.InvalidRecord):
                await layer.put_view(name, "")


async def test_locked_items_are_listed_first_in_a_long_queue(layer: ChainlitLayer) -> None:
    for at in range(3):
        await talk(layer, at=f"2026-03-01T10:0{at}:00.000000Z")
    last = await talk(layer, thumb=0)
    with reviewing():
        await layer.fill_queue(percent=100)
        async with layer.database.write() as connection:
            late = update(review_items).where(review_items.c.stepId == last.answer)
            await connection.execute(late.values(createdAt=utc_now()))
        assert (await layer.list_queue(limit=1))[0].step_id != last.answer
        item = await layer.take_next()
        assert item is not None
        assert item.step_id == last.answer
        assert [one.step_id for one in await layer.list_queue(limit=1)] == [last.answer]
        listed = await layer.list_queue()
        for at, one in enumerate(listed):
            behind = await layer.list_queue(cursor=queue_cursor(one, "rita"))
            assert [each.step_id for each in behind] == [each.step_id for each in listed[at + 1 :]]
    with reviewing("rob"):
        assert (await layer.list_queue(limit=1))[0].step_id != last.answer
    assert len(await layer.list_queue()) == 4, "the system has no locked items"
