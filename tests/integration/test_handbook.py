"""The sample assistant of the first start, without a key: it answers from the documentation, in two languages."""

import pytest

from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.patience import until
from tests.support.server import AppServer
from threadkeeper.citations import element_name
from threadkeeper.knowledge.handbook import PAGES, SETTINGS, SLUG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEMO = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", "SAMPLE_ASSISTANT": "true"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_first_start_makes_an_assistant_that_answers_from_the_documentation(
    start_server: StartServer,
) -> None:
    server = await start_server(**DEMO)
    await trained(server)
    await server.add_user("alice", "a long password")
    async with ChatClient(server.base_url, "alice", "a long password", profile=SLUG) as client:
        english = await client.ask("How do I add a user?")
        assert "threadkeeper user add" in english
        assert element_name(1) in english
        assert "threadkeeper user add" in await cited(client)
    async with ChatClient(server.base_url, "alice", "a long password", profile=SLUG) as client:
        chinese = await client.ask("怎样添加用户？")
        assert "threadkeeper user add 名字" in chinese
        assert element_name(1) in chinese
        assert "threadkeeper user add 名字" in await cited(client)
    async with ChatClient(server.base_url, "alice", "a long password", profile=SLUG) as client:
        assert SETTINGS.idk in await client.ask("How do I bake bread?")

    await server.restart()
    async with server.layer() as layer:
        assert len(await layer.list_trainings(SLUG)) == 1, "the second start trains nothing"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_there_is_no_sample_assistant_where_a_server_embeds(start_server: StartServer) -> None:
    server = await start_server(SAMPLE_ASSISTANT="true", KNOWLEDGE_EMBEDDING_MODEL="embed")
    async with server.layer() as layer:
        assert await layer.list_assistants() == []
    assert "each process searches the passages of assistants itself, with NumPy: SQLite" in server.log


async def cited(client: ChatClient) -> str:
    """What the first citation of the thread opens."""
    thread = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    first = next(one for one in thread["elements"] if one["name"] == element_name(1))
    return (await client.http.get(first["url"])).raise_for_status().text


async def trained(server: AppServer) -> None:
    """Wait until the training of all pages has ended."""
    async with server.layer() as layer:
        training = await until(lambda: layer.current_training(SLUG), 120)
        assert training.counts.documents == len(PAGES)
        assert training.counts.failed_documents == 0
