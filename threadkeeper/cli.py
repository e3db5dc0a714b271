"""The command line. Only `serve` imports Chainlit, which takes seconds; every other command starts at once.

Wrong settings end a command with one sentence for each and exit code 2, what cannot be done with one and exit code 1.
"""

import asyncio
import errno
import json
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import threadkeeper
from datalayer import AlreadyExists, DataLayerError, NotFound, Receipt, open_blob_store
from datalayer.accounts import ROLES, Accounts
from datalayer.adoption import adopt as adopt_database
from datalayer.database import Database
from datalayer.receipts import Receipts
from threadkeeper.cookie_secret import cookie_secret, make_data_dir
from threadkeeper.logs import configure_logging
from threadkeeper.misspelt import misspelt_names
from threadkeeper.passwords import Passwords, Refused, check_identifier, check_password, generate_password
from threadkeeper.settings import Settings, SettingsError, inspect_settings, load_settings

T = TypeVar("T")

PROJECT_ROOT = Path(threadkeeper.__file__).resolve().parents[1]
FINISH_SECONDS = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
user_app = typer.Typer(no_args_is_help=True, help="Add, change and list the people who may log in.")
app.add_typer(user_app, name="user")


def main() -> None:
    """The entry point `threadkeeper`."""
    app()


@app.callback()
def _threadkeeper() -> None:
    """A self-hosted chat whose every thread, step, file and thumb is kept."""


@app.command()
def serve() -> None:
    """Serve the chat at HOST and PORT until told to stop."""
    settings = _settings()
    _make_data_dir(settings)
    try:
        secret = cookie_secret(settings)
    except SettingsError as error:
        _end(str(error), 2)
    configure_logging(settings.log_level, settings.log_json, [*settings.secret_values(), secret])
    app_file = PROJECT_ROOT / "app.py"
    if not app_file.is_file():
        _end(f"{app_file} is missing: install Threadkeeper from its repository, with `pip install --editable`.", 1)
    listener = _listen(settings.host, settings.port)

    os.environ["CHAINLIT_AUTH_SECRET"] = secret
    os.environ.setdefault("CHAINLIT_APP_ROOT", str(PROJECT_ROOT))
    import uvicorn  # noqa: PLC0415
    from chainlit.config import config, load_module  # noqa: PLC0415

    config.run.host, config.run.port = settings.host, settings.port
    config.run.root_path = os.environ.get("CHAINLIT_ROOT_PATH", "")
    config.run.headless = True
    config.run.module_name = str(app_file)
    from chainlit.server import app as chainlit_app  # noqa: PLC0415  it reads config.run

    load_module(str(app_file))
    server = uvicorn.Server(
        uvicorn.Config(
            chainlit_app,
            loop="uvloop" if find_spec("uvloop") else "asyncio",
            ws="websockets-sansio",
            # Compressing every token costs more than sending it.
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            server_header=False,
            # A browser that polls would hold up the end for as long as it is open.
            timeout_graceful_shutdown=FINISH_SECONDS,
        )
    )
    server.run(sockets=[listener])
    if not server.started:
        _end("The server did not start; the lines above say why.", 1)


@app.command()
def migrate() -> None:
    """Make the database's schema, or bring it up to this version."""
    settings = _settings()
    _make_data_dir(settings)
    applied = _with_accounts(settings, Accounts.migrate)
    for name in applied:
        typer.echo(f"applied: {name}")
    typer.echo("The schema is up to date.")


@app.command()
def adopt(
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
) -> None:
    """Take over the database of one of Chainlit's own data layers; a dry run first."""
    settings = _settings()
    _make_data_dir(settings)
    report = _with_accounts(settings, lambda accounts: adopt_database(accounts.database, apply=apply))
    console = _console()
    table = Table("From", "To", "Found", "There before", "There after", "Left behind")
    for count in report.counts:
        table.add_row(count.source, count.table, *map(str, (count.found, count.before, count.after, count.left_behind)))
    console.print(table)
    if report.findings:
        table = Table("Noticed", "How many", "For example")
        for finding in report.findings:
            table.add_row(Text(finding.what), str(finding.count), Text(", ".join(finding.examples)))
        console.print(table)
    dry = "A dry run: nothing was changed. `threadkeeper adopt --apply` does it."
    console.print("Done." if report.applied else dry)


@app.command()
def check() -> None:
    """Show every setting, where it came from and what is wrong with it, and whether the parts can be reached."""
    from threadkeeper.checks import check_parts  # noqa: PLC0415

    try:
        reports, settings = inspect_settings()
        doubts = misspelt_names()
    except SettingsError as error:
        _end(str(error), 2)
    console = _console()
    table = Table("Setting", "Value", "From", "Problem")
    for report in reports:
        table.add_row(report.variable, Text(report.shown), report.origin, Text(report.problem or "", "bold red"))
    console.print(table)
    for doubt in doubts:
        console.print(Text(doubt, "yellow"))
    wrong = [report.variable for report in reports if report.problem]
    # What libraries have to say here is said again, in words, in the table.
    logging.disable(logging.CRITICAL)
    marks = {True: Text("ok", "green"), False: Text("wrong", "bold red"), None: Text("?", "yellow")}
    table = Table("Part", "", "Found")
    for part in asyncio.run(check_parts(settings, wrong)):
        table.add_row(part.part, marks[part.ok], Text(part.finding))
        if part.ok is False:
            wrong.append(part.part)
    console.print(table)
    if wrong:
        _end(f"{len(wrong)} problem{'s' if len(wrong) > 1 else ''} found: {', '.join(wrong)}.", 1)
    console.print("Everything is as it should be.")


