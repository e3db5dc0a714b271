"""Elements of all kinds and in all stores are shown when their thread is opened later."""

import base64
import io
import json
import wave
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import chainlit as cl
import pydantic.dataclasses
import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.azurite import AzuriteServer
from tests.support.blob_places import AzureBlobPlace, azure_blob_place
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.patience import until
from tests.support.records import listed, new_id, step
from tests.support.sample_files import pdf, picture
from tests.support.server import AppServer
from threadkeeper.chat.wording import say

pytestmark = [
    pytest.mark.slow,
    IN_THE_BROWSERS_LOOP,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

NAME, PASSWORD = "ann", "a long password"
LIFE_SECONDS = 3
CARD = """import { Card, CardContent } from "@/components/ui/card"
export default function River() {
  return <Card><CardContent id="river">{props.name}: {props.length} km</CardContent></Card>
}
"""


@pydantic.dataclasses.dataclass
class Plotly(cl.element.Element):
    """Like `cl.Plotly`, but from JSON and without the library."""

    type: ClassVar[cl.element.ElementType] = "plotly"
    size: cl.element.ElementSize = "medium"


@pydantic.dataclasses.dataclass
class Dataframe(cl.element.Element):
    """Like `cl.Dataframe`, but from JSON and without the library."""

    type: ClassVar[cl.element.ElementType] = "dataframe"


def sound() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return content.getvalue()


# Half a second of green, recorded by the browser.
FILM = """async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 })
  const parts = [], recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm;codecs=vp8" })
  recorder.ondataavailable = (event) => parts.push(event.data)
  recorder.start()
  for (let at = 0; at < 12; at++) {
    const pen = canvas.getContext("2d")
    pen.fillStyle = `rgb(12, ${at * 20}, 100)`
    pen.fillRect(0, 0, 64, 48)
    await new Promise((done) => setTimeout(done, 40))
  }
  await new Promise((done) => { recorder.onstop = done; recorder.stop() })
  return btoa(String.fromCharCode(...new Uint8Array(await new Blob(parts).arrayBuffer())))
}"""


async def film(browser: Browser) -> bytes:
    page = await browser.new_page()
    content = base64.b64decode(await page.evaluate(FILM))
    await page.close()
    return content


async def task_list(thread_id: str) -> cl.TaskList:
    """A task list as `TaskList.send` stores it, without a step."""
    tasks = cl.TaskList(thread_id=thread_id, status="Rowing", for_id="", mime="application/json")
    tasks.tasks = [cl.Task(title="Find the source", status=cl.TaskStatus.DONE), cl.Task(title="Row back")]
    await tasks.preprocess_content()
    return tasks


def elements(thread_id: str, for_id: str, film: bytes) -> list[cl.element.Element]:
    common: dict[str, Any] = {"thread_id": thread_id, "for_id": for_id}
    figure = {"data": [{"type": "bar", "x": ["Nile", "Amazon"], "y": [6650, 6400]}], "layout": {"autosize": True}}
    table = {"columns": ["river", "km"], "index": [0, 1], "data": [["Nile", 6650], ["Amazon", 6400]]}
    return [
        cl.Image(name="map.png", content=picture("map.png")["buffer"], mime="image/png", **common),
        cl.Image(name="map.svg", content=SVG, mime="image/svg+xml", **common),
        cl.Pdf(name="report.pdf", content=PDF, page=2, **common),
        cl.Audio(name="sound.wav", content=sound(), mime="audio/wav", auto_play=True, **common),
        cl.Video(name="film.webm", content=film, mime="video/webm", player_config=PLAYER, **common),
        cl.Text(name="source", content="print('Nile')", language="python", mime="text/plain", **common),
        cl.File(name="data.zip", content=b"PK\x05\x06" + bytes(18), mime="application/zip", **common),
        Plotly(name="chart", content=json.dumps(figure), mime="application/json", **common),
        Dataframe(name="table", content=json.dumps(table), **common),
        cl.CustomElement(name="River", props={"name": "Nile", "length": 6650}, **common),
    ]


PDF = pdf("report.pdf", "The Nile", "The Amazon")["buffer"]
PLAYER = {"file": {"attributes": {"title": "A film of a river"}}}
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">
<script>alert(1)</script><rect width="64" height="48" fill="#0c7a64"/></svg>"""


async def test_every_kind_of_element_is_shown_in_a_resumed_thread(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    owner = await server.add_user(NAME, PASSWORD)
    folder = server.directory / "root" / "public" / "elements"
    folder.mkdir()
    (folder / "River.jsx").write_text(CARD)
    await server.restart()
    thread_id = new_id()
    async with server.layer() as layer:
        await layer.update_thread(thread_id, name="Rivers", user_id=owner)
        await layer.create_step(step(thread_id, "Show me the rivers"))
        answer = step(thread_id, "Here they are, with the source of it.", type="assistant_message", name="Assistant")
        await layer.create_step(answer)
        for element in [*elements(thread_id, answer["id"], await film(browser)), await task_list(thread_id)]:
            await layer.create_element(element)

    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"files-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            async with visit(browser, server.base_url, name, size=size, dark=dark) as visitor:
                await visitor.enter(NAME, PASSWORD, f"/thread/{thread_id}")
                page = visitor.page
                for picture_name in ("map.png", "map.svg"):
                    await expect(page.locator(f"img[alt='{picture_name}']")).to_have_js_property("naturalWidth", 64)
                await expect(page.locator("audio")).to_have_js_property("duration", 1)
                await expect(page.locator("audio")).to_have_js_property("autoplay", True)
                await expect(page.locator("video")).to_have_js_property("videoWidth", 64)
                await expect(page.locator("video")).to_have_attribute("title", "A film of a river")
                # A narrow page shows only the next task.
                for text, shown in (("Find the source", size == WIDE), ("Row back", True), ("Rowing", True)):
                    await expect(page.get_by_text(text).filter(visible=True)).to_have_count(int(shown))
                await expect(page.locator(".js-plotly-plot .bars .point")).to_have_count(2)
                await expect(page.locator("#river")).to_have_text("Nile: 6650 km")
                await expect(page.get_by_text("print('Nile')")).to_be_visible()
                await expect(page.get_by_role("cell", name="Amazon")).to_be_visible()
                await expect(page.get_by_text("data.zip")).to_be_visible()
                await visitor.screenshot("elements")
                await page.locator(".js-plotly-plot").scroll_into_view_if_needed()
                await visitor.screenshot("elements-end")
                assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


async def test_side_and_page_elements_are_shown_in_a_resumed_thread(
    browser: Browser, start_server: StartServer
) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    owner = await server.add_user(NAME, PASSWORD)
    thread_id = new_id()
    async with server.layer() as layer:
        await layer.update_thread(thread_id, name="Rivers", user_id=owner)
        await layer.create_step(step(thread_id, "Show me the rivers"))
        answer = step(thread_id, "On the sidemap, with a pagetext.", type="assistant_message", name="Assistant")
        await layer.create_step(answer)
        of: dict[str, Any] = {"thread_id": thread_id, "for_id": answer["id"]}
        for element in (
            cl.Image(name="sidemap", content=picture("map.png")["buffer"], mime="image/png", display="side", **of),
            cl.Text(name="pagetext", content="The Nile is long.", mime="text/plain", display="page", **of),
        ):
            await layer.create_element(element)
    async with visit(browser, server.base_url, "files-beside") as visitor:
        await visitor.enter(NAME, PASSWORD, f"/thread/{thread_id}")
        await expect(visitor.page.locator("img[alt='sidemap']")).to_have_js_property("naturalWidth", 64)
        await visitor.screenshot("side")
        await visitor.answers.get_by_text("pagetext").last.click()
        await expect(visitor.page.get_by_text("The Nile is long.")).to_be_visible()
        await visitor.screenshot("page")


@dataclass
class Kept:
    server: AppServer
    place: AzureBlobPlace
    owner: str

    @property
    def store(self) -> str:
        return urlsplit(str(self.place.options.azure_endpoint)).netloc


async def test_a_picture_is_shown_after_its_link_has_expired(
    browser: Browser, start_server: StartServer, azurite_server: AzuriteServer
) -> None:
    async with azure_blob_place(azurite_server) as place:
        server = await start_server(
            OPENAI_MODELS="echo",
            BLOB_URL=place.url,
            AZURE_STORAGE_KEY=str(place.options.azure_key),
            AZURE_STORAGE_ENDPOINT=str(place.options.azure_endpoint),
            FILES_REDIRECT_SECONDS=str(LIFE_SECONDS),
        )
        kept = Kept(server, place, await server.add_user(NAME, PASSWORD))
        async with visit(browser, server.base_url, "link", store=kept.store) as visitor:
            await visitor.enter(NAME, PASSWORD)
            await visitor.connected()
            await attach_and_reopen(visitor, kept)
        for returns, dark, size in ((True, False, WIDE), (False, True, NARROW)):
            name = f"store-{'returns' if returns else 'stays-away'}"
            async with visit(browser, server.base_url, name, dark=dark, size=size, store=kept.store) as visitor:
                await visitor.enter(NAME, PASSWORD)
                await visitor.connected()
                await attach_while_the_store_is_unavailable(visitor, kept, returns=returns)


async def attach_and_reopen(visitor: Visitor, kept: Kept) -> None:
    await visitor.attach(picture("map.png"), pdf("report.pdf", "The Nile"))
    await visitor.ask("What is in these?")
    await visitor.answered()
    thread_id = await visitor.thread_id()
    shown = visitor.page.locator("img[src*='map.png']")
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if request.resource_type == "image" else None)
    for _ in range(2):
        await visitor.open(f"/thread/{thread_id}")
        await expect(shown).to_have_js_property("naturalWidth", 64)
        (link,) = [url for url in asked if urlsplit(url).netloc == kept.store]

        async def is_expired(link: str = link) -> bool:
            return (await visitor.page.request.get(link)).status == 403

        await until(is_expired)
        asked.clear()
    await visitor.screenshot("after-its-link")


async def attach_while_the_store_is_unavailable(visitor: Visitor, kept: Kept, *, returns: bool) -> None:
    """The message is always stored. If the store recovers, the file is stored too; otherwise an error is shown."""
    await visitor.attach(picture("lost.png"))
    await expect(visitor.page.locator("#attachments img")).to_be_visible()
    await kept.place.network.go_down()
    try:
        answer = await visitor.ask("Is the store there?")
        await expect(answer).to_contain_text("You said:")
        if not returns:
            await expect(visitor.toast.first).to_have_text(say("file_not_saved", "en"), timeout=150_000)
            await visitor.screenshot("not-saved")
    finally:
        await kept.place.network.come_up()
    await visitor.answered()
    # On a narrow screen the side bar is closed, and the page then does not add the thread to its URL.
    async with kept.server.layer() as layer:
        newest = (await listed(layer, kept.owner))[0]

        async def has_its_file() -> bool:
            return bool((await layer.get_thread(newest))["elements"])

        if returns:
            await until(has_its_file)
    await visitor.open(f"/thread/{newest}")
    await expect(visitor.questions).to_contain_text("Is the store there?")
    await expect(visitor.answers).to_contain_text("You said:")
    await expect(visitor.page.locator("img[src*='lost.png']")).to_have_count(1 if returns else 0)
    await visitor.screenshot("kept")
