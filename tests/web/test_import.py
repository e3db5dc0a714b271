"""The page at `/me/import`: an export is looked through, imported by a job, and found by the search."""

import json
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from datalayer import User
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.schema.chat import blob_deletions
from tests.contracts.test_imports import compare, of_user
from tests.support.exports import chatgpt
from tests.support.job_process import TIMES
from tests.support.patience import until
from tests.support.records import listed
from tests.support.safe_pages import page_at
from tests.web.conftest import Browser
from threadkeeper.web.me import history

ADDRESS = "/me/import"


async def state(browser: httpx.AsyncClient, sentence: str) -> Any:
    """The section with the state of the newest import, as soon as it has this sentence."""

    async def found() -> Any:
        sections = (await page_at(browser, ADDRESS)).all("section", id="state")
        return sections[0] if sections and sentence in sections[0].text else None

    return await until(found)


async def uploaded(browser: httpx.AsyncClient, path: Path, **fields: str) -> httpx.Response:
    page = await page_at(browser, ADDRESS)
    token = page.all("input", name="form_token")[0].attributes["value"]
    files = {"export": ("chats <b>.zip", path.read_bytes())}
    return await browser.post(ADDRESS, data={"form_token": token, **fields}, files=files)


async def sent(browser: httpx.AsyncClient, section: Any) -> httpx.Response:
    """The form of the section is sent."""
    form = section.one("form")
    token = form.one("input", name="form_token").attributes["value"]
    return await browser.post(form.attributes["action"], data={"form_token": token})


async def test_a_history_is_looked_through_and_imported(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser, tmp_path: Path
) -> None:
    uma, export = await browser_of("user"), chatgpt.EXPORT
    layer.run_jobs(TIMES)
    assert "ChatGPT, Claude" in (await page_at(uma, ADDRESS)).text
    answer = await uploaded(uma, export.write(tmp_path))
    assert (answer.status_code, answer.headers["location"]) == (303, ADDRESS)
    looked = await state(uma, "what is in it")
    rows = {row.one("th").text: row.one("td").text for row in looked.one("table").all("tr")}
    assert rows["Format"] == "ChatGPT"
    assert (rows["Conversations"], rows["New threads"], rows["There already"]) == ("4", "4", "0")
    assert (rows["Could not be read"], rows["From – to"]) == ("1", "2025-03-01 – 2025-03-01")
    assert (rows["Messages"], rows["Thoughts"], rows["Files and pictures"], rows["Votes"]) == ("12", "2", "1", "2")
    assert "Files that the export does not have: 1" in looked.text
    assert "Broken It has no id, or no list of messages." in looked.one("details").text
    german = await page_at(uma, ADDRESS, language="de")
    assert "Es hat keine Kennung" in german.all("section", id="state")[0].one("details").text
    assert "chats <b>.zip" in looked.one("h2").text
    assert await of_user(layer, people["user"]) == [], "nothing is stored yet"
    (job,) = (await layer.list_jobs()).jobs
    rita = await browser_of("reviewer")
    other = (await page_at(rita, ADDRESS)).all("input", name="form_token")[0].attributes["value"]
    for act in ("start", "cancel"):
        refused = await rita.post(f"{ADDRESS}/{job.id}/{act}", data={"form_token": other})
        assert refused.status_code == 404, "it is not hers"

    assert [(await sent(uma, looked)).status_code for _ in range(2)] == [303, 303], "twice is once"
    done = await state(uma, "Your threads")
    assert done.one("a", class_="button").attributes["href"] == "/me/threads"
    ids = await of_user(layer, people["user"])
    for thread_id, wanted in zip(ids, export.threads, strict=True):
        await compare(layer, people["user"], thread_id, wanted)
    assert await listed(layer, people["user"].id, search=export.word) == ids[:1], "of the oldest thread"
    # The upload is not needed any more.
    async with layer.database.read() as connection:
        due = (await connection.execute(select(func.min(blob_deletions.c.dueAt)))).scalar_one()
    assert due < utc_in(3_700)
    (first,) = [one.key async for one in layer.blobs.list("imports/")]
    grown = tmp_path / "grown"
    nodes = chatgpt.node("y", None, "user", "A bilby?", 1001) | chatgpt.node("new", "y", "assistant", "Yes.", 1003)
    grown.write_text(json.dumps([chatgpt.conversation("c-4", "Bilbies", 1000, nodes, "new")]))
    await uploaded(uma, grown)
    looked = await state(uma, "what is in it")
    assert "There is nothing new to import." in looked.text
    assert "1 thread that is here already has newer messages in the export." in looked.text
    # Nobody has two uploads, and the one that was replaced cannot be imported.
    (second,) = [one.key async for one in layer.blobs.list("imports/")]
    assert first != second
    newest, _, check = (await layer.list_jobs()).jobs
    own = (await page_at(uma, ADDRESS)).all("input", name="form_token")[0].attributes["value"]
    await layer.blobs.delete(second)
    for job in (check, newest):
        refused = await uma.post(f"{ADDRESS}/{job.id}/start", data={"form_token": own})
        assert (refused.status_code, "This upload was deleted." in refused.text) == (400, True)


async def test_what_cannot_be_imported_is_said(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser, tmp_path: Path, monkeypatch: Any
) -> None:
    uma = await browser_of("user")
    path = tmp_path / "text"
    path.write_bytes(b"no export")
    await uploaded(uma, path)
    waiting = await state(uma, "Your file is being looked through.")
    (place,) = (await page_at(uma, ADDRESS)).all("section", id="upload")
    assert (place.all("form"), "data-made" in place.attributes) == ([], True), "the form comes without loading the page"
    assert (await uploaded_again(uma, path)).status_code == 400, "one at a time"
    assert (await sent(uma, waiting)).status_code == 303
    assert "The import was cancelled." in (await state(uma, "cancelled")).text
    layer.run_jobs(TIMES)
    await uploaded(uma, path)
    assert "Nothing in the file is in a known format." in (await state(uma, "could not be imported")).text
    await uploaded(uma, path_of(path, b'[{"title": "x",}]'))
    assert "chats b.zip is not valid JSON" in (await state(uma, "not valid JSON")).text
    await uploaded(uma, path_of(path, b"no export"))
    await state(uma, "known format")
    german = await page_at(uma, ADDRESS, language="de")
    assert "Nichts in der Datei hat ein bekanntes Format." in german.all("section", id="state")[0].text
    assert (await page_at(uma, ADDRESS)).all("section", id="upload")[0].all("form")
    assert [one async for one in layer.blobs.list("imports/")] == [], "nor is what was cancelled before kept"
    page = await page_at(uma, ADDRESS)
    token = page.all("input", name="form_token")[0].attributes["value"]
    assert (await uma.post(ADDRESS, data={"form_token": token})).status_code == 400, "no file"
    assert (await uma.post(ADDRESS, files={"export": ("x", b"x")})).status_code == 403, "no token"
    monkeypatch.setattr(history, "LARGEST_BYTES", 3)
    assert (await uploaded(uma, path)).status_code == 413


def path_of(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def uploaded_again(browser: httpx.AsyncClient, path: Path) -> httpx.Response:
    """As `uploaded`, while the page has no form for it."""
    token = (await page_at(browser, "/me")).all("input", name="form_token")[0].attributes["value"]
    return await browser.post(ADDRESS, data={"form_token": token}, files={"export": ("x", path.read_bytes())})
