"""Reads: threads with their contents, and the pages of a user's list.

A list is read from the index, which knows the order and may lag behind, and then from the table, which knows the truth:
two round trips a page, whatever the length of the history. What this process wrote within the last seconds is read as
well, so it is in the list although the index does not have it yet.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from datalayer import cursors
from datalayer.cleaning import clean_text, known_id
from datalayer.dynamodb import keys
from datalayer.dynamodb.changes import is_favorite
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import activity_of, owner_of, vote_of
from datalayer.dynamodb.items import Item, from_attribute, text_of
from datalayer.dynamodb.long_texts import LongTexts
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.search import Matcher
from datalayer.errors import InvalidRecord
from datalayer.ownership import Actor, may_read
from datalayer.records.chat import is_shared

LARGEST_PAGE = 100
_SEARCHED_AT_ONCE = 8

Place = tuple[str, str]
"""The last activity and the id of a thread, by which lists are sorted."""


@dataclass(frozen=True)
class Whole:
    """The items of a thread, of its steps and of its elements, in the order of creation."""

    thread: Item
    steps: list[Item]
    elements: list[Item]


@dataclass(frozen=True)
class Listed:
    """The items of the threads of a page, and whether more follow."""

    threads: list[Item]
    has_next: bool


class Threads:
    """Reads threads of one table."""

    def __init__(self, table: Table, long_texts: LongTexts, recent: Recent) -> None:
        self._table, self._long_texts, self._recent = table, long_texts, recent

    async def completed(self, items: list[Item]) -> list[Item]:
        """The items with their long texts."""
        return await self._long_texts.completed(items)

    async def head(self, thread_id: str, actor: Actor) -> Item | None:
        """The item of a thread, without its long texts, or None if the actor may not read it."""
        item = await self._table.get(keys.thread_key(thread_id))
        return item if item is not None and _is_readable(item, actor) else None

    async def whole(self, thread_id: str, actor: Actor) -> Whole | None:
        """A thread with its contents, or None if the actor may not read it."""
        items = await self._table.query(keys.partition(thread_id))
        thread = next((one for one in items if one["SK"]["S"] == keys.THREAD), None)
        if thread is None or not _is_readable(thread, actor):
            return None
        steps = sorted((one for one in items if _begins(one, keys.STEP)), key=_in_order)
        elements = sorted((one for one in items if _begins(one, keys.ELEMENT)), key=_in_order)
        self._recent.note(thread_id, None)
        self._recent.note_steps(thread_id, [_id_of(one, keys.STEP) for one in steps])
        thread, *rest = await self.completed([thread, *steps, *elements])
        return Whole(thread, rest[: len(steps)], rest[len(steps) :])

    async def element(self, thread_id: str, element_id: str, actor: Actor) -> Item | None:
        """The item of an element, or None if the actor may not read it."""
        found = await self._table.get_many([keys.thread_key(thread_id), keys.element_key(thread_id, element_id)])
        thread = next((one for one in found if one["SK"]["S"] == keys.THREAD), None)
        element = next((one for one in found if one is not thread), None)
        if element is None or thread is None or not _is_readable(thread, actor):
            return None
        return (await self.completed([element]))[0]

    async def thread_of(self, step_id: str) -> str | None:
        """The thread of a step, or None if it is unknown."""
        if (known := self._recent.thread_of(step_id)) is not None:
            return known
        async for page in self._table.query_index(keys.of_step(step_id), size=1):
            return keys.thread_of(page[0]) if page else None
        return None

    async def favorites(self, user_id: str, actor: Actor) -> list[Item]:
        """The items of the steps that the user marked as favourites, newest first."""
        entries = await self._entries(keys.of_favorites(user_id), user_id, keys.FAVORITE)
        places = [(thread_id, step_id) for thread_id, steps in entries.items() for step_id in steps]
        found = await self._table.get_many(
            [*(keys.step_key(*place) for place in places), *(keys.thread_key(thread_id) for thread_id in entries)]
        )
        mine = {str(one["PK"]["S"]) for one in found if _is_of(one, user_id) and may_read(actor, owner_of(one))}
        steps = [one for one in found if one["PK"]["S"] in mine and _begins(one, keys.STEP) and is_favorite(one)]
        return await self._long_texts.completed(sorted(steps, key=_in_order, reverse=True))

    async def page(
        self, user_id: str, actor: Actor, *, first: int, after: str | None, vote: int | None, words: str | None
    ) -> Listed:
        """A page of the user's threads, latest activity first, without their long texts. The arguments are as in
        `history.threads.page`.

        Raises:
            InvalidRecord: `first` is less than 1, or the cursor is not valid.
        """
        if first < 1:
            raise InvalidRecord("`first` must be at least 1")
        size = min(first, LARGEST_PAGE)
        place: Place | None = None
        if after is not None:
            moment, last = cursors.decode(after, "threads", clean_text, known_id)
            place = (moment, last)
        matcher = Matcher.of(words)
        if matcher is not None and matcher.finds_nothing:
            return Listed([], has_next=False)
        # One more than requested shows whether there is a next page.
        source = self._by_activity(user_id, place, size + 1) if vote is None else self._voted(user_id, vote, place)
        found: list[Item] = []
        async for threads in source:
            readable = [one for one in threads if _is_of(one, user_id) and may_read(actor, owner_of(one))]
            found += await self._matching(readable, matcher)
            if len(found) > size:
                break
        return Listed(found[:size], has_next=len(found) > size)

    async def _by_activity(self, user_id: str, place: Place | None, size: int) -> AsyncIterator[list[Item]]:
        """The user's threads behind this place, in their order, some at a time."""
        after: Item | None = None
        if place is not None:
            after = {**keys.thread_key(place[1]), **keys.in_index(keys.of_user(user_id), place[0])}
        # What is newer than the index knows belongs to the first page.
        recent = self._recent.threads_of(user_id) if place is None else []
        seen: set[str] = set()
        async for page in self._table.query_index(keys.of_user(user_id), after=after, size=size):
            ids = [one for one in dict.fromkeys(map(keys.thread_of, page)) if one not in seen]
            wanted = list(dict.fromkeys([*ids, *recent]))
            items = {keys.thread_of(one): one for one in await self._table.get_many(list(map(keys.thread_key, wanted)))}
            until = str(page[-1]["UserThreadSK"]["S"]).removeprefix("TS#") if page else ""
            # A thread that has moved to the front since the page before is there, and not here.
            listed = [
                items[one] for one in ids if one in items and (place is None or activity_of(items[one]) <= place[0])
            ]
            # Of threads with the same time, the index has its own order, which the sort keeps.
            listed += [items[one] for one in wanted[len(ids) :] if one in items and activity_of(items[one]) >= until]
            seen |= set(map(keys.thread_of, listed))
            recent = []
            yield sorted(listed, key=activity_of, reverse=True)

    async def _voted(self, user_id: str, vote: int, place: Place | None) -> AsyncIterator[list[Item]]:
        """The user's threads behind this place that have such a vote, in their order."""
        entries = await self._entries(keys.of_votes(user_id, vote), user_id, f"{keys.VOTE}{vote}#")
        places = [(thread_id, step_id) for thread_id, steps in entries.items() for step_id in steps]
        found = await self._table.get_many(
            [*(keys.step_key(*one) for one in places), *map(keys.thread_key, entries)],
        )
        # Chainlit's own layer changes and deletes votes and steps, and knows nothing of the entries.
        voted = {one["PK"]["S"] for one in found if _begins(one, keys.STEP) and vote_of(one) == vote}
        threads = [one for one in found if one["SK"]["S"] == keys.THREAD and one["PK"]["S"] in voted]
        threads.sort(key=_place, reverse=True)
        yield [one for one in threads if place is None or _place(one) < place]

    async def _entries(self, index_key: str, user_id: str, beginning: str) -> dict[str, set[str]]:
        """The ends of the sort keys of a user's entries, by thread: those of the index that still exist, and those that
        it does not have yet."""
        places = {
            (str(one["PK"]["S"]), str(one["SK"]["S"]))
            async for page in self._table.query_index(index_key)
            for one in page
        }
        entries = await self._table.get_many([keys.key(*place) for place in places])
        recent = self._recent.threads_of(user_id)
        for some in await asyncio.gather(*(self._table.query(keys.partition(one), beginning) for one in recent)):
            entries += some
        found: dict[str, set[str]] = {}
        for one in entries:
            found.setdefault(keys.thread_of(one), set()).add(str(one["SK"]["S"]).removeprefix(beginning))
        return found

    async def _matching(self, threads: list[Item], matcher: Matcher | None) -> list[Item]:
        if matcher is None:
            return threads
        result: list[Item] = []
        for at in range(0, len(threads), _SEARCHED_AT_ONCE):
            some = threads[at : at + _SEARCHED_AT_ONCE]
            matches = await asyncio.gather(*(self._matches(one, matcher) for one in some))
            result += [one for one, matched in zip(some, matches, strict=True) if matched]
        return result

    async def _matches(self, thread: Item, matcher: Matcher) -> bool:
        if matcher.matches(text_of(thread, "name") or ""):
            return True
        steps = await self._table.query(keys.partition(keys.thread_of(thread)), keys.STEP)
        return any(matcher.matches_step(one) for one in await self._long_texts.completed(steps))


def _place(thread: Item) -> Place:
    return activity_of(thread), keys.thread_of(thread)


def cursor_of(thread: Item) -> str:
    """The cursor of the page that ends with this thread; it stays valid if the thread is deleted."""
    return cursors.encode("threads", *_place(thread))


def _is_readable(thread: Item, actor: Actor) -> bool:
    metadata = from_attribute(thread["metadata"]) if "metadata" in thread else None
    return may_read(actor, owner_of(thread), shared=is_shared(metadata if isinstance(metadata, dict) else None))


def _is_of(item: Item, user_id: str) -> bool:
    return item["SK"]["S"] == keys.THREAD and text_of(item, "userId") == user_id


def _begins(item: Item, beginning: str) -> bool:
    return str(item["SK"]["S"]).startswith(beginning)


def _in_order(item: Item) -> tuple[str, str]:
    return text_of(item, "createdAt") or "", str(item["SK"]["S"])


def _id_of(item: Item, beginning: str) -> str:
    return str(item["SK"]["S"]).removeprefix(beginning)
