"""Who may come in: local accounts with a password, and people whom a proxy or an OAuth provider vouches for.

A refusal looks the same whoever is refused and takes as long; the reason is in the log, with the name, never with
the password.
"""

import logging
from typing import Protocol

from argon2.exceptions import InvalidHashError

from datalayer import SYSTEM, Account, AlreadyExists, DataLayerError, User, acting_as
from threadkeeper import metrics
from threadkeeper.login.passwords import LONGEST_PASSWORD, Passwords, Refused, check_identifier, generate_password
from threadkeeper.login.throttle import LoginThrottle, TooManyTries

logger = logging.getLogger(__name__)

ADMIN = "admin"
_LONGEST_LOGGED_NAME = 255


class AccountStore(Protocol):
    """What is needed here of the data layer."""

    async def get_account(self, identifier: str) -> Account | None: ...
    async def add_account(self, identifier: str, password_hash: str, role: str = "user") -> User: ...
    async def set_password(self, identifier: str, password_hash: str) -> None: ...
    async def count_accounts(self) -> int: ...


async def ensure_admin(store: AccountStore, passwords: Passwords | None = None) -> str | None:
    """Make the user `admin` where nobody has a password yet; gives the new password, once, to the one who made it."""
    with acting_as(SYSTEM):
        if await store.count_accounts():
            return None
        password = generate_password()
        try:
            await store.add_account(ADMIN, await (passwords or Passwords()).hash(password), role="admin")
        except AlreadyExists:
            if not await store.count_accounts():
                logger.warning(
                    "No admin was made: a user of that name is there without a password. "
                    "`threadkeeper user passwd admin` gives them one, `threadkeeper user add NAME --role admin` "
                    "makes an admin."
                )
            return None
        return password


class Authenticator:
    """Checks a name and a password."""

    def __init__(
        self, store: AccountStore, passwords: Passwords | None = None, throttle: LoginThrottle | None = None
    ) -> None:
        self._store = store
        self._passwords = passwords or Passwords()
        self._throttle = LoginThrottle() if throttle is None else throttle  # an empty one is false

    async def verify(self, identifier: str, password: str) -> User | None:
        """The user, or None when the login is refused, whatever the reason. After failures it takes longer.

        Raises:
            StorageUnavailable: the accounts cannot be read now.
        """
        try:
            identifier = check_identifier(identifier)
            async with self._throttle.turn(identifier) as turn:
                with acting_as(SYSTEM):
                    account = await self._store.get_account(identifier)
                    reason = await self._reason_against(account, password)
                    if account and not reason:
                        turn.succeeded()
                        await self._renew_hash(account, password)
                        metrics.logins.labels("ok").inc()
                        return account.user
                    failures = turn.failed()
        except Refused:
            reason, failures = "no such name is possible", 1
        except TooManyTries:
            reason, failures = "too many tries are waiting", 0
        metrics.logins.labels("failed").inc()
        logger.warning("login refused for %s: %s", printable(identifier), reason, extra={"failures_in_a_row": failures})
        return None

    async def _reason_against(self, account: Account | None, password: str) -> str | None:
        if len(password) > LONGEST_PASSWORD:
            # No password is that long, so nothing is told about the name by not hashing it.
            return "the password is longer than any"
        password_hash = account.password_hash if account else None
        try:
            right = await self._passwords.verify(password_hash, password)
        except InvalidHashError:
            return "the stored hash cannot be read; set a new password"
        if account is None:
            return "no such user"
        if password_hash is None:
            return "the user has no password"
        if not right:
            return "wrong password"
        return "the user is disabled" if account.user.disabled_at else None

    async def _renew_hash(self, account: Account, password: str) -> None:
        """Hash the password again where today's parameters are others; a login never fails for it."""
        if account.password_hash is None or not self._passwords.is_outdated(account.password_hash):
            return
        identifier = account.user.identifier
        try:
            renewed = await self._passwords.hash(password)
            if await self._store.get_account(identifier) == account:  # nobody changed it meanwhile
                await self._store.set_password(identifier, renewed)
        except (DataLayerError, Refused) as error:
            logger.warning("the password hash of %s could not be renewed: %s", printable(identifier), error)


async def admit_external(store: AccountStore, identifier: str, provider: str) -> bool:
    """Whether someone may come in whom the provider vouches for under this identifier.

    Not under a name that has a password here or that came from another provider, else whoever can choose a name
    there would become that user here; and not who is disabled.

    Raises:
        StorageUnavailable: the accounts cannot be read now.
    """
    reason = None
    try:
        if check_identifier(identifier) != identifier:
            reason = "the name would be another one here"
    except Refused as error:
        reason = str(error)
    if reason is None:
        with acting_as(SYSTEM):
            account = await store.get_account(identifier)
        known_provider = account.user.metadata.get("provider") if account else None
        if account and account.password_hash is not None:
            reason = "a local account has this name"
        elif known_provider not in (None, provider):
            reason = "the name belongs to another provider"
        elif account and account.user.disabled_at:
            reason = "the user is disabled"
    if reason is None:
        metrics.logins.labels("ok").inc()
        return True
    metrics.logins.labels("failed").inc()
    logger.warning("login by %s refused for %s: %s", printable(provider), printable(identifier), reason)
    return False


def printable(name: str) -> str:
    """The name as it can stand in a log line, whatever was typed: escaped and of a bounded length."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name[:_LONGEST_LOGGED_NAME]
    )
    return f"'{shown}'" + ("…" if len(name) > _LONGEST_LOGGED_NAME else "")
