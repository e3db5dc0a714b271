"""The command line. A command imports what it needs when it is called, and none of it for the help of another.

Only `serve` imports Chainlit, which takes seconds. Each group of commands has a module in `threadkeeper/commands`,
which is imported when one of its commands is named; how a command ends is said in `terminal` there. So nothing is
imported here at the top but what the list of commands needs.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

import threadkeeper

if TYPE_CHECKING:
    import socket

PROJECT_ROOT = Path(threadkeeper.__file__).resolve().parents[1]
FINISH_SECONDS = 2

# What stands in the list of commands, so that the list imports none of them: module, name there, summary.
COMMANDS = {
    "import": (
        "takeouts",
        "import_takeout",
        "Bring a takeout back, here or on another installation; the schema is made, or brought up, first.",
    ),
    "retention": (
        "retention",
        "retention",
        "Delete threads, files and audit older than RETENTION_*_DAYS say, and what was said in calls older than\n"
        "USAGE_PAYLOAD_DAYS; pinned and flagged threads stay.",
    ),
    "reprice": (
        "prices",
        "reprice",
        "Price calls anew by the prices that are known today for their time; a dry run first.",
    ),
    "verify": (
        "verify",
        "verify",
        "Reckon every call's cost anew and compare all sums with their rows; exit code 1 where something is wrong.",
    ),
}
GROUPS = {
    "user": ("users", "user_app", "Add, change and list the people who may log in."),
    "thread": ("threads", "thread_app", "Delete a thread, with a receipt."),
    "files": ("files", "files_app", "Look after the files: compare them with their rows, move them."),
    "export": ("takeouts", "export_app", "Write what is kept into files that can be taken elsewhere."),
    "prices": ("prices", "prices_app", "Set and list prices of your own; they win over the published ones."),
    "projects": ("projects", "projects_app", "Add, change and list projects."),
    "limits": ("limits", "limits_app", "Limit what users and projects may use, in tokens or dollars."),
}


class _ListedCommand(TyperCommand):
    """A name and a summary in the list of commands; `load` imports the command itself."""

    def __init__(self, name: str, module: str, attribute: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._module, self._attribute = module, attribute

    def load(self) -> Any:
        found = getattr(import_module(f"threadkeeper.commands.{self._module}"), self._attribute)
        parent = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        # With a callback it is a group, of however few commands.
        parent.callback()(_threadkeeper)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(found)
        return get_group(parent).commands[str(self.name)]


class Commands(TyperGroup):
    """The commands of this file, and those that are imported when they are called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        here = self.commands
        self.commands = {
            **{name: _ListedCommand(name, *listed) for name, listed in COMMANDS.items()},
            **here,
            **{name: _ListedCommand(name, *listed) for name, listed in GROUPS.items()},
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _ListedCommand) else command, rest


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def main() -> None:
    """The entry point `threadkeeper`."""
    app()


@app.callback()
def _threadkeeper() -> None:
    """A self-hosted chat whose every thread, step, file and thumb is kept."""


@app.command()
def serve() -> None:
    """Serve the chat at HOST and PORT until told to stop."""
    import gc
    from importlib.util import find_spec

    # Two thousand modules come in, and none goes: the collector would look through all of them again and again.
    gc.disable()
    from threadkeeper.chainlit_imports import put_stand_in
    from threadkeeper.commands.terminal import end, make_data_dir, settings_or_end
    from threadkeeper.cookie_secret import cookie_secret
    from threadkeeper.logs import configure_logging
    from threadkeeper.settings import SettingsError

    settings = settings_or_end()
    make_data_dir(settings)
    try:
        secret = cookie_secret(settings)
    except SettingsError as error:
        end(str(error), 2)
    configure_logging(settings.log_level, settings.log_json, [*settings.secret_values(), secret])
    app_file = PROJECT_ROOT / "app.py"
    if not app_file.is_file():
        end(f"{app_file} is missing: install Threadkeeper from its repository, with `pip install --editable`.", 1)
    listener = _listen(settings.host, settings.port)

    os.environ["CHAINLIT_AUTH_SECRET"] = secret
    os.environ.setdefault("CHAINLIT_APP_ROOT", str(PROJECT_ROOT))
    put_stand_in()
    import uvicorn
    from chainlit.config import config, load_module

    config.run.host, config.run.port = settings.host, settings.port
    config.run.root_path = os.environ.get("CHAINLIT_ROOT_PATH", "")
    config.run.headless = True
    config.run.module_name = str(app_file)
    from chainlit.server import app as chainlit_app  # it reads config.run

    load_module(str(app_file))
    gc.freeze()
    gc.enable()
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
        end("The server did not start; the lines above say why.", 1)


