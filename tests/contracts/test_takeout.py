"""A takeout of one installation is imported completely on another, with another engine and store."""

import hashlib
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import chainlit as cl
import pytest
from sqlalchemy import select

import datalayer
from datalayer import create_data_layer
from datalayer.blobs import open_blob_store
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.files.verify import FileCheck, FileProblem
from datalayer.records.chat import Element
from datalayer.records.review import AnswerFilter
from datalayer.schema.chat import feedback_changes, feedbacks, metadata, threads
from datalayer.schema.review import step_versions
from datalayer.takeout import archive as takeout_archive
from datalayer.takeout import export, import_
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from tests.contracts.test_elements import text_element
from tests.contracts.test_erasure import rows, talk
from tests.support.blob_places import s3_place
from tests.support.lost_answers import lost_answers
from tests.support.records import listed, new_id, step, thread, user_id, vote
from tests.support.s3_server import S3Server

KEPT = ("users", "threads", "steps", "elements", "feedbacks", "feedback_changes", "step_versions")


@pytest.fixture
async def other(other_database_url: str, s3_service: S3Server) -> AsyncIterator[ChainlitLayer]:
    """Another installation, on the other engine, with files in S3."""
    async with s3_place(s3_service) as place:
        layer = create_data_layer(other_database_url, open_blob_store(place.url, place.options))
        yield layer
        await layer.close()


async def live(layer: ChainlitLayer) -> list[str]:
    """Create records of every kind that a user can have; returns the ids of the threads."""
    await layer.add_account("alice", "no real hash")
    owner = await user_id(layer, "alice")
    ids = [(await talk(layer, "alice"))[0] for _ in range(3)]
    with datalayer.acting_as("alice"):
        full = await thread(layer, owner, "../Ein “Titel”: ?\\/ 🧵", metadata={"a": [1, {"b": "ü"}]}, tags=["x", "é"])
        for number in range(7):
            written = step(full, f"needle{number} 文字列", input="in\nput", metadata={"n": number}, icon="own key")
            await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 1, "gut\nso"))
        asked = step(full, "what it first said", type="user_message")
        await layer.create_step(asked)
        await layer.update_step({**asked, "output": "what it says now"})
        answered = step(full, "an answer to it", type="assistant_message")
        await layer.create_step(answered)
        await layer.upsert_feedback(vote(answered["id"], 0, "no answer to it"))
        await layer.delete_step(answered["id"])
        for name in ("a.txt", "a.txt", "../../etc/passwd", "文" * 300 + ".pdf", ""):
            element = text_element(full, written["id"], name * 3 or "x")
            element.name = name
            await layer.create_element(element)
        await layer.create_element(cl.File(thread_id=full, for_id=written["id"], name="empty", content=b"", url="x:y"))
        await layer.create_element(
            cl.CustomElement(thread_id=full, for_id=written["id"], name="Card", props={"a": [None]})
        )
    await layer.create_step(step(await thread(layer, None, "nobody's"), "not hers"))
    await talk(layer, "bob")
    return [*ids, full]


async def whole(layer: ChainlitLayer, thread_id: str) -> tuple[Any, dict[str, bytes], list[Any]]:
    """The thread as a dictionary, the contents of its files, and the histories of votes and messages."""
    found = await layer.get_thread(thread_id)
    assert all(
        element["objectKey"].startswith(f"{thread_id}/") for element in found["elements"] if element["objectKey"]
    )
    files = {}
    for element in found["elements"]:
        opened = await layer.open_element(thread_id, element["id"])
        if opened is not None:
            async with opened[1] as blob:
                files[element["id"]] = b"".join([chunk async for chunk in blob])
    # Every upload has a new key.
    found["elements"] = [{**element, "objectKey": bool(element["objectKey"])} for element in found["elements"]]
    votes: list[Any] = []
    async with layer.database.read() as connection:
        for table in (threads, feedbacks, feedback_changes):
            column = table.c.id if table is threads else table.c.threadId
            statement = select(table).where(column == thread_id).order_by(table.c.id)
            votes.extend((await connection.execute(statement)).all())
        columns = [column for column in step_versions.c if column is not step_versions.c.id]
        versions = select(*columns).where(step_versions.c.threadId == thread_id).order_by(step_versions.c.id)
        votes.extend((await connection.execute(versions)).all())
    return found, files, [tuple(one) for one in votes]


