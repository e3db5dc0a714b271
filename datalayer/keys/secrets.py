"""The secrets of API keys: made at random, recognised by their form, stored as a hash."""

import hashlib
import re
import secrets
import string

_LETTERS = string.digits + string.ascii_letters
_LENGTH = 40
PREFIX_LENGTH = 10
_FORM = re.compile(rf"tk_[0-9A-Za-z]{{{_LENGTH}}}")


def new_secret() -> str:
    """A secret of 238 random bits."""
    return "tk_" + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def hash_of(secret: str) -> str | None:
    """The hash by which the key is found; None for a text that is no secret of a key."""
    return hashlib.sha256(secret.encode()).hexdigest() if _FORM.fullmatch(secret) else None
