"""A page is told that its writes wait for the database for long, and no other page is."""

import pytest

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id
from tests.unit.test_watching import Open, open_page, owner  # noqa: F401
from threadkeeper.conversation import long_waits
from threadkeeper.conversation.long_waits import LONG_SECONDS, LongWaits

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def waiting(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The threads whose writes wait for the database."""
    threads = set[str]()

    def waiting_threads(seconds: float) -> set[str]:
        assert seconds == LONG_SECONDS
        return threads

    monkeypatch.setattr(layer, "waiting_threads", waiting_threads)
    return threads


async def test_a_page_whose_writes_wait_for_long_is_told_once_and_again_later(
    layer: ChainlitLayer,
    waiting: set[str],
    open_page: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread_id = new_id()
    page, other, garbage = open_page(thread_id), open_page(new_id()), open_page(["a"])
    waits = LongWaits(layer)
    await waits.look()
    assert page.got == []
    waiting.add(thread_id)
    for _ in range(2):
        await waits.look()
    told = ("toast", {"message": page.got[0][1]["message"], "type": "warning"})
    assert page.got == [told]
    assert "cannot save at the moment" in told[1]["message"]
    monkeypatch.setattr(long_waits, "_SAID_AGAIN_AFTER_SECONDS", 0.0)
    await waits.look()
    assert page.got == [told, told]
    waiting.clear()
    await waits.look()
    assert page.got == [told, told]
    assert other.got == garbage.got == []