@app.command()
def migrate() -> None:
    """Make the database's schema, or bring it up to this version."""
    from datalayer.accounts import Accounts
    from threadkeeper.commands.terminal import make_data_dir, settings_or_end, with_accounts

    settings = settings_or_end()
    make_data_dir(settings)
    applied = with_accounts(settings, Accounts.migrate)
    for name in applied:
        typer.echo(f"applied: {name}")
    typer.echo("The schema is up to date.")


@app.command()
def adopt(
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
) -> None:
    """Take over the database of one of Chainlit's own data layers; a dry run first."""
    from rich.table import Table
    from rich.text import Text

    from datalayer.adoption import adopt as adopt_database
    from threadkeeper.commands.terminal import console, end, settings_or_end, with_accounts
    from threadkeeper.urls import sqlite_file

    settings = settings_or_end()
    if (file := sqlite_file(settings.resolved_database_url)) and not file.exists():
        end(f"There is no database to adopt: {file} is not there.", 1)
    report = with_accounts(settings, lambda accounts: adopt_database(accounts.database, apply=apply))
    shown = console()
    table = Table("From", "To", "Found", "There before", "There after", "Left behind")
    for count in report.counts:
        table.add_row(count.source, count.table, *map(str, (count.found, count.before, count.after, count.left_behind)))
    shown.print(table)
    if report.findings:
        table = Table("Noticed", "How many", "For example")
        for finding in report.findings:
            table.add_row(Text(finding.what), str(finding.count), Text(", ".join(finding.examples)))
        shown.print(table)
    dry = "A dry run: nothing was changed. `threadkeeper adopt --apply` does it."
    shown.print("Done." if report.applied else dry)


@app.command()
def check() -> None:
    """Show every setting, where it came from and what is wrong with it, and whether the parts can be reached."""
    import asyncio
    import logging

    from rich.table import Table
    from rich.text import Text

    from threadkeeper.checks import check_parts
    from threadkeeper.commands.terminal import console, end
    from threadkeeper.misspelt import misspelt_names
    from threadkeeper.settings import SettingsError, inspect_settings

    try:
        reports, settings = inspect_settings()
        doubts = misspelt_names()
    except SettingsError as error:
        end(str(error), 2)
    shown = console()
    table = Table("Setting", "Value", "From", "Problem")
    for report in reports:
        table.add_row(report.variable, Text(report.shown), report.origin, Text(report.problem or "", "bold red"))
    shown.print(table)
    wrong = [report.variable for report in reports if report.problem]
    # What libraries have to say here is said again, in words, in the table.
    logging.disable(logging.CRITICAL)
    marks = {True: Text("ok", "green"), False: Text("wrong", "bold red"), None: Text("?", "yellow")}
    table = Table("Part", "", "Found")
    parts = asyncio.run(check_parts(settings, wrong))
    for part in parts:
        table.add_row(part.part, marks[part.ok], Text(part.finding))
        if part.ok is False:
            wrong.append(part.part)
    shown.print(table)
    for doubt in doubts:
        shown.print(Text(doubt, "yellow"))
    if wrong:
        end(f"{len(wrong)} problem{'s' if len(wrong) > 1 else ''} found: {', '.join(wrong)}.", 1)
    is_doubtful = bool(doubts) or any(part.ok is None for part in parts)
    shown.print("Everything else is as it should be." if is_doubtful else "Everything is as it should be.")


def _listen(host: str, port: int) -> "socket.socket":
    import errno
    import socket

    from threadkeeper.commands.terminal import end

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            end(f"Port {port} on {host} is in use: set PORT to another, or stop what uses it.", 1)
        end(f"HOST {host} with PORT {port} cannot be listened on: {error.strerror}.", 1)


if __name__ == "__main__":
    main()
