"""Threads as files: what each format has, what it does not run, and that JSON comes back as it was."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from datalayer import User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_imports import ada, compare, imported, of_user
from tests.support.exports import PNG, chatgpt
from tests.support.pages import read_page
from tests.support.records import new_id, step, thread, user_id
from threadkeeper.exporting import export as exporting
from threadkeeper.exporting import html, markdown
from threadkeeper.exporting.export import FORMATS, export
from threadkeeper.language.catalogue import PAGES

in_english = partial(PAGES.say, language=None)
__all__ = ["ada"]

HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1)) ![p](https://example.org/p.png) `````\n# not a title"


async def exported(
    layer: ChainlitLayer, user: User, thread_format: str, ids: list[str] | None = None, *, language: str = "en-US"
) -> str:
    with acting_as(user.identifier):
        return b"".join([part async for part in export(layer, user.id, thread_format, ids, language=language)]).decode()


def described(*answers: str) -> dict[str, Any]:
    """A thread with these answers, as `export_threads` gives it."""
    about = {"createdAt": "2026-01-01T00:00:00.000000Z", "type": "assistant_message", "metadata": {}}
    steps = [about | {"id": str(at), "output": answer} for at, answer in enumerate(answers)]
    return {
        "id": "t",
        "name": "T",
        "createdAt": about["createdAt"],
        "userIdentifier": "ada",
        "steps": steps,
        "elements": [],
    }


@pytest.mark.parametrize(
    ("stopped", "end"),
    [
        ("Here:\n\n```python\nprint(1)", "\n```\n"),
        ("Here:\n\n````md\n```\nprint(1)\n```", "\n````\n"),
        ("~~~\nx", "\n~~~\n"),
        ("- one\n\n  ```\n  x", "x\n"),
        ("```\nx\n```\n\n", "```\n\n\n"),
        ("Text\n\n<!-- never ended", "ended\n-->\n"),
        ("Text <!-- in a line", "line\n"),
    ],
)
def test_what_a_stopped_answer_leaves_open_holds_no_other_message(stopped: str, end: str) -> None:
    whole = markdown.written(described(stopped, "The next answer."), in_english)
    assert f"{end}\n## Assistant (2026-01-01 00:00 UTC)\n\nThe next answer." in whole
    assert "The next answer.</p>" in MarkdownIt("commonmark").render(whole)


def test_a_page_shows_formulas_line_breaks_and_bold_chinese_as_the_chat_does() -> None:
    said = r"""Let \(a_1*b*c\) be $\{a\}*b*$
and **退款：**请看。

