"""Checks logins: local accounts with a password, and users whom a proxy or an OAuth provider has authenticated.

Every refusal looks the same and takes the same time. The log has the reason and the name, never the password.
"""

import logging
import unicodedata

from argon2.exceptions import InvalidHashError

from datalayer import SYSTEM, Account, AlreadyExists, DataLayerError, User, acting_as
from datalayer.accounts.accounts import Accounts
from datalayer.cleaning import name_key
from threadkeeper import metrics
from threadkeeper.login.passwords import LONGEST_PASSWORD, Passwords, Refused, check_identifier, generate_password
from threadkeeper.login.throttle import LoginThrottle, TooManyTries

logger = logging.getLogger(__name__)

ADMIN = "admin"
_LONGEST_LOGGED_NAME = 255


async def ensure_admin(store: Accounts, passwords: Passwords | None = None) -> str | None:
    """Create the user `admin` if there is no admin and no account has a password. Returns the new password, else None.

    Logs a warning if nobody is an admin afterwards.
    """
    with acting_as(SYSTEM):
        if await store.admins():
            return None
        if await store.count_accounts():
            logger.warning("nobody is an admin: make a user an admin with `threadkeeper user role NAME admin`")
            return None
        password = generate_password()
        try:
            await store.add_account(ADMIN, await (passwords or Passwords()).hash(password), role="admin")
        except AlreadyExists:
            if not await store.count_accounts():
                logger.warning(
                    "nobody is an admin, and none was created, because the user admin exists without a password: make "
                    "a user an admin with `threadkeeper user role NAME admin`, or create one with "
                    "`threadkeeper user add NAME --role admin`"
                )
            return None
        return password


class Authenticator:
    """Checks a name and a password."""

    def __init__(
        self, store: Accounts, passwords: Passwords | None = None, throttle: LoginThrottle | None = None
    ) -> None:
        self._store = store
        self.passwords = passwords or Passwords()
        self._throttle = LoginThrottle() if throttle is None else throttle  # an empty one is false

    async def verify(self, identifier: str, password: str) -> User | None:
        """The user, or None if the login is refused for any reason. Takes longer after failures.

        Raises:
            StorageUnavailable: the accounts cannot be read at the moment.
        """
        try:
            identifier = check_identifier(identifier)
            # One pause for all spellings: otherwise each of them would have free tries.
            async with self._throttle.attempt(name_key(identifier)) as attempt:
                with acting_as(SYSTEM):
                    account = await self._store.get_account(identifier)
                    reason = await self._reason_against(account, password)
                    if account and not reason:
                        attempt.succeeded()
                        await self._renew_hash(account, password)
                        metrics.logins.labels("ok").inc()
                        return account.user
                    failures = attempt.failed()
        except Refused:
            reason, failures = "no such name is possible", 1
        except TooManyTries:
            reason, failures = "too many tries are waiting", 0
        metrics.logins.labels("failed").inc()
        logger.warning("login refused for %s: %s", printable(identifier), reason, extra={"failures_in_a_row": failures})
        return None

    async def confirm(self, identifier: str, password: str) -> bool:
        """Whether this is the password of a user who is logged in. As slow after failures as a login.

        Raises:
            StorageUnavailable: the accounts cannot be read at the moment.
        """
        try:
            async with self._throttle.attempt(name_key(identifier)) as attempt:
                with acting_as(SYSTEM):
                    account = await self._store.get_account(identifier)
                    reason = await self._reason_against(account, password)
                if reason is None:
                    attempt.succeeded()
                    return True
                attempt.failed()
        except TooManyTries:
            reason = "too many tries are waiting"
        logger.warning("the password of %s was not confirmed: %s", printable(identifier), reason)
        return False

    async def _reason_against(self, account: Account | None, password: str) -> str | None:
        if len(password) > LONGEST_PASSWORD:
            # No password is that long, so skipping the hash reveals nothing about the name.
            return "the password is longer than any"
        password_hash = account.password_hash if account else None
        try:
            right = await self.passwords.verify(password_hash, password)
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
        """Hash the password again if the parameters have changed since. A failure is logged; the login goes on."""
        if account.password_hash is None or not self.passwords.is_outdated(account.password_hash):
            return
        identifier = account.user.identifier
        try:
            renewed = await self.passwords.hash(password)
            if await self._store.get_account(identifier) == account:  # nobody changed it meanwhile
                await self._store.set_password(identifier, renewed)
        except (DataLayerError, Refused) as error:
            logger.warning(
                "cannot renew the password hash of %s, so the old one stays: %s", printable(identifier), error
            )


async def admit_external(store: Accounts, identifier: str, provider: str) -> bool:
    """Whether a user whom the provider authenticated under this identifier may log in.

    Refused are names that have a password here or came from another provider, because anybody who can choose a name
    there could log in as that user here. Disabled users are refused as well.

    Raises:
        StorageUnavailable: the accounts cannot be read at the moment.
    """
    reason = None
    try:
        if check_identifier(identifier) != unicodedata.normalize("NFC", identifier):
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


async def stored_name(store: Accounts, identifier: str) -> str:
    """The name of this user as it is stored, which may differ in case; the given one for a new user."""
    with acting_as(SYSTEM):
        account = await store.get_account(identifier)
    return account.user.identifier if account else identifier


def printable(name: str) -> str:
    """A typed name, made safe for a log line: escaped and of bounded length."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name[:_LONGEST_LOGGED_NAME]
    )
    return f"'{shown}'" + ("…" if len(name) > _LONGEST_LOGGED_NAME else "")
