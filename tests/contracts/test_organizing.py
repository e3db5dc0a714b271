"""The order among one's own threads: pins, the archive, folders by tag, several at once."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from datalayer import Folder, ThreadChoice, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.history.copying import TEMPORARY_NOTICE
from datalayer.organizing import rows
from datalayer.schema.chat import feedbacks, folder_counts, threads, users
from tests.contracts.test_elements import text_element
from tests.support.counted import counted
from tests.support.records import listed, new_id, step, thread, user_id, vote

EVERY = ThreadChoice(is_archived=None, is_temporary=None)


async def chosen(layer: ChainlitLayer, owner: str, which: ThreadChoice) -> list[str]:
    """The ids, by pages of two."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await layer.own_threads(owner, which, cursor=cursor, limit=2)
        ids += [one.id for one in page.threads]
        cursor = page.next_cursor
        if cursor is None:
            return ids


async def head_of(layer: ChainlitLayer, thread_id: str) -> dict[str, Any]:
    head = await layer.get_thread_head(thread_id)
    assert head is not None
    return head


async def test_threads_are_pinned_archived_and_put_into_folders(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with acting_as("alice"):
        first, second, third, fourth, fifth = [await thread(layer, owner, f"thread {number}") for number in range(5)]
        await layer.create_step(step(second, "the kangaroo"))
        assert await layer.organize_threads([first, fifth, "no-id", new_id()], is_pinned=True) == tuple(
            sorted([first, fifth])
        )
        assert await chosen(layer, owner, ThreadChoice(is_pinned=True)) == [fifth, first]
        pinned_at = (await head_of(layer, first))["pinnedAt"]
        await layer.organize_threads([first], is_pinned=True)
        assert (await head_of(layer, first))["pinnedAt"] == pinned_at, "it was pinned already"

        await layer.organize_threads([first, second], is_archived=True)
        # Chainlit's list has no archived threads, but its search finds them.
        assert await listed(layer, owner) == await chosen(layer, owner, ThreadChoice()) == [fifth, fourth, third]
        assert await listed(layer, owner, search="kangaroo") == [second]
        assert await chosen(layer, owner, ThreadChoice(is_archived=True)) == [second, first]
        assert await chosen(layer, owner, ThreadChoice(words="kangaroo")) == []
        assert await chosen(layer, owner, ThreadChoice(words="kangaroo", is_archived=None)) == [second]
        assert await chosen(layer, owner, EVERY) == [second, fifth, fourth, third, first], "last activity first"
        assert await chosen(layer, owner, ThreadChoice(is_pinned=True, is_archived=None)) == [fifth]
        await layer.organize_threads([first], is_pinned=True)
        head = await head_of(layer, first)
        assert head["pinnedAt"] and head["archivedAt"] is None, "a pinned thread leaves the archive"

        await layer.organize_threads([second, third, fourth], add_tags=["work", "旅行 & more"])
        await layer.organize_threads([fourth], add_tags=["work"], remove_tags=["旅行 & more"])
        assert (await head_of(layer, third))["tags"] == ["work", "旅行 & more"]
        assert (await head_of(layer, fourth))["tags"] == ["work"]
        assert await layer.folders(owner) == [Folder("work", 2), Folder("旅行 & more", 1)]
        assert await chosen(layer, owner, ThreadChoice(tag="work")) == [fourth, third]
        assert await chosen(layer, owner, ThreadChoice(tag="wor")) == []
        await layer.organize_threads([third, fourth], remove_tags=["work", "旅行 & more"])
        assert await layer.folders(owner) == []
        for bad in ({"add_tags": [" "]}, {"add_tags": ["x" * 201]}, {"is_pinned": True, "is_archived": True}):
            with pytest.raises(InvalidRecord):
                await layer.organize_threads([first], **bad)
        with pytest.raises(InvalidRecord):
            await layer.organize_threads([first], add_tags=[f"tag {number}" for number in range(101)])


async def test_a_temporary_thread_is_in_no_list_and_is_deleted_at_its_time(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with acting_as("alice"):
        thread_id = new_id()
        expires = await layer.make_temporary(thread_id, 3600)
        await layer.create_step(step(thread_id, "a secret kangaroo"))
        await layer.update_thread(thread_id, name="a secret kangaroo", user_id=owner, tags=["work"])
        kept = await thread(layer, owner)
        await layer.mark_thread(thread_id, "pin")
        assert await listed(layer, owner) == await chosen(layer, owner, ThreadChoice(is_archived=None)) == [kept]
        assert await listed(layer, owner, search="kangaroo") == []
        assert await layer.folders(owner) == []
        assert await chosen(layer, owner, ThreadChoice(is_temporary=True)) == [thread_id]
        assert (await head_of(layer, thread_id))["expiresAt"] == expires
    assert [one.count for one in await layer.plan_retention({"temporary": utc_now()})] == [0]
    (nothing,) = await layer.apply_retention({"temporary": utc_now()})
    assert nothing.threads == ()
    later = utc_in(3601)
    assert [(one.count, one.exempt) for one in await layer.plan_retention({"temporary": later})] == [(1, 0)]
    (receipt,) = await layer.apply_retention({"temporary": later})
    assert (receipt.threads, receipt.messages) == ((thread_id,), 1)
    assert await layer.get_thread_head(thread_id) is None
    assert await chosen(layer, owner, EVERY) == [kept]


async def test_counts_of_tags_that_are_gone_are_added_up(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    owner = await user_id(layer, "alice")
    with acting_as("alice"):
        thread_id = await thread(layer, owner, tags=["ticket-0"])
        for number in range(12):
            await layer.update_thread(thread_id, tags=[f"ticket-{number + 1}"])
            assert [one.tag for one in await layer.folders(owner)] == [f"ticket-{number + 1}"]
    async with layer.database.read() as connection:
        assert len((await connection.execute(select(folder_counts.c.id))).all()) < 10


async def test_a_fork_has_the_messages_and_files_up_to_one(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with acting_as("alice"):
        about = {"chat_profile": "travel", "is_shared": True, "key": 1}
        original = await thread(layer, owner, "Trip", tags=["travel"], metadata=about)
        await layer.organize_threads([original], is_pinned=True)
        await layer.make_temporary(original, 3600)
        run = step(original, "", type="run", createdAt="2026-01-01T00:00:02Z")
        said = [
            step(original, "one", createdAt="2026-01-01T00:00:01Z", metadata={"favorite": True}),
            run,
            step(original, "notice", createdAt="2026-01-01T00:00:03Z", metadata={TEMPORARY_NOTICE: True}),
            step(
                original, "earlier", createdAt="2026-01-01T00:00:03Z", metadata={"status": "notice", "temporary": True}
            ),
            step(
                original,
                "two",
                type="assistant_message",
                createdAt="2026-01-01T00:00:04Z",
                parentId=run["id"],
                metadata={"temporary": True},
            ),
            step(original, "three", createdAt="2026-01-01T00:00:05Z"),
        ]
        at_once = [step(original, f"at once {number}", createdAt="2026-01-01T00:00:00Z") for number in range(6)]
        for one in said + at_once:
            await layer.create_step(one)
        for number in (0, 5):
            await layer.create_element(text_element(original, said[number]["id"], f"file {number}"))
        forked = await layer.fork_thread(original, said[4]["id"], title_ending=" (fork)")
        found = await layer.get_thread(forked)
        of_original = (await layer.get_thread(original))["steps"]
        assert [one["output"] for one in found["steps"][:6]] == [one["output"] for one in of_original[:6]]
        assert [one["output"] for one in found["steps"][6:]] == ["one", "", "two"]
        assert found["steps"][8]["parentId"] == found["steps"][7]["id"]
        assert not {one["id"] for one in found["steps"]} & {one["id"] for one in said}
        (element,) = found["elements"]
        assert element["forId"] == found["steps"][6]["id"]
        origin = {"thread": original, "step": said[4]["id"]}
        assert found["metadata"] == {"chat_profile": "travel", "key": 1, "forked_from": origin}
        assert (found["name"], found["tags"]) == ("Trip (fork)", ["travel"])
        head = await head_of(layer, forked)
        assert head["pinnedAt"] is head["expiresAt"] is None
        with pytest.raises(NotFound):
            await layer.fork_thread(original, new_id())
        await layer.delete_thread(original)
        assert len((await layer.get_thread(forked))["elements"]) == 1, "it outlives the original"


async def test_several_threads_are_deleted_together_or_not_at_all(layer: ChainlitLayer) -> None:
    owner, other = await user_id(layer, "alice"), await user_id(layer, "bob")
    bobs = await thread(layer, other)
    with acting_as("alice"):
        own = [await thread(layer, owner) for _ in range(3)]
        await layer.create_step(step(own[0]))
        with pytest.raises(Forbidden):
            await layer.delete_threads([own[0], bobs])
        assert await layer.organize_threads([own[0], bobs], is_archived=True, add_tags=["mine"]) == (own[0],)
        receipt = await layer.delete_threads([own[0], own[1], new_id()])
        assert (receipt.what, receipt.id, receipt.owner, receipt.messages) == ("threads", None, "alice", 1)
        assert receipt.threads == tuple(sorted(own[:2]))
        with pytest.raises(NotFound):
            await layer.delete_threads(own[:2])
        with pytest.raises(InvalidRecord):
            await layer.delete_threads([new_id() for _ in range(101)])
    assert await chosen(layer, owner, EVERY) == own[2:]
    assert await chosen(layer, other, EVERY) == [bobs]
    assert (await head_of(layer, bobs))["tags"] is None


async def derived(layer: ChainlitLayer, *, again: bool) -> tuple[dict[str, Any], dict[Any, int]]:
    """The thumbs of each thread, and the counts of each tag by its owner: as the database keeps them, or computed."""
    async with layer.database.read() as connection:
        every = (await connection.execute(select(threads))).all()
        votes = (await connection.execute(select(feedbacks.c.threadId, feedbacks.c.userId, feedbacks.c.value))).all()
        counts = (await connection.execute(select(folder_counts))).all()
    folders: Counter[tuple[str, str | None, str]] = Counter()
    if not again:
        for row in counts:
            folders[row.userId, row.userIdentifier, row.tag] += row.threads
        thumbs = {one.id: (one.votedUp, one.votedDown) for one in every}
    else:
        for one in every:
            if one.archivedAt is one.expiresAt is None and one.userId is not None:
                folders.update((one.userId, one.userIdentifier, tag) for tag in {*(one.tags or ())})
        given = set(votes)
        thumbs = {one.id: ((one.id, one.userId, 1) in given, (one.id, one.userId, 0) in given) for one in every}
    return thumbs, {key: count for key, count in folders.items() if count}


async def test_thumbs_and_counts_of_tags_follow_every_change(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    chance, tags = random.Random(15), ["work", "旅行", "a'b", "x" * 5000]
    owners = {name: await user_id(layer, name) for name in ("alice", "bob")}
    written: list[dict[str, Any]] = []
    for number in range(120):
        some = chance.sample(tags, chance.randint(0, 3))
        owner = chance.choice([*owners])
        with acting_as(owner):
            if number < 12 or not number % 9:
                written.append(step(await thread(layer, owners[owner], tags=some * 2)))
                await layer.create_step(written[-1])
        one = chance.choice(written)
        change = chance.randrange(9)
        short = [tag for tag in some if len(tag) < 200]
        if change < 3:
            await layer.upsert_feedback(vote(one["id"], chance.randint(0, 1)))
        elif change == 3:
            async with layer.database.write() as connection:
                # As another program may do: a vote of somebody else, and one that is withdrawn.
                await connection.execute(delete(feedbacks).where(feedbacks.c.forId == one["id"]))
                values = {"forId": one["id"], "threadId": one["threadId"], "userId": owners[owner], "value": 1}
                await connection.execute(insert(feedbacks).values(id=new_id(), **values))
        elif change == 4:
            mark = {"is_archived": chance.choice([True, False, None])}
            await layer.organize_threads([one["threadId"]], **mark, add_tags=short[:1], remove_tags=short[1:])
        elif change == 5:
            await layer.update_thread(one["threadId"], user_id=owners[owner], tags=some)
        elif change == 6:
            await layer.make_temporary(one["threadId"], 3600)
        elif change == 7 and len(written) > 10:
            written.remove(one)
            await (layer.delete_thread(one["threadId"]) if chance.random() < 0.5 else layer.delete_step(one["id"]))
        else:
            await layer.fork_thread(one["threadId"], one["id"])
        if not number % 10:
            for name, owner_id in owners.items():
                with acting_as(name):
                    found = await layer.folders(owner_id)
                    assert [(one.tag, one.threads) for one in found] == sorted(
                        (
                            (tag, count)
                            for (of, _, tag), count in (await derived(layer, again=True))[1].items()
                            if of == owner_id
                        ),
                        key=lambda one: (one[0].casefold(), one[0]),
                    )
        assert await derived(layer, again=False) == await derived(layer, again=True), f"after {number}: {change}"
    async with layer.database.read() as connection:
        assert len((await connection.execute(select(folder_counts.c.id))).all()) < 40, "they have been added up"
    await layer.delete_user("bob")
    assert await derived(layer, again=False) == await derived(layer, again=True)
    async with layer.database.write() as connection:
        # By the foreign keys alone.
        await connection.execute(delete(users).where(users.c.id == owners["alice"]))
        assert (await connection.execute(select(folder_counts))).all() == []


async def test_two_who_add_up_the_counts_at_once_leave_them_right(
    layer: ChainlitLayer, database_url: str, engine: str
) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    owner = await user_id(layer, "alice")
    for number in range(5):
        await thread(layer, owner, tags=["work", f"tag {number}"])
    async with layer.database.write() as connection:
        await rows.add_up(connection, owner)
        await thread(layer, owner, tags=["work"])
        other = asyncio.ensure_future(layer._writer.submit(lambda beside: rows.add_up(beside, owner)))
        await asyncio.sleep(0)
    await other
    assert await derived(layer, again=False) == await derived(layer, again=True)


async def test_a_page_takes_as_many_statements_however_many_threads_there_are(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(database_url, tmp_path, monkeypatch) as counter:
        layer = counter.layer
        owner = await user_id(layer, "alice")
        counts = []
        with acting_as("alice"):
            for more in (1, 30):
                ids = [await thread(layer, owner, tags=["work"]) for _ in range(more)]
                await layer.organize_threads(ids[::2], is_pinned=True)
                await layer.own_threads(owner, limit=10)
                await layer.folders(owner)
                counter.reset()
                page = await layer.own_threads(owner, ThreadChoice(tag="work", is_pinned=True), limit=10)
                counts.append(counter.statements)
                counter.reset()
                await layer.folders(owner)
                counts.append(counter.statements)
                counter.reset()
                await layer.organize_threads(ids, is_archived=True, add_tags=["work", "old"])
                counts.append(counter.statements)
        assert len(page.threads) == 10
        assert counts[:3] == counts[3:]
        assert counts[:2] == [1, 1]
