"""Files that would take all memory or time are refused before they do, and a reader that is cancelled is closed."""

import asyncio
import io
import json
import os
import struct
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer import User
from tests.support.exports import chatgpt, gemini, zipped
from threadkeeper.importing import importer, package
from threadkeeper.importing.detection import reader_of
from threadkeeper.importing.importer import Store, run_import
from threadkeeper.importing.model import Conversation, Message, Read, Unreadable
from threadkeeper.importing.package import DEEPEST, BadPackage, Package
from threadkeeper.importing.readers import gemini as of_gemini
from threadkeeper.importing.readers.gemini import Gemini
from threadkeeper.importing.readers.threadkeeper import Threadkeeper
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.tree import tree_of
from threadkeeper.jobs.imports import KEPT_SECONDS, _make_room

NESTED = "nested too deeply"
VALUES = st.recursive(
    st.none() | st.text('a"\\[{]}:, é', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('b"\\[}', max_size=3), inner, max_size=3),
    max_leaves=12,
)


def opened(folder: Path, content: bytes) -> Package:
    path = folder / "export"
    path.write_bytes(content)
    return Package([path])


def nested(name: str, levels: int, value: Any = None) -> bytes:
    """A value below so many levels with this name."""
    return (f"{{{json.dumps(name)} : " * levels + json.dumps(value) + "}" * levels).encode()


def test_json_is_read_to_a_bounded_depth(tmp_path: Path) -> None:
    (found,) = opened(tmp_path, b"[" * DEEPEST + b"]" * DEEPEST).records("export")
    assert isinstance(found, list)
    deep = opened(tmp_path, b'[{"a":1},' + b"[" * DEEPEST)
    assert not any(map(deep.shape, deep.names))
    with pytest.raises(BadPackage, match=NESTED):
        [*deep.records("export")]
    # Long names above many levels take as much memory as very many levels; long texts do not.
    assert [*opened(tmp_path, nested("a", 50, "[" * 100_000)).records("export", "")]
    for name in ("n" * 100_000, "\\" * 50_000, '"' * 50_000):
        with pytest.raises(BadPackage, match=NESTED):
            [*opened(tmp_path, nested(name, 50)).records("export", "")]


