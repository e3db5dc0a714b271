"""The commands for files and takeouts, run as an operator runs them."""

import asyncio
import hashlib
import json
import os
import re
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select

import datalayer
from datalayer.database import Database
from datalayer.schema.chat import elements, threads, users
from datalayer.schema.review import audit_entries
from tests.support.command_line import CommandLine
from tests.support.exports import claude
from tests.support.knowledge import source
from tests.support.records import new_id

pytestmark = pytest.mark.slow

CONTENT = b"the content of a file"


@pytest.fixture
def kept(tmp_path: Path, migrated_sqlite: Path) -> tuple[CommandLine, Path]:
    """An installation with one user, thread and file, and the path of the file."""
    cli = CommandLine(tmp_path / "elsewhere")
    cli.directory.mkdir()
    cli.has_database(migrated_sqlite)
    user_id, thread_id, element_id = new_id(), new_id(), new_id()
    file = cli.directory / ".data" / "files" / thread_id / element_id
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)

    async def fill() -> None:
        database = Database(f"sqlite:///{cli.directory}/.data/threadkeeper.db")
        owner = {"userId": user_id, "userIdentifier": "ada"}
        described = {"objectKey": f"{thread_id}/{element_id}", "sha256": hashlib.sha256(CONTENT).hexdigest()}
        async with database.write() as connection:
            await connection.execute(insert(users).values(id=user_id, identifier="ada", metadata={}))
            await connection.execute(insert(threads).values(id=thread_id, name="[bold]a thread", **owner))
            values = {"id": element_id, "threadId": thread_id, "name": "[red].txt", "byteSize": len(CONTENT)}
            await connection.execute(insert(elements).values(**values, **described))
        await database.close()

    asyncio.run(fill())
    return cli, file


def test_verify_reports_problems_and_repairs_some(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    good = cli("files", "verify")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-2:] == [
        f"1 row with a file, 1 file in the store, {len(CONTENT)} bytes read.",
        "No problems found.",
    ]
    file.write_bytes(CONTENT.upper())
    assert cli("files", "verify", "--quick").returncode == 0
    changed = cli("files", "verify")
    assert (changed.returncode, changed.stderr) == (1, "1 × checksum differs from the database.\n")
    assert (
        f"{file.parent.name}/{file.name}: checksum differs from the database: the file's SHA-256 is" in changed.stdout
    )
    file.unlink()
    orphan = file.with_name("nobodys")
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    assert "marked" not in cli("files", "verify").stdout
    lost = cli("files", "verify", "--repair")
    assert (lost.returncode, lost.stderr) == (1, "1 × file is missing.\n")
    assert f"{file.parent.name}/{file.name}: file is missing (thread " in lost.stdout
    assert "; its row is marked\n" in lost.stdout
    assert "Marked 1 row with a missing file." in lost.stdout
    assert "1 × file has no row: deleted.\n" in lost.stdout
    after = cli("files", "verify")
    assert after.returncode == 0
    assert "1 row was marked by an earlier run: the file is missing." in after.stdout


