"""Elements: row and bytes of every element type of Chainlit."""

from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import chainlit as cl
import pytest
from chainlit.element import ElementDict
from pydantic.dataclasses import dataclass

import datalayer
from datalayer import InvalidRecord, NotFound, acting_as, create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history.elements import STAYS_WITH_VERSION
from tests.support.records import new_id, opened, step, thread, user_id


def text_element(thread_id: str, for_id: str, content: str | bytes) -> cl.Text:
    return cl.Text(thread_id=thread_id, for_id=for_id, name="notes.txt", content=content, mime="text/plain")


async def only(layer: ChainlitLayer, thread_id: str) -> dict[str, Any]:
    (element,) = (await layer.get_thread(thread_id))["elements"]
    return dict(element)


# These two types of Chainlit only add JSON of a figure or table, made by libraries that are not needed here.
@dataclass
class Plotly(cl.element.Element):
    type: ClassVar[cl.element.ElementType] = "plotly"
    size: cl.element.ElementSize = "medium"


@dataclass
class Dataframe(cl.element.Element):
    type: ClassVar[cl.element.ElementType] = "dataframe"
    size: cl.element.ElementSize = "large"


KINDS: list[tuple[Any, dict[str, Any]]] = [
    (cl.Image, {"size": "large", "display": "side", "mime": "image/png"}),
    (cl.Text, {"language": "python", "display": "page", "mime": "text/plain"}),
    (cl.Text, {"display": "side", "mime": "text/plain"}),
    (cl.Pdf, {"page": 7, "display": "side"}),
    (cl.Audio, {"auto_play": True, "mime": "audio/mpeg"}),
    (cl.Audio, {"auto_play": False, "mime": "audio/wav"}),
    (cl.Video, {"player_config": {"youtube": {"playerVars": {"start": 3}}}, "mime": "video/mp4", "size": "small"}),
    (cl.File, {"mime": "application/zip"}),
    (Plotly, {"size": "large", "mime": "application/json"}),
    (Dataframe, {"display": "side"}),
    (cl.TaskList, {"mime": "application/json"}),
]


def test_all_element_types_of_chainlit_are_tested() -> None:
    assert {kind.type for kind, _ in KINDS} | {"custom"} == set(get_args(cl.element.ElementType))


