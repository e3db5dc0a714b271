"""The items of a table with their long texts, on their way to SQL."""

from collections.abc import Callable, Iterator, Sequence

from datalayer.dynamodb.items import Item
from datalayer.dynamodb.keys import texts_of
from datalayer.dynamodb.long_texts import LongTexts
from datalayer.transfer.item_rows import name_of
from datalayer.transfer.report import TransferReport

_LONG_AT_ONCE = 8


class WholeItems:
    """Reads the long texts of items, and counts those items, and those whose text is missing."""

    def __init__(self, texts: LongTexts, report: TransferReport) -> None:
        self._texts, self._report = texts, report

    async def whole(self, item: Item) -> Item:
        """The item with its long texts.

        Raises:
            BlobError: the file store cannot be read now.
        """
        self._report.long_texts.found += is_long(item)
        whole, missing = await self._texts.complete(item)
        if missing:
            what = "texts that are missing in the file store (copied with what the table has of them)"
            self._report.fail(self._report.long_texts, what, name_of(item))
        return whole


def is_long(item: Item) -> bool:
    """Whether a text of the item is in the file store."""
    return bool(texts_of(item))


def few_long(items: Sequence[Item], counts: Callable[[Item], bool] = is_long) -> Iterator[list[Item]]:
    """The items in parts, each with a few long texts at most: nothing bounds their length."""
    some: list[Item] = []
    long = 0
    for item in items:
        some.append(item)
        long += counts(item)
        if long == _LONG_AT_ONCE:
            yield some
            some, long = [], 0
    if some:
        yield some
