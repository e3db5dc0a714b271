"""The commands of the application, as an operator runs them."""

import asyncio
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import datalayer
from datalayer.accounts.accounts import Accounts
from datalayer.database import Database
from tests.support.server import ROOT, forks
from threadkeeper.login.passwords import Passwords

_INHERITED = {
    **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV") if name in os.environ},
    "PYTHONPATH": str(ROOT),
}


@dataclass
class CommandLine:
    """Runs commands in one directory, with only the given settings."""

    directory: Path

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        return {**_INHERITED, "HOME": str(self.directory), **settings}

    def __call__(self, *arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return forks.run(
            "threadkeeper.cli",
            arguments,
            directory=self.directory,
            environment=self.environment(settings),
            given=given,
        )

    def has_database(self, migrated: Path) -> None:
        """Copy the migrated file to where the commands look for their database: to migrate takes half a second."""
        folder = self.directory / ".data"
        folder.mkdir(mode=0o700)
        shutil.copyfile(migrated, folder / "threadkeeper.db")

    def verify(self, name: str, password: str) -> bool:
        """Whether the stored password of this user is this one."""

        async def read() -> datalayer.Account | None:
            accounts = Accounts(Database(f"sqlite:///{self.directory}/.data/threadkeeper.db"), None)
            try:
                return await accounts.get_account(name)
            finally:
                await accounts.close()

        account = asyncio.run(read())
        return account is not None and asyncio.run(Passwords().verify(account.password_hash, password))
