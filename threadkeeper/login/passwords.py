"""Passwords: their rules, their argon2 hashes, and generated ones.

Each hash takes tens of milliseconds and 64 MiB, so a few threads of their own compute them: a flood of logins waits for
those threads; it does not block the event loop or fill the memory.
"""

import asyncio
import os
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024
LONGEST_IDENTIFIER = 255
INVITED_SECONDS = 7 * 24 * 3_600.0
"""For which an invited person can set a password."""


class Refused(Exception):
    """A password or an identifier breaks a rule. The message is a sentence for the person who chose it."""


def check_password(password: str) -> str:
    """The password itself.

    Raises:
        Refused: it is too short, or too long to be hashed at a bounded cost.
    """
    if len(password) < SHORTEST_PASSWORD:
        raise Refused(f"A password must have at least {SHORTEST_PASSWORD} characters.")
    if len(password) > LONGEST_PASSWORD:
        raise Refused(f"A password must have at most {LONGEST_PASSWORD} characters.")
    return password


def check_identifier(identifier: str) -> str:
    """The identifier in NFC, without spaces around it.

    Raises:
        Refused: it is empty, too long, or has control or format characters, which make two names look the same.
    """
    identifier = unicodedata.normalize("NFC", identifier.strip())
    if not identifier:
        raise Refused("A user name must not be empty.")
    if len(identifier) > LONGEST_IDENTIFIER:
        raise Refused(f"A user name must have at most {LONGEST_IDENTIFIER} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in identifier):
        raise Refused("A user name must not contain control characters.")
    return identifier


def generate_password() -> str:
    """A new password of 120 random bits, without characters that look alike."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(6)) for _ in range(4))


class Passwords:
    """Hashes and verifies passwords, off the event loop."""

    def __init__(self, hasher: "PasswordHasher | None" = None) -> None:
        # Commands that only check names and passwords do not need argon2.
        from argon2 import PasswordHasher  # noqa: PLC0415

        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2), thread_name_prefix="passwords")
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """The argon2 hash of a password.

        Raises:
            Refused: the password breaks a rule.
        """
        return await self._in_thread(lambda: self._hasher.hash(_encoded(check_password(password))))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password belongs to this hash. False without a hash (no such user), after the same time.

        Raises:
            argon2.exceptions.InvalidHashError: the text is not an argon2 hash.
        """
        return await self._in_thread(lambda: self._verify(password_hash, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash has other parameters than a new hash would have."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        from argon2.exceptions import VerificationError  # noqa: PLC0415

        if not self._nobody:
            self._nobody = self._hasher.hash(secrets.token_urlsafe())
        try:
            self._hasher.verify(password_hash or self._nobody, _encoded(password))
        except VerificationError:
            return False
        return password_hash is not None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _encoded(password: str) -> bytes:
    # Keyboards encode the same letters differently.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