def test_move_copies_to_another_store_and_prints_the_next_steps(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    target = cli.directory / "other"
    dry = cli("files", "move", "--to", f"file://{target}", "--dry-run")
    assert dry.stdout == f"1 file ({len(CONTENT)} bytes) would be copied, 0 are already there.\n"
    assert not target.exists()
    done = cli("files", "move", "--to", f"file://{target}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Copied 1 file ({len(CONTENT)} bytes); 0 were already there.\n")
    assert f"Now set BLOB_URL=file://{target} and restart" in done.stdout
    assert "run the same command again with the old BLOB_URL" in done.stdout
    assert (target / file.parent.name / file.name).read_bytes() == CONTENT == file.read_bytes()
    again = cli("files", "move", "--to", f"file://{target}", "--delete-source")
    assert again.stdout.splitlines()[:2] == [
        "Copied 0 files (0 bytes); 1 was already there.",
        "Deleted 1 file from the old store; kept 0 newer files.",
    ]
    assert again.stdout.splitlines()[2].startswith(
        "The old store is empty, so a replica that still uses it shows no files."
    )
    assert "run the same command again" not in again.stdout
    assert not file.exists()
    assert cli("files", "verify", BLOB_URL=f"file://{target}").returncode == 0


def test_move_prints_what_to_do_with_newer_files(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    tomorrow = time.time() + 24 * 3600
    os.utime(file, (tomorrow, tomorrow))
    done = cli("files", "move", "--to", f"file://{cli.directory / 'other'}", "--delete-source")
    assert "Deleted 0 files from the old store; kept 1 newer file." in done.stdout
    assert done.stdout.splitlines()[-1].endswith("run the same command again with the old BLOB_URL.")
    assert file.exists()


def test_move_refuses_invalid_targets(kept: tuple[CommandLine, Path]) -> None:
    cli, _ = kept
    for place in (".data/files", ".data/files/inside"):
        refused = cli("files", "move", "--to", f"file://{cli.directory}/{place}")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == "--to: the two stores are the same, or one is inside the other.\n"
    refused = cli("files", "move", "--to", "ftp://x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("--to: the blob URL must be file:///")


def test_a_backup_is_restored_and_verified(kept: tuple[CommandLine, Path], tmp_path: Path) -> None:
    cli, file = kept
    done = cli("backup", "saved")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"Copied 1 file ({len(CONTENT)} bytes).",
        f"Finished: the database and 1 file ({len(CONTENT)} bytes) are in {cli.directory / 'saved'}.",
    ]
    again = cli("backup", "saved")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"{cli.directory / 'saved'} holds a finished backup; name another folder.\n"
    full = cli("restore", "saved")
    assert full.returncode == 1
    assert "exists; a backup is restored into an empty place only.\n" in full.stderr
    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    assert other("backup", "saved").stderr.startswith("There is nothing to back up: ")
    restored = other("restore", str(cli.directory / "saved"))
    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout.splitlines()[0] == (
        f"Restored the database and 1 file ({len(CONTENT)} bytes); 0 files were already there."
    )
    for command in (("migrate",), ("verify",), ("files", "verify")):
        checked = other(*command)
        assert (checked.returncode, checked.stderr) == (0, "")
    assert (other.directory / ".data" / "files" / file.parent.name / file.name).read_bytes() == CONTENT
    private = (other.directory / ".data" / "threadkeeper.db", cli.directory / "saved" / "database.db")
    assert [path.stat().st_mode & 0o077 for path in private] == [0, 0]


def test_a_backup_without_the_file_of_a_data_source_is_restored_and_told(
    kept: tuple[CommandLine, Path], tmp_path: Path
) -> None:
    cli, _ = kept

    async def lose() -> None:
        layer = datalayer.create_data_layer(
            f"sqlite:///{cli.directory}/.data/threadkeeper.db", f"file://{cli.directory}/.data/files"
        )
        await layer.blobs.delete(str((await layer.put_source(source(), b"known")).object_key))
        await layer.close()

    asyncio.run(lose())
    done = cli("backup", "saved")
    assert done.returncode == 1
    assert done.stderr.startswith("1 file is missing or damaged in the store; everything else is in the backup.")
    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    restored = other("restore", str(cli.directory / "saved"))
    assert restored.returncode == 1
    assert "Restored the database and 1 file" in restored.stdout
    assert "the backup lacks the file of the data source Handbook" in restored.stdout
    assert restored.stderr == (
        "1 data source of an assistant lacks a file, which is not in the backup: upload it again or delete the "
        "source.\n"
    )


def test_a_takeout_is_exported_and_imported(kept: tuple[CommandLine, Path], tmp_path: Path) -> None:
    cli, file = kept
    out = cli("export", "user", "ada")
    assert (out.returncode, out.stderr) == (0, "")
    match = re.fullmatch(r"Wrote (ada-\d{4}-\d\d-\d\d\.zip): 1 thread, 1 file, 1 element\.\n", out.stdout)
    assert match is not None, out.stdout
    name = match[1]

    async def looked() -> list[tuple[str, str | None, str | None]]:
        database = Database(f"sqlite:///{cli.directory}/.data/threadkeeper.db")
        async with database.read() as connection:
            entry = audit_entries.c
            rows = (await connection.execute(select(entry.action, entry.actor, entry.subjectId))).all()
        await database.close()
        return [(row[0], row[1], row[2]) for row in rows]

    assert asyncio.run(looked()) == [("export", None, file.parent.name)], "the user sees the export in the audit"
    assert cli("export", "user", "ada").stderr == f"The file {name} exists already.\n"
    assert cli("export", "user", "nobody").stderr == "There is no user 'nobody'.\n"

    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    missing = other("import", "nowhere.zip")
    assert (missing.returncode, missing.stderr) == (1, "Cannot read nowhere.zip: No such file or directory.\n")
    assert list(other.directory.iterdir()) == [], "a mistyped file name creates nothing"
    back = other("import", str(cli.directory / name))
    assert (back.returncode, back.stderr) == (0, "")
    assert back.stdout.splitlines() == [
        "Imported for ada: 1 thread, 1 element, 1 file.",
        "Created the user ada with the role user and without a password. "
        "To set one, run `threadkeeper user passwd ada`.",
    ]
    assert other("user", "passwd", "ada", "--generate").returncode == 0
    (kept_file,) = (other.directory / ".data" / "files" / file.parent.name).iterdir()
    assert kept_file.read_bytes() == CONTENT
    refused = other("import", str(cli.directory / name))
    assert refused.returncode == 1
    assert refused.stderr.startswith("1 of 1 threads exist already, such as ")
    assert other("import", str(cli.directory / name), "--skip-existing", "--as", "eve").returncode == 0
    (cli.directory / name).write_bytes(b"no zip")
    assert other("import", str(cli.directory / name)).stderr.startswith("This is not a takeout, or it is damaged: ")
    assert other("files", "verify").returncode == 0


def test_a_takeout_reports_a_damaged_file(kept: tuple[CommandLine, Path], tmp_path: Path) -> None:
    cli, file = kept
    file.write_bytes(CONTENT.upper())
    out = cli("export", "user", "ada", "--to", "ada.zip")
    assert out.returncode == 1
    assert out.stderr == (
        "1 file is damaged in the store and so in the takeout: the checksum differs from the database. "
        "The manifest names what is damaged.\n"
    )
    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    assert other("migrate").returncode == 0
    back = other("import", str(cli.directory / "ada.zip"))
    assert (back.returncode, back.stderr) == (0, "")
    assert "checksum differs from the database (threads/00001 [bold]a thread/files/00001 [red].txt)" in back.stdout
    assert "1 file was damaged when the takeout was created" in back.stdout
    after = other("files", "verify")
    assert (after.returncode, after.stderr) == (1, "1 × checksum differs from the database.\n")


def test_the_history_of_another_chat_is_counted_and_imported(tmp_path: Path, migrated_sqlite: Path) -> None:
    cli = CommandLine(tmp_path / "here")
    cli.directory.mkdir()
    cli.has_database(migrated_sqlite)
    path = str(claude.EXPORT.write(tmp_path))
    assert cli("import", path).stderr == "This is the export of another chat: say with --user for whom it is.\n"
    nobody = cli("import", path, "--user", "ada")
    assert nobody.stderr == "There is no user 'ada'. `threadkeeper user add` adds one.\n"
    assert cli("user", "add", "ada", "--generate").returncode == 0
    counted = cli("import", path, "--user", "ada", "--dry-run")
    assert counted.stdout.splitlines() == [
        "claude: 2 conversations with 6 messages, 3 messages of other branches, as earlier versions, 2 thoughts, "
        "2 tool runs, 1 file.",
        "From 2025-03-01 to 2025-03-01.",
        "Would import 2 threads. 0 exist already.",
        "Left out: 1 file that the export does not have.",
        "Left out: 1 part of a message of an unknown kind.",
        "1 conversation could not be read:",
        "  'Bad': It has no id, or no list of messages.",
    ]
    assert (counted.returncode, cli("import", path, "--user", "ada").returncode) == (1, 1)
    again = cli("import", path, "--user", "ada")
    assert "Imported 0 threads. 2 exist already." in again.stdout
    written = cli("threads", "export", "--user", "ada", "--format", "json", "--to", "threads.json")
    assert (written.returncode, written.stderr) == (0, "")
    assert "Imported 0 threads. 2 exist already." in cli("import", "threads.json", "--user", "ada").stdout
    (first, _) = json.loads((cli.directory / "threads.json").read_bytes())["threads"]
    one = cli("threads", "export", "--user", "ada", first["id"])
    assert one.stdout.startswith(f"# {first['name']}\n")
    foreign = cli("threads", "export", "--user", "ada", new_id())
    assert (foreign.returncode, foreign.stderr) == (1, "A thread does not exist, or belongs to somebody else.\n")
    (tmp_path / "text").write_text("?")
    unknown = cli("import", str(tmp_path / "text"), "--user", "ada")
    assert (unknown.returncode, unknown.stderr[:42]) == (1, "Nothing in the file is in a known format. ")