$$
x \\ y
$$
"""
    page = html.written(described(said), {}, in_english)
    assert page.count("<math") == 3
    assert "<em>" not in page
    assert "<strong>退款：</strong>请看。" in page
    assert "<br" in page


async def test_a_json_export_comes_back_as_it_was(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    await imported(layer, ada, chatgpt.EXPORT.write(tmp_path))
    path = tmp_path / "threads.json"
    path.write_text(await exported(layer, ada, "json"))
    assert "objectKey" not in path.read_text()
    assert (await imported(layer, ada, path)).existing == 4, "she has them still"
    eve = User(await user_id(layer, "eve"), "eve", {}, None)
    report = await imported(layer, eve, path)
    assert (report.new, report.failed, report.left_out) == (4, 0, {})
    for thread_id, wanted in zip(await of_user(layer, eve), chatgpt.EXPORT.threads, strict=True):
        await compare(layer, eve, thread_id, wanted)
    assert (await imported(layer, eve, path)).existing == 4, "twice is once"


async def test_how_an_answer_ended_comes_back(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    endings = ("complete", "stopped", "cut", "length", "filtered", "error")
    thread_id = await thread(layer, ada.id)
    for ending in endings:
        await layer.create_step(step(thread_id, "a question"))
        fields = {"type": "assistant_message", "isError": ending == "error", "metadata": {"status": ending}}
        await layer.create_step(step(thread_id, f"It ended: {ending}", **fields))
    path = tmp_path / "threads.json"
    path.write_text(await exported(layer, ada, "json"))
    eve = User(await user_id(layer, "eve"), "eve", {}, None)
    assert (await imported(layer, eve, path)).new == 1
    (own_id,) = await of_user(layer, eve)
    with acting_as("eve"):
        steps = (await layer.get_thread(own_id))["steps"]
    answers = [one for one in steps if one["type"] == "assistant_message"]
    assert [one["output"] for one in answers] == [f"It ended: {ending}" for ending in endings]
    assert [one["metadata"]["status"] for one in answers] == list(endings)
    # An error is shown as one, and is not sent to the model as its own words.
    assert [bool(one["isError"]) for one in answers] == [ending == "error" for ending in endings]


async def test_a_thread_that_goes_on_during_the_export_is_in_it(
    layer: ChainlitLayer, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_AT_ONCE", 1)
    parts = []
    with acting_as("ada"):
        ids = [await thread(layer, ada.id, name) for name in ("first", "second", "third")]
        await layer.organize_threads(ids[1:2], is_archived=True)
        await layer.make_temporary(new_id(), 60)
        assert await layer.threads_to_export(ada.id) == ids[::-1]
        async for part in export(layer, ada.id, "openai"):
            parts.append(json.loads(part)["id"])
            await layer.create_step(step(ids[0], "more"))
    assert parts == ids[::-1]


async def test_each_format_has_the_thread_and_runs_nothing(
    layer: ChainlitLayer, ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(layer, ada, chatgpt.EXPORT.write(tmp_path))
    other = await user_id(layer, "eve")
    with acting_as("eve"):
        foreign = await thread(layer, other, "Hers")
        await layer.update_thread(foreign, metadata={"is_shared": True})
    with acting_as("ada"):
        hostile = await thread(layer, ada.id, HOSTILE)
        await layer.create_step(step(hostile, HOSTILE))
        await layer.create_step(step(hostile, HOSTILE, type="tool", name=HOSTILE, input=HOSTILE))
    whole: dict[str, Any] = {}
    for name in FORMATS:
        whole[name] = await exported(layer, ada, name)
        assert all(word in whole[name] for word in ("Rottnest Island", "Just a numbat", "A bilby!"))
        assert "Hers" not in whole[name]
        only = await exported(layer, ada, name, [hostile, foreign])
        assert ("A bilby!" in only, "Hers" in only) == (False, False)

    page = read_page(whole["html"])
    assert [one.tag for one in page.all("script")] == []
    links = [one.attributes.get("href", "") for one in page.all("a")]
    assert {*links} == {f"https://example.org/{name}" for name in ("quokka", "p.png", "site", "f")}
    (picture,) = page.all("img")
    assert picture.attributes["src"].startswith("data:image/png;base64,iVBOR")
    assert "default-src 'none'" in whole["html"]
    assert [one.text for one in page.all("h1")][-2:] == ["Just a numbat", "Quokkas"]
    assert "lost.pdf" not in whole["markdown"]
    assert "- `photo.png`" in whole["markdown"]
    assert re.search(
        r"\n\n20\d\d-\d\d-\d\d \d\d:\d\d UTC\n\n## .*20\d\d-\d\d-\d\d \d\d:\d\d UTC\)\n", whole["markdown"]
    )
    assert "``````\n<script>" in whole["markdown"], "the fence is longer than those within"
    assert '<html lang="en-US">' in whole["html"] and "<summary>Thought</summary>" in whole["html"]
    german = [await exported(layer, ada, name, language="de-DE") for name in ("markdown", "html")]
    assert all("Werkzeug: web" in one for one in german)
    lines = [json.loads(line) for line in whole["openai"].splitlines()]
    (quokkas,) = (line for line in lines if line["title"] == "Quokkas")
    assert [(one["role"], one["content"]) for one in quokkas["messages"]][-2:] == [
        *(("user", "Is this one?"), ("assistant", "It is.")),
    ]
    monkeypatch.setattr(exporting, "LARGEST_FILE", len(PNG) - 1)
    assert "data:image" not in await exported(layer, ada, "html")
