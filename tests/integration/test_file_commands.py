"""The commands that look after files and take users out and in, run as an operator runs them."""

import asyncio
import hashlib
import os
import re
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from datalayer.database import Database
from datalayer.review_schema import audit_entries
from datalayer.schema import elements, threads, users
from tests.integration.test_cli import CommandLine
from tests.support.records import new_id

pytestmark = pytest.mark.slow

CONTENT = b"the content of a file"


@pytest.fixture
def kept(tmp_path: Path) -> tuple[CommandLine, Path]:
    """An installation with one user, thread and file; and where the file is."""
    cli = CommandLine(tmp_path / "elsewhere")
    cli.directory.mkdir()
    assert cli("migrate").returncode == 0
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


def test_verify_tells_what_is_wrong_and_repairs_what_can_be(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    good = cli("files", "verify")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-2:] == [
        f"1 rows with a file, 1 files in the store, {len(CONTENT)} bytes read.",
        "Everything is as it should be.",
    ]
    file.write_bytes(CONTENT.upper())
    assert cli("files", "verify", "--quick").returncode == 0
    changed = cli("files", "verify")
    assert (changed.returncode, changed.stderr) == (1, "1 × content is not its row's.\n")
    assert f"{file.parent.name}/{file.name}: content is not its row's: its SHA-256 is" in changed.stdout
    file.unlink()
    orphan = file.with_name("nobodys")
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    assert "marked" not in cli("files", "verify").stdout
    lost = cli("files", "verify", "--repair")
    assert (lost.returncode, lost.stderr) == (1, "1 × file is missing.\n")
    assert f"{file.parent.name}/{file.name}: file is missing (thread " in lost.stdout
    assert "; its row is marked\n" in lost.stdout
    assert "1 rows were marked now: their file is missing." in lost.stdout
    assert "1 × file has no row: deleted.\n" in lost.stdout
    after = cli("files", "verify")
    assert after.returncode == 0
    assert "1 rows are marked: their file was missing before." in after.stdout


def test_move_goes_to_another_store_and_says_what_to_set(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    target = cli.directory / "other"
    dry = cli("files", "move", "--to", f"file://{target}", "--dry-run")
    assert dry.stdout == f"1 files of {len(CONTENT)} bytes would be copied, 0 are there.\n"
    assert not target.exists()
    done = cli("files", "move", "--to", f"file://{target}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"1 files of {len(CONTENT)} bytes were copied, 0 were there already.\n")
    assert f"Now set BLOB_URL=file://{target} and restart" in done.stdout
    assert "run once more" in done.stdout
    assert (target / file.parent.name / file.name).read_bytes() == CONTENT == file.read_bytes()
    again = cli("files", "move", "--to", f"file://{target}", "--delete-source")
    assert again.stdout.splitlines()[:2] == [
        "0 files of 0 bytes were copied, 1 were there already.",
        "1 files were deleted from the old store; 0 that are newer were left.",
    ]
    assert again.stdout.splitlines()[2].startswith("The old store has no file any more: ")
    assert "once more" not in again.stdout
    assert not file.exists()
    assert cli("files", "verify", BLOB_URL=f"file://{target}").returncode == 0


def test_move_says_what_to_do_with_what_came_meanwhile(kept: tuple[CommandLine, Path]) -> None:
    cli, file = kept
    tomorrow = time.time() + 24 * 3600
    os.utime(file, (tomorrow, tomorrow))
    done = cli("files", "move", "--to", f"file://{cli.directory / 'other'}", "--delete-source")
    assert "0 files were deleted from the old store; 1 that are newer were left." in done.stdout
    assert done.stdout.splitlines()[-1].endswith("run the same command with the old BLOB_URL once more.")
    assert file.exists()


def test_move_refuses_what_makes_no_sense(kept: tuple[CommandLine, Path]) -> None:
    cli, _ = kept
    for place in (".data/files", ".data/files/inside"):
        refused = cli("files", "move", "--to", f"file://{cli.directory}/{place}")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == "--to: the two stores are one, or one lies inside the other.\n"
    refused = cli("files", "move", "--to", "ftp://x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("--to: the blob URL must be file:///")


def test_a_takeout_goes_and_comes(kept: tuple[CommandLine, Path], tmp_path: Path) -> None:
    cli, file = kept
    out = cli("export", "user", "ada")
    assert (out.returncode, out.stderr) == (0, "")
    match = re.fullmatch(r"Wrote (ada-\d{4}-\d\d-\d\d\.zip): 1 threads, 1 files, 1 elements\.\n", out.stdout)
    assert match is not None, out.stdout
    name = match[1]

    async def looked() -> list[tuple[str, str | None, str | None]]:
        database = Database(f"sqlite:///{cli.directory}/.data/threadkeeper.db")
        async with database.read() as connection:
            entry = audit_entries.c
            rows = (await connection.execute(select(entry.action, entry.actor, entry.subjectId))).all()
        await database.close()
        return [(row[0], row[1], row[2]) for row in rows]

    assert asyncio.run(looked()) == [("export", None, file.parent.name)], "its user sees that it was given out"
    assert cli("export", "user", "ada").stderr == f"There is a file {name} already.\n"
    assert cli("export", "user", "nobody").stderr == "There is no user 'nobody'.\n"

    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    missing = other("import", "nowhere.zip")
    assert (missing.returncode, missing.stderr) == (1, "nowhere.zip cannot be read: No such file or directory.\n")
    assert list(other.directory.iterdir()) == [], "a mistyped name makes nothing"
    back = other("import", str(cli.directory / name))
    assert (back.returncode, back.stderr) == (0, "")
    assert back.stdout.splitlines() == [
        "For ada: 1 threads, 1 elements, 1 files.",
        "The user ada was made, with the role user and without a password: `threadkeeper user passwd ada` gives one.",
    ]
    assert other("user", "passwd", "ada", "--generate").returncode == 0
    (kept_file,) = (other.directory / ".data" / "files" / file.parent.name).iterdir()
    assert kept_file.read_bytes() == CONTENT
    refused = other("import", str(cli.directory / name))
    assert refused.returncode == 1
    assert refused.stderr.startswith("1 of 1 threads are here already, such as ")
    assert other("import", str(cli.directory / name), "--skip-existing", "--as", "eve").returncode == 0
    (cli.directory / name).write_bytes(b"no zip")
    assert other("import", str(cli.directory / name)).stderr.startswith("This is no takeout, or it is damaged: ")
    assert other("files", "verify").returncode == 0


def test_a_takeout_does_not_hide_that_a_file_is_damaged(kept: tuple[CommandLine, Path], tmp_path: Path) -> None:
    cli, file = kept
    file.write_bytes(CONTENT.upper())
    out = cli("export", "user", "ada", "--to", "ada.zip")
    assert out.returncode == 1
    assert out.stderr == (
        "1 files are damaged in the store, and in the takeout: their content is not their row's; "
        "its manifest names them.\n"
    )
    other = CommandLine(tmp_path / "another")
    other.directory.mkdir()
    assert other("migrate").returncode == 0
    back = other("import", str(cli.directory / "ada.zip"))
    assert (back.returncode, back.stderr) == (0, "")
    assert "content is not its row's (threads/00001 [bold]a thread/files/00001 [red].txt)" in back.stdout
    assert "1 files were damaged when the takeout was made." in back.stdout
    after = other("files", "verify")
    assert (after.returncode, after.stderr) == (1, "1 × content is not its row's.\n")
