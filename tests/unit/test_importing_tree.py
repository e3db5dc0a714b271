"""Whatever tree an export has, each visible message is a step or a version of the thread, once."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer import ImportedThread
from tests.support.exports import PNG, chatgpt, gemini, zipped
from threadkeeper.conversation.versions import Version, versions_of
from threadkeeper.importing.arranging import Ids, arrange
from threadkeeper.importing.detection import reader_of
from threadkeeper.importing.model import Attachment, Conversation, Kind, Message, Source
from threadkeeper.importing.package import Package
from threadkeeper.importing.readers import open_webui
from threadkeeper.importing.readers.chatgpt import ChatGPT
from threadkeeper.importing.readers.gemini import common_words
from threadkeeper.importing.sources import with_links

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


async def _nothing(_file: Attachment) -> AsyncIterator[bytes]:
    yield b""


def arranged(messages: list[Message], current: str | None = None) -> ImportedThread:
    conversation = Conversation("c", "title", messages=messages, current=current)
    return arrange(conversation, "test", _nothing, user_id="u", identifier="ada", now=BEGIN)


def at(second: int | None) -> datetime | None:
    return None if second is None else BEGIN + timedelta(seconds=second)


NAMES = st.sampled_from([*"abcdefghij"])
MESSAGES = st.builds(
    lambda name, parent, kind, second: Message(name, parent, kind, text=name, at=at(second)),
    NAMES,
    st.none() | NAMES | st.just("nowhere"),
    st.sampled_from(get_args(Kind)),
    st.none() | st.integers(0, 20),
)


@given(st.lists(MESSAGES, max_size=14), st.none() | NAMES | st.just("nowhere"))
def test_no_message_is_lost_and_none_comes_twice(messages: list[Message], current: str | None) -> None:
    texts = Counter(one.text for one in messages if one.kind != "hidden")
    thread = arranged(messages, current)
    steps = [one for one in thread.steps if one.type != "run"]
    kept = Counter(one.output for one in steps) + Counter(one.output for one in thread.versions)
    assert kept == texts
    ids = [one.id for one in thread.steps]
    assert len({*ids}) == len(ids)
    times = [one.created_at or "" for one in thread.steps]
    assert times == sorted(times)
    assert len({*times}) == len(times)
    assert {one.step_id for one in thread.versions if one.change == "removed"}.isdisjoint(ids)
    assert {one.step_id for one in thread.versions if one.change == "edited"} <= {*ids}
    assert thread == arranged(messages, current)


def as_dicts(thread: ImportedThread) -> list[dict[str, Any]]:
    """The steps as the chat reads them."""
    return [
        {"id": one.id, "type": one.type, "output": one.output, "createdAt": one.created_at, "metadata": one.metadata}
        for one in thread.steps
    ]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, -3.0])
def test_an_impossible_duration_costs_only_itself(seconds: float) -> None:
    said = [Message("q", None, "question", "Why?"), Message("t", "q", "thought", "Hm.", seconds=seconds)]
    (thought,) = [one for one in arranged([*said, Message("a", "t", "answer", "So.")]).steps if one.output == "Hm."]
    assert thought.end == thought.start
    assert "seconds" not in (thought.metadata or {})


def test_the_chat_pages_through_the_other_branches() -> None:
    messages = [
        Message("q1", None, "question", "one", at(0)),
        Message("a1", "q1", "answer", "first", at(1)),
        # Deeper in a branch that was left: kept, and of no question of the current branch.
        Message("x", "a1", "question", "left", at(2)),
        Message("y", "x", "answer", "left too", at(3)),
        Message("t1", "q1", "thought", "hm", at(4)),
        Message("a1b", "t1", "answer", "second", at(5)),
        Message("q1c", None, "question", "two", at(10)),
        Message("a1c", "q1c", "answer", "third", at(11)),
        Message("a1d", "q1c", "answer", "fourth", at(12)),
        Message("q2", "a1d", "question", "more", at(20)),
        Message("a2", "q2", "answer", "much", at(21)),
    ]
    thread = arranged(messages, "a2")
    ids = Ids("test", "u", "c")
    found = versions_of(as_dicts(thread), thread.versions)
    (versions,) = found.values()
    assert versions.question_id == ids.of("message", "q1c")
    assert versions.all == (
        Version("one", "first"),
        Version("one", "second"),
        Version("two", "third"),
        Version("two", "fourth"),
    )
    assert (versions.at, versions.all[1].thought, versions.all[1].thought_seconds) == (3, "hm", 1)
    # Times that fit are those of the export.
    own = {one.output: one.created_at or "" for one in thread.steps}
    own |= {one.output: one.created_at or "" for one in thread.versions}
    assert [own[text][17:19] for text in ("first", "second", "third", "fourth", "more")] == [
        *("01", "05", "11", "12", "20"),
    ]


@pytest.mark.parametrize(
    ("said", "is_linked"),
    [
        ("See [it](https://x.org/docs).", True),
        ("See https://x.org/docs, and more", True),
        ("**https://x.org/docs**.", True),
        ("https://x.org/docs", True),
        ("See https://x.org/docs/a", False),
        ("See https://x.org/docs.html.", False),
        ("See https://web.org/at/https://x.org/docs", False),
        ("See https://x.org/docs/a, then https://x.org/docs", True),
        ("Nothing", False),
    ],
)
def test_a_cited_page_is_listed_unless_the_answer_links_exactly_it(said: str, is_linked: bool) -> None:
    added = "\n\n1. [Docs](<https://x.org/docs>)"
    assert with_links(said, [Source("https://x.org/docs", "Docs")]) == said + ("" if is_linked else added)


def test_a_value_of_a_tool_that_cannot_be_read_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = '<details type="tool_calls" name="search" arguments="{}" result="&quot;&quot;">\n</details>'
    (tool,) = open_webui._of_content(said)
    assert (tool.input, tool.text) == ("{}", ""), "an empty text"

    def too_deep(_value: str) -> None:
        raise RecursionError

    monkeypatch.setattr("threadkeeper.importing.readers.open_webui.json.loads", too_deep)
    (tool,) = open_webui._of_content(said)
    assert (tool.input, tool.text) == ("{}", '""')


def test_who_went_back_to_an_older_branch_has_it_with_the_newer_one_as_its_version() -> None:
    messages = [
        Message("q1", None, "question", "one", at(0)),
        Message("a1", "q1", "answer", "first", at(1)),
        Message("q2", "a1", "question", "more", at(2)),
        Message("a2", "q2", "answer", "much", at(3)),
        Message("q1b", None, "question", "two", at(10)),
        Message("a1b", "q1b", "answer", "second", at(11)),
    ]
    thread = arranged(messages, "a2")
    (versions,) = versions_of(as_dicts(thread), thread.versions).values()
    assert versions.all == (Version("two", "second"), Version("one", "first"))
    assert versions.at == 1


def test_the_words_before_a_question_are_found_in_every_language() -> None:
    assert common_words(["Prompted one", "Prompted two", "Prompted three", "Used Canvas", "Prompted t"]) == "Prompted "
    assert common_words(["送信したメッセージ: 一", "送信したメッセージ: 二"]) == "送信したメッセージ: "
    assert common_words(["one", "two"]) == common_words([]) == common_words(["same", "same"]) == ""


@pytest.mark.parametrize(
    ("titles", "questions"),
    [
        (("Eingegebener Prompt: Frage: eins", "Eingegebener Prompt: Frage: zwei"), ["Frage: eins", "Frage: zwei"]),
        (("Prompted Hi: one", "Prompted Hi: two"), ["Hi: one", "Hi: two"]),
        (("Eingegebener Prompt: eins",), ["Eingegebener Prompt: eins"]),
    ],
)
def test_the_words_before_a_few_questions_are_found(
    tmp_path: Path, titles: tuple[str, ...], questions: list[str]
) -> None:
    path = tmp_path / "export"
    path.write_text(json.dumps([gemini.record(title, 1, "<p>ok</p>") for title in titles]))
    package = Package([path])
    reader, entries, _ = reader_of(package)
    found = [one.messages[0].text for one in reader.read(package, entries) if isinstance(one, Conversation)]
    package.close()
    assert found == questions


def test_gemini_can_be_a_thread_a_day(tmp_path: Path) -> None:
    package = Package([gemini.EXPORT.write(tmp_path)])
    reader, entries, _ = reader_of(package, by_day=True)
    days = [one for one in reader.read(package, entries) if isinstance(one, Conversation)]
    package.close()
    assert [day.id for day in days] == ["2025-03-01", "2025-03-02", "2025-03-01 #2"]
    assert [one.text for one in days[1].messages if one.kind == "question"] == [
        *("Frage 2", "Frage 1", "Frage 0", "Ohne Antwort", "Und nachts?"),
    ]


def test_what_a_program_printed_stays_when_it_draws_a_picture_too(tmp_path: Path) -> None:
    drawn = {"messages": [{"message_type": "image", "image_url": "file-service://file-Plot"}]}
    nodes = {
        **chatgpt.node("call", None, "assistant", {"content_type": "code", "text": "plot()"}, 1, recipient="python"),
        **chatgpt.node(
            *("run", "call", "tool", {"content_type": "execution_output", "text": "12"}, 2),
            name="python",
            aggregate_result=drawn,
        ),
    }
    path = tmp_path / "export.zip"
    path.write_bytes(zipped({"c.json": [chatgpt.conversation("c", "Plot", 0, nodes, "run")], "file-Plot.dat": PNG}))
    package = Package([path])
    (found,) = ChatGPT().read(package, ["c.json"])
    package.close()
    assert isinstance(found, Conversation)
    run, picture = found.messages
    assert (run.kind, run.input, run.text) == ("tool", "plot()", "12")
    assert (picture.kind, picture.text, len(picture.files)) == ("answer", "", 1)
