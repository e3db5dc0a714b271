"""Files of programs: uploaded, sent to the model with the question that names them, downloaded, and refused."""

import asyncio
from typing import Any

import httpx
import pytest

from datalayer import StorageUnavailable
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.model_server import ModelServer
from tests.support.records import new_id
from tests.support.sample_files import picture
from tests.web.conftest import Program, problem
from tests.web.test_api import ask_thread, asked, made  # noqa: F401  the conversations with the scripted model server
from tests.web.test_api_background import ended, runs_jobs, started  # noqa: F401  jobs run
from threadkeeper.chat.attachments.reader import AttachmentReader
from threadkeeper.conversation.programs import Programs

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NOTES = b"The library opens at nine.\n"


@pytest.fixture
def limits(ask_thread: Programs) -> AttachmentReader:  # noqa: F811
    """Of the files of a question."""
    return ask_thread._answering.questions.limits


async def uploaded(
    program: httpx.AsyncClient, thread_id: str, name: str, content: bytes, **headers: str
) -> httpx.Response:
    address = f"/threads/{thread_id}/elements"
    return await program.post(address, params={"name": name}, content=content, headers=headers)


def sent(model_server: ModelServer) -> list[Any]:
    """The content of the last question that the model got; titles are not streamed."""
    asked_last = [one.body["messages"] for one in model_server.requests if one.body.get("stream")][-1]
    content = asked_last[-1]["content"]
    return [content] if isinstance(content, str) else content


async def test_uploaded_files_go_to_the_model_with_their_question_and_come_back_as_they_were(
    program_of: Program, model_server: ModelServer, layer: ChainlitLayer
) -> None:
    program = await program_of()
    thread_id, image = (await made(program))["id"], picture("map.png")["buffer"]
    text, shown = (
        await uploaded(program, thread_id, "hours.md", NOTES),
        await uploaded(program, thread_id, "map.png", image, **{"Content-Type": "image/png"}),
    )
    assert (text.status_code, shown.status_code) == (201, 201), text.text
    files = [text.json(), shown.json()]
    assert [(one["name"], one["type"], one["mime"], one["message_id"]) for one in files] == [
        ("hours.md", "file", "text/markdown", None),
        ("map.png", "image", "image/png", None),
    ]
    for answer, content in ((text, NOTES), (shown, image)):
        address = answer.headers["location"].removeprefix("/api/v1")
        back = await program.get(address)
        assert (back.content, back.headers["etag"]) == (content, answer.headers["etag"])

    ids = [one["id"] for one in files]
    turn = (await asked(program, thread_id, "When?", elements=ids)).json()
    parts = sent(model_server)
    assert NOTES.decode().strip() in str(parts)
    assert [one["image_url"]["url"][:22] for one in parts if one["type"] == "image_url"] == ["data:image/png;base64,"]
    listed = f"/threads/{thread_id}/elements"
    one = (await program.get(listed, params={"limit": 1})).json()
    rest = (await program.get(listed, params={"cursor": one["next_cursor"]})).json()
    there = one["data"] + rest["data"]
    assert ([found["id"] for found in there], rest["next_cursor"]) == (ids, None)
    assert {one["message_id"] for one in there} == {turn["question"]["id"]}
    # As in the chat, they go along with later questions.
    await asked(program, thread_id, "And then?")
    earlier = [one.body["messages"] for one in model_server.requests if one.body.get("stream")][-1]
    assert NOTES.decode().strip() in str(earlier[:-1])
    taken = await asked(program, thread_id, "Again?", elements=ids[:1])
    assert (problem(taken), taken.json()["errors"][0]["field"]) == ((422, "file-refused"), "body.elements")
    assert len((await layer.get_thread(thread_id))["elements"]) == 2


@pytest.mark.usefixtures("runs_jobs")
async def test_a_question_in_the_background_has_files(program_of: Program, model_server: ModelServer) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    file = (await uploaded(program, thread_id, "hours.txt", NOTES)).json()
    await ended(program, await started(program, thread_id, elements=[file["id"]]))
    assert NOTES.decode().strip() in str(sent(model_server))


