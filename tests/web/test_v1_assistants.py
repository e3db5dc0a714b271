"""Assistants at `/v1`: their prompt, parameters and passages, their citations as annotations, and who may ask them."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import openai
import pytest

from datalayer import Assistant, AssistantAccess, AssistantSettings, Limit
from datalayer.chainlit_layer import ChainlitLayer
from tests.support import missing, node_openai
from tests.support.knowledge import train_files
from tests.support.model_server import API_KEY, ModelServer
from tests.support.npm import NpmMissing
from tests.support.records import new_id
from tests.support.v1 import V1Rig, scripted
from threadkeeper.chat.assistants import CITE
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.factories import open_knowledge
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.knowledge.asking import KnowledgeRetriever
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.settings.settings import Settings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ANSWER = "say:The harbour opens at six [1]."
REWRITES = "say:When does the harbour open in the morning?"
MODELS = ("echo", "context-echo", ANSWER, "gpt-r", "429:1:7", "401")
ODD = ("refuse:temperature", "refuse:max_tokens", "others:tool_calls:alone")
QUESTION = "When does the harbour open in the morning?"
FILES = {"harbour.txt": "The harbour opens at six in the morning.", "cats.txt": "Cats sleep all day."}


@pytest.fixture
async def v1_parts(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[V1Parts]:
    given: Any = {"openai_base_url": model_server.base_url, "openai_api_key": API_KEY, "openai_max_retries": 0}
    settings = Settings(knowledge_embedding_model="words", **given)
    knowledge = KnowledgeOnDemand(lambda: open_knowledge(settings, layer, []))
    model = MeteredModel(create_model(api_key=API_KEY, base_url=model_server.base_url, max_retries=0), layer)
    retriever = KnowledgeRetriever(knowledge, layer, model, rewrite_model=REWRITES)
    yield V1Parts(scripted(model_server, *MODELS, *ODD), layer, retriever, "Be brief.")
    await knowledge.close()
    await model.close()


async def made(v1: V1Rig, *, users: tuple[str, ...] = ("uma",), trained: bool = True, **fields: Any) -> Assistant:
    settings = AssistantSettings(**{"name": "Harbour", "score_threshold": 0.35, "model": ANSWER, **fields})
    assistant = await v1.layer.create_assistant(settings, access=AssistantAccess("users", users=users))
    if trained:
        training = await train_files(v1.layer, assistant.slug, FILES, v1.model_server, "words")
        assert training.state == "success"
    v1.model_server.forget()
    return assistant


def asked(v1: V1Rig) -> list[dict[str, Any]]:
    """The bodies of the requests for answers."""
    return [one.body for one in v1.model_server.requests if "messages" in one.body and one.model != REWRITES]


async def test_an_assistant_answers_with_its_prompt_and_cites(v1: V1Rig) -> None:
    prompt = "Answer {question} from this:\n{context}"
    assistant = await made(v1, prompt=prompt, temperature=0.3, max_tokens=50, stop=("END",))
    name = f"assistant:{assistant.slug}"
    client = await v1.client_of("assistants", models=[name])
    messages: Any = [{"role": "system", "content": "Be polite."}, {"role": "user", "content": QUESTION}]
    answer = await client.chat.completions.create(model=name, messages=messages, max_tokens=70, seed=7)
    message = answer.choices[0].message
    assert message.content == "The harbour opens at six [1]."
    (cited,) = list[Any](message.annotations or ())
    file: Any = cited.model_dump()["file_citation"]
    place = (message.content.index("["), len(message.content) - 1)
    assert (cited.type, file["filename"]) == ("file_citation", "harbour.txt")
    assert (file["start_index"], file["end_index"]) == place
    (body,) = asked(v1)
    assert (body["model"], body["temperature"], body["stop"], body["seed"]) == (ANSWER, 0.3, ["END"], 7)
    assert (body["max_tokens"], "max_completion_tokens" in body) == (50, False)
    ours, theirs, question = body["messages"]
    assert (ours["role"], theirs) == ("system", messages[0])
    assert CITE in ours["content"]
    assert question["content"].startswith(f"Answer {QUESTION} from this:\n[1] harbour.txt\n{FILES['harbour.txt']}")

    stream = await client.chat.completions.create(model=name, messages=messages, stream=True)
    chunks: list[Any] = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == message.content
    told = [chunk.choices[0].delta.annotations for chunk in chunks if hasattr(chunk.choices[0].delta, "annotations")]
    assert told == [[{"type": "file_citation", "file_citation": file}]]
    assert chunks[-1].choices[0].finish_reason == "stop", "the annotations come before the end"
    calls = [call for call in await v1.calls(4) if call.kind == "chat"]
    assert [(call.assistant, call.assistant_version, call.model) for call in calls] == [(assistant.slug, 1, ANSWER)] * 2
    assert {call.user_id for call in calls} == {v1.people["user"].id}


async def test_a_response_of_an_assistant_cites(v1: V1Rig) -> None:
    assistant = await made(v1, model="echo")
    client = await v1.client_of("assistants")
    asks: Any = {"model": f"assistant:{assistant.slug}", "input": f"{QUESTION} [1]", "instructions": "Be polite."}
    response: Any = await client.responses.create(**asks)
    (cited,) = response.output[0].content[0].annotations
    assert (cited.type, cited.filename) == ("file_citation", "harbour.txt")
    assert cited.index == len(response.output_text)
    sent = v1.model_server.requests[-1].body
    assert sent["instructions"].startswith("Be brief.")
    assert sent["instructions"].endswith("Be polite.")
    assert FILES["harbour.txt"] in sent["instructions"]
    stream: Any = await client.responses.create(**asks, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[-2:]] == ["response.output_text.annotation.added", "response.completed"]
    assert events[-1].response.output[0].content[0].annotations == [cited]


async def test_a_follow_up_is_looked_up_by_itself_and_nothing_found_is_the_idk_text(v1: V1Rig) -> None:
    assistant = await made(v1, type="qa", idk="I do not know.", prompt="{context}\nQ: {question}")
    client = await v1.client_of("assistants")
    name = f"assistant:{assistant.slug}"
    before: Any = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    parts: Any = [{"type": "text", "text": "And then?"}, picture]
    answer = await client.chat.completions.create(model=name, messages=[*before, {"role": "user", "content": parts}])
    assert answer.choices[0].message.annotations
    assert [one.model for one in v1.model_server.requests] == [REWRITES, "words", ANSWER]
    told, shown = asked(v1)[0]["messages"][-1]["content"]
    assert told["text"].endswith("\nQ: And then?")
    assert shown == picture
    v1.model_server.forget()
    lawyer = "What does a lawyer cost?"
    unknown: Any = {"model": name, "messages": [{"role": "user", "content": lawyer}]}
    answer = await client.chat.completions.create(**unknown)
    assert (answer.choices[0].message.content, answer.model) == ("I do not know.", name)
    stream: Any = await client.chat.completions.create(**unknown, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "I do not know."
    assert (await client.responses.create(model=name, input=lawyer)).output_text == "I do not know."
    async with client.responses.stream(model=name, input=lawyer) as events:
        assert (await events.get_final_response()).output_text == "I do not know."
    assert asked(v1) == []


async def test_an_assistant_is_for_its_users_and_for_keys_with_the_scope(v1: V1Rig) -> None:
    own = await made(v1, trained=False, model="echo")
    other = await made(v1, users=("rita",), trained=False, name="Others")
    both = await v1.client_of("gateway", "assistants")
    assert [one.id async for one in both.models.list()] == [*MODELS, *ODD, "words", f"assistant:{own.slug}"]
    ask: Any = {"messages": [{"role": "user", "content": "Hello"}]}
    refused = (
        (["gateway"], (), f"assistant:{own.slug}"),
        (["assistants"], (), "echo"),
        (["gateway", "assistants"], ["context-echo"], f"assistant:{own.slug}"),
    )
    for scopes, models, name in refused:
        client = await v1.client_of(*scopes, models=models)
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(model=name, **ask)
    for slug in (other.slug, "no-such"):
        with pytest.raises(openai.NotFoundError) as absent:
            await both.chat.completions.create(model=f"assistant:{slug}", **ask)
        assert absent.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        await both.chat.completions.create(model=f"assistant:{own.slug}", messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        await both.embeddings.create(model=f"assistant:{own.slug}", input="x")
    answer = await both.chat.completions.create(model=f"assistant:{own.slug}", **ask)
    assert answer.choices[0].message.content == "You said: Hello"


async def test_a_limit_refuses_an_assistant_before_it_is_asked(v1: V1Rig) -> None:
    assistant = await made(v1)
    key, secret = await v1.layer.create_api_key("poor", ["assistants"], user="uma")
    await v1.layer.put_limit(Limit(new_id(), "key", key.id, "day", "dollars", Decimal(1)))
    messages: Any = [{"role": "user", "content": QUESTION}]
    with pytest.raises(openai.PermissionDeniedError) as unpriced:
        await v1.client_with(secret).chat.completions.create(model=f"assistant:{assistant.slug}", messages=messages)
    assert unpriced.value.code == "unpriced"
    assert asked(v1) == []


async def test_the_client_of_openai_for_node_gets_the_same(v1: V1Rig) -> None:
    try:
        folder = node_openai.install()
    except NpmMissing as error:
        missing.skip_or_fail(f"NODE: {error}, so the client of OpenAI for Node.js was not run")
    assistant = await made(v1)
    name = f"assistant:{assistant.slug}"
    secret = await v1.secret("gateway", "assistants")
    process = await asyncio.create_subprocess_exec(
        *("node", str(node_openai.SCRIPT), str(folder), f"{v1.client.base_url}/v1", secret, name),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "NO_PROXY": "*"},
    )
    printed, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    found = json.loads(printed)
    said = "You said: alpha beta"
    assert (found["plain"], found["stream"]["text"], found["response"]) == (said, said, said)
    assert found["stream"]["annotations"] == []
    assert found["cited"]["content"] == found["citedStream"]["text"] == "The harbour opens at six [1]."
    (annotation,) = found["cited"]["annotations"]
    assert annotation["file_citation"]["filename"] == "harbour.txt"
    assert found["citedStream"]["annotations"] == [annotation]
    assert (found["models"], found["vectors"]) == ([*MODELS, *ODD, "words", name], 2)
    assert found["missing"] == ["NotFoundError", 404, "model_not_found", "model"]
    assert found["denied"] == ["AuthenticationError", 401, "invalid_api_key", None]
    assert found["limited"][:3] == ["RateLimitError", 429, "rate_limit_exceeded"]
    assert found["failed"][:3] == ["InternalServerError", 502, "model_server_refused"]


async def test_a_parameter_of_an_assistant_that_its_model_refuses_is_left_out(v1: V1Rig) -> None:
    odd = await made(v1, trained=False, model="refuse:temperature", temperature=0.3, top_p=0.5)
    named = await made(v1, trained=False, name="Named", model="refuse:max_tokens", max_tokens=50)
    client = await v1.client_of("assistants", "gateway")
    messages: Any = [{"role": "user", "content": "Hello"}]
    stream: Any = await client.chat.completions.create(model=f"assistant:{odd.slug}", messages=messages, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: Hello"
    await client.chat.completions.create(model=f"assistant:{odd.slug}", messages=messages)
    sent = asked(v1)
    assert [("temperature" in one, one["top_p"]) for one in sent] == [(True, 0.5), (False, 0.5), (False, 0.5)]
    assert "stream_options" in sent[1], "the tokens are reported all the same"
    v1.model_server.forget()
    await client.chat.completions.create(model=f"assistant:{named.slug}", messages=messages)
    most = [{name: one[name] for name in ("max_tokens", "max_completion_tokens") if name in one} for one in asked(v1)]
    assert most == [{"max_tokens": 50}, {"max_completion_tokens": 50}]
    calls = [call for call in await v1.calls(3) if call.kind == "chat"]
    assert [(call.status_code, call.is_estimated) for call in calls] == [(200, False)] * 3
    # What a caller sends itself is refused to it.
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="refuse:temperature", messages=messages, temperature=0.3)
    assert refused.value.param == "temperature"


async def test_tools_go_there_and_back(v1: V1Rig) -> None:
    """The model calls a tool of the caller, which answers, also for an assistant."""
    assistant = await made(v1, trained=False, model="others:tool_calls:alone")
    client = await v1.client_of("assistants", "gateway")
    tool: Any = {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
    }
    for name in ("others:tool_calls:alone", f"assistant:{assistant.slug}"):
        messages: list[Any] = [{"role": "user", "content": "When?"}]
        answer = await client.chat.completions.create(model=name, messages=messages, tools=[tool])
        said = answer.choices[0].message
        (called,) = list[Any](said.tool_calls or ())
        assert (called.function.name, called.function.arguments) == ("look_up", "{}")
        stream: Any = await client.chat.completions.create(model=name, messages=messages, tools=[tool], stream=True)
        streamed = [chunk.choices[0].delta.tool_calls async for chunk in stream if chunk.choices]
        assert [one[0].function.name for one in streamed if one] == ["look_up"]
        messages += [
            said.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": called.id, "content": "At six."},
        ]
        v1.model_server.forget()
        await client.chat.completions.create(model=name, messages=messages, tools=[tool])
        sent = v1.model_server.requests[-1].body
        assert (sent["messages"][-3:], sent["tools"]) == (messages, [tool])


async def test_web_pages_are_cited_with_their_addresses(v1: V1Rig) -> None:
    assistant = await made(v1)
    (source,) = [one for one in await v1.layer.list_sources(assistant.slug) if one.title == "harbour.txt"]
    address = "https://harbour.example.com/hours"
    await v1.layer.put_source(replace(source, kind="url", options={"address": address}))
    client = await v1.client_of("assistants")
    answer = await client.chat.completions.create(
        model=f"assistant:{assistant.slug}", messages=[{"role": "user", "content": QUESTION}]
    )
    (cited,) = list[Any](answer.choices[0].message.annotations or ())
    assert (cited.type, cited.url_citation.url, cited.url_citation.title) == ("url_citation", address, "harbour.txt")
    text = answer.choices[0].message.content or ""
    assert (cited.url_citation.start_index, cited.url_citation.end_index) == (text.index("["), len(text) - 1)
