"""The page at `/me/export`: own threads as files."""

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import step, thread
from tests.support.safe_pages import page_at
from tests.web.conftest import Browser
from threadkeeper.exporting.export import FORMATS

ADDRESS = "/me/export"


async def test_one_thread_or_all_are_downloaded(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    with acting_as("uma"):
        first, second = [await thread(layer, people["user"].id, name) for name in ("First <b>", "Second")]
        await layer.create_step(step(first, "a kangaroo"))
        await layer.create_step(step(second, "a wallaby"))
    foreign = await thread(layer, people["admin"].id, "Not hers")
    uma = await browser_of("user")
    listed = await page_at(uma, "/me/threads")
    assert f"{ADDRESS}?thread={first}" in [link.attributes["href"] for link in listed.all("a")]
    page = await page_at(uma, f"{ADDRESS}?thread={first}")
    assert "First <b>" in page.text
    links = [link.attributes["href"] for link in page.all("a", class_="button")]
    assert links == [f"{ADDRESS}/{name}?thread={first}" for name in FORMATS]
    for link, (ending, media_type) in zip(links, FORMATS.values(), strict=True):
        answer = await uma.get(link)
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"] == f'attachment; filename="{first}.{ending}"'
        assert ("a kangaroo" in answer.text, "a wallaby" in answer.text) == (True, False)
    for zone, shown in (("Asia/Tokyo", " JST"), ("?", " UTC")):
        uma.cookies.set("time_zone", zone)
        texts = [(await uma.get(f"{ADDRESS}/{name}?thread={first}")).text for name in ("markdown", "html")]
        assert [shown in text for text in texts] == [True, True], "the reader's zone, by its name"
    everything = await uma.get(f"{ADDRESS}/markdown")
    assert ("a kangaroo" in everything.text, "a wallaby" in everything.text) == (True, True)
    assert "Not hers" not in everything.text
    for address in (f"{ADDRESS}?thread={foreign}", f"{ADDRESS}/json?thread={foreign}", f"{ADDRESS}/docx"):
        assert (await uma.get(address)).status_code == 404


async def test_the_review_links_the_export_of_an_own_thread_alone(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    rita, shown = await browser_of("reviewer"), []
    for name in ("reviewer", "user"):
        thread_id = await thread(layer, people[name].id, "A thread")
        await layer.create_step(step(thread_id, "An answer", type="assistant_message"))
        page = await page_at(rita, f"/review/threads/{thread_id}")
        shown.append(f"{ADDRESS}?thread={thread_id}" in [link.attributes.get("href") for link in page.all("a")])
    assert shown == [True, False]