@given(VALUES, st.integers(1, 9))
def test_only_brackets_outside_of_strings_are_levels(value: Any, size: int) -> None:
    text = json.dumps(value).encode()
    depth = levels(value)

    def follow(most: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(package, "DEEPEST", most)
            counted = package._Levels()
            for at in range(0, len(text), size):
                counted.follow(text[at : at + size])

    follow(depth)
    if depth:
        with pytest.raises(BadPackage, match=NESTED):
            follow(depth - 1)


def levels(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(levels, value.values() if isinstance(value, dict) else value), default=0)


@pytest.mark.parametrize("kind", ["true", "lie", "zip64"])
def test_a_zip_of_too_many_entries_is_refused_before_its_list_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "zip64":
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.json", b"[]")
    content = file.getvalue()
    assert (b"PK\x06\x06" in content) == (kind == "zip64")
    if kind == "lie":
        content = content[:-14] + struct.pack("<HH", 1, 1) + content[-10:]
    monkeypatch.setattr(package, "MOST_ENTRIES", 4)
    assert len(opened(tmp_path, content).names) == 4
    for name, most in (("MOST_ENTRIES", 3), ("_MOST_LISTED", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(package, name, most)
            patch.setattr(zipfile.ZipFile, "__init__", lambda *_: pytest.fail("it is read"))
            with pytest.raises(BadPackage, match="entries"):
                opened(tmp_path, content)


def test_a_takeout_with_a_thread_that_is_too_large_gives_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: dict[str, Any] = {"manifest.json": {"entries": [], "threads": [{"folder": "a/"}, {"folder": "b/"}]}}
    for folder, count in (("a/", 30), ("b/", 3)):
        entries[f"{folder}thread.json"] = {"id": folder, "userId": "u"}
        rows = [{"id": f"s{number}", "type": "user_message", "output": "hello"} for number in range(count)]
        entries[f"{folder}steps.jsonl"] = "\n".join(map(json.dumps, rows)).encode()
    read = opened(tmp_path, zipped(entries))
    monkeypatch.setattr(package, "LARGEST_RECORD", 1_000)
    large, small = Threadkeeper().read(read, ["manifest.json"])
    assert isinstance(large, Unreadable)
    many = Reason("import_reason_large_rows", {"most": 0})
    assert (large.name, large.reason) == ("a/", Reason("import_reason_unreadable", {"reason": many}))
    assert Reason.of_json(large.reason.as_json()) == large.reason, "as a job stores it"
    assert isinstance(small, Conversation)
    assert len(small.messages) == 3


def test_a_day_of_gemini_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Package([gemini.EXPORT.write(tmp_path)])
    monkeypatch.setattr(of_gemini, "LARGEST_RECORD", 10_000)
    days = [*Gemini(by_day=True).read(read, [name for name in read.names if read.shape(name)])]
    assert [one.name for one in days if isinstance(one, Unreadable)] == ["2025-03-02"]
    assert [one.id for one in days if isinstance(one, Conversation)] == ["2025-03-01", "2025-03-01 #2"]


def test_many_messages_with_the_same_id_are_read_in_time() -> None:
    begun = time.process_time()
    tree = tree_of(Conversation("c", messages=[Message("m", None, "question", "Hello") for _ in range(20_000)]))
    assert time.process_time() - begun < 10
    ids = [group.question.id for group in tree.groups if group.question is not None]
    assert len({*ids}) == 19_999


def test_the_shapes_of_many_shards_are_not_kept(tmp_path: Path) -> None:
    nodes = {f"{number:036}": {"id": 1, "message": {"id": 1, "author": {}}, "parent": 1} for number in range(300)}
    shard = [{"mapping": nodes, "current_node": "1"}]
    read = opened(tmp_path, zipped({f"conversations-{number:03}.json": shard for number in range(20)}))
    tracemalloc.start()
    try:
        reader, entries, _ = reader_of(read)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reader.source, len(entries)) == ("chatgpt", 20)
    assert kept < 1_000_000


ALONE = chatgpt.conversation("c", "Alone", 0, chatgpt.node("q", None, "user", "Hello", 1), "q")
TAR = b"conversations.json".ljust(257, b"\0") + b"ustar\0"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbfConversation,Time,Author,Message\r\n", "from Microsoft Copilot"),
        (b"CreatedAt,MessageContent,Author,ChatName\n", "from Microsoft Copilot"),
        (b'{"user_name": "You", "character_name": "Bot"}\n{"mes": "Hi"}\n', "from SillyTavern"),
        (b'{"conversations": [{"context_uuid": "x"}]}', "from Perplexity"),
        (b'{"data": {"chat": {"messagesConnection": {}}}}', "from Poe"),
        (b'{"sessionId": "s", "parentUuid": null, "message": {}}\n', "from Claude Code"),
        (b'{"title": "t", "messages": [{"role": "user", "content": "hi"}]}\n', "from OpenAI API"),
        (zipped({"export/chunks.json": {"chunkedPrompt": {}}}), "from Google AI Studio"),
        (b"[ ]\n", "no conversations"),
        (zipped({"conversations.json": [], "chat.html": b"<html>"}), "no conversations"),
        (json.dumps([ALONE]).encode("utf-16"), "UTF-16"),
        (json.dumps([ALONE]).encode("utf-32"), "UTF-32"),
        (zipped({"Takeout/Gemini/gems.html": b"<html>"}), "My Activity"),
        (b"\x1f\x8b\x08" + bytes(20), "kind gzip"),
        (TAR, "kind tar"),
        (b"hello", "Exports of these chats can be read: ChatGPT"),
        (
            b"# Conversation\n\n- conversationId: \xc3\xa4",
            "Text, Markdown and CSV cannot be read: ask that chat for JSON",
        ),
        (b"messageId,parentMessageId,conversationId\n", "CSV"),
        (zipped({"a.txt": b""}), "is empty"),
        (b'[{"title": "Gr\xfc\xdfe", "mapping": {}}]', "not valid JSON: .*UTF8"),
        (b'[{"title": "x",}]', "not valid JSON"),
        (b'[{"a": 1}, ' + b'{"a": 1}, ' * 300_000, "in a known format. Exports"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadPackage, match=words):
        reader_of(opened(tmp_path, content))
    (tmp_path / "export").rename(named := tmp_path / "export.zip")
    with pytest.raises(BadPackage, match=words):
        reader_of(Package([named]))


@pytest.mark.parametrize("kind", ["alone", "lines", "windows", "finder"])
def test_an_export_is_read_in_the_ways_that_people_have_it(tmp_path: Path, kind: str) -> None:
    alone = json.dumps(ALONE).encode()
    content = {
        "alone": alone,
        "lines": alone + b"\n" + json.dumps({**ALONE, "id": "d", "conversation_id": "d"}).encode(),
        # As some programs on Windows write it: with its separators.
        "windows": zipped({"export/conversations.json": [ALONE]}).replace(b"export/conv", b"export\\conv"),
        "finder": zipped({"a/c.json": [ALONE], "__MACOSX/a/._c.json": b"\0\5\26\7", "a/.DS_Store": b"\0\0\0\1Bud1"}),
    }[kind]
    package_of = opened(tmp_path, content)
    reader, entries, _ = reader_of(package_of)
    found = [one.id for one in reader.read(package_of, entries) if isinstance(one, Conversation)]
    assert (reader.source, found) == ("chatgpt", ["c", "d"] if kind == "lines" else ["c"])


async def test_an_import_can_be_cancelled_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        source = "slow"

        def read(self, _package: Package, _entries: list[str]) -> Iterator[Read]:
            try:
                begun.set()
                may_end.wait(60)
                yield Conversation("c")
            finally:
                closed.set()

    monkeypatch.setattr(importer, "reader_of", lambda *_, **__: (Slow(), [], []))
    path = tmp_path / "export"
    path.write_bytes(b"[]")
    task = asyncio.create_task(run_import(cast(Store, None), [path], User("u", "ada", {}, None)))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    # It waits until the thread has read.
    await asyncio.wait([task], timeout=0.1)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


def test_copies_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    copies = tmp_path / "imports"
    for name in ("import-old", "import-new"):
        (copies / name).mkdir(parents=True)
    os.utime(copies / "import-old", (time.time() - KEPT_SECONDS - 60,) * 2)
    _make_room(copies)
    assert [one.name for one in copies.iterdir()] == ["import-new"]