async def taken(layer: ChainlitLayer, path: Path) -> Path:
    await export_user(layer.database, layer.blobs, "alice", path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], *, signed: bool = True) -> Path:
    """A copy with changed contents; if `signed`, with a manifest that matches them, as an attacker would make it."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    if signed:
        manifest = json.loads(contents.pop("manifest.json"))
        manifest["entries"] = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        }
        contents["manifest.json"] = json.dumps(manifest).encode()
    copy = path.with_name(f"changed-{new_id()}.zip")
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return copy


@pytest.mark.parametrize("page", [2, 100])
async def test_everything_is_imported_on_another_engine_and_store(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PAGE", page)
    monkeypatch.setattr(takeout_archive, "_LINES_AT_ONCE", page)
    monkeypatch.setattr(import_, "_AT_ONCE", page)
    ids = await live(layer)
    path = await taken(layer, tmp_path / "alice.zip")
    with lost_answers():
        report = await import_user(other.database, other.blobs, path)
    assert (report.user, report.made_user, report.left_out_votes, report.missing_files) == ("alice", True, 0, 0)
    for thread_id in ids:
        assert await whole(other, thread_id) == await whole(layer, thread_id)
        with datalayer.acting_as("alice"):
            assert (await other.get_thread(thread_id))["userIdentifier"] == "alice"
        with datalayer.acting_as("bob"):
            assert await other.get_thread(thread_id) is None
    counts = await rows(other)
    assert {name: counts[name] for name in KEPT} == {
        **{"users": 1, "threads": 4, "steps": 11, "elements": 10},
        **{"feedbacks": 4, "feedback_changes": 8, "step_versions": 2},
    }
    assert {name: report.counts[name] for name in KEPT if name != "users"} == {
        name: counts[name] for name in KEPT if name != "users"
    }
    assert counts["credentials"] == 0
    kept = await other.get_user("alice")
    assert kept is not None
    assert kept == await layer.get_user("alice")
    # Including her vote on an answer that an edit removed, for the reviewers there.
    (answer,) = (await other.list_answers(AnswerFilter(has_comment=True, thumb="down"))).rows
    assert (answer.answer, answer.comment) == ("an answer to it", "no answer to it")
    assert await listed(other, kept.id, search="needle3") == [ids[-1]]
    assert await listed(other, kept.id, search="文字") == [ids[-1]]
    assert await listed(other, kept.id) == await listed(layer, kept.id)
    again = await taken(other, tmp_path / "again.zip")
    with zipfile.ZipFile(path) as first, zipfile.ZipFile(again) as second:
        assert first.namelist() == second.namelist()
        for name in set(first.namelist()) - {"manifest.json"}:
            keys = re.compile(rb"-[0-9a-f]{8}(?=\")")
            assert keys.sub(b"", first.read(name)) == keys.sub(b"", second.read(name)), name


async def test_a_takeout_is_readable_and_has_no_password(layer: ChainlitLayer, tmp_path: Path) -> None:
    await live(layer)
    path = await taken(layer, tmp_path / "alice.zip")
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        everything = b"".join(archive.read(name) for name in names)
        manifest = json.loads(archive.read("manifest.json"))
    assert b"no real hash" not in everything
    assert b"not hers" not in everything
    assert any(name.endswith("/files/00001 a.txt") for name in names)
    assert all(len(name.encode()) < 300 and ".." not in name.split("/") and "\\" not in name for name in names)
    assert (manifest["format"], manifest["version"], manifest["counts"]["threads"]) == ("threadkeeper-takeout", 1, 4)
    with pytest.raises(datalayer.AlreadyExists, match="exists already"):
        await taken(layer, path)
    with pytest.raises(datalayer.NotFound):
        await export_user(layer.database, layer.blobs, "nobody", tmp_path / "nobody.zip")
    assert {one.name for one in tmp_path.glob("*.zip*")} == {"alice.zip"}


async def test_a_missing_file_is_reported_and_the_rest_imported(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    thread_id, key = await talk(layer, "alice")
    await layer.blobs.delete(key)
    report = await export_user(layer.database, layer.blobs, "alice", tmp_path / "alice.zip")
    assert report.missing == [key]
    done = await import_user(other.database, other.blobs, tmp_path / "alice.zip")
    assert done.missing_files == 1
    (element,) = (await other.get_thread(thread_id))["elements"]
    assert element["objectKey"] is None


@pytest.mark.parametrize("content", [b"A FILE", b"a longer file"])
async def test_a_damaged_file_is_reported_and_stays_marked_after_the_import(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path, content: bytes
) -> None:
    thread_id, key = await talk(layer, "alice")
    await talk(layer, "alice")
    await layer.blobs.put(key, content, "text/plain")
    path = tmp_path / "alice.zip"
    report = await export_user(layer.database, layer.blobs, "alice", path)
    assert (report.damaged, report.missing, report.counts["files"]) == ([key], [], 2)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("manifest.json"))["damagedFiles"] == [key]
    done = await import_user(other.database, other.blobs, path)
    (element,) = (await other.get_thread(thread_id))["elements"]
    ((object_key, entry),) = done.damaged.items()
    assert object_key == element["objectKey"]
    assert entry.endswith("notes.txt")
    assert await other.blobs.read(element["objectKey"]) == content
    found: list[FileProblem] = []
    await FileCheck(other.database, other.blobs, found=found.append).run()
    assert [one.key for one in found] == [element["objectKey"]]


async def test_a_row_without_size_and_checksum_gets_them(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    await talk(layer, "alice")
    rows_of_files = metadata.tables["elements"]
    async with layer.database.write() as connection:
        await connection.execute(rows_of_files.update().values(sha256=None, byteSize=None))
    report = await export_user(layer.database, layer.blobs, "alice", tmp_path / "alice.zip")
    assert report.damaged == []
    assert (await import_user(other.database, other.blobs, tmp_path / "alice.zip")).damaged == {}
    async with other.database.read() as connection:
        (kept,) = (await connection.execute(select(rows_of_files))).mappings()
    assert (kept["byteSize"], kept["sha256"]) == (len(b"a file"), hashlib.sha256(b"a file").hexdigest())


async def test_an_export_that_fails_leaves_no_file(layer: ChainlitLayer, tmp_path: Path) -> None:
    await talk(layer, "alice")
    (tmp_path / "blobs").rename(tmp_path / "away")
    (tmp_path / "blobs").write_text("no folder")

    class Refuses:
        async def open(self, *_arguments: Any) -> Any:
            raise datalayer.BlobError("the store is down")

    with pytest.raises(datalayer.BlobError):
        await export_user(layer.database, Refuses(), "alice", tmp_path / "alice.zip")  # type: ignore[arg-type]
    assert list(tmp_path.glob("*.zip*")) == []


async def test_an_existing_thread_is_refused_or_skipped(layer: ChainlitLayer, tmp_path: Path) -> None:
    ids = await live(layer)
    path = await taken(layer, tmp_path / "alice.zip")
    before = await rows(layer)
    with pytest.raises(datalayer.AlreadyExists, match="4 of 4 threads"):
        await import_user(layer.database, layer.blobs, path)
    report = await import_user(layer.database, layer.blobs, path, skip_existing=True)
    assert (report.skipped_threads, report.counts.total()) == (4, 0)
    assert await rows(layer) == before
    state = await whole(layer, ids[0])
    await layer.delete_thread(ids[0])
    report = await import_user(layer.database, layer.blobs, path, skip_existing=True)
    assert (report.skipped_threads, report.counts["threads"], report.made_user) == (3, 1, False)
    assert await whole(layer, ids[0]) == state


async def test_the_caller_chooses_the_user_of_an_import(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    thread_id, _ = await talk(layer, "alice")
    path = await taken(layer, tmp_path / "alice.zip")
    carol = await user_id(other, "carol")
    report = await import_user(other.database, other.blobs, path, as_user="carol")
    assert (report.user, report.made_user) == ("carol", False)
    with datalayer.acting_as("carol"):
        found = await other.get_thread(thread_id)
    assert (found["userId"], found["userIdentifier"]) == (carol, "carol")
    assert await other.get_user("alice") is None
    async with other.database.read() as connection:
        assert set((await connection.execute(select(feedbacks.c.userId))).scalars()) == {carol}
    assert await listed(other, carol, search="hello") == [thread_id]


async def test_votes_in_threads_of_others_are_imported_if_those_exist(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    bobs, _ = await talk(layer, "bob")
    step_id = (await layer.get_thread(bobs))["steps"][0]["id"]
    alice = await user_id(layer, "alice")
    row = {"id": new_id(), "forId": step_id, "threadId": bobs, "value": 1, "userId": alice}
    async with layer.database.write() as connection:
        await connection.execute(metadata.tables["feedbacks"].insert().values(**row))
    path = await taken(layer, tmp_path / "alice.zip")
    assert (await import_user(other.database, other.blobs, path)).left_out_votes == 1
    async with layer.database.write() as connection:
        await connection.execute(metadata.tables["feedbacks"].delete().where(feedbacks.c.id == row["id"]))
    with lost_answers():
        assert (await import_user(layer.database, layer.blobs, path)).counts["feedbacks"] == 1
    assert (await import_user(layer.database, layer.blobs, path)).counts["feedbacks"] == 0


def _entry(contents: dict[str, bytes], ending: str) -> str:
    return next(name for name in contents if name.endswith(ending))


def _in_lines(ending: str, **values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        name = _entry(contents, ending)
        changed = [{**json.loads(line), **values} for line in contents[name].splitlines()]
        contents[name] = b"".join(json.dumps(line).encode() + b"\n" for line in changed)

    return change


def _set(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda contents: contents.update({name: content})


def _damage(ending: str) -> Callable[[dict[str, bytes]], None]:
    return lambda contents: contents.update({_entry(contents, ending): b"{}"})


ID = "5b4f9d5c-7f3c-4b39-9c5b-0d5a4e0f7a11"


MANIPULATIONS = [
    (_damage("notes.txt"), False, "was changed or is damaged"),
    (_damage("steps.jsonl"), False, "was changed or is damaged"),
    (_set("more", b"x"), False, "manifest and its entries differ"),
    (lambda contents: contents.pop(_entry(contents, "notes.txt")), False, "manifest and its entries differ"),
    (lambda contents: contents.pop("manifest.json"), False, "no manifest"),
    (_set("manifest.json", b'{"format": "threadkeeper-takeout", "version": 2}'), False, "version 2"),
    (_set("manifest.json", b"[" * 100_000), False, "is not valid"),
    (_set("manifest.json", b'{"format": "threadkeeper-takeout", "version": 1}'), False, "is not valid"),
    (_set("../../escape", b"x"), True, "forbidden or repeated name"),
    (_set("/etc/passwd", b"x"), True, "forbidden or repeated name"),
    (_set("bomb", b"\x00" * 20_000_000), True, "expands too much"),
    (lambda contents: contents.pop("user.json"), True, "lacks 'user.json'"),
    (_damage("thread.json"), True, "threads.id has no value"),
    (_in_lines("steps.jsonl", threadId=ID), True, "to another thread"),
    (_in_lines("steps.jsonl", id="no id"), True, "is not a UUID"),
    (_in_lines("steps.jsonl", output=7), True, "of the wrong type"),
    (_in_lines("steps.jsonl", shoeSize=7), True, "no column 'shoeSize'"),
    (_in_lines("elements.jsonl", file="user.json"), True, "no file of its own"),
    (_in_lines("elements.jsonl", file="../x"), True, "no file of its own"),
    (_in_lines("elements.jsonl", file=["x"]), True, "no file of its own"),
    (_in_lines("feedbacks.jsonl", value=2**40), True, "of the wrong type"),
    (_in_lines("feedback_changes.jsonl", id=ID), True, "rejected the record"),
]


async def test_a_manipulated_takeout_is_refused_and_leaves_nothing(
    layer: ChainlitLayer, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    await talk(layer, "alice")
    whole = await taken(layer, tmp_path / "alice.zip")
    await layer.delete_user("alice")
    for at, (change, signed, words) in enumerate(MANIPULATIONS):
        with subtests.test(at=at, words=words):
            path = rewritten(whole, change, signed=signed)
            with pytest.raises(datalayer.InvalidRecord, match=words):
                await import_user(layer.database, layer.blobs, path)
            counts = await rows(layer)
            assert not any(counts[name] for name in KEPT if name != "users"), counts
            assert [blob async for blob in layer.blobs.list()] == []
            assert counts["blob_deletions"] == 0
            assert not any(tmp_path.rglob("escape"))


async def test_a_version_of_an_unknown_kind_is_refused(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    await live(layer)
    change = _in_lines("step_versions.jsonl", change="<script>")
    path = rewritten(await taken(layer, tmp_path / "alice.zip"), change)
    with pytest.raises(datalayer.InvalidRecord, match="of an unknown kind"):
        await import_user(other.database, other.blobs, path)
    # Only the last of the four threads has such versions.
    assert (await rows(other))["threads"] == 0


async def test_a_vote_of_another_user_is_refused(layer: ChainlitLayer, tmp_path: Path) -> None:
    await talk(layer, "alice")
    await talk(layer, "bob")
    path = await taken(layer, tmp_path / "alice.zip")
    await layer.delete_user("alice")
    async with layer.database.read() as connection:
        bobs = (await connection.execute(select(feedbacks))).mappings().one()
    for line, words in [(dict(bobs), "another user"), ({"id": 1}, "not a UUID"), ([], "not a JSON object")]:
        changed = rewritten(path, _set("feedbacks.jsonl", json.dumps(line).encode() + b"\n"))
        with pytest.raises(datalayer.InvalidRecord, match=words):
            await import_user(layer.database, layer.blobs, changed, skip_existing=True)


async def test_roles_and_file_keys_of_a_takeout_are_ignored(layer: ChainlitLayer, tmp_path: Path) -> None:
    bobs, bobs_key = await talk(layer, "bob")
    thread_id, key = await talk(layer, "alice")

    def change(contents: dict[str, bytes]) -> None:
        contents["user.json"] = json.dumps(json.loads(contents["user.json"]) | {"role": "admin"}).encode()
        _in_lines("elements.jsonl", objectKey=bobs_key)(contents)

    path = rewritten(await taken(layer, tmp_path / "alice.zip"), change)
    await layer.delete_user("alice")
    await import_user(layer.database, layer.blobs, path)
    account = await layer.get_account("alice")
    assert account is not None
    assert (account.user.role, account.password_hash) == ("user", None)
    (element,) = (await layer.get_thread(thread_id))["elements"]
    assert element["objectKey"] not in (key, bobs_key)
    assert element["objectKey"].startswith(f"{thread_id}/")
    assert (await layer.get_thread(bobs))["steps"]


async def test_an_element_of_another_user_is_not_overwritten(layer: ChainlitLayer, tmp_path: Path) -> None:
    bobs, bobs_key = await talk(layer, "bob")
    await talk(layer, "alice")
    theirs = (await layer.get_thread(bobs))["elements"][0]["id"]
    path = rewritten(await taken(layer, tmp_path / "alice.zip"), _in_lines("elements.jsonl", id=theirs, threadId=None))
    await layer.delete_user("alice")
    with pytest.raises(datalayer.AlreadyExists, match="in another thread"):
        await import_user(layer.database, layer.blobs, path)
    assert await layer.blobs.read(bobs_key) == b"a file"
    assert (await rows(layer))["threads"] == 1


async def test_an_interrupted_import_leaves_complete_threads_and_continues(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await live(layer)
    path = await taken(layer, tmp_path / "alice.zip")
    put, calls = other.blobs.put, 0

    async def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise datalayer.BlobError("the store is down")
        return await put(*arguments, **options)

    monkeypatch.setattr(other.blobs, "put", fails)
    with pytest.raises(datalayer.BlobError):
        await import_user(other.database, other.blobs, path)
    assert (await rows(other))["threads"] == 3
    assert len([blob async for blob in other.blobs.list()]) == 3
    report = await import_user(other.database, other.blobs, path, skip_existing=True)
    assert (report.skipped_threads, report.counts["threads"]) == (3, 1)
    for thread_id in ids:
        assert await whole(other, thread_id) == await whole(layer, thread_id)


def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(datalayer.InvalidRecord, match="not a takeout"):
        takeout_archive.TakeoutArchive(tmp_path / "x.zip")


def test_a_row_of_an_element_has_every_field_of_its_record() -> None:
    assert len(metadata.tables["elements"].c) == len(Element.__dataclass_fields__)
