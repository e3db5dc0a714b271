"""The command line. Only `serve` imports Chainlit, which takes seconds; every other command starts at once.

Each group of commands has a module in `threadkeeper/commands`; how a command ends is said in `terminal` there.
"""

import asyncio
import errno
import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

import threadkeeper
from datalayer.accounts.accounts import Accounts
from datalayer.adoption.adopt import adopt as adopt_database
from threadkeeper.commands.files import files_app
from threadkeeper.commands.limits import limits_app
from threadkeeper.commands.prices import prices_app, reprice
from threadkeeper.commands.projects import projects_app
from threadkeeper.commands.retention import retention
from threadkeeper.commands.takeouts import export_app, import_takeout
from threadkeeper.commands.terminal import console, end, make_data_dir, settings_or_end, with_accounts
from threadkeeper.commands.threads import thread_app
from threadkeeper.commands.users import user_app
from threadkeeper.commands.verify import verify
from threadkeeper.logs import configure_logging
from threadkeeper.settings.cookie_secret import cookie_secret
from threadkeeper.settings.misspelled import misspelt_names
from threadkeeper.settings.settings import SettingsError, inspect_settings
from threadkeeper.settings.urls import sqlite_file

PROJECT_ROOT = Path(threadkeeper.__file__).resolve().parents[1]
FINISH_SECONDS = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(user_app, name="user")
app.add_typer(thread_app, name="thread")
app.add_typer(files_app, name="files")
app.add_typer(export_app, name="export")
app.add_typer(prices_app, name="prices")
app.add_typer(projects_app, name="projects")
app.add_typer(limits_app, name="limits")
app.command("import")(import_takeout)
app.command("retention")(retention)
app.command()(reprice)
app.command()(verify)


def main() -> None:
    """The entry point `threadkeeper`."""
    app()


@app.callback()
def _threadkeeper() -> None:
    """A self-hosted chat that stores every thread, step, file and vote."""


@app.command()
def serve() -> None:
    """Serve the chat at HOST and PORT."""
    settings = settings_or_end()
    make_data_dir(settings)
    try:
        secret = cookie_secret(settings)
    except SettingsError as error:
        end(str(error), 2)
    configure_logging(settings.log_level, settings.log_json, [*settings.secret_values(), secret])
    app_file = PROJECT_ROOT / "app.py"
    if not app_file.is_file():
        end(f"{app_file} is missing. Install Threadkeeper from its repository with `pip install --editable`.", 1)
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
            # Without a limit, a browser that polls would delay the shutdown until it is closed.
            timeout_graceful_shutdown=FINISH_SECONDS,
        )
    )
    server.run(sockets=[listener])
    if not server.started:
        end("The server did not start. See the log lines above for the reason.", 1)


@app.command()
def migrate() -> None:
    """Create the database schema, or upgrade it to this version."""
    settings = settings_or_end()
    make_data_dir(settings)
    applied = with_accounts(settings, Accounts.migrate)
    for name in applied:
        typer.echo(f"applied: {name}")
    typer.echo("The schema is up to date.")


@app.command()
def adopt(
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes. Without this option: a dry run.")] = False,
) -> None:
    """Adopt a database of one of Chainlit's own data layers. A dry run by default."""
    settings = settings_or_end()
    if (file := sqlite_file(settings.resolved_database_url)) and not file.exists():
        end(f"No database to adopt: {file} does not exist.", 1)
    report = with_accounts(settings, lambda accounts: adopt_database(accounts.database, apply=apply))
    shown = console()
    table = Table("From", "To", "Found", "Rows before", "Rows after", "Not copied")
    for count in report.counts:
        table.add_row(count.source, count.table, *map(str, (count.found, count.before, count.after, count.left_behind)))
    shown.print(table)
    if report.findings:
        table = Table("Finding", "Count", "Examples")
        for finding in report.findings:
            table.add_row(Text(finding.what), str(finding.count), Text(", ".join(finding.examples)))
        shown.print(table)
    dry = "Dry run: nothing was changed. To apply, run `threadkeeper adopt --apply`."
    shown.print("Done." if report.applied else dry)


@app.command()
def check() -> None:
    """Show every setting with its source and problems, and check database, file store and model server."""
    from threadkeeper.commands.check import check_parts  # noqa: PLC0415

    try:
        reports, settings = inspect_settings()
        doubts = misspelt_names()
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
        end(f"{len(wrong)} problem{'s' if len(wrong) > 1 else ''} found: {', '.join(wrong)}.", 1)
    is_doubtful = bool(doubts) or any(part.ok is None for part in parts)
    shown.print("No other problems found." if is_doubtful else "No problems found.")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            end(f"Port {port} on {host} is in use. Set PORT to a free port, or stop the program that uses it.", 1)
        end(f"Cannot listen on HOST {host}, PORT {port}: {error.strerror}.", 1)


if __name__ == "__main__":
    main()
