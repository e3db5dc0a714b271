"""An export of each chat becomes threads of its user, message by message, and twice is once."""

import json
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import datalayer
from datalayer import Element, ImportedFile, ImportedThread, Step, StepVersion, Thread, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_time
from datalayer.schema.chat import feedback_changes, threads
from datalayer.schema.usage import llm_calls
from datalayer.takeout.export import export_user
from tests.support import exports
from tests.support.exports import (
    BEGIN,
    Export,
    chat_ui,
    chatgpt,
    claude,
    deepseek,
    gemini,
    grok,
    jan,
    le_chat,
    librechat,
    lm_studio,
    open_webui,
    own,
    zipped,
)
from tests.support.records import listed, new_id, opened, step, thread, user_id, vote
from threadkeeper.importing import package
from threadkeeper.importing.importer import Report, run_import
from threadkeeper.importing.package import BadPackage
from threadkeeper.importing.report import lines_of

FORMATS = (chatgpt, claude, deepseek, gemini, le_chat, librechat, open_webui, own, grok, chat_ui, lm_studio, jan)
EXPORTS = [one.EXPORT for one in FORMATS]


@pytest.fixture
async def ada(layer: ChainlitLayer) -> User:
    await user_id(layer, "ada")
    account = await layer.get_account("ada")
    assert account is not None
    return account.user


async def imported(layer: ChainlitLayer, user: User, path: Path, **options: Any) -> Report:
    with acting_as(user.identifier):
        return await run_import(layer, [path], user, **options)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.source)
async def test_each_message_is_kept(layer: ChainlitLayer, ada: User, tmp_path: Path, export: Export) -> None:
    path = export.write(tmp_path)
    counted = await imported(layer, ada, path, dry_run=True, expired_before="2025-03-01T10:00:00.000000Z")
    assert counted.expiring == 0
    assert await of_user(layer, ada) == []
    report = await imported(layer, ada, path)
    assert counted.as_json() == report.as_json()
    assert (report.source, report.new, report.existing) == (export.source, len(export.threads), 0)
    assert [one.name for one in report.failures] == list(export.failures)
    assert report.left_out == export.left_out
    ids = await of_user(layer, ada)
    for thread_id, wanted in zip(ids, export.threads, strict=True):
        await compare(layer, ada, thread_id, wanted)
    assert await listed(layer, ada.id, search=export.word) == ids[:1]
    async with layer.database.read() as connection:
        assert (await connection.execute(select(llm_calls.c.id))).all() == []
    again = await imported(layer, ada, path)
    assert (again.new, again.existing) == (0, len(ids))
    assert await of_user(layer, ada) == ids
    # Another user gets threads of the own.
    other = User(await user_id(layer, "eve"), "eve", {}, None)
    await imported(layer, other, path)
    assert set(await of_user(layer, other)).isdisjoint(ids)


async def of_user(layer: ChainlitLayer, user: User) -> list[str]:
    """The ids of all threads of the user, oldest first."""
    statement = select(threads.c.id).where(threads.c.userId == user.id).order_by(threads.c.createdAt)
    async with layer.database.read() as connection:
        return [*(await connection.execute(statement)).scalars()]


async def compare(layer: ChainlitLayer, user: User, thread_id: str, wanted: exports.Thread) -> None:
    with acting_as(user.identifier):
        found = await layer.get_thread(thread_id)
        versions = await layer.message_versions(thread_id)
    assert found["name"] == wanted.title
    steps = [step for step in found["steps"] if step["type"] != "run"]
    assert [(step["type"], step["output"], step["createdAt"]) for step in steps] == [
        (kind, text, clean_time(BEGIN + timedelta(seconds=at), "time")) for kind, text, at in wanted.steps
    ]
    assert [(one.change, one.type, one.output) for one in versions] == list(wanted.versions)
    answers = [step for step in steps if step["type"] == "assistant_message"]
    assert [step["metadata"].get("model") for step in answers] == list(wanted.models)
    last_of_run = {step["parentId"]: step["output"] for step in answers}
    cast = {
        last_of_run.get(step["id"], step["output"]): step["feedback"]["value"]
        for step in found["steps"]
        if step["feedback"]
    }
    texts = {one.step_id: one.output for one in versions}
    async with layer.database.read() as connection:
        of_thread = select(feedback_changes).where(feedback_changes.c.threadId == thread_id)
        changes = (await connection.execute(of_thread)).mappings().all()
    cast |= {texts[one["forId"]]: one["value"] for one in changes if one["forId"] in texts}
    assert cast == wanted.votes
    files = {}
    for element in found["elements"]:
        got = await opened(layer, thread_id, element["id"])
        assert got is not None
        files[element["name"]] = got[1]
    assert files == wanted.files
    head = await layer.get_thread_head(thread_id)
    assert head is not None
    assert (bool(head["archivedAt"]), bool(head["pinnedAt"])) == (wanted.archived, wanted.pinned)


