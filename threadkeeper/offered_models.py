"""Which models a user may choose in the chat, and which is the default: decided here for every door.

The chat with its picker, `/api/v1`, `/v1`, assistants and the pages ask the same object. The base is the setting
OPENAI_MODELS: its models are for everyone, the first is the default. What admins decide at `/admin/models` is in the
database and takes precedence, model by model. A process reads it again after some seconds, so replicas follow.

There is always a default, and it is always for everyone: so each user has a model, whatever was decided.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from datalayer.errors import DataLayerError
from datalayer.ownership import Actor, acting_as
from datalayer.records.chat_models import ChatModel

logger = logging.getLogger(__name__)

READ_EVERY_SECONDS = 2.0
"""After this time, what was decided on another replica holds here."""
_MOST_USERS = 10_000
_Read = tuple[float, list[ChatModel]]


class ChatModelStore(Protocol):
    async def usable_chat_models(self) -> list[ChatModel]:
        """As `ChatModels.usable_chat_models`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is on offer, for one user.

    Attributes:
        names: the models that the user may use, the default first.
        others: models that are on offer for others alone.
        is_default_of_page: whether an admin chose the default; otherwise the setting does.
    """

    names: tuple[str, ...]
    others: tuple[str, ...] = ()
    is_default_of_page: bool = False

    @property
    def default(self) -> str:
        return self.names[0]


def decided(base: Sequence[str], rows: Sequence[ChatModel]) -> Choice:
    """The choice of a user.

    Args:
        base: the models of the setting, the default first; at least one.
        rows: what admins decided, the newest first, with `may_use` for the user.
    """
    known = {one.name: one for one in rows}

    def is_for_everyone(name: str) -> bool:
        row = known.get(name)
        if row is None or row.is_offered is None:
            return name in base
        return row.is_offered and row.access.kind == "everyone"

    added = sorted(one.name for one in rows if one.is_offered and one.name not in base)
    order = [*dict.fromkeys(base), *added]
    wanted = next((one.name for one in rows if one.is_default and is_for_everyone(one.name)), None)
    # If nothing is for everyone, the settings were changed since; the first model of the setting is there for sure.
    default = wanted or next(filter(is_for_everyone, order), base[0])
    mine = [name for name in order if is_for_everyone(name) or (name in known and known[name].may_use)]
    others = [name for name in order if name in known and known[name].is_offered and name not in mine]
    return Choice(tuple(dict.fromkeys([default, *mine])), tuple(others), wanted is not None)


class OfferedModels:
    """The models on offer, as this process knows them."""

    def __init__(
        self,
        base: Sequence[str],
        store: ChatModelStore | None = None,
        *,
        seconds: float = READ_EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            base: the models of the setting, the default first; at least one.
            store: what admins decided; None for the demo, whose only model is not chosen.
            seconds: how long what was read is used.
            clock: gives the time in seconds.
        """
        self.base = tuple(base)
        self._store, self._seconds, self._clock = store, seconds, clock
        # With a time. Without a model for some alone, it is the same for all; otherwise it is kept for who asked last.
        self._for_all: _Read | None = None
        self._for_each: OrderedDict[Actor, _Read] = OrderedDict()
        # How often it was forgotten: what was read before the newest time is not kept.
        self._forgotten = 0
        self._locks: WeakValueDictionary[tuple[Actor, ...], asyncio.Lock] = WeakValueDictionary()

    @property
    def is_demo(self) -> bool:
        """Whether no server is connected."""
        return self._store is None

    async def of(self, actor: Actor) -> Choice:
        """The choice of this user, who has at least one model.

        Raises:
            DataLayerError: it cannot be read, and was not read before.
        """
        if self._store is None:
            return decided(self.base, ())
        rows = self._fresh(actor)
        if rows is None:
            async with self._lock_of(actor):
                rows = self._fresh(actor)
                if rows is None:
                    rows = await self._read_for(actor, self._store)
        return decided(self.base, rows)

    def forget(self) -> None:
        """Read again at the next question, because something was decided here."""
        self._forgotten += 1
        self._for_all = None
        self._for_each.clear()

    def _lock_of(self, actor: Actor) -> asyncio.Lock:
        """One for all, because one read serves all; with a model for some alone, one for each."""
        return self._locks.setdefault((actor,) if self._for_each else (), asyncio.Lock())

    def _fresh(self, actor: Actor) -> list[ChatModel] | None:
        for at, rows in filter(None, (self._for_all, self._for_each.get(actor))):
            if self._clock() - at < self._seconds:
                return rows
        return None

    async def _read_for(self, actor: Actor, store: ChatModelStore) -> list[ChatModel]:
        forgotten, began = self._forgotten, self._clock()
        try:
            with acting_as(actor):
                rows = await store.usable_chat_models()
        except DataLayerError as error:
            older = self._for_each.get(actor) or self._for_all
            if older is None:
                raise
            logger.warning("the choice of models cannot be read; using the one that was read before: %s", error)
            return older[1]
        if forgotten != self._forgotten:
            # Something was decided meanwhile, perhaps after these were read.
            return rows
        read = began, rows
        if all(not one.is_offered or one.access.kind == "everyone" for one in rows):
            self._for_each.clear()
            self._for_all = read
            return rows
        self._for_all = None
        self._for_each[actor] = read
        self._for_each.move_to_end(actor)
        if len(self._for_each) > _MOST_USERS:
            self._for_each.popitem(last=False)
        return rows
