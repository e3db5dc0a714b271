"""The addresses of Chainlit's page: visitors go to the login, and readers of a shared thread to the shared view."""

from urllib.parse import urljoin

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_elements import text_element
from tests.support.records import new_id
from tests.support.reviewing import talk
from tests.web.conftest import Browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
# Every process that runs the tests must collect them under the same names.
ID = "3f0a5b1e-6f5d-4b52-8d0c-2f3f4d5e6a7b"
BROWSER = {"Accept": "text/html,*/*"}


@pytest.mark.parametrize("path", ["/", "/thread", f"/thread/{ID}", f"/share/{ID}", f"/element/{ID}"])
async def test_visitors_go_to_the_login_and_back(browser_of: Browser, path: str) -> None:
    visitor = await browser_of(None)
    answer = await visitor.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
    # A monitor, or a preview of the link, gets the page.
    assert "<title>" in (await visitor.get(path)).text
    user = await browser_of("user")
    assert (await user.get(path, headers=BROWSER)).status_code == 200


async def test_readers_of_a_shared_thread_come_to_the_shared_view(layer: ChainlitLayer, browser_of: Browser) -> None:
    reader, owner = await browser_of("user"), await browser_of("reviewer")
    shared = await talk(layer, "rita", metadata={"is_shared": True})
    private = await talk(layer, "rita")
    for path in (f"/thread/{shared.thread}", f"/thread/{shared.thread.upper()}"):
        answer = await reader.get(path, headers=BROWSER)
        assert answer.status_code == 303
        assert urljoin(path, answer.headers["location"]) == f"/share/{shared.thread}"
    for path in (f"/thread/{private.thread}", f"/thread/{new_id()}", "/thread/nonsense"):
        assert (await reader.get(path, headers=BROWSER)).status_code == 200, "Chainlit's page says that it is not there"
    assert (await owner.get(f"/thread/{shared.thread}", headers=BROWSER)).status_code == 200
    with datalayer.acting_as("rita"):
        await layer.update_thread(shared.thread, metadata={"is_shared": None})
    assert (await reader.get(f"/thread/{shared.thread}", headers=BROWSER)).status_code == 200


async def test_the_page_of_a_cited_passage_names_its_document(layer: ChainlitLayer, browser_of: Browser) -> None:
    user, other = await browser_of("user"), await browser_of("reviewer")
    turn = await talk(layer, "uma")

    async def heading(facts: object, language: str = "en") -> str:
        element = text_element(turn.thread, turn.answer, "text")
        element.name, element.props = "[1]", facts  # type: ignore[attr-defined]
        with datalayer.acting_as("uma"):
            await layer.create_element(element)
        address = f"/project/thread/{turn.thread}/element/{element.id}"
        assert (await other.get(address)).status_code != 200
        answer = await user.get(address, headers={"Accept-Language": language})
        assert answer.json()["id"] == element.id
        name: str = answer.json()["name"]
        return name

    facts = {"number": 1, "title": "harbour {0}.pdf", "page": 2, "score": 0.5, "id": 7, "source": new_id()}
    assert await heading({"passage": facts}) == "[1] harbour {0}.pdf, page 2"
    assert await heading({"passage": facts}, "zh-CN") == "[1] harbour {0}.pdf，第 2 页"
    assert await heading({"passage": facts | {"page": None}}) == "[1] harbour {0}.pdf"
    assert await heading({}) == await heading(None) == "[1]"
    assert (await user.get(f"/project/thread/{turn.thread}/element/{new_id()}")).json() is None


async def test_the_page_gets_its_texts_in_the_language_of_the_browser(browser_of: Browser) -> None:
    user = await browser_of("user")
    english = (await user.get("/page/texts")).json()
    chinese = (await user.get("/page/texts", headers={"Accept-Language": "zh-CN,en"})).json()
    assert english["texts"]["act_delete"] == "Delete"
    assert chinese["texts"]["act_delete"] == "删除"
    assert english["texts"].keys() == chinese["texts"].keys()