async def test_an_interrupted_import_goes_on(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    path = chatgpt.EXPORT.write(tmp_path)

    async def die(report: Report) -> None:
        if report.new == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await imported(layer, ada, path, progressed=die)
    report = await imported(layer, ada, path)
    assert (report.new, report.existing) == (2, 2)
    # A thread that its user has deleted comes back.
    (first, *_) = await of_user(layer, ada)
    with acting_as("ada"):
        await layer.delete_thread(first)
    assert (await imported(layer, ada, path)).new == 1
    assert len(await of_user(layer, ada)) == 4


async def test_only_the_own_history_is_imported(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    thread = ImportedThread(Thread(new_id(), user_identifier="ada"))
    for actor in ("eve", None):
        with acting_as(actor), pytest.raises(datalayer.Forbidden):
            await layer.import_thread(thread)
    with acting_as("eve"), pytest.raises(datalayer.Forbidden):
        await run_import(layer, [chatgpt.EXPORT.write(tmp_path)], ada)
    with pytest.raises(datalayer.NotFound):
        await layer.import_thread(ImportedThread(Thread(new_id(), user_identifier="nobody")))
    assert await layer.import_thread(thread)
    assert not await layer.import_thread(thread)
    assert await layer.existing_threads([thread.thread.id, new_id(), "?"]) == {thread.thread.id}
    with pytest.raises(datalayer.InvalidRecord):
        await layer.existing_threads([new_id() for _ in range(501)])


async def test_an_import_changes_nothing_in_threads_of_others(layer: ChainlitLayer, ada: User) -> None:
    bob = await user_id(layer, "bob")
    with acting_as("bob"):
        theirs, said = await thread(layer, bob), new_id()
        await layer.create_step(step(theirs, "An answer", id=said, type="assistant_message"))
        await layer.upsert_feedback(vote(said, 1, "good"))
        before = await layer.get_thread(theirs)
    cast = datalayer.Feedback(new_id(), said, 0)
    earlier = StepVersion(said, "removed", "assistant_message", "Assistant", "?", None, "2026-01-01T00:00:00.000000Z")
    for foreign in (
        {"votes": (cast,)},
        {"files": (ImportedFile(Element(new_id(), for_id=said)),)},
        {"versions": (earlier,), "votes": (cast,)},
    ):
        own = Thread(new_id(), user_identifier="ada")
        with acting_as("ada"), pytest.raises(datalayer.InvalidRecord):
            await layer.import_thread(ImportedThread(own, **foreign))
        assert await layer.get_thread_head(own.id) is None
    moved = (Step(new_id(), theirs, "ada", "user_message", output="mine"),)
    element = Element(new_id(), theirs, name="mine")
    with acting_as("ada"):
        await layer.import_thread(ImportedThread(own, moved, files=(ImportedFile(element),)))
        found = await layer.get_thread(own.id)
    assert [one["id"] for one in found["steps"] + found["elements"]] == [moved[0].id, element.id]
    with acting_as("bob"):
        assert await layer.get_thread(theirs) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({"../c.json": []}), "forbidden name"),
        (zipped({"c.json": b" " * 20_000_000}), "expands too much"),
        (zipped({"a.txt": b"?"}), "known format"),
        (b"PK\x05\x06" + bytes(18), "is empty"),
        (b'{"map": 1}', "known format"),
        (b"", "is empty"),
        (zipped({"export.zip": zipped({"conversations.json": []})}), "another ZIP in it: export.zip"),
        (zipped({"conversations.json": []})[:-30], "ZIP without its end"),
        (zipped({"Takeout/MyActivity.html": b"<html>"}), "JSON"),
        (b"\xef\xbb\xbf <!DOCTYPE html>", "JSON"),
    ],
)
async def test_what_is_not_safe_or_not_known_is_refused(
    layer: ChainlitLayer, ada: User, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "export"
    path.write_bytes(content)
    with pytest.raises(BadPackage, match=words):
        await imported(layer, ada, path)


async def test_threads_that_are_too_old_to_stay_are_counted(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    path = chatgpt.EXPORT.write(tmp_path)
    report = await imported(layer, ada, path, dry_run=True, expired_before="2025-03-01T10:20:00.000000Z")
    assert (report.conversations, report.expiring) == (4, 1)


async def test_the_end_of_a_cut_file_is_named(
    layer: ChainlitLayer, ada: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "export"
    with zipfile.ZipFile(chatgpt.EXPORT.write(tmp_path)) as archive:
        whole = archive.read("conversations-000.json")
    path.write_bytes(b"\xef\xbb\xbf" + whole[:-40])
    report = await imported(layer, ada, path)
    assert (report.new, named(report)) == (1, ["Broken", "export"])
    # So is what is too large to be in memory.
    monkeypatch.setattr(package, "LARGEST_RECORD", 1000)
    path.write_bytes(whole)
    assert named(await imported(layer, ada, path)) == ["export"]


async def test_files_of_another_chat_are_named_and_files_of_one_name_are_all_read(
    layer: ChainlitLayer, ada: User, tmp_path: Path
) -> None:
    listed: list[list[Any]] = [*([conversation(f"c-{number}", "One")] for number in range(3)), claude.CONVERSATIONS[:1]]
    paths = [tmp_path / name / "export.zip" for name in "abcd"]
    for path, conversations in zip(paths, listed, strict=True):
        path.parent.mkdir()
        path.write_bytes(zipped({"conversations.json": conversations}))
    with acting_as("ada"):
        report = await run_import(layer, paths, ada)
    assert (report.source, report.new, named(report)) == ("chatgpt", 3, ["export.zip 3/conversations.json"])
    assert "from Claude, and others are from ChatGPT" in str(report.failures[0].reason)


async def test_a_conversation_that_went_on_elsewhere_is_counted(
    layer: ChainlitLayer, ada: User, tmp_path: Path
) -> None:
    path = tmp_path / "export"
    for grown in (0, 1):
        nodes = chatgpt.node("q", None, "user", "One?", 1) | (
            chatgpt.node("a", "q", "assistant", "One.", 2) if grown else {}
        )
        path.write_text(json.dumps([conversation("c-1", "One", nodes), conversation("c-2", "Two")]))
        for dry_run in (True, False):
            report = await imported(layer, ada, path, dry_run=dry_run)
            assert report.grown == grown
    assert "1 of those that exist has newer messages here" in " ".join(lines_of(report, is_dry_run=False))


def conversation(key: str, title: str, nodes: Any = None) -> dict[str, Any]:
    return chatgpt.conversation(key, title, 0, nodes or chatgpt.node("q", None, "user", "Hello", 1), None)


def named(report: Report) -> Sequence[str]:
    return [one.name for one in report.failures]


async def test_the_own_takeout_is_read_like_any_other_export(layer: ChainlitLayer, ada: User, tmp_path: Path) -> None:
    await imported(layer, ada, chatgpt.EXPORT.write(tmp_path))
    path = tmp_path / "takeout.zip"
    await export_user(layer.database, layer.blobs, "ada", path)
    # Who has the threads still gets no copies of them.
    report = await imported(layer, ada, path)
    assert (report.source, report.new, report.existing, report.failed) == ("threadkeeper", 0, 4, 0)
    other = User(await user_id(layer, "eve"), "eve", {}, None)
    assert (await imported(layer, other, path)).new == 4
    for thread_id, wanted in zip(await of_user(layer, other), chatgpt.EXPORT.threads, strict=True):
        await compare(layer, other, thread_id, wanted)
    assert (await imported(layer, other, path)).existing == 4
