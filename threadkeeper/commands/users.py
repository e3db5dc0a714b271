"""`threadkeeper user`: manages user accounts.

The modules that most of these commands need are imported by them, because `user list` needs none: with SQLAlchemy and
pydantic, it would take four times as long.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from datalayer.accounts.listing import users_listed_directly
from datalayer.records.chat import ROLES
from threadkeeper.commands.deletion import ReceiptFile, Yes, delete_for_good
from threadkeeper.commands.terminal import create_if_new, end, settings_or_end, show_table, with_accounts
from threadkeeper.settings.certain import certain_database_url

if TYPE_CHECKING:
    from datalayer.accounts.accounts import Accounts
    from datalayer.records.chat import User

user_app = typer.Typer(no_args_is_help=True, help="Add, change, list and delete users.")

Name = Annotated[str, typer.Argument(help="The login name.", show_default=False)]
FromStandardInput = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Generate = Annotated[bool, typer.Option("--generate", help="Generate a password and print it.")]


@user_app.command("add")
def add_user(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "user",
    password_stdin: FromStandardInput = False,
    generate: Generate = False,
) -> None:
    """Add a user who logs in with a password."""
    from datalayer.ownership import SYSTEM
    from threadkeeper.login.passwords import Passwords, check_identifier

    if role not in ROLES:
        end(f"The role must be one of {', '.join(ROLES)}.", 1)
    settings, name = settings_or_end(), _checked(check_identifier, name)
    password = _new_password(password_stdin, generate)

    async def add(accounts: "Accounts") -> list[str]:
        await create_if_new(accounts)
        await accounts.add_account(name, await Passwords().hash(password), role, by=SYSTEM)
        return await accounts.admins()

    admins = with_accounts(settings, add, new=True)
    typer.echo(f"Added {name} as {role}." + (f" Password: {password}" if generate else ""))
    if not admins:
        typer.echo(
            f"Nobody is an admin yet. To make {name} an admin: threadkeeper user role {name} admin. "
            "To add an admin: threadkeeper user add NAME --role admin",
            err=True,
        )


@user_app.command("role")
def change_role(name: Name, role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")]) -> None:
    """Give a user another role, however the user signs in. The only admin keeps the role."""
    from datalayer.ownership import SYSTEM

    with_accounts(settings_or_end(), lambda accounts: accounts.set_role(name, role, by=SYSTEM))
    typer.echo(f"{name} is now {'an admin' if role == 'admin' else f'a {role}'}.")


@user_app.command("passwd")
def change_password(name: Name, password_stdin: FromStandardInput = False, generate: Generate = False) -> None:
    """Set a new password. The user's current sessions end."""
    from datalayer.ownership import SYSTEM
    from threadkeeper.login.passwords import Passwords, check_identifier

    settings, name = settings_or_end(), _checked(check_identifier, name)
    password = _new_password(password_stdin, generate)

    async def change(accounts: "Accounts") -> None:
        await accounts.set_password(name, await Passwords().hash(password), by=SYSTEM)

    with_accounts(settings, change)
    typer.echo(f"Changed the password of {name}." + (f" Password: {password}" if generate else ""))


@user_app.command("list")
def list_users() -> None:
    """List all users, including disabled ones."""
    users = _all_users()
    header = ("Name", "Role", "Signs in with", "Created", "Disabled")
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
    show_table(header, rows)


@user_app.command("disable")
def disable_user(name: Name) -> None:
    """Disable a user: end all sessions and refuse logins. The user's data is kept. The only admin is not disabled."""
    _set_disabled(name, disabled=True)
    typer.echo(f"Disabled {name}.")


@user_app.command("enable")
def enable_user(name: Name) -> None:
    """Enable a disabled user."""
    _set_disabled(name, disabled=False)
    typer.echo(f"Enabled {name}.")


@user_app.command("delete")
def delete_user(name: Name, yes: Yes = False, receipt: ReceiptFile = None) -> None:
    """Permanently delete a user with all threads, votes and files. The only admin is not deleted.

    Disable the user first: a page that is still open can write new data after the deletion.
    """
    from datalayer.ownership import SYSTEM

    what = f"the user {name} with all threads, votes and files"
    delete_for_good(lambda _: what, lambda store: store.delete_user(name, by=SYSTEM), yes=yes, receipt=receipt)


def _all_users() -> "list[User]":
    url = certain_database_url()
    users = users_listed_directly(url) if url else None
    if users is None:
        # The usual way also says what is wrong, if something is.
        from datalayer.accounts.accounts import Accounts

        users = with_accounts(settings_or_end(), Accounts.list_users)
    return users


def _set_disabled(name: str, *, disabled: bool) -> None:
    from datalayer.ownership import SYSTEM

    with_accounts(settings_or_end(), lambda accounts: accounts.set_disabled(name, disabled, by=SYSTEM))


def _checked(rule: Callable[[str], str], value: str) -> str:
    from threadkeeper.login.passwords import Refused

    try:
        return rule(value)
    except Refused as error:
        end(str(error), 1)


def _new_password(from_standard_input: bool, generate: bool) -> str:
    from threadkeeper.login.passwords import check_password, generate_password

    if generate:
        return generate_password()
    if from_standard_input:
        return _checked(check_password, sys.stdin.readline().removeprefix("\ufeff").rstrip("\r\n"))
    if not sys.stdin.isatty():
        end("No terminal to ask for a password. Use --password-stdin or --generate.", 1)
    return _checked(check_password, str(typer.prompt("Password", hide_input=True, confirmation_prompt=True)))
