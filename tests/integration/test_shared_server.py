"""The shared server of a module: if it ends, only the test that ended it fails."""

import os
import signal

import pytest

from tests.support.shared_server import SharedServer

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("shared_server", ["sqlite"], indirect=True)]

SETTINGS = {"OPENAI_MODELS": "echo"}


async def test_a_dead_server_is_replaced_before_the_next_test(shared_server: SharedServer) -> None:
    first = shared_server.chat()
    assert shared_server.chat().server is first.server
    os.kill(first.server.process_id, signal.SIGKILL)
    second = shared_server.chat()
    assert second.server is not first.server
    await second.add_user("alice")
    async with second.client("alice") as client:
        assert await client.ask("hello") == "You said: hello"
    assert [one.model for one in second.model_server.requests][:1] == ["echo"]


async def test_two_tests_have_users_of_their_own(shared_server: SharedServer) -> None:
    one, another = shared_server.chat(), shared_server.chat()
    assert one.name("alice") != another.name("alice")
    await one.add_user("alice")
    async with one.client("alice") as client:
        await client.ask("hello")
    async with another.layer() as layer:
        assert await layer.get_user(another.name("alice")) is None
