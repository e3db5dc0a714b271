"""`store`: exchanges at `/v1` that are kept as threads, which the browser and the API read as any other."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from datalayer import AssistantAccess, AssistantSettings, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import LlmCall
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import listed, new_id
from tests.support.v1 import V1Rig, scripted
from tests.web.conftest import Browser
from threadkeeper.conversation.kept_exchanges import ExchangeKeeper
from threadkeeper.gateway.v1.parts import V1Parts

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HEADER = "x-threadkeeper-thread-id"
SCOPES = ("gateway", "assistants", "threads:write", "threads:read")


@pytest.fixture
def v1_parts(layer: ChainlitLayer, model_server: ModelServer) -> Iterator[V1Parts]:
    servers = scripted(model_server, "echo", "gpt-r", "slow:2000:0.01", "401")
    yield V1Parts(servers, layer, None, "Be brief.", ExchangeKeeper(layer))


async def thread_of(v1: V1Rig, thread_id: str) -> dict[str, Any]:
    with acting_as("uma"):
        found: dict[str, Any] | None = await v1.layer.get_thread(thread_id)
    assert found is not None
    return found


def messages(thread: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["type"], step["output"]) for step in thread["steps"] if step["type"].endswith("_message")]


async def has_texts(v1: V1Rig, call: LlmCall) -> bool:
    found = await v1.layer.get_call(call.id)
    assert found is not None
    return found[1] is not None


async def test_an_exchange_is_kept_as_a_thread_and_continued(v1: V1Rig, browser_of: Browser) -> None:
    client = await v1.client_of(*SCOPES)
    before: Any = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
    parts: Any = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    asked: Any = {"role": "user", "content": parts}
    system: Any = {"role": "system", "content": "Be polite."}
    answer = await client.chat.completions.create(
        model="echo", messages=[system, *before, asked], store=True, metadata={"app": "tests"}
    )
    thread_id = answer.model_dump()["metadata"]["thread_id"]
    thread = await thread_of(v1, thread_id)
    said = [("user_message", "Hello"), ("assistant_message", "Hi!"), ("user_message", "Look")]
    said.append(("assistant_message", "You said: Look"))
    assert (messages(thread), thread["name"]) == (said, "Hello")
    assert [(one["type"], one["mime"]) for one in thread["elements"]] == [("image", "image/png")]
    sent = v1.model_server.requests[0].body
    assert not {"store", "metadata"} & sent.keys(), "it is kept here, not there"
    stored = next(step for step in thread["steps"] if step["output"] == "You said: Look")
    assert stored["metadata"]["model"] == "echo"
    assert stored["metadata"]["status"] == "complete"
    assert stored["metadata"]["usage"]["completion_tokens"] > 0
    page = await (await browser_of("user")).get(f"/project/thread/{thread_id}")
    assert page.json()["id"] == thread_id

    asked = {"model": "echo", "messages": [asked, {"role": "user", "content": "More"}], "store": True}
    stream: Any = await client.chat.completions.with_raw_response.create(
        **asked, stream=True, metadata={"thread_id": thread_id}
    )
    assert stream.headers[HEADER] == thread_id
    async for _ in stream.parse():
        pass
    said += [("user_message", "More"), ("assistant_message", "You said: More")]
    assert messages(await thread_of(v1, thread_id)) == said
    children = [step["type"] for step in (await thread_of(v1, thread_id))["steps"] if step.get("parentId")]
    assert children == ["run", "assistant_message"] * 2, "a vote finds the run of its answer"

    calls = [call for call in await v1.calls(2) if call.model == "echo"]
    assert [call.thread_id for call in calls] == [thread_id] * 2
    assert [await has_texts(v1, call) for call in calls] == [True] * 2
    await v1.layer.delete_thread(thread_id)
    assert [await has_texts(v1, call) for call in calls] == [False] * 2, "deleted with the thread"

    raw = await client.responses.with_raw_response.create(model="gpt-r", input="Once", store=True)
    assert raw.parse().metadata == {"thread_id": raw.headers[HEADER]}
    assert messages(await thread_of(v1, raw.headers[HEADER])) == [
        ("user_message", "Once"), ("assistant_message", "You said: Once"),
    ]  # fmt: skip
    assert v1.model_server.requests[-1].body["store"] is True


async def test_a_kept_exchange_with_an_assistant_names_it(v1: V1Rig) -> None:
    settings = AssistantSettings(
        "Harbour", type="qa", idk="I do not know.", prompt="{context} {question}", model="echo"
    )
    unknowing = await v1.layer.create_assistant(settings, access=AssistantAccess("everyone"))
    client = await v1.client_of(*SCOPES)
    asked: Any = {"messages": [{"role": "user", "content": "When?"}], "store": True}
    for stream in (False, True):
        raw: Any = await client.chat.completions.with_raw_response.create(
            model=f"assistant:{unknowing.slug}", stream=stream, **asked
        )
        await raw.http_response.aread()
        thread = await thread_of(v1, raw.headers[HEADER])
        assert messages(thread) == [("user_message", "When?"), ("assistant_message", "I do not know.")]
        assert thread["metadata"]["chat_profile"] == unknowing.slug


async def test_what_is_not_kept(v1: V1Rig) -> None:
    asked: Any = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}], "store": True}
    reading = await v1.client_of("gateway", "threads:read")
    with pytest.raises(openai.PermissionDeniedError):
        await reading.chat.completions.create(**asked)
    client = await v1.client_of(*SCOPES)
    foreign = new_id()
    with acting_as("rita"):
        await v1.layer.update_thread(foreign, name="hers", user_id=v1.people["reviewer"].id)
    for thread_id in (foreign, new_id(), "none"):
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(**asked, metadata={"thread_id": thread_id})
        assert missing.value.param == "metadata.thread_id"
    assert v1.model_server.requests == []
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(**{**asked, "model": "401"})
    await client.chat.completions.create(**{**asked, "store": False})
    with acting_as("uma"):
        assert await listed(v1.layer, v1.people["user"].id) == []
    # An answer that its caller leaves is kept as far as it came.
    stream: Any = await client.chat.completions.create(**{**asked, "model": "slow:2000:0.01"}, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async def is_kept() -> bool:
        with acting_as("uma"):
            return len(await listed(v1.layer, v1.people["user"].id)) == 1

    await until(is_kept)
