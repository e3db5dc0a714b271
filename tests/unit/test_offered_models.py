"""Which models a user may choose, from the setting and from what admins decided."""

import asyncio

import pytest

from datalayer.errors import StorageUnavailable
from datalayer.ownership import Actor, acting_user
from datalayer.records.assistants import AssistantAccess
from datalayer.records.chat_models import ChatModel
from threadkeeper.offered_models import OfferedModels, decided

BASE = ("large", "small")
SOME = AssistantAccess("users")


def row(
    name: str,
    is_offered: bool | None = True,
    access: AssistantAccess | None = None,
    *,
    is_default: bool = False,
    may_use: bool = False,
) -> ChatModel:
    return ChatModel(name, is_offered, access or AssistantAccess(), is_default, may_use)


@pytest.mark.parametrize(
    ("rows", "names", "others"),
    [
        ([], ("large", "small"), ()),
        # What admins decide takes precedence, model by model; added ones come behind, by name.
        ([row("small", False)], ("large",), ()),
        ([row("new"), row("added")], ("large", "small", "added", "new"), ()),
        ([row("new", access=SOME)], ("large", "small"), ("new",)),
        ([row("new", access=SOME, may_use=True)], ("large", "small", "new"), ()),
        ([row("small", access=SOME)], ("large",), ("small",)),
        # The default is for everyone: chosen, else the first of the setting that is.
        ([row("small", None, is_default=True)], ("small", "large"), ()),
        ([row("new", is_default=True)], ("new", "large", "small"), ()),
        ([row("large", False)], ("small",), ()),
        ([row("large", access=SOME, may_use=True)], ("small", "large"), ()),
        ([row("new", access=SOME, may_use=True, is_default=True)], ("large", "small", "new"), ()),
        ([row("gone", None, is_default=True)], ("large", "small"), ()),
        # Of two, the newer one.
        ([row("small", None, is_default=True), row("large", None, is_default=True)], ("small", "large"), ()),
        # The settings were changed since, and everything in them was taken out before.
        ([row("large", False), row("small", False)], ("large",), ()),
        ([row("large", False), row("small", False), row("new")], ("new",), ()),
    ],
)
def test_each_user_has_a_default_and_what_is_for_them(
    rows: list[ChatModel], names: tuple[str, ...], others: tuple[str, ...]
) -> None:
    choice = decided(BASE, rows)
    assert (choice.names, choice.others) == (names, others)
    assert choice.default == names[0]


class Store:
    """What admins decided; `reads` are the actors who asked, who get their answer when `waits` is set."""

    def __init__(self, *rows: ChatModel) -> None:
        self.rows, self.reads, self.is_away = list(rows), list[Actor](), False
        self.waits = asyncio.Event()
        self.waits.set()

    async def usable_chat_models(self) -> list[ChatModel]:
        self.reads.append(acting_user.get())
        rows = self.rows
        await self.waits.wait()
        await asyncio.sleep(0)
        if self.is_away:
            raise StorageUnavailable("away")
        return rows


async def test_what_is_for_everyone_is_read_once_for_all() -> None:
    now, store = [0.0], Store(row("new"))
    offered = OfferedModels(BASE, store, seconds=2, clock=lambda: now[0])
    await asyncio.gather(*(offered.of(f"user {number}") for number in range(50)))
    assert len(store.reads) == 1
    store.rows = [row("small", False)]
    assert (await offered.of("alice")).names == ("large", "small", "new")
    now[0] = 2.0
    assert (await offered.of("alice")).names == ("large",)
    store.rows = []
    offered.forget()
    assert (await offered.of("alice")).names == BASE


async def test_what_is_for_some_is_read_for_each() -> None:
    now, store = [0.0], Store(row("new", access=SOME))
    offered = OfferedModels(BASE, store, seconds=2, clock=lambda: now[0])
    for actor in ("alice", "bob", None, "alice", "bob", None):
        await offered.of(actor)
    assert store.reads == ["alice", "bob", None]
    # Nobody keeps what was for everyone after it is for some.
    store.rows, now[0] = [], 2.0
    await offered.of("alice")
    store.rows, now[0] = [row("small", access=SOME)], 4.0
    await offered.of("alice")
    assert (await offered.of("bob")).names == ("large",)


async def test_what_was_read_before_a_decision_is_not_kept() -> None:
    store = Store()
    offered = OfferedModels(BASE, store, seconds=2, clock=lambda: 0.0)
    for earlier in ([], [row("new", access=SOME)]):
        store.rows, store.waits = list(earlier), asyncio.Event()
        reading = asyncio.create_task(offered.of("alice"))
        await asyncio.sleep(0)
        store.rows = [row("small", False)]
        offered.forget()
        store.waits.set()
        assert "small" in (await reading).names, "it asked before"
        assert (await offered.of("alice")).names == ("large",)
        offered.forget()


async def test_what_is_for_some_is_read_for_several_at_once() -> None:
    store = Store(row("new", access=SOME))
    offered = OfferedModels(BASE, store)
    await offered.of("alice")
    store.waits = asyncio.Event()
    reading = [asyncio.create_task(offered.of(actor)) for actor in ("bob", "carol", "bob")]
    await asyncio.sleep(0)
    assert store.reads == ["alice", "bob", "carol"]
    store.waits.set()
    await asyncio.gather(*reading)
    assert store.reads == ["alice", "bob", "carol"]


async def test_without_the_storage_the_last_choice_holds() -> None:
    store = Store(row("small", False))
    offered = OfferedModels(BASE, store, seconds=0)
    store.is_away = True
    with pytest.raises(StorageUnavailable):
        await offered.of("alice")
    store.is_away = False
    assert (await offered.of("alice")).names == ("large",)
    store.is_away = True
    assert (await offered.of("bob")).names == ("large",)


async def test_the_demo_is_not_chosen() -> None:
    offered = OfferedModels(("demo",))
    assert offered.is_demo
    assert (await offered.of("alice")).names == ("demo",)
