"""Items in the DynamoDB table: compared with what is there, and stored in batches where it is missing or older."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item
from datalayer.errors import InvalidRecord
from datalayer.transfer.item_rows import name_of
from datalayer.transfer.long_items import LongItems, Place, place_of
from datalayer.transfer.report import Counts, TransferReport

AT_ONCE = 100

Prepare = Callable[[Sequence[Item]], Awaitable[None]]
"""Does what has to come before items that are replaced are stored."""


@dataclass
class Outcome:
    """The keys of items: of those that the table lacked, had in an earlier state, and has different from the source."""

    new: set[Place] = field(default_factory=set)
    replaced: set[Place] = field(default_factory=set)
    different: set[Place] = field(default_factory=set)


class TableItems:
    """The items of one table; None stands for one that does not exist yet, in a dry run."""

    def __init__(self, table: Table | None, report: TransferReport, long: LongItems, *, apply: bool) -> None:
        self._table, self._report, self._long, self._apply = table, report, long, apply

    async def find(self, wanted: Sequence[Item]) -> dict[Place, Item]:
        """The items with the keys of these that exist."""
        if self._table is None or not wanted:
            return {}
        return {place_of(one): one for one in await self._table.get_many(list(map(_key, wanted)))}

    async def store(
        self,
        items: Sequence[Item],
        counts: Counts,
        what: str,
        *,
        moment: str | None = None,
        ignored: Sequence[str] = (),
        same_is_older: bool = False,
        prepare: Prepare | None = None,
    ) -> Outcome:
        """Store the items that the table lacks, and the later states of others, each after its long texts.

        Args:
            moment: the attribute with the time of the last change; without it, an item that differs stays.
            ignored: attributes that may differ.
            same_is_older: an item that differs and has the same time is replaced.
        """
        outcome = Outcome()
        unique = {place_of(one): one for one in items}
        for _ in range(len(items) - len(unique)):
            self._report.fail(counts, f"{what} with the key of another (not copied)", "")
        whole = list(unique.values())
        for at in range(0, len(whole), AT_ONCE):
            some = whole[at : at + AT_ONCE]
            there = await self.find(some)
            new: list[Item] = []
            later: list[Item] = []
            for item in some:
                old = there.get(place_of(item))
                if old is None:
                    new.append(item)
                    outcome.new.add(place_of(item))
                elif await self._long.is_same(item, old, ignored):
                    continue
                elif moment is not None and _is_later(item, old, moment, same_is_older=same_is_older):
                    later.append(item)
                    outcome.replaced.add(place_of(item))
                else:
                    outcome.different.add(place_of(item))
                    if moment is None or _text(item, moment) == _text(old, moment):
                        self._report.differ(counts, what, name_of(item))
                    else:
                        self._report.is_newer(what, name_of(item))
            counts.stored += len(new)
            counts.replaced += len(later)
            if self._apply:
                await self._long.put([*new, *later])
                if prepare is not None:
                    await prepare(later)
                await self.put([*new, *later], counts, what)
            self._long.forget(some)
        return outcome

    async def put(self, items: Sequence[Item], counts: Counts, what: str) -> None:
        """Store items; those that DynamoDB refuses are named, and each costs only itself."""
        assert self._table is not None
        for at in range(0, len(items), AT_ONCE):
            some = items[at : at + AT_ONCE]
            try:
                await self._table.put_many(some)
            except InvalidRecord:
                for item in some:
                    await self._put_one(item, counts, what)

    async def _put_one(self, item: Item, counts: Counts, what: str) -> None:
        assert self._table is not None
        try:
            await self._table.put_many([item])
        except InvalidRecord as error:
            counts.stored -= 1
            self._report.fail(counts, f"{what} that DynamoDB refuses", f"{name_of(item)}: {error}")

    async def delete(self, keys: Sequence[Item]) -> None:
        """Delete items, if this is no dry run."""
        if self._apply and keys and self._table is not None:
            await self._table.delete_many(keys)


def _key(item: Item) -> Item:
    return {"PK": item["PK"], "SK": item["SK"]}


def _text(item: Item, name: str) -> str:
    return str(item.get(name, {}).get("S") or "")


def _is_later(item: Item, old: Item, moment: str, *, same_is_older: bool) -> bool:
    new, there = _text(item, moment), _text(old, moment)
    return new >= there if same_is_older else new > there
