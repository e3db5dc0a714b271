"""The command line, in an empty directory, as an operator runs it."""

import asyncio
import contextlib
import json
import os
import pty
import socket
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import chainlit as cl
import httpx
import pytest
from aiohttp import web
from sqlalchemy import delete, insert

import datalayer
from datalayer.database import Database
from datalayer.schema.chat import migrations, threads
from tests.support.command_line import CommandLine
from tests.support.kept_process import free_port
from tests.support.model_server import API_KEY, ModelServer
from tests.support.records import new_id
from tests.support.server import ROOT, AppServer
from tests.support.stock import made_by_sqlalchemy_layer

pytestmark = pytest.mark.slow


def at_a_terminal(cli: CommandLine, *arguments: str, answer: str) -> str:
    """The output of a command on a terminal, for a user who types this answer."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "threadkeeper.cli", *arguments],
        cwd=cli.directory,
        env=cli.environment({"PYTHONIOENCODING": "utf-8"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ):
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        # Linux raises EIO when the other end is closed.
        with contextlib.suppress(OSError):
            while more := os.read(ours, 1000):
                shown += more
        os.close(ours)
    return shown.decode()


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return CommandLine(directory)


@pytest.fixture
def migrated(cli: CommandLine, migrated_sqlite: Path) -> CommandLine:
    cli.has_database(migrated_sqlite)
    return cli


# Adoption


def test_adopting_is_a_dry_run_without_apply(migrated: CommandLine) -> None:
    dry = migrated("adopt")
    assert dry.returncode == 0
    assert "Dry run: nothing was changed." in dry.stdout
    assert "Rows before" in dry.stdout
    done = migrated("adopt", "--apply")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Done.")


def test_a_database_that_is_not_chainlits_is_not_adopted(cli: CommandLine) -> None:
    database = cli.directory / "other.db"
    database.touch()
    result = cli("adopt", "--apply", DATABASE_URL=f"sqlite:///{database}")
    assert result.returncode == 1
    assert "this is not a database of Chainlit's" in result.stderr


def test_a_mistyped_path_is_reported_and_no_file_is_created(cli: CommandLine) -> None:
    result = cli("adopt", DATABASE_URL=f"sqlite:///{cli.directory}/chat.bd")
    assert (result.returncode, result.stderr) == (
        1,
        f"No database to adopt: {cli.directory}/chat.bd does not exist.\n",
    )
    assert list(cli.directory.iterdir()) == []


# Names


def test_a_name_is_the_same_in_every_spelling(cli: CommandLine) -> None:
    assert cli("user", "add", "ada@x", "--password-stdin", given="the engine\n").returncode == 0
    again = cli("user", "add", "Ada@X", "--generate")
    assert (again.returncode, again.stdout) == (1, "")
    assert "user 'Ada@X' exists already, as 'ada@x'" in again.stderr
    assert cli("user", "passwd", "ADA@X", "--password-stdin", given="\ufeffanother engine\r\n").returncode == 0
    assert cli.verify("ada@x", "another engine")
    assert cli("limits", "set", "5", "dollars", "day", "--user", "Ada@x").returncode == 0
    assert cli("projects", "set", "maps", "--owner", "ADA@x").returncode == 0
    assert cli("user", "list").stdout.count("ada@x") == 1
    assert cli("check").stdout.count("differ only in case") == 0

    # Only an older version could store two such users.
    with contextlib.closing(sqlite3.connect(cli.directory / ".data" / "threadkeeper.db")) as database, database:
        database.execute(
            "INSERT INTO users (id, identifier, metadata, role) VALUES (?, 'ADA@X', '{}', 'admin')", [new_id()]
        )
    listed = "the names 'ada@x', 'ADA@X' differ only in case"
    assert listed in " ".join(cli("check").stdout.split())
    assert listed in " ".join(cli("verify").stdout.split())
    assert cli("user", "role", "ada@x", "admin").returncode == 0, "the only admin is not disabled"
    assert cli("user", "disable", "ADA@X").returncode == 0
    rows = [line.split("\t") for line in cli("user", "list").stdout.splitlines()]
    assert [(row[0], bool(row[-1])) for row in rows[1:]] == [("ADA@X", True), ("ada@x", False)]


# Settings


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["user", "list"]])
def test_an_invalid_setting_ends_every_command_with_one_sentence(cli: CommandLine, command: list[str]) -> None:
    result = cli(*command, DATABASE_URL="mysql://me:hunter2@db/x")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "DATABASE_URL must start with sqlite:/// or postgresql://. `threadkeeper check` lists every setting.\n"
    )
    assert list(cli.directory.iterdir()) == []


def test_a_data_dir_that_cannot_be_created_is_reported(cli: CommandLine) -> None:
    (cli.directory / "taken").write_text("", encoding="utf-8")
    result = cli("serve", DATA_DIR="taken/data")
    assert (result.returncode, result.stderr) == (2, "Cannot create DATA_DIR taken/data: Not a directory.\n")


def test_a_root_of_chainlit_that_does_not_exist_is_reported(cli: CommandLine) -> None:
    result = cli("serve", CHAINLIT_APP_ROOT="/nowhere/at/all")
    told = "CHAINLIT_APP_ROOT must be a folder that exists, and /nowhere/at/all does not.\n"
    assert (result.returncode, result.stderr) == (2, told)


def test_a_port_in_use_is_reported(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = cli("serve", PORT=str(port))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"Port {port} on 127.0.0.1 is in use. Set PORT to a free port, or stop the program that uses it."
    )


def test_a_host_of_another_machine_is_reported(cli: CommandLine) -> None:
    result = cli("serve", HOST="192.0.2.1")
    assert result.returncode == 1
    assert result.stderr.startswith("Cannot listen on HOST 192.0.2.1, PORT 8000: ")


def test_commands_start_without_chainlit_and_without_a_model_client() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, threadkeeper.cli, threadkeeper.commands.check; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"chainlit", "openai", "uvicorn", "fastapi"} & set(imported)


# check


def test_check_on_a_new_machine_finds_no_problem_and_creates_nothing(cli: CommandLine) -> None:
    result = cli("check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "demo model" in result.stdout
    assert "does not exist yet" in result.stdout
    assert list(cli.directory.iterdir()) == []


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["user", "list"], ["check"]])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/x", "names another driver than asyncpg"),
        ("postgresql://me:hunter2@127.0.0.1:1/x?requirepeer=root", "cannot be used with requirepeer"),
        ("postgresql://me:hunter2@127.0.0.1:1/x?sslmode=REQUIRE", "`sslmode` parameter must be one of: disable, allow"),
        ("postgresql://me:hunter2@127.0.0.1:1/x?sslrootcert=/none.pem", "has sslrootcert=/none.pem, which cannot be"),
    ],
    ids=["driver", "refused", "value", "file"],
)
def test_a_wrong_parameter_of_the_url_ends_every_command(
    cli: CommandLine, command: list[str], url: str, words: str
) -> None:
    result = cli(*command, DATABASE_URL=url, PORT=str(free_port()))
    assert result.returncode in (1, 2)
    printed = result.stdout + result.stderr
    assert words in " ".join(printed.replace("│", " ").split())
    assert "Traceback" not in printed
    assert "hunter2" not in printed


def test_check_reports_every_problem_and_shows_no_secret(cli: CommandLine) -> None:
    (cli.directory / ".env").write_text("TEMPERATURE=9\nOPENAI_API_KEY=sk-hunter2\nLOG_LEVEL=debug\n", encoding="utf-8")
    (cli.directory / "file").write_text("", encoding="utf-8")
    result = cli(
        "check",
        PORT="many",
        DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:1/nowhere",
        BLOB_URL=f"file://{cli.directory}/file/blobs",
        OPENAI_BASE_URL="http://127.0.0.1:1/v1",
    )
    assert result.returncode == 1
    assert result.stderr == "5 problems found: PORT, TEMPERATURE, database, files, model server.\n"
    rows = {cells[1].strip(): cells for line in result.stdout.splitlines() if len(cells := line.split("│")) > 3}
    assert [cell.strip() for cell in rows["PORT"][2:5]] == ["many", "environment", "must be a whole number"]
    assert [cell.strip() for cell in rows["TEMPERATURE"][2:5]] == ["9", ".env file", "must be at most 2"]
    assert [cell.strip() for cell in rows["LOG_LEVEL"][2:5]] == ["debug", ".env file", ""]
    assert [cell.strip() for cell in rows["OPENAI_API_KEY"][2:5]] == ["********", ".env file", ""]
    assert rows["HOST"][3].strip() == "default"
    assert "nothing listens at that host and port" in rows["database"][3]
    assert "ConnectionRefusedError" in rows["model server"][3]
    assert "hunter2" not in result.stdout + result.stderr


def test_check_reports_a_misspelled_name_but_not_as_a_problem(cli: CommandLine) -> None:
    (cli.directory / ".env").write_text("OPENAI_MODEL=hunter2\n", encoding="utf-8")
    result = cli("check")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-2:] == [
        "Unknown setting OPENAI_MODEL. Did you mean OPENAI_MODELS?",
        "No other problems found.",
    ]
    assert "hunter2" not in result.stdout + result.stderr


def test_check_skips_parts_with_an_invalid_setting(cli: CommandLine) -> None:
    result = cli("check", DATABASE_URL="mysql://x", OPENAI_MODELS=",")
    assert "not checked, because DATABASE_URL is invalid" in result.stdout
    assert "not checked, because OPENAI_MODELS is invalid" in result.stdout
    assert result.stderr == "2 problems found: DATABASE_URL, OPENAI_MODELS.\n"


def test_check_reports_the_state_of_the_schema(cli: CommandLine, empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    before = cli("check", DATABASE_URL=empty_database_url)
    assert "applies: build_schema" in before.stdout
    assert before.returncode == 0
    cli("migrate", DATABASE_URL=empty_database_url)
    after = " ".join(cli("check", DATABASE_URL=empty_database_url).stdout.split())
    assert "the schema is up to date; search index: complete; passages of assistants: searched by" in after
    if empty_database_url.startswith("sqlite"):
        assert "searched by NumPy in each process, because SQLite has no index of vectors" in after


async def test_check_reports_what_the_search_index_lacks_and_refused_secrets(
    cli: CommandLine, empty_database_url: str
) -> None:
    cli("migrate", DATABASE_URL=empty_database_url)
    layer = datalayer.create_data_layer(empty_database_url)
    for texts in ("1 text is left; it is", "2 texts are left; they are"):
        async with layer.database.write() as connection:
            # Another program writes, so that nothing of this process indexes the text.
            title = {"id": new_id(), "createdAt": "2026-11-20T10:00:00.000Z", "name": "Rivers"}
            await connection.execute(insert(threads).values(**title))
        found = " ".join((await asyncio.to_thread(cli, "check", DATABASE_URL=empty_database_url)).stdout.split())
        assert f"search index: {texts} indexed while the server runs" in found
    # As an older version allowed.
    providers = tuple(
        datalayer.Provider(slug, slug, secret=name) for slug, name in (("a", "OPENAI_API_KEY"), ("b", "B"))
    )
    await layer.put_project(datalayer.Project(new_id(), "The lab", "lab", providers=providers))
    found = " ".join((await asyncio.to_thread(cli, "check", DATABASE_URL=empty_database_url)).stdout.split())
    assert "variables of this server: OPENAI_API_KEY of lab/a. Give" in found
    await layer.close()


async def test_check_reports_a_database_that_is_not_adopted_yet(cli: CommandLine, empty_database_url: str) -> None:
    await made_by_sqlalchemy_layer(empty_database_url, "today")
    before = cli("check", DATABASE_URL=empty_database_url)
    assert "created by one of Chainlit's own data layers: run `threadkeeper adopt`" in before.stdout
    assert before.stdout.splitlines()[-1] == "No other problems found."
    assert cli("adopt", "--apply", DATABASE_URL=empty_database_url).returncode == 0
    after = cli("check", DATABASE_URL=empty_database_url)
    assert "the schema is up to date" in after.stdout
    assert after.stdout.splitlines()[-1] == "No problems found."


@pytest.mark.parametrize(
    ("settings", "finding", "code"),
    [
        ({"OPENAI_MODELS": "echo"}, "│ reachable ", 0),
        ({"OPENAI_MODELS": "echo,none-such"}, "its list of models does not contain none-such", 0),
        (
            {"OPENAI_MODELS": "echo", "AZURE_OPENAI_ENDPOINT": "https://127.0.0.1:1"},
            "AZURE_OPENAI_API_KEY is invalid",
            1,
        ),
    ],
)
async def test_check_asks_the_model_server(
    cli: CommandLine, model_server: ModelServer, settings: dict[str, str], finding: str, code: int
) -> None:
    settings = {"OPENAI_BASE_URL": model_server.base_url, "OPENAI_API_KEY": API_KEY, **settings}
    result = await asyncio.to_thread(cli, "check", **settings)
    assert finding in result.stdout
    assert result.returncode == code, result.stdout


@pytest.mark.parametrize(
    ("path", "finding"),
    [
        ("refuses", "failed with status 401; check the API key"),
        ("page", "reachable, but not a model server"),
        ("lists-none", "reachable, but this URL has no list of models"),
    ],
)
async def test_check_reports_the_problem_of_a_model_server(cli: CommandLine, path: str, finding: str) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=401)

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<p>Welcome", content_type="text/html")

    application = web.Application()
    application.router.add_get("/refuses/models", refuse)
    application.router.add_get("/page/models", page)
    runner = web.AppRunner(application)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{path}"
        result = await asyncio.to_thread(cli, "check", OPENAI_BASE_URL=url)
        await runner.cleanup()
    assert finding in result.stdout
    assert result.returncode == (0 if path == "lists-none" else 1)


def test_check_does_not_wait_for_a_silent_server(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        result = cli("check", OPENAI_BASE_URL=f"http://{address}/v1", DATABASE_URL=f"postgresql://someone@{address}/x")
    assert result.stdout.count("no answer within 5 seconds") == 2
    assert result.stderr == "2 problems found: database, model server.\n"


# migrate


def test_migrate_prints_the_applied_migrations(cli: CommandLine, empty_database_url: str) -> None:
    first = cli("migrate", DATABASE_URL=empty_database_url)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("applied: build_schema\n")
    assert first.stdout.endswith("The schema is up to date.\n")
    nothing = cli("migrate", "--plan", DATABASE_URL=empty_database_url)
    assert (nothing.stdout, nothing.stderr) == ("Phase\tChange\tPurpose\tWho waits\n", "")

    async def upgrade_from_an_older_version() -> None:
        database = Database(empty_database_url)
        async with database.write() as connection:
            forget = delete(migrations).where(migrations.c.name == "complete_rows_of_older_versions")
            assert (await connection.execute(forget)).rowcount == 1
        await database.close()

    asyncio.run(upgrade_from_an_older_version())
    planned = cli("migrate", "--plan", DATABASE_URL=empty_database_url).stdout.splitlines()
    assert [line.split("\t")[:2] for line in planned[1:]] == [["after", "complete_rows_of_older_versions"]]
    left = cli("migrate", DATABASE_URL=empty_database_url).stdout.splitlines()
    step = "complete_rows_of_older_versions"
    assert left == [
        f"left for `threadkeeper migrate --after`, when no replica runs an older version: {step}",
        "The schema is up to date.",
    ]
    checked = " ".join(cli("check", DATABASE_URL=empty_database_url).stdout.replace("│", " ").split())
    assert (
        "`threadkeeper migrate --after` applies, when no replica is older: complete_rows_of_older_versions" in checked
    )
    done = cli("migrate", "--after", DATABASE_URL=empty_database_url).stdout.splitlines()
    assert done == ["applied: complete_rows_of_older_versions", "The schema is up to date."]


def test_an_unavailable_database_is_reported_in_one_sentence(cli: CommandLine) -> None:
    result = cli("migrate", DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:1/nowhere")
    assert result.returncode == 1
    assert result.stderr == "DATABASE_URL: the database cannot be used now (nothing listens at that host and port).\n"


# user


def test_the_life_of_an_account(migrated: CommandLine) -> None:
    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return migrated("user", *arguments, given=given)

    added = run("add", "ada", "--role", "reviewer", "--password-stdin", given="the first password\n")
    assert (added.returncode, added.stdout) == (0, "Added ada as reviewer.\n"), added.stderr
    assert migrated.verify("ada", "the first password")

    again = run("add", "ada", "--generate")
    assert (again.returncode, again.stderr) == (1, "The user 'ada' exists already.\n")

    changed = run("passwd", "ada", "--generate")
    assert migrated.verify("ada", changed.stdout.split("Password: ")[1].strip())
    assert not migrated.verify("ada", "the first password")

    assert run("disable", "ada").stdout == "Disabled ada.\n"
    header, row = (line.split("\t") for line in run("list").stdout.splitlines())
    assert header == ["Name", "Role", "Signs in with", "Created", "Disabled"]
    assert row[:3] == ["ada", "reviewer", "credentials"]
    assert row[4]
    assert run("enable", "ada").stdout == "Enabled ada.\n"
    assert run("role", "ada", "admin").stdout == "ada is now an admin.\n"
    refused = run("role", "ada", "user")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "'ada', the only admin" in refused.stderr
    assert run("list").stdout.splitlines()[1].split("\t")[1] == "admin"
    assert run("list").stdout.splitlines()[1].endswith("\t")


@pytest.mark.parametrize("command", ["passwd", "disable", "enable", "role"])
def test_an_unknown_user_is_reported(migrated: CommandLine, command: str) -> None:
    options = {"passwd": ["--generate"], "role": ["user"]}.get(command, [])
    result = migrated("user", command, "nobody", *options)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "There is no user 'nobody'.\n"


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        (["ada", "--password-stdin"], "short\n", "A password must have at least 8 characters."),
        (["ada", "--role", "king", "--generate"], "", "The role must be one of user, reviewer, admin."),
        ([" ", "--generate"], "", "A user name must not be empty."),
        (["ada\x1b[31m", "--generate"], "", "A user name must not contain control characters."),
        (["ada"], "", "No terminal to ask for a password. Use --password-stdin or --generate."),
    ],
)
def test_invalid_input_never_reaches_the_database(
    cli: CommandLine, arguments: list[str], given: str, sentence: str
) -> None:
    result = cli("user", "add", *arguments, given=given)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{sentence}\n")
    assert list(cli.directory.iterdir()) == []


def test_without_a_database_the_message_names_the_command_and_nothing_is_created(cli: CommandLine) -> None:
    result = cli("user", "list")
    assert result.returncode == 1
    assert "migrate" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(cli.directory.iterdir()) == []


def test_without_a_schema_the_message_names_the_command(cli: CommandLine) -> None:
    (cli.directory / ".data").mkdir()
    (cli.directory / ".data" / "threadkeeper.db").touch()
    result = cli("user", "list")
    assert result.returncode == 1
    assert "migrate" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("folder", ["50%25", "what?", "a b#c", "数据"])
def test_the_data_folder_can_have_any_name(cli: CommandLine, folder: str) -> None:
    here = {"DATA_DIR": str(cli.directory / folder)}
    assert cli("user", "add", "ada", "--generate", **here).returncode == 0
    assert cli("user", "list", **here).stdout.splitlines()[1].startswith("ada\t")
    assert (cli.directory / folder / "threadkeeper.db").is_file()
    assert [path.name for path in cli.directory.iterdir()] == [folder]


def test_a_user_can_be_added_before_the_first_start(cli: CommandLine) -> None:
    added = cli("user", "add", "ada", "--generate")
    assert (added.returncode, added.stdout[:20]) == (0, "Added ada as user. P"), added.stderr
    assert "Nobody is an admin yet" in added.stderr
    assert "threadkeeper user role ada admin" in added.stderr
    assert "threadkeeper user add NAME --role admin" in added.stderr
    assert "nobody is an admin" in cli("check").stdout
    assert cli("user", "add", "bob", "--generate", "--role", "admin").stderr == ""
    assert "nobody is an admin" not in cli("check").stdout


@pytest.mark.parametrize(
    "command",
    [
        ("prices", "set", "our-model", "--input", "1", "--output", "2"),
        ("projects", "list"),
        ("limits", "set", "5", "dollars", "day"),
    ],
)
def test_prices_projects_and_limits_can_be_set_before_the_first_start(
    cli: CommandLine, empty_database_url: str, command: tuple[str, ...]
) -> None:
    done = cli(*command, DATABASE_URL=empty_database_url)
    assert (done.returncode, done.stderr) == (0, "")


def test_user_delete_deletes_all_data_and_the_receipt_counts_the_rows(migrated: CommandLine) -> None:
    migrated("user", "add", "ada", "--generate")
    assert (
        migrated("user", "delete", "ada").stderr
        == "No terminal to ask for confirmation. Use --yes to proceed without it.\n"
    )
    assert "ada" in migrated("user", "list").stdout
    done = migrated("user", "delete", "ada", "--yes", "--receipt", "receipt.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "0 threads, 0 messages, 0 votes, 0 files deleted.",
        "Other rows deleted: credentials 1, users 1.",
        "The receipt is in receipt.json.",
    ]
    file = migrated.directory / "receipt.json"
    receipt = json.loads(file.read_text(encoding="utf-8"))
    assert (receipt["what"], receipt["owner"], receipt["deleted_by"]) == ("user", "ada", None)
    assert (receipt["rows"]["users"], receipt["rows"]["credentials"]) == (1, 1)
    assert file.stat().st_mode & 0o077 == 0
    assert "ada" not in migrated("user", "list").stdout


def test_commands_keep_the_only_admin_and_leave_rows_in_the_audit(migrated: CommandLine) -> None:
    migrated("user", "add", "ada", "--role", "admin", "--generate")
    for command in (("disable", "ada"), ("role", "ada", "user"), ("delete", "ada", "--yes", "--receipt", "new.json")):
        refused = migrated("user", *command)
        told = "Nothing was changed for 'ada', the only admin: make another user an admin first.\n"
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", told)
    assert not (migrated.directory / "new.json").exists()
    migrated("user", "add", "bob", "--generate")
    done = [("role", "bob", "admin"), ("disable", "ada"), ("enable", "ada"), ("passwd", "ada", "--generate")]
    for words in (*done, ("delete", "ada", "--yes")):
        assert migrated("user", *words).returncode == 0
    with contextlib.closing(sqlite3.connect(migrated.directory / ".data" / "threadkeeper.db")) as database:
        rows = database.execute("SELECT action, actor FROM audit_entries ORDER BY id").fetchall()
        (bob,) = database.execute("SELECT id FROM users").fetchone()
        of_bob = database.execute('SELECT action FROM audit_entries WHERE "ownerId" = ?', [bob]).fetchall()
    acts = ["add_user", "add_user", "change_role", "disable_user", "enable_user", "change_password", "delete_user"]
    assert rows == [(act, None) for act in acts]
    assert of_bob == [("add_user",), ("change_role",)]


async def test_thread_delete_deletes_all_data_and_the_receipt_names_the_rows(migrated: CommandLine) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{migrated.directory}/.data/threadkeeper.db")
    thread_id, step_id = str(uuid.uuid4()), str(uuid.uuid4())
    await layer.create_step({"id": step_id, "threadId": thread_id, "type": "user_message", "output": "gone soon"})
    try:
        assert (
            migrated("thread", "delete", thread_id).stderr
            == "No terminal to ask for confirmation. Use --yes to proceed without it.\n"
        )
        done = migrated("thread", "delete", thread_id, "--yes", "--receipt", "receipt.json")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("1 thread, 1 message, 0 votes, 0 files deleted.\n")
        assert thread_id not in done.stdout
        receipt = json.loads((migrated.directory / "receipt.json").read_text(encoding="utf-8"))
        assert (receipt["what"], receipt["id"]) == ("thread", thread_id)
        assert (receipt["row_ids"]["threads"], receipt["row_ids"]["steps"]) == ([thread_id], [step_id])
        assert await layer.get_thread(thread_id) is None
    finally:
        await layer.close()
    again = migrated("thread", "delete", thread_id, "--yes")
    assert (again.returncode, again.stderr) == (1, f"The thread {thread_id} does not exist.\n")
    assert migrated("thread", "delete", "no id", "--yes").returncode == 1


async def test_the_confirmation_shows_title_and_owner_of_the_thread(migrated: CommandLine) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{migrated.directory}/.data/threadkeeper.db")
    thread_id = str(uuid.uuid4())
    owner = await layer.create_user(cl.User("ada"))
    await layer.update_thread(thread_id, name="Ein “Titel”\x1b[2J 文", user_id=owner.id)
    try:
        unknown = await asyncio.to_thread(at_a_terminal, migrated, "thread", "delete", new_id(), answer="n\n")
        assert unknown.endswith("There is no such thread.\r\n")
        assert "Permanently delete" not in unknown
        shown = await asyncio.to_thread(at_a_terminal, migrated, "thread", "delete", thread_id, answer="n\n")
        assert f"Permanently delete the thread {thread_id} ('Ein “Titel”\\x1b[2J 文', owner 'ada') with all" in shown
        assert shown.endswith("Nothing was deleted.\r\n")
        assert await layer.get_thread(thread_id) is not None
        await layer.create_step({"id": new_id(), "threadId": (other := new_id()), "type": "user_message"})
        shown = await asyncio.to_thread(at_a_terminal, migrated, "thread", "delete", other, answer="y\n")
        assert f"Permanently delete the thread {other} (no title, no owner) with all its steps" in shown
        warning = "No receipt is written. To write one with the ids of all deleted rows, use --receipt FILE.\r\n"
        assert shown.index(warning) < shown.index("Permanently delete")
        assert "1 thread, 1 message, 0 votes, 0 files deleted.\r\n" in shown
        assert shown.endswith("No receipt was written: --receipt was not given.\r\n")
        assert await layer.get_thread(other) is None
    finally:
        await layer.close()


def test_nothing_is_deleted_if_the_receipt_cannot_be_written(migrated: CommandLine) -> None:
    migrated("user", "add", "ada", "--generate")
    (migrated.directory / "there.json").write_text("an older receipt", encoding="utf-8")
    for path in ("there.json", "no/such/folder.json"):
        result = migrated("user", "delete", "ada", "--yes", "--receipt", path)
        assert result.returncode == 1
        assert result.stderr.endswith("Nothing was deleted.\n")
    assert "ada" in migrated("user", "list").stdout
    assert (migrated.directory / "there.json").read_text(encoding="utf-8") == "an older receipt"
    unknown = migrated("user", "delete", "bob", "--yes", "--receipt", "new.json")
    assert (unknown.returncode, unknown.stderr) == (1, "There is no user 'bob'.\n")
    assert not (migrated.directory / "new.json").exists()


def test_a_terminal_asks_for_the_password_twice_without_showing_it(migrated: CommandLine) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "threadkeeper.cli", "user", "add", "ada"],
        cwd=migrated.directory,
        env=migrated.environment({}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = ""
        try:
            # The prompt ends with a space once the terminal no longer shows the input.
            for prompt in ("Password: ", "Repeat for confirmation: "):
                while not shown.endswith(prompt):
                    shown += os.read(ours, 1000).decode()
                os.write(ours, b"the first password\n")
            while "Added ada as user." not in shown:
                shown += os.read(ours, 1000).decode()
        finally:
            os.close(ours)
            process.kill()
    assert "the first password" not in shown
    assert migrated.verify("ada", "the first password")


# serve


async def test_serve_creates_its_files_prints_the_password_once_and_stops_cleanly(tmp_path: Path) -> None:
    environment = {"LOG_JSON": "true", "THREADKEEPER_PORT": "1"}
    async with AppServer(tmp_path / "server", f"sqlite:///{tmp_path}/x.db", environment, program=None) as server:
        assert server.log.count("Sign in as admin with the password ") == 1
        password = server.log.split("with the password ")[1].split()[0]
        secret = (server.directory / "data" / "cookie_secret").read_text(encoding="ascii").strip()
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            login = {"username": "admin", "password": password}
            assert (await client.post("/login", data=login)).status_code == 200
            assert (await client.get("/health")).json() == {"status": "ok"}
            assert 'threadkeeper_logins_total{outcome="ok"} 1.0' in (await client.get("/metrics")).text
            assert await server.stop() == 0
            await server.start()
            assert (await client.get("/user")).json()["identifier"] == "admin", "a restart logs nobody out"
        assert server.log.count("Sign in as admin") == 1
        assert server.log.count("Unknown setting THREADKEEPER_PORT. Did you mean PORT?") == 2, "once at each start"
        assert await server.stop() == 0
        lines = [line for line in server.log.splitlines() if line and not line.startswith("Created the user")]
        assert all({"time", "level", "logger", "message"} <= json.loads(line).keys() for line in lines)
        assert secret not in server.log
    assert not (server.directory / ".chainlit").exists(), "the working directory is not Chainlit's"
