"""The command line. Each command imports what it needs when it is called, so that the list of commands is fast.

Only `serve` imports Chainlit, which takes seconds. Each group of commands has a module in `threadkeeper/commands`,
which is imported when one of its commands is called. Output and errors are in `terminal` there.
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
# Idle connections live longer than most clients keep them (Go: 90 s), and than haproxy does (deploy/haproxy.cfg): a
# request that is sent just as the server closes its connection is lost, and a POST is not repeated by the client.
KEEP_ALIVE_SECONDS = 125

# The list of commands, which imports none of them: module, name in the module, and a copy of the help, which a test
# compares.
COMMANDS = {
    "adopt": (
        "adoption",
        "adopt",
        "Adopt a database of one of Chainlit's own data layers, or a DynamoDB table. A dry run by default.",
    ),
    "backup": (
        "backups",
        "backup",
        "Copy the database and its files into a folder while the server runs. Run it again to continue.",
    ),
    "restore": (
        "backups",
        "restore",
        "Restore a backup into an empty database and an empty file store. Run it again to continue.",
    ),
    "import": (
        "imports",
        "import_history",
        "Import a takeout or the export of another chat. Creates or upgrades the schema first.",
    ),
    "retention": (
        "retention",
        "retention",
        "Delete data that is older than its retention period. A dry run by default.",
    ),
    "reprice": (
        "prices",
        "reprice",
        "Recalculate the cost of past calls from the prices known today. A dry run by default.",
    ),
    "verify": (
        "verify",
        "verify",
        "Check the tokens and the cost of every call, and all totals. Exit code 1 if a problem is found.",
    ),
}
GROUPS = {
    "user": ("users", "user_app", "Add, change, list and delete users."),
    "thread": ("threads", "thread_app", "Delete a thread, with a receipt."),
    "threads": (
        "thread_exports",
        "threads_app",
        "Export threads as Markdown, HTML, JSON or OpenAI messages.",
    ),
    "files": ("files", "files_app", "Check the stored files, or move them to another store."),
    "export": ("takeouts", "export_app", "Export the data of a user."),
    "prices": ("prices", "prices_app", "Set and list your own prices. They override published prices."),
    "assistants": ("assistants", "assistants_app", "List assistants, and export or import one as a YAML file."),
    "knowledge": (
        "knowledge",
        "knowledge_app",
        "Add, list and remove what an assistant knows from, and train it.",
    ),
    "projects": ("projects", "projects_app", "Add, change, list and delete projects."),
    "jobs": ("jobs", "jobs_app", "List, show, cancel and retry jobs."),
    "limits": ("limits", "limits_app", "Limit the usage of users, projects and API keys, in tokens or dollars."),
    "keys": ("keys", "keys_app", "Make, list and revoke API keys for programs."),
}


class _ListedCommand(TyperCommand):
    """The name and help of a command in the list; `load` imports the command itself."""

    def __init__(self, name: str, module: str, attribute: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._module, self._attribute = module, attribute

    def load(self) -> Any:
        found = getattr(import_module(f"threadkeeper.commands.{self._module}"), self._attribute)
        parent = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        # A Typer app with a callback is a group, even with one command.
        parent.callback()(_threadkeeper)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(found)
        return _with_default_of_help(get_group(parent).commands[str(self.name)])


def _with_default_of_help(command: Any) -> Any:
    """The command, in which `--help` is False if it is not given, and the same in its subcommands.

    Typer has no default for it, and to convert a missing value it imports pydantic, which takes 0.06 s.
    """
    command.context_settings = {**command.context_settings, "default_map": {"help": False}}
    for one in getattr(command, "commands", {}).values():
        _with_default_of_help(one)
    return command


class Commands(TyperGroup):
    """The commands of this file, and those that are imported when they are called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _with_default_of_help(self)
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
    """A self-hosted chat that stores every thread, step, file and vote."""


@app.command()
def serve() -> None:
    """Serve the chat at HOST and PORT."""
    import gc

    # Two thousand modules are imported and stay: the collector would scan all of them again and again.
    gc.disable()
    from importlib.util import find_spec

    from threadkeeper.chainlit_imports import chainlit_is_imported, put_stand_ins
    from threadkeeper.commands.terminal import end, make_data_dir, settings_or_end
    from threadkeeper.logs import configure_logging
    from threadkeeper.settings.cookie_secret import cookie_secret
    from threadkeeper.settings.fetch_headers import header_secrets
    from threadkeeper.settings.root_path import put_root_path
    from threadkeeper.settings.settings import SettingsError

    settings = settings_or_end()
    make_data_dir(settings)
    try:
        secret = cookie_secret(settings)
    except SettingsError as error:
        end(str(error), 2)
    secrets = [*settings.secret_values(), *header_secrets(), secret]
    configure_logging(settings.log_level, settings.log_json, secrets)
    app_file = PROJECT_ROOT / "app.py"
    if not app_file.is_file():
        end(f"{app_file} is missing. Install Threadkeeper from its repository with `pip install --editable`.", 1)
    root = Path(os.environ.setdefault("CHAINLIT_APP_ROOT", str(PROJECT_ROOT)))
    if not root.is_dir():
        end(f"CHAINLIT_APP_ROOT must be a folder that exists, and {root} does not.", 2)
    listener = _listen(settings.host, settings.port)

    os.environ["CHAINLIT_AUTH_SECRET"] = secret
    put_root_path(settings.chainlit_root_path)
    put_stand_ins()
    import uvicorn
    from chainlit.config import config, load_module

    config.run.host, config.run.port = settings.host, settings.port
    config.run.root_path = settings.chainlit_root_path
    config.run.headless = True
    config.run.module_name = str(app_file)
    from chainlit.server import app as chainlit_app  # it reads config.run

    from threadkeeper.web.mount import served

    chainlit_is_imported()

    load_module(str(app_file))
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(
        uvicorn.Config(
            served(chainlit_app),
            loop="uvloop" if find_spec("uvloop") else "asyncio",
            # httptools, which would be taken if it is installed, has no bound for the head of a request, and loses the
            # body of one with `Upgrade: h2c`, as Java's client sends it (docs/adr/0035).
            http="h11",
            ws="websockets-sansio",
            # Compressing every token costs more than sending it.
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            # Without a limit, a browser that polls would delay the shutdown until it is closed.
            timeout_graceful_shutdown=FINISH_SECONDS,
        )
    )
    server.run(sockets=[listener])
    if not server.started:
        end("The server did not start. See the log lines above for the reason.", 1)


