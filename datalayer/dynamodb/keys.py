"""The keys of the items in the table, which are those of Chainlit's own layer and a few more.

| PK | SK | item |
| `USER#{identifier}` | `USER` | a user |
| `THREAD#{id}` | `THREAD` | a thread; in the index under its user, by last activity |
| `THREAD#{id}` | `STEP#{id}` | a step, with its vote; in the index under its id |
| `THREAD#{id}` | `ELEMENT#{id}` | an element |
| `THREAD#{id}` | `VOTE#{value}#{step}` | in the index under voter and value |
| `THREAD#{id}` | `FAVORITE#{step}` | in the index under the user |
| `THREAD#{id}` | `CHANGE#{step}#{time}` | a vote as it was cast, changed or withdrawn |
| `THREAD#{id}` | `FILE#{key}` | a file to delete; in the index by the time when |
| `THREAD#{id}` | `DELETED` | the thread was deleted; in the index until nothing is left of it |
"""

from datalayer.dynamodb.items import OURS, Item, text_of
from datalayer.errors import InvalidRecord

INDEX = "UserThread"
FILES = "FILES"
NOWHERE = "nowhere"
"""Stands for the thread of a file without one."""
DELETIONS = "DELETIONS"
_MOST_KEY_BYTES = 1024

VOTE, FAVORITE, CHANGE, FILE, DELETED = "VOTE#", "FAVORITE#", "CHANGE#", "FILE#", "DELETED"
STEP, ELEMENT, THREAD = "STEP#", "ELEMENT#", "THREAD"
FEEDBACK = "feedback"
POINTER = f"{OURS}long:"
"""Begins the name of an attribute with the key of a long text in the blob store."""


def key(pk: str, sk: str) -> Item:
    return {"PK": {"S": pk}, "SK": {"S": sk}}


def user_key(identifier: str) -> Item:
    """The key of a user.

    Raises:
        InvalidRecord: the identifier is empty, or longer than a key may be.
    """
    if not identifier or len(identifier.encode()) > _MOST_KEY_BYTES:
        raise InvalidRecord(f"a user's identifier must have 1 to {_MOST_KEY_BYTES} bytes")
    return key(f"USER#{identifier}", "USER")


def thread_key(thread_id: str) -> Item:
    return key(partition(thread_id), THREAD)


def deleted_key(thread_id: str) -> Item:
    return key(partition(thread_id), DELETED)


def step_key(thread_id: str, step_id: str) -> Item:
    return key(partition(thread_id), STEP + step_id)


def element_key(thread_id: str, element_id: str) -> Item:
    return key(partition(thread_id), ELEMENT + element_id)


def favorite_key(thread_id: str, step_id: str) -> Item:
    return key(partition(thread_id), FAVORITE + step_id)


def vote_key(thread_id: str, step_id: str, value: int) -> Item:
    return key(partition(thread_id), f"{VOTE}{value}#{step_id}")


def file_key(thread_id: str | None, object_key: str) -> Item:
    return key(partition(thread_id or NOWHERE), FILE + object_key)


def partition(thread_id: str) -> str:
    return f"THREAD#{thread_id}"


def in_index(pk: str, moment: str) -> Item:
    """The attributes that place an item in the index: at this time, under this key."""
    return {"UserThreadPK": {"S": pk}, "UserThreadSK": {"S": f"TS#{moment}"}}


def of_user(user_id: str) -> str:
    """The key of the index for the threads of a user."""
    return f"USER#{user_id}"


def of_votes(user_id: str, value: int) -> str:
    # Not `USER#…`: the threads of a user with an odd name must not be the votes of another.
    return f"VOTES#{value}#{user_id}"


def of_favorites(user_id: str) -> str:
    return f"FAVORITES#{user_id}"


def of_step(step_id: str) -> str:
    return f"STEP#{step_id}"


def thread_of(item: Item) -> str:
    """The id of the thread in whose partition the item is."""
    return str(item["PK"]["S"]).removeprefix("THREAD#")


def texts_of(item: Item) -> list[str]:
    """The keys of the long texts of an item in the blob store."""
    return [str(one["S"]) for name, one in item.items() if name.startswith(POINTER)]


def files_of(item: Item) -> list[str]:
    """The keys of the file and of the long texts of an item in the blob store."""
    object_key = text_of(item, "objectKey")
    return [*([object_key] if object_key else ()), *texts_of(item)]


def vote_id(thread_id: str, step_id: str) -> str:
    """The id of the vote on a step, as Chainlit's own layer gives it."""
    return f"THREAD#{thread_id}::STEP#{step_id}"


def place_of_vote(feedback_id: str) -> tuple[str, str] | None:
    """The ids of thread and step in a vote's id, or None if it is none."""
    thread, found, step = feedback_id.partition("::")
    if not found or not thread.startswith("THREAD#") or not step.startswith(STEP):
        return None
    return thread.removeprefix("THREAD#"), step.removeprefix(STEP)