async def test_every_element_type_is_read_back_with_every_key(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for kind, fields in KINDS:
        with subtests.test(kind=kind.__name__, fields=fields):
            await is_read_back_with_every_key(layer, kind, fields)


async def is_read_back_with_every_key(layer: ChainlitLayer, kind: Any, fields: dict[str, Any]) -> None:
    thread_id, content = await thread(layer, None), "content 🧵 \x00".encode()
    element = kind(thread_id=thread_id, for_id=new_id(), name="名 前/..\\ 1.bin", content=content, **fields)
    sent = element.to_dict()
    assert set(sent) == set(get_type_hints(ElementDict)) - {"path"}, "Chainlit has other keys than this test"
    await layer.create_element(element)
    kept = await only(layer, thread_id)
    assert {key: value for key, value in kept.items() if key not in ("objectKey", "createdAt")} == {
        key: value for key, value in sent.items() if key != "objectKey"
    }
    assert await layer.get_element(thread_id, sent["id"]) == kept
    found = await opened(layer, thread_id, sent["id"])
    assert found is not None
    assert found[1] == content


async def test_a_custom_element_keeps_its_properties_and_accepts_new_ones(layer: ChainlitLayer) -> None:
    thread_id, props = await thread(layer, None), {"a": [1, {"b": None}], "名": "🧵", "on": True, "ratio": 0.1}
    element = cl.CustomElement(thread_id=thread_id, for_id=new_id(), name="Card", props=props, display="side")
    sent = element.to_dict()
    await layer.create_element(element)
    kept = await only(layer, thread_id)
    assert {key: kept[key] for key in sent} == sent
    assert kept["props"] == props
    element.props = {"c": "🧵"}
    await layer.create_element(element)
    assert (await only(layer, thread_id))["props"] == {"c": "🧵"}


async def test_newer_content_replaces_older_content(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    element = text_element(thread_id, new_id(), "first")
    await layer.create_element(element)
    element.content = "second"
    await layer.create_element(element)
    found = await opened(layer, thread_id, element.id)
    assert found is not None
    assert found[1] == b"second"


async def test_a_file_is_read_from_its_path(layer: ChainlitLayer, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"from the disk" * 1000)
    thread_id = await thread(layer, None)
    element = cl.File(thread_id=thread_id, for_id=new_id(), name="f", path=str(tmp_path / "upload"))
    await layer.create_element(element)
    found = await opened(layer, thread_id, element.id)
    assert found is not None
    assert found[1] == b"from the disk" * 1000


async def test_a_url_is_stored_but_not_fetched(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    element = cl.Image(thread_id=thread_id, for_id=new_id(), name="x", url="http://127.0.0.1:9/secret")
    await layer.create_element(element)
    kept = await only(layer, thread_id)
    assert (kept["url"], kept["objectKey"]) == ("http://127.0.0.1:9/secret", None)


async def test_a_stored_file_has_the_url_made_by_the_application(database_url: str, tmp_path: Path) -> None:
    layer = create_data_layer(
        database_url, f"file://{tmp_path}", file_url=lambda element: f"/files/{element.thread_id}/{element.id}"
    )
    thread_id = await thread(layer, None)
    element = text_element(thread_id, new_id(), "x")
    await layer.create_element(element)
    assert (await only(layer, thread_id))["url"] == f"/files/{thread_id}/{element.id}"
    await layer.close()


async def test_elements_are_read_in_the_order_of_sending(layer: ChainlitLayer) -> None:
    thread_id, for_id = await thread(layer, None), new_id()
    sent = [text_element(thread_id, for_id, str(number)) for number in range(8)]
    for element in sent:
        await layer.create_element(element)
    assert [kept["id"] for kept in (await layer.get_thread(thread_id))["elements"]] == [one.id for one in sent]


async def test_deleting_an_element_deletes_its_file(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    element = text_element(thread_id, new_id(), "x")
    await layer.create_element(element)
    key = (await only(layer, thread_id))["objectKey"]
    await layer.delete_element(element.id, thread_id)
    assert (await layer.get_thread(thread_id))["elements"] == []
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)
    await layer.delete_element(element.id, thread_id)


async def test_an_element_of_another_thread_is_not_found(layer: ChainlitLayer) -> None:
    mine, other = await thread(layer, None), await thread(layer, None)
    element = text_element(other, new_id(), "x")
    await layer.create_element(element)
    assert await layer.get_element(mine, element.id) is None
    assert await opened(layer, mine, element.id) is None
    assert await layer.get_element(other, "no uuid") is None


async def test_a_failed_upload_is_reported_and_leaves_no_row(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    failures = []

    async def report(failure: Any) -> None:
        failures.append(failure)

    layer = create_data_layer(database_url, f"file://{tmp_path}/store", on_write_failure=report, patience_seconds=0.5)
    thread_id = await thread(layer, None)
    with pytest.raises(datalayer.BlobError):
        await layer.create_element(text_element(thread_id, new_id(), "x"))
    assert [(failure.what, failure.thread_id) for failure in failures] == [("file", thread_id)]
    assert (await layer.get_thread(thread_id))["elements"] == []
    await layer.close()


async def test_only_the_owner_reads_a_file(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        element = text_element(thread_id, written["id"], "private")
        await layer.create_element(element)
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            assert await opened(layer, thread_id, element.id) is None
    with datalayer.acting_as("alice"):
        await layer.update_thread(thread_id, metadata={"is_shared": True})
    with datalayer.acting_as("bob"):
        assert await opened(layer, thread_id, element.id) is not None


@pytest.mark.parametrize("way", ["cut", "step"])
async def test_an_element_stays_with_the_version_of_its_answer_until_the_thread_is_deleted(
    layer: ChainlitLayer, way: str
) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    question = step(thread_id, type="user_message", createdAt="2020-01-01T00:00:00Z")
    answer = step(thread_id, type="assistant_message")
    for one in (question, answer):
        await layer.create_step(one)
    stays, goes = text_element(thread_id, answer["id"], "stays"), text_element(thread_id, answer["id"], "goes")
    setattr(stays, "props", {STAYS_WITH_VERSION: True})  # noqa: B010  only custom elements declare it
    for element in (stays, goes):
        await layer.create_element(element)
    await (layer.cut_thread(thread_id, question["id"]) if way == "cut" else layer.delete_step(answer["id"]))
    kept = await only(layer, thread_id)
    assert kept["id"] == stays.id
    found = await opened(layer, thread_id, stays.id)
    assert found is not None
    assert found[1] == b"stays"
    await layer.delete_thread(thread_id)
    assert [blob.key async for blob in layer.blobs.list()] == []


async def test_elements_of_no_step_are_attached_to_one_all_or_none(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with acting_as("alice"):
        thread_id, elsewhere = await thread(layer, owner), await thread(layer, owner)
        first, second, foreign = (text_element(one, "", "1234") for one in (thread_id, thread_id, elsewhere))
        for one in (first, second, foreign):
            one.for_id = None
            await layer.create_element(one)
        step_id = new_id()
        for ids, error in (
            ([first.id, foreign.id], NotFound),
            ([first.id, new_id()], NotFound),
            ([first.id, "nothing"], NotFound),
            ([first.id, second.id], InvalidRecord),
        ):
            with pytest.raises(error):
                await layer.attach_elements(thread_id, ids, step_id, most_bytes=7)
        await layer.attach_elements(thread_id, [first.id, first.id], step_id, most_bytes=7)
        with pytest.raises(NotFound):
            await layer.attach_elements(thread_id, [first.id, second.id], new_id())
        found = {one["id"]: one["forId"] for one in (await layer.get_thread(thread_id))["elements"]}
        assert found == {first.id: step_id, second.id: None}
        # The step was not stored: the files can be of another.
        await layer.detach_elements(thread_id, step_id)
        asked = step(thread_id)
        await layer.attach_elements(thread_id, [first.id, second.id], asked["id"])
        await layer.create_step(asked)
        await layer.detach_elements(thread_id, asked["id"])
        found = {one["id"]: one["forId"] for one in (await layer.get_thread(thread_id))["elements"]}
    assert found == dict.fromkeys([first.id, second.id], asked["id"]), "of a stored step"
