"""The pages at `/assistants`: the list, the form, the trial, versions, the picture, and who gets which of them."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from datalayer import Assistant, AssistantAccess, AssistantSettings, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_assistants import PNG
from tests.support.pages import Element, read_page
from tests.support.records import step, thread, vote
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser
from threadkeeper.web.assistants.comparing import changes
from threadkeeper.web.assistants.fields import filled, settings_of
from threadkeeper.web.pages.sentences import Say

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


@pytest.fixture
async def uma(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("user")


async def made(layer: ChainlitLayer, name: str = "Travel", owner: str | None = None, **fields: Any) -> Assistant:
    access = fields.pop("access", AssistantAccess())
    return await layer.create_assistant(AssistantSettings(name, **fields), owner=owner, access=access)


def fields_of(page: Element) -> dict[str, str]:
    """The fields of the form as a browser would send them."""
    form = page.one("form", id="settings")
    found = {
        one.attributes["name"]: one.attributes.get("value", "")
        for one in form.all("input")
        if one.attributes.get("type") != "radio" or "checked" in one.attributes
    }
    found |= {
        one.attributes["name"]: "".join(map(str, one.children)).removeprefix("\n") for one in form.all("textarea")
    }
    for one in form.all("select"):
        chosen = [option for option in one.all("option") if "selected" in option.attributes]
        found[one.attributes["name"]] = chosen[0].attributes.get("value", chosen[0].text) if chosen else ""
    return found


def problems_of(page: Element) -> set[str]:
    alert = page.one("div", role="alert")
    return {link.attributes["href"].removeprefix("#") for link in alert.all("a")}


async def save(browser: httpx.AsyncClient, address: str, mode: str = "advanced", **fields: str) -> httpx.Response:
    page = await page_at(browser, f"{address}?mode={mode}")
    values = {name: value for name, value in fields_of(page).items() if name != "form_token"}
    return await posted(browser, page, address, do="save", **{**values, **fields})


async def test_five_questions_make_an_assistant(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User]
) -> None:
    page = await page_at(ada, "/assistants/new")
    assert len(page.all("fieldset")) == 5
    done = await save(
        ada,
        "/assistants/new",
        "wizard",
        name="Handbook",
        type="qa",
        prologue="Ask me.",
        opening_prompts="Where?\n\n  When? ",
        access="users",
        users="uma\n",
        owner="rita",
    )
    assert (done.status_code, done.headers["location"]) == (303, "/assistants/handbook?saved=1")
    kept = await layer.get_assistant("handbook")
    assert (kept.owner, kept.saved_by, kept.access) == ("rita", "ada", AssistantAccess("users", users=("uma",)))
    assert (kept.settings.mode, kept.settings.opening_prompts) == ("wizard", ("Where?", "When?"))
    assert "{context}" in kept.settings.prompt, "an assistant for questions gets a prompt"
    assert kept.settings.idk
    shown = await page_at(ada, "/assistants/handbook?saved=1")
    assert "Saved as version 1." in shown.text


async def test_the_advanced_form_keeps_every_setting(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    whole = AssistantSettings(
        "Whole",
        description="All",
        type="qa",
        mode="advanced",
        prologue="One\n\nTwo",
        prompt="\n{context} {question}",
        model="an old model",
        embedding_model="e",
        temperature=0.35,
        top_p=1.0,
        max_tokens=12,
        presence_penalty=-1.5,
        frequency_penalty=2.0,
        logit_bias={"7": 5.0, "50256": -100.0},
        stop=("\n\n", "\\n", "END"),
        idk="No.",
        idk_link="https://help.example/",
        score_threshold=0.25,
        opening_prompts=("A", "B"),
        tips=("C",),
    )
    before = await layer.create_assistant(whole, owner="ada")
    done = await save(ada, "/assistants/whole")
    assert done.headers["location"] == "/assistants/whole?saved=2"
    assert (await layer.get_assistant("whole")).settings == before.settings
    await save(ada, "/assistants/whole", "wizard", prologue="Hi")
    expected = replace(before.settings, prologue="Hi", mode="wizard")
    assert (await layer.get_assistant("whole")).settings == expected, "the wizard keeps what it does not ask"


async def test_each_field_that_is_not_valid_is_named_and_the_form_keeps_its_values(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    await made(layer)
    wrong = {
        "name": " ",
        "prompt": "{contxt}",
        "temperature": "hot",
        "max_tokens": "0",
        "logit_bias": "hello",
        "idk_link": "ftp://x",
        "access": "users",
        "users": "uma",
    }
    answer = await save(ada, "/assistants/travel", **wrong)
    assert answer.status_code == 400
    page = read_page(answer.text)
    assert problems_of(page) == {"name", "prompt", "temperature", "max_tokens", "logit_bias", "idk_link"}
    assert {name: fields_of(page)[name] for name in wrong} == wrong
    for name in problems_of(page):
        field = (page.all("input", id=name) + page.all("textarea", id=name))[0]
        assert field.attributes["aria-invalid"] == "true"
        assert page.all("span", id=f"{name}-problem")
        assert f"{name}-problem" in field.attributes["aria-describedby"]
    unknown = read_page((await save(ada, "/assistants/travel", access="users", users="nobody", owner="none")).text)
    assert problems_of(unknown) == {"users", "owner"}
    assert (await layer.get_assistant("travel")).version == 1
    chinese = await ada.post(
        "/assistants/travel",
        data={"form_token": fields_of(page)["form_token"], "version": "1", "name": ""},
        headers={"Accept-Language": "zh-CN"},
    )
    assert "请输入文本" in chinese.text


async def test_a_new_assistant_needs_a_name_that_nobody_has(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await made(layer)
    for name, status in (("travel", 409), ("Default", 400), ("!!!", 400)):
        answer = await save(ada, "/assistants/new", "wizard", name=name)
        assert answer.status_code == status
        assert problems_of(read_page(answer.text)) == {"name"}


async def test_of_two_who_edit_at_once_the_second_is_told_and_loses_nothing(
    layer: ChainlitLayer, ada: httpx.AsyncClient, uma: httpx.AsyncClient
) -> None:
    await made(layer, owner="uma")
    page = await page_at(uma, "/assistants/travel?mode=advanced")
    assert (await save(ada, "/assistants/travel", prologue="of Ada")).status_code == 303
    mine = {**fields_of(page), "prologue": "of Uma"}
    conflict = await uma.post("/assistants/travel", data=mine)
    assert conflict.status_code == 409
    again = read_page(conflict.text)
    assert "Someone else has saved version 2 since you loaded version 1" in again.text
    assert fields_of(again)["prologue"] == "of Uma"
    link = again.one("p", role="alert").one("a").attributes["href"]
    assert "of Ada" in (await page_at(uma, link)).text
    assert (await uma.post("/assistants/travel", data=fields_of(again))).status_code == 303
    assert (await layer.get_assistant("travel")).settings.prologue == "of Uma"


async def test_versions_show_their_differences_and_an_earlier_one_comes_back(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    first = await made(layer, prompt="Be kind.\nBe brief.\nBe right.")
    await layer.save_assistant("travel", replace(first.settings, prompt="Be kind.\nBe long.\nBe right.", top_p=0.5))
    page = await page_at(ada, "/assistants/travel/versions")
    assert [one.text for one in page.all("del")] == ["Be brief."]
    assert [one.text for one in page.all("ins")] == ["Be long.", "0.5"]
    form = next(one for one in page.all("form") if one.attributes["action"].endswith("/restore"))
    values = {one.attributes["name"]: one.attributes["value"] for one in form.all("input")}
    done = await ada.post(form.attributes["action"], data=values)
    assert done.headers["location"] == "/assistants/travel?saved=3"
    assert (await layer.get_assistant("travel")).settings == first.settings
    again = await ada.post(form.attributes["action"], data=values)
    assert again.status_code == 400
    assert "saved version 3 meanwhile" in read_page(again.text).text
    same = await page_at(ada, "/assistants/travel/versions?from=1&to=3")
    assert "The settings of these versions are the same." in same.text
    assert "restored from version 1" in same.text


async def test_a_question_is_tried_with_settings_that_are_not_saved(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    await made(layer)
    page = await page_at(ada, "/assistants/travel")
    fields = {name: value for name, value in fields_of(page).items() if name != "form_token"}
    answer = await posted(ada, page, "/assistants/travel", **{**fields, "do": "try", "question": HOSTILE, "name": "X"})
    tried = read_page(answer.text)
    runs_nothing(tried)
    assert "demo" in tried.one("div", class_="tried").text
    assert "".join(map(str, tried.one("textarea", id="question").children)).strip() == HOSTILE
    assert fields_of(tried)["name"] == "X"
    assert (await layer.get_assistant("travel")).version == 1
    answer = await posted(
        ada, page, "/assistants/travel", **{**fields, "do": "try", "question": "?", "type": "qa", "idk": "No idea."}
    )
    tried = read_page(answer.text)
    assert "No idea." in tried.one("div", class_="tried").text
    assert "No passages were found." in tried.text
    new = await page_at(ada, "/assistants/new")
    answer = await posted(ada, new, "/assistants/new", do="try", question="hello", type="chat")
    assert "demo" in read_page(answer.text).one("div", class_="tried").text


async def test_the_picture_is_shown_and_another_file_is_refused(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await made(layer)
    page = await page_at(ada, "/assistants/travel")
    token = page.all("input", name="form_token")[0].attributes["value"]

    async def upload(content: bytes, version: int = 1, given: str = token) -> httpx.Response:
        data = {"form_token": given, "version": str(version)}
        return await ada.post(
            "/assistants/travel/picture", data=data, files={"picture": ("a.png", content, "image/png")}
        )

    assert (await upload(PNG)).headers["location"] == "/assistants/travel?saved=2"
    shown = (await page_at(ada, "/assistants")).one("ul", class_="assistants").one("img")
    picture = await ada.get(shown.attributes["src"])
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert (await ada.get("/assistants/travel/picture/" + "0" * 64)).status_code == 404
    assert (await upload(PNG)).status_code == 400, "the version has changed"
    refused = await upload(b"<svg onload=alert(1)>", 2)
    assert refused.status_code == 400
    assert "must be a PNG" in refused.text
    assert (await upload(PNG, 2, "wrong")).status_code == 403
    assert (await upload(b"x" * 2_100_000, 2)).status_code == 413
    assert (await ada.post("/assistants/travel/picture", data={"form_token": token, "version": "2"})).status_code == 303
    assert (await layer.get_assistant("travel")).picture is None


async def test_users_see_what_they_may_use_and_only_owner_and_admins_edit(
    layer: ChainlitLayer, browser_of: Browser, people: dict[str, User]
) -> None:
    await made(layer, HOSTILE, owner="uma", prologue=HOSTILE, opening_prompts=(HOSTILE,), description=HOSTILE)
    await made(layer, "Secret", access=AssistantAccess("role", "admin"))
    slug = "script-alert-1-script"
    for role, edits, sees in (("user", True, 1), ("reviewer", False, 1), ("admin", True, 2)):
        browser = await browser_of(role)
        listed = await page_at(browser, "/assistants")
        assert len(listed.one("ul", class_="assistants").all("li")) == sees
        assert bool(listed.all("a", href="/assistants/new")) == (role == "admin")
        page = await page_at(browser, f"/assistants/{slug}")
        assert bool(page.all("form", id="settings")) == edits
        if not edits:
            token = (await page_at(browser, "/me")).all("input", name="form_token")[0].attributes["value"]
            for path in ("", "/restore", "/delete"):
                data = {"form_token": token, "version": "1", "expected": "1", "confirm": slug, "name": "Mine"}
                assert (await browser.post(f"/assistants/{slug}{path}", data=data)).status_code == 404
            assert (await browser.get(f"/assistants/{slug}/versions")).status_code == 404
            assert (await browser.post("/assistants/new", data={"form_token": token, "name": "M"})).status_code == 404
        assert (await browser.get("/assistants/secret")).status_code == (200 if role == "admin" else 404)
    assert (await layer.get_assistant(slug)).version == 1


async def test_the_owner_can_give_it_away_and_an_admin_deletes_it(
    layer: ChainlitLayer, ada: httpx.AsyncClient, uma: httpx.AsyncClient, people: dict[str, User]
) -> None:
    await made(layer, owner="uma", access=AssistantAccess("users"))
    assert (await save(uma, "/assistants/travel", owner="rita")).headers["location"] == "/assistants"
    assert (await uma.get("/assistants/travel")).status_code == 404
    page = await page_at(ada, "/assistants/travel")
    assert (await posted(ada, page, "/assistants/travel/delete", confirm="no")).status_code == 400
    assert (await posted(ada, page, "/assistants/travel/delete", confirm="travel")).status_code == 303
    assert (await ada.get("/assistants/travel")).status_code == 404


async def test_the_numbers_are_those_of_its_answers_and_the_review_filters_by_version(
    layer: ChainlitLayer, uma: httpx.AsyncClient, browser_of: Browser, people: dict[str, User]
) -> None:
    await made(layer, owner="uma")
    thread_id = await thread(layer, people["user"].id)
    facts = {"assistant_slug": "travel", "assistant_version": "travel@1"}
    answers = [
        step(thread_id, "Rome", type="assistant_message", metadata=facts),
        step(thread_id, "No idea", type="assistant_message", metadata={**facts, "answered_from": "idk"}),
    ]
    for one in answers:
        await layer.create_step(one)
    with acting_as("uma"):
        await layer.upsert_feedback(vote(answers[0]["id"], 1))
    rows = (await page_at(uma, "/assistants/travel")).one("section", id="numbers").one("tbody").all("tr")
    assert [one.text.split() for one in rows] == [
        ["All", "versions", "1", "2", "1", "0", "50%", "–"],
        ["Version", "1", "1", "2", "1", "0", "50%", "–"],
    ]
    rita = await browser_of("reviewer")
    assert len((await page_at(rita, "/review?version=travel%401")).one("ol", class_="answers").all("li")) == 2
    assert len((await page_at(rita, "/review?unknown=yes")).one("ol", class_="answers").all("li")) == 1
    assert "travel@1" in (await page_at(rita, "/review")).text
    votes = (await page_at(uma, "/me")).one("table", class_="votes")
    assert votes.one("tbody").one("th").text == "travel", "its owner sees the votes"


def test_a_form_gives_back_what_it_shows() -> None:
    settings = AssistantSettings("A", stop=("\n", "a\\nb", "\t"), logit_bias={"1": -0.5}, temperature=0.1, max_tokens=3)
    shown = filled(settings, AssistantAccess(), None)
    assert settings_of(shown.values, settings, Say("en-US")) == settings


def test_a_difference_leaves_out_what_is_far_from_it() -> None:
    lines = [str(number) for number in range(20)]
    old = Assistant("i", "s", 1, 2, AssistantSettings("A", prompt="\n".join(lines)))
    new = replace(old, version=2, settings=replace(old.settings, prompt="\n".join([*lines[:10], "new", *lines[11:]])))
    (change,) = changes(old, new)
    assert [(one.kind, one.text) for one in change.lines] == [
        ("gap", "…"),
        ("same", "8"),
        ("same", "9"),
        ("removed", "10"),
        ("added", "new"),
        ("same", "11"),
        ("same", "12"),
        ("gap", "…"),
    ]