Name = Annotated[str, typer.Argument(help="The name to log in with.", show_default=False)]
FromStandardInput = Annotated[bool, typer.Option("--password-stdin", help="Take the password from standard input.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it.")]


@user_app.command("add")
def add_user(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "user",
    password_stdin: FromStandardInput = False,
    generate: Generate = False,
) -> None:
    """Let someone log in with a password."""
    if role not in ROLES:
        _end(f"The role must be one of {', '.join(ROLES)}.", 1)
    settings, name = _settings(), _checked(check_identifier, name)
    password = _new_password(password_stdin, generate)

    async def add(accounts: Accounts) -> None:
        await accounts.add_account(name, await Passwords().hash(password), role)

    _with_accounts(settings, add)
    typer.echo(f"Added {name} as {role}." + (f" Password: {password}" if generate else ""))


@user_app.command("passwd")
def change_password(name: Name, password_stdin: FromStandardInput = False, generate: Generate = False) -> None:
    """Give someone a new password."""
    settings, name = _settings(), _checked(check_identifier, name)
    password = _new_password(password_stdin, generate)

    async def change(accounts: Accounts) -> None:
        await accounts.set_password(name, await Passwords().hash(password))

    _with_accounts(settings, change)
    typer.echo(f"Changed the password of {name}." + (f" Password: {password}" if generate else ""))


@user_app.command("list")
def list_users() -> None:
    """List everyone who can log in, or could."""
    users = _with_accounts(_settings(), Accounts.list_users)
    header = ("Name", "Role", "Signs in by", "Since", "Disabled")
    rows = [
        (
            user.identifier,
            user.role,
            str(user.metadata.get("provider") or "credentials"),
            user.created_at or "",
            user.disabled_at or "",
        )
        for user in users
    ]
    if not sys.stdout.isatty():
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table)


@user_app.command("disable")
def disable_user(name: Name) -> None:
    """Shut someone out; what they wrote is kept."""
    _set_disabled(name, disabled=True)
    typer.echo(f"{name} may not log in any more.")


@user_app.command("enable")
def enable_user(name: Name) -> None:
    """Let someone in again."""
    _set_disabled(name, disabled=False)
    typer.echo(f"{name} may log in again.")


@user_app.command("delete")
def delete_user(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="A new file for the receipt as well.", show_default=False)
    ] = None,
) -> None:
    """Delete someone for good, with every thread, vote and file of theirs, and print a receipt."""
    settings = _settings()
    if not yes:
        if not sys.stdin.isatty():
            _end("Nobody is there to be asked: use --yes.", 1)
        if not typer.confirm(f"Delete {name}, with every thread, vote and file of theirs, for good?"):
            _end("Nothing was deleted.", 1)
    # Before anything is gone: what cannot be written afterwards would be lost.
    file = _new_file(receipt) if receipt else None

    async def delete() -> Receipt:
        blobs = open_blob_store(settings.resolved_blob_url)
        store = Receipts(Database(settings.resolved_database_url), blobs, patience_seconds=0)
        try:
            return await store.delete_user(name)
        finally:
            await store.close()

    try:
        done = _run(delete())
    except typer.Exit:
        if receipt and file:
            file.close()
            receipt.unlink()
        raise
    text = json.dumps(asdict(done), indent=2, ensure_ascii=False)
    typer.echo(text)
    if file:
        with file:
            file.write(f"{text}\n")
    if done.files_left:
        _end(f"{len(done.files_left)} files could not be removed from the store; the receipt names them.", 1)


def _new_file(path: Path) -> TextIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        _end(f"The receipt cannot be written to {path}: {error.strerror}. Nothing was deleted.", 1)


def _set_disabled(name: str, *, disabled: bool) -> None:
    _with_accounts(_settings(), lambda accounts: accounts.set_disabled(name, disabled))


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        _end(f"{error} `threadkeeper check` lists every setting.", 2)


def _make_data_dir(settings: Settings) -> None:
    try:
        make_data_dir(settings.data_dir)
    except OSError as error:
        _end(f"DATA_DIR {settings.data_dir} cannot be made: {error.strerror}.", 2)


def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[T]]) -> T:
    """What the work gives; where the data layer refuses, the end, in words."""

    async def run() -> T:
        accounts = Accounts(Database(settings.resolved_database_url), None, patience_seconds=0)
        try:
            return await work(accounts)
        finally:
            await accounts.close()

    return _run(run())


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (NotFound, AlreadyExists) as error:
        _end(_sentence(error), 1)
    except DataLayerError as error:
        _end(f"DATABASE_URL: {error}.", 1)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _checked(rule: Callable[[str], str], value: str) -> str:
    try:
        return rule(value)
    except Refused as error:
        _end(str(error), 1)


def _new_password(from_standard_input: bool, generate: bool) -> str:
    if generate:
        return generate_password()
    if from_standard_input:
        return _checked(check_password, sys.stdin.readline().rstrip("\r\n"))
    if not sys.stdin.isatty():
        _end("Nobody is there to ask for a password: use --password-stdin or --generate.", 1)
    return _checked(check_password, str(typer.prompt("Password", hide_input=True, confirmation_prompt=True)))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _end(f"Port {port} on {host} is in use: set PORT to another, or stop what uses it.", 1)
        _end(f"HOST {host} with PORT {port} cannot be listened on: {error.strerror}.", 1)


def _console() -> Console:
    # Where nobody looks, nothing is cut to fit a screen.
    return Console() if sys.stdout.isatty() else Console(width=200)


def _end(words: str, code: int) -> NoReturn:
    typer.echo(words, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
