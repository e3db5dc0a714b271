"""What a batch changes in a thread and its steps, and the actions of the transaction that stores it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import Action, check, update
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import step_attributes
from datalayer.dynamodb.items import Attribute, Item, escaped, text_of, to_attribute
from datalayer.dynamodb.keys import POINTER
from datalayer.ownership import Actor, owner_condition
from datalayer.records.writes import StepWrite, ThreadWrite

METADATA = "metadata"
UPDATED = "tk:updatedAt"
"""The time of the last update of a step. A creation that finds one arrives late."""
_DEFAULTS = {"name": "", "type": "undefined"}

BatchWrite = StepWrite | ThreadWrite
"""A write that can be stored in one transaction with others of its kind."""


@dataclass
class StepChange:
    """The writes of one step in a batch. `creates` count only if the step was not updated before them."""

    creates: list[Item] = field(default_factory=list)
    fills: list[Item] = field(default_factory=list)
    """Creations after an update in the same batch: they fill in what is missing."""
    update: Item = field(default_factory=dict)
    moment: str = ""
    updated_at: str | None = None

    def add(self, write: StepWrite) -> None:
        given = step_attributes(write.step)
        self.moment = self.moment or write.moment
        if not write.created:
            self.update |= given
            self.updated_at = write.moment
        elif self.updated_at is None:
            self.creates.append(given)
        else:
            self.fills.append(given)

    def resolved(self, stored: Item | None) -> Item:
        """The attributes to set, if this is the stored item; None stands for the guess that it has no update."""
        is_late = stored is not None and UPDATED in stored
        known = {name for name, value in (stored or {}).items() if _is_known(name, value)}
        result: Item = {}
        for given in self.creates:
            result |= {name: value for name, value in given.items() if not (is_late and name in known | result.keys())}
            if is_late and "createdAt" in given:
                result["createdAt"] = given["createdAt"]
        result |= self.update
        for given in self.fills:
            result |= {name: value for name, value in given.items() if name not in known | result.keys()}
            if "createdAt" in given:
                result["createdAt"] = given["createdAt"]
        return result


@dataclass
class ThreadChange:
    """What a batch changes in its thread. None leaves a field as it is."""

    actor: Actor
    opens: bool = False
    """Whether the thread is created if it does not exist."""
    created_at: str = ""
    activity: str | None = None
    name: str | None = None
    user_id: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """Keys to set, and with None to remove."""
    writes: int = 0

    def add(self, write: BatchWrite) -> None:
        self.writes += 1
        if isinstance(write, StepWrite):
            if write.opens:
                moment = write.step.created_at or write.moment
                self.opens, self.created_at = True, self.created_at or moment
                self.activity = max(self.activity or "", moment)
            return
        thread = write.thread
        self.opens, self.created_at = True, self.created_at or thread.created_at or write.moment
        self.name = self.name if thread.name is None else thread.name
        self.user_id = thread.user_id or self.user_id
        self.tags = self.tags if thread.tags is None else thread.tags
        self.metadata |= thread.metadata or {}

    @property
    def metadata_attributes(self) -> dict[str, Attribute | None]:
        """The changes of the metadata by the names under which keys are stored."""
        return {escaped(name): None if one is None else to_attribute(one) for name, one in self.metadata.items()}

    @property
    def owner(self) -> str | None:
        """The owner of the thread after a change of owner, or if it is created."""
        return self.user_id or (self.actor if isinstance(self.actor, str) else None)


@dataclass(frozen=True)
class Stored:
    """What is stored: the item of the thread or of its deletion, and the items of the steps by their ids."""

    thread: Item | None
    mark: Item | None
    """The mark of a deleted thread."""
    steps: Mapping[str, Item] = field(default_factory=dict)
    others: tuple[Item, ...] = ()

    @property
    def is_deleted(self) -> bool:
        return self.mark is not None


async def read(table: Table, thread_id: str, step_ids: Collection[str] = (), others: Sequence[Item] = ()) -> Stored:
    """Read the thread, some of its steps, and other items of these keys, in one round trip."""
    wanted = [keys.thread_key(thread_id), keys.deleted_key(thread_id), *others]
    found = await table.get_many([*wanted, *(keys.step_key(thread_id, step_id) for step_id in step_ids)])
    by_key = {str(one["SK"]["S"]): one for one in found}
    steps = {step_id: item for step_id in step_ids if (item := by_key.get(keys.STEP + step_id)) is not None}
    rest = tuple(by_key[sk] for one in others if (sk := str(one["SK"]["S"])) in by_key)
    return Stored(by_key.get(keys.THREAD), by_key.get(keys.DELETED), steps, rest)


def thread_actions(
    thread_id: str, change: ThreadChange, stored: Stored | None, *, exists: bool, metadata: Item | None = None
) -> list[Action]:
    """The actions of a transaction that create or change a thread, or only check its owner.

    The last one checks that the user exists, if the owner changes.

    Args:
        metadata: the attributes with the whole metadata after the change; None: they are changed key by key.
    """
    key = keys.thread_key(thread_id)
    sets: Item = {}
    if change.name is not None:
        sets["name"] = {"S": change.name}
    if change.tags is not None:
        sets["tags"] = to_attribute(change.tags)
    owner = change.owner if not exists else change.user_id
    if owner is not None:
        sets |= {name: {"S": owner} for name in ("userId", "userIdentifier")}
        sets["UserThreadPK"] = {"S": keys.of_user(owner)}
    actions = _changed(key, change, stored, sets, metadata) if exists else _created(key, change, sets, metadata)
    if not exists:
        actions.append(check(keys.deleted_key(thread_id), "attribute_not_exists(PK)"))
    if change.user_id is not None:
        actions.append(check(keys.user_key(change.user_id), "attribute_exists(PK)"))
    return actions


def _created(key: Item, change: ThreadChange, sets: Item, metadata: Item | None) -> list[Action]:
    sets |= {
        "id": {"S": keys.thread_of(key)},
        "createdAt": {"S": change.created_at},
        "UserThreadSK": {"S": f"TS#{change.activity or change.created_at}"},
        **(metadata or {METADATA: merged(None, change.metadata_attributes)}),
    }
    # Chainlit's own layer needs the attribute, even without a name.
    sets.setdefault("name", {"NULL": True})
    return [update(key, sets=sets, condition="attribute_not_exists(PK)")]


def _changed(key: Item, change: ThreadChange, stored: Stored | None, sets: Item, metadata: Item | None) -> list[Action]:
    condition, values = owner_condition(change.actor)
    values = dict(values)
    item = stored.thread if stored is not None else None
    if change.activity is not None and (
        item is None or (text_of(item, "UserThreadSK") or "") < f"TS#{change.activity}"
    ):
        sets["UserThreadSK"] = values[":activity"] = {"S": f"TS#{change.activity}"}
        condition += " AND (attribute_not_exists(UserThreadSK) OR UserThreadSK <= :activity)"
    inside, removes, names = change.metadata_attributes, [], {}
    if item is not None and inside and metadata is None and "M" not in item.get(METADATA, {}):
        metadata = {METADATA: merged(None, inside)}
    if item is not None and metadata is not None:
        sets, inside = sets | metadata, {}
        if POINTER + METADATA not in metadata:
            removes.append(POINTER + METADATA)
        if "M" in item.get(METADATA, {}):
            condition += " AND metadata = :older"
            values[":older"] = item[METADATA]
        else:
            condition += " AND NOT attribute_type(metadata, :map)"
            values[":map"] = {"S": "M"}
    elif inside:
        condition += " AND attribute_type(metadata, :map)"
        values[":map"] = {"S": "M"}
    if metadata is not None or None in inside.values():
        # A key that is removed may be among the long ones, in the blob store.
        names["#long"] = POINTER + METADATA
        if older := (item or {}).get(POINTER + METADATA):
            condition, values[":long"] = f"{condition} AND #long = :long", older
        else:
            condition += " AND attribute_not_exists(#long)"
    if not sets and not inside:
        return [check(key, condition, values)]
    inner = {METADATA: inside} if inside else None
    return [update(key, sets=sets, removes=removes, inside=inner, condition=condition, values=values, names=names)]


def merged(stored: Attribute | None, changes: Mapping[str, Attribute | None]) -> Attribute:
    """A map attribute with changes of its keys; None removes a key."""
    keys_now = {**(stored or {}).get("M", {}), **changes}
    return {"M": {name: one for name, one in keys_now.items() if one is not None}}


def _is_known(name: str, value: Attribute) -> bool:
    """Whether a stored attribute has a value, and not the one that stands for none."""
    return "NULL" not in value and not (name in _DEFAULTS and value.get("S") == _DEFAULTS[name])


def is_favorite(step: Item) -> bool:
    """Whether a user marked the step as a favourite."""
    return bool(step.get("metadata", {}).get("M", {}).get("favorite", {}).get("BOOL"))


def favorite_entry(thread_id: str, step_id: str, owner: str, moment: str) -> Item:
    """The entry of the index for a favourite step of a user."""
    return {**keys.favorite_key(thread_id, step_id), **keys.in_index(keys.of_favorites(owner), moment)}


def step_action(thread_id: str, step_id: str, change: StepChange, given: Item, stored: Item | None) -> Action:
    sets = {
        **given,
        **{"id": {"S": step_id}, "threadId": {"S": thread_id}},
        **keys.in_index(keys.of_step(step_id), ""),
    }
    if change.updated_at is not None:
        sets[UPDATED] = {"S": change.updated_at}
    pointers = [POINTER + name for name in given if POINTER + name not in given and not name.startswith(POINTER)]
    condition, values = None, {}
    if change.creates and stored is not None and UPDATED in stored:
        condition, values = "#updated = :updated", {":updated": stored[UPDATED]}
    elif change.creates:
        condition = "attribute_not_exists(#updated)"
    return update(
        keys.step_key(thread_id, step_id),
        sets=sets,
        removes=pointers,
        defaults={} if "createdAt" in sets else {"createdAt": {"S": change.moment}},
        condition=condition,
        values=values,
        names={"#updated": UPDATED} if condition else {},
    )
