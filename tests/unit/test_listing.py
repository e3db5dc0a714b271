"""Lists of models that cannot be read, and which models have no price."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.model_server import API_KEY, ModelServer
from threadkeeper.chat.listing import ListedServer, ModelLists
from threadkeeper.chat.providers import listing
from threadkeeper.chat.providers.listing import ModelListServer
from threadkeeper.chat.trying_models import ModelTrial


async def test_an_answer_that_cannot_be_read_is_a_failure_of_its_server(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_text: bytes) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    lists = ModelLists([ListedServer("chat", ModelListServer(model_server.base_url, API_KEY), model_server.base_url)])
    with monkeypatch.context() as patched:
        patched.setattr(listing, "json", SimpleNamespace(loads=fail))
        (found,) = await lists()
    assert (found.problem, found.words) == ("not_a_list", "RecursionError: maximum recursion depth exceeded")
    monkeypatch.setattr(listing, "MOST_BYTES", 10)
    (found,) = await lists()
    assert (found.problem, found.words) == ("not_a_list", "the answer has more than 10 bytes")


@pytest.mark.parametrize("proxy", ["host:one:two", "ftp://host"])
async def test_a_proxy_whose_address_is_not_valid_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("https_proxy", raising=False)
    address = "https://models.example/v1"
    (found,) = await ModelLists([ListedServer("chat", ModelListServer(address, API_KEY), address)])()
    assert found.problem == "unreachable"
    assert str(found.words).startswith("the address of a proxy, as in HTTPS_PROXY, is not valid: ")


async def test_which_models_have_no_price_is_one_question_to_the_store() -> None:
    asked = list[Any]()

    class Prices:
        async def list_prices(self) -> list[Any]:
            return []

        async def last_answered_by_each(self, names: Sequence[str], provider: str) -> dict[str, str]:
            asked.append((names, provider))
            return {"ours": "gpt-4o-mini"}

    source = SimpleNamespace(provider="azure", has_deployments=True, base_url="https://x.openai.azure.com")
    model: Any = SimpleNamespace(demo=False, source=source)
    assert await ModelTrial(model, Prices()).without_price(["ours", "theirs"]) == {"theirs"}
    assert asked == [(["ours", "theirs"], "azure")]