async def test_a_click_on_a_thumb_and_its_reasons_are_stored(layer: ChainlitLayer, browser_of: Browser) -> None:
    user, other = await browser_of("user"), await browser_of("reviewer")
    turn = await talk(layer, "uma")
    given = {"answer": turn.answer, "value": 0}
    assert (await other.put("/page/vote", json=given)).status_code == 404
    assert (await user.put("/page/vote", json={**given, "value": 2})).status_code == 422
    answer = await user.put("/page/vote", json=given)
    assert answer.json() == {"step": turn.run}
    chosen = {"step": turn.run, "reasons": ["incorrect"]}
    assert (await other.put("/page/reasons", json=chosen)).status_code == 404
    assert (await user.put("/page/reasons", json={**chosen, "reasons": ["of my own"]})).status_code == 422
    assert (await user.put("/page/reasons", json=chosen)).status_code == 200
    with datalayer.acting_as("rita"):
        opened = await layer.open_thread_for_review(turn.thread)
    assert opened is not None
    (found,) = opened.votes
    assert (found.value, found.reasons) == (0, ("incorrect",))


async def test_a_shared_thread_is_continued_in_an_own_copy(layer: ChainlitLayer, browser_of: Browser) -> None:
    reader = await browser_of("user")
    shared = await talk(layer, "rita", metadata={"is_shared": True, "chat_settings": {"system_prompt": "secret"}})
    private = await talk(layer, "rita")
    heading = (await reader.get(f"/page/threads/{shared.thread}")).json()
    assert (heading["owner"], heading["is_own"], heading["is_shared"]) == ("rita", False, True)
    assert (await reader.get(f"/page/threads/{private.thread}")).json() is None
    assert (await reader.post(f"/page/threads/{private.thread}/copy", json={})).status_code == 404
    copy = (await reader.post(f"/page/threads/{shared.thread}/copy", json={})).json()
    thread = (await reader.get(f"/project/thread/{copy['id']}")).json()
    assert [step["output"] for step in thread["steps"]] == ["what is the capital of France", "", "It is Lyon."]
    assert "secret" not in str(thread)


async def test_search_results_are_marked(layer: ChainlitLayer, browser_of: Browser) -> None:
    user = await browser_of("user")
    turn = await talk(layer, "uma", question="Rivers", answer="The Mekong")
    answer = await user.get("/page/excerpts", params={"words": "mekong", "thread": [turn.thread, new_id()]})
    assert answer.json()["left"] == 0
    (found,) = answer.json()["found"]
    assert found["thread_id"] == turn.thread
    assert found["text"] == [{"text": "The ", "is_marked": False}, {"text": "Mekong", "is_marked": True}]
    assert (await user.get("/page/excerpts", params={"thread": turn.thread})).status_code == 422
    assert (await user.get("/page/excerpts", params={"words": "x", "thread": ["1"] * 101})).status_code == 422


async def test_a_search_that_found_nothing_tells_how_many_texts_the_index_lacks(
    layer: ChainlitLayer, browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def many() -> int:
        return 12_345 if datalayer.acting_user.get() == "uma" else 0

    monkeypatch.setattr(layer, "own_texts_to_index", many)
    user, other = await browser_of("user"), await browser_of("reviewer")
    answer = await user.get("/page/excerpts", params={"words": "mekong"})
    assert answer.json() == {"found": [], "left": 12_345}
    assert (await other.get("/page/excerpts", params={"words": "mekong"})).json() == {"found": [], "left": 0}


@pytest.mark.parametrize(("language", "words"), [("en-US", "attach it again"), ("zh-CN,zh;q=0.9", "请重新添加附件")])
async def test_a_file_for_a_session_that_does_not_open_is_refused_in_words(
    browser_of: Browser, monkeypatch: pytest.MonkeyPatch, language: str, words: str
) -> None:
    monkeypatch.setattr("threadkeeper.web.chainlit_routes._SESSION_SECONDS", 0.1)
    user = await browser_of("user")
    answer = await user.post(
        "/project/file",
        params={"session_id": new_id()},
        files={"file": ("a.txt", b"a")},
        headers={"Accept-Language": language},
    )
    assert answer.status_code == 404
    assert words in answer.json()["detail"]
