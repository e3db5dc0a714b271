"""The long texts of items on their way to a table: shortened, compared, and stored before their items."""

from collections.abc import Sequence
from hashlib import sha256
from json import dumps

from datalayer.blobs.text_keys import key_of
from datalayer.dynamodb.items import Attribute, Item, from_attribute, size_of
from datalayer.dynamodb.keys import FEEDBACK, POINTER, thread_of
from datalayer.dynamodb.long_texts import LONGEST, SHORTEST, LongTexts, split
from datalayer.errors import InvalidRecord
from datalayer.transfer.sameness import is_same

Place = tuple[str, str]
"""The key of an item, to compare."""

_LARGEST = 400 * 1024
# For what `size_of` estimates.
_ROOM = 4 * 1024
_IN_THE_ITEM = frozenset({FEEDBACK, "id", "threadId", "userId", "userIdentifier", "objectKey", "name", "tags"})


class LongItems:
    """Items that are being stored, with and without their long texts."""

    def __init__(self, texts: LongTexts) -> None:
        self._texts = texts
        self._whole: dict[Place, tuple[Item, str, dict[str, Attribute]]] = {}

    def shortened(self, item: Item, record_id: str) -> tuple[Item, int]:
        """The item with its long texts replaced by their beginnings and the keys of the whole texts, and their number.

        Args:
            record_id: of the step, element or thread, or of the step of a vote.

        Raises:
            InvalidRecord: the item is larger than DynamoDB allows all the same.
        """
        for longest in (LONGEST, SHORTEST):
            result, texts = _shortened(item, record_id, longest)
            if not is_too_large(result):
                self._whole[place_of(item)] = item, record_id, texts
                return result, len(texts)
        raise InvalidRecord("it is larger than the 400 KB of an item in DynamoDB")

    def forget(self, items: Sequence[Item]) -> None:
        """These items are stored."""
        for item in items:
            self._whole.pop(place_of(item), None)

    async def put(self, items: Sequence[Item]) -> None:
        """Store the long texts of these items."""
        for item in items:
            _, record_id, texts = self._whole.get(place_of(item), (item, "", {}))
            for ending, attribute in texts.items():
                await self._texts.put(thread_of(item), record_id, attribute, ending)

    async def is_same(self, item: Item, old: Item, ignored: Sequence[str]) -> bool:
        """Whether an item and the stored one have the same values: their long texts may be in files of other names.

        Raises:
            BlobError: the file store cannot be read now.
        """
        if is_same(item, old, ignored):
            return True
        pointers = [name for name in {*item, *old} if name.startswith(POINTER)]
        if not pointers:
            return False
        whole, missing = await self._texts.complete(old)
        given = self._whole.get(place_of(item), (item,))[0]
        return not missing and is_same(given, whole, (*ignored, *pointers))


def place_of(item: Item) -> Place:
    """The key of an item, to compare."""
    return str(item["PK"]["S"]), str(item["SK"]["S"])


def is_too_large(item: Item) -> bool:
    """Whether DynamoDB may refuse an item because of its size."""
    return sum(len(name.encode()) + size_of(one) for name, one in item.items()) > _LARGEST - _ROOM


def _shortened(item: Item, record_id: str, longest: int) -> tuple[Item, dict[str, Attribute]]:
    """The item, and its long texts by the ends of their keys."""
    result, texts = dict(item), dict[str, Attribute]()

    def moved(name: str, attribute: Attribute) -> Attribute:
        beginning, long = split(attribute, longest)
        ending = sha256(_text_of(long).encode()).hexdigest()[:16]
        texts[ending] = long
        result[POINTER + name] = {"S": key_of(thread_of(item), record_id, ending)}
        return beginning

    for name, attribute in item.items():
        # What is ours, and what is in the index, is read without the file store.
        if size_of(attribute) > longest and not name.startswith("tk:") and name not in _IN_THE_ITEM:
            result[name] = moved(name, attribute)
    comment = item.get(FEEDBACK, {}).get("M", {}).get("comment")
    if comment is not None and size_of(comment) > longest:
        result[FEEDBACK] = {"M": {**item[FEEDBACK]["M"], "comment": moved(FEEDBACK, comment)}}
    return result, texts


def _text_of(attribute: Attribute) -> str:
    return str(attribute["S"]) if "S" in attribute else dumps(from_attribute(attribute), sort_keys=True)
