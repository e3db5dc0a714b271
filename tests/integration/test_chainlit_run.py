"""`chainlit run` starts the same application."""

import sys

import pytest

from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.server import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_chainlit_run(start_server: StartServer) -> None:
    server = await start_server(
        program=[sys.executable, "-m", "chainlit", "run", str(ROOT / "app.py"), "--headless", "--port", "{port}"],
        OPENAI_MODELS="echo",
    )
    await server.add_user("ann", "a long password")
    async with ChatClient(server.base_url, "ann", "a long password") as client:
        assert await client.ask("Hello") == "You said: Hello"
        await client.event("first_interaction")
        assert await server.stop() == 0
    assert client.thread_id is not None
    async with server.layer() as layer:
        thread = await layer.get_thread(client.thread_id)
    assert thread is not None
    assert [step["output"] for step in thread["steps"] if step["type"].endswith("message")] == [
        "Hello",
        "You said: Hello",
    ]