async def test_a_question_that_could_not_be_stored_can_be_asked_again_with_its_files(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    file = (await uploaded(program, thread_id, "hours.txt", NOTES)).json()

    async def fail(*_: Any) -> Any:
        raise StorageUnavailable("the database is away")

    for name, asking in (("get_user", {}), ("create_step", {"background": True})):
        with monkeypatch.context() as patch:
            patch.setattr(layer, name, fail)
            answer = await asked(program, thread_id, "When?", elements=[file["id"]], **asking)
        assert answer.status_code == 503, answer.text
    assert (await asked(program, thread_id, "When?", elements=[file["id"]])).status_code == 200


async def test_an_upload_that_is_sent_again_gets_the_first_answer(program_of: Program) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    # curl names this type with --data-binary.
    once = {"Idempotency-Key": "a", "Content-Type": "application/x-www-form-urlencoded"}
    first, again = [await uploaded(program, thread_id, "a.txt", NOTES, **once) for _ in range(2)]
    assert first.json()["mime"] == "text/plain"
    assert (again.json(), again.headers["etag"]) == (first.json(), first.headers["etag"])
    assert again.headers["idempotency-replayed"] == "true"
    other = await uploaded(program, thread_id, "a.txt", b"Other text", **once)
    assert problem(other) == (422, "invalid")
    assert len((await program.get(f"/threads/{thread_id}/elements")).json()["data"]) == 1


async def test_files_that_no_question_can_have_are_refused_and_not_stored(
    program_of: Program, limits: AttachmentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, other = await program_of(), await program_of("admin")
    reader = await program_of(scopes=["threads:read"])
    thread_id = (await made(program))["id"]
    monkeypatch.setattr(limits, "_max_megabytes", 0.001)

    async def chunks() -> Any:
        for _ in range(3):
            yield b"a" * 600

    address = f"/threads/{thread_id}/elements"
    unannounced = await program.post(address, params={"name": "a.txt"}, content=chunks())
    assert problem(unannounced) == (413, "too-large")
    for name, content, wanted in (
        ("a.txt", b"a" * 1_100, (413, "too-large")),
        ("a.exe", b"MZ\x00\x01\x02", (422, "file-refused")),
        ("a.txt", b"", (422, "file-refused")),
        ("a.pdf", b"%PDF-1.7 nothing", (422, "file-refused")),
        (" ", NOTES, (422, "invalid")),
    ):
        assert problem(await uploaded(program, thread_id, name, content)) == wanted, name
    form = await program.post(address, params={"name": "a.txt"}, files={"file": NOTES})
    assert (problem(form), form.json()["errors"][0]["field"]) == ((422, "invalid"), "header.content-type")
    assert problem(await uploaded(other, thread_id, "a.txt", NOTES)) == (404, "not-found")
    assert problem(await uploaded(reader, thread_id, "a.txt", NOTES)) == (403, "scope-missing")
    assert (await program.get(address)).json()["data"] == []


async def test_the_files_of_a_question_have_bounds_together(
    program_of: Program, limits: AttachmentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await program_of()
    thread_id, elsewhere = (await made(program))["id"], (await made(program))["id"]
    monkeypatch.setattr(limits, "_max_files", 2)
    monkeypatch.setattr(limits, "_max_total_megabytes", 0.0015)
    ids = [(await uploaded(program, thread_id, f"{at}.txt", b"a" * 1_000)).json()["id"] for at in range(3)]
    foreign = (await uploaded(program, elsewhere, "a.txt", NOTES)).json()["id"]
    for elements in (ids, ids[:2], [ids[0], foreign], [new_id()], ["nothing"]):
        refused = await asked(program, thread_id, "Go", elements=elements)
        assert problem(refused) == (422, "file-refused"), elements
    background = await asked(program, thread_id, "Go", elements=ids, background=True)
    assert problem(background) == (422, "file-refused")
    assert (await program.get(f"/threads/{thread_id}/messages")).json()["data"] == []
    # Nothing of what was refused has taken the file.
    assert (await asked(program, thread_id, "Go", elements=[ids[0], ids[0]])).status_code == 200
    # Of two questions at once, one has it.
    both = await asyncio.gather(
        *(asked(program, thread_id, "Go", elements=ids[1:2], background=True) for _ in range(2))
    )
    assert sorted(one.status_code for one in both) == [202, 422]


@pytest.mark.parametrize("background", [False, True])
async def test_a_repetition_finds_the_files_of_an_attempt_whose_commit_was_not_answered(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    file = (await uploaded(program, thread_id, "hours.md", NOTES)).json()["id"]
    attach, lost = layer.attach_elements, [1]

    async def attached_and_lost(*arguments: Any, **fields: Any) -> None:
        await attach(*arguments, **fields)
        if lost:
            lost.pop()
            raise StorageUnavailable("the connection was lost after the commit")

    monkeypatch.setattr(layer, "attach_elements", attached_and_lost)
    body = {"content": "When?", "elements": [file], "background": background}
    where, once = f"/threads/{thread_id}/messages", {"Idempotency-Key": "1"}
    assert problem(await program.post(where, json=body, headers=once)) == (503, "unavailable")
    again = await program.post(where, json=body, headers=once)
    assert again.status_code == (202 if background else 200), again.text
    (element,) = (await program.get(f"/threads/{thread_id}/elements")).json()["data"]
    questions = [one for one in (await program.get(where)).json()["data"] if one["role"] == "user"]
    assert [element["message_id"]] == [one["id"] for one in questions]