@app.command()
def migrate(
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what is due, and who waits for it. Change nothing.")
    ] = False,
    after: Annotated[
        bool,
        typer.Option(
            "--after", help="Apply the steps of the phase after too, because no replica runs an older version any more."
        ),
    ] = False,
) -> None:
    """Create the database schema, or upgrade it to this version."""
    from datalayer.accounts.accounts import Accounts
    from datalayer.migrations import plan as planned
    from threadkeeper.commands.terminal import settings_or_end, show_table, with_accounts

    settings = settings_or_end()
    if plan:
        due = with_accounts(settings, lambda accounts: planned(accounts.database))
        rows = [(change.phase, change.name, change.purpose, change.locks) for change in due]
        show_table(("Phase", "Change", "Purpose", "Who waits"), rows, empty="Nothing is due.")
        # On standard error, because a program may read the table.
        if any(change.phase == "before" for change in due):
            typer.echo("before: made by the next start or `threadkeeper migrate`; older replicas go on.", err=True)
        if any(change.phase == "after" for change in due):
            typer.echo(
                "after: made by `threadkeeper migrate --after`, when no replica runs an older version.", err=True
            )
        return
    applied = with_accounts(settings, lambda accounts: Accounts.migrate(accounts, removals=after), new=True)
    for name in applied:
        typer.echo(f"applied: {name}")
    left = [] if after else with_accounts(settings, Accounts.pending_removals)
    for name in left:
        typer.echo(f"left for `threadkeeper migrate --after`, when no replica runs an older version: {name}")
    typer.echo("The schema is up to date.")


@app.command()
def check() -> None:
    """Show every setting with its source and problems, and check database, file store and model server."""
    import asyncio
    import logging

    from rich.table import Table
    from rich.text import Text

    from threadkeeper.commands.check import check_parts
    from threadkeeper.commands.terminal import console, end
    from threadkeeper.language.numbers import counted
    from threadkeeper.settings.misspelled import misspelled_names
    from threadkeeper.settings.report import inspect_settings
    from threadkeeper.settings.settings import SettingsError

    try:
        reports, settings = inspect_settings()
        doubts = misspelled_names()
    except SettingsError as error:
        end(str(error), 2)
    shown = console()
    table = Table("Setting", "Value", "Source", "Problem")
    for report in reports:
        table.add_row(report.variable, Text(report.shown), report.origin, Text(report.problem or "", "bold red"))
    shown.print(table)
    wrong = [report.variable for report in reports if report.problem]
    # The table reports the same problems in plain words; log lines of libraries would only repeat them.
    logging.disable(logging.CRITICAL)
    marks = {True: Text("ok", "green"), False: Text("failed", "bold red"), None: Text("?", "yellow")}
    table = Table("Part", "", "Result")
    parts = asyncio.run(check_parts(settings, wrong))
    for part in parts:
        table.add_row(part.part, marks[part.ok], Text(part.finding))
        if part.ok is False:
            wrong.append(part.part)
    shown.print(table)
    for doubt in doubts:
        shown.print(Text(doubt, "yellow"))
    if wrong:
        end(f"{counted(len(wrong), 'problem')} found: {', '.join(wrong)}.", 1)
    is_doubtful = bool(doubts) or any(part.ok is None for part in parts)
    shown.print("No other problems found." if is_doubtful else "No problems found.")


def _listen(host: str, port: int) -> "socket.socket":
    import errno
    import socket

    from threadkeeper.commands.terminal import end

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            end(f"Port {port} on {host} is in use. Set PORT to a free port, or stop the program that uses it.", 1)
        end(f"Cannot listen on HOST {host}, PORT {port}: {error.strerror}.", 1)
    # Connections inherit it. asyncio, unlike uvloop, sets it only for sockets that name their protocol, which this one
    # does not: the body of an answer would wait 40 ms for the acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


if __name__ == "__main__":
    main()
