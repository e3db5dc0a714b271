"""The secret that signs login cookies, generated once and stored in `DATA_DIR`, so that a restart logs nobody out.

The file appears complete or not at all: it is written under a temporary name and then hard-linked to its own name,
which fails if the file exists. If two processes start at the same time, the slower one uses the secret of the faster.
"""

import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path

from threadkeeper.settings.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

FILE_NAME = "cookie_secret"
ENOUGH_CHARACTERS = 32


def cookie_secret(settings: Settings) -> str:
    """The value of `CHAINLIT_AUTH_SECRET` if set, otherwise the secret in `DATA_DIR`, which is created if missing.

    Raises:
        SettingsError: the file cannot be created or read, its secret is too short, or other users can read the file
            and its mode cannot be changed.
    """
    if settings.chainlit_auth_secret:
        return settings.chainlit_auth_secret.get_secret_value()
    path = settings.data_dir / FILE_NAME
    try:
        make_data_dir(settings.data_dir)
        if not path.exists():
            _make(path)
        _keep_private(path)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain ASCII text"
        raise SettingsError(
            f"Cannot create or read the cookie secret {path}: {reason}. "
            "Set CHAINLIT_AUTH_SECRET, or set DATA_DIR to a writable folder."
        ) from error
    if len(secret) < ENOUGH_CHARACTERS:
        raise SettingsError(
            f"The cookie secret {path} has fewer than {ENOUGH_CHARACTERS} characters. "
            "Delete the file; the next start creates a new one."
        )
    return secret


def is_stored(secret: str, data_dir: Path) -> bool:
    """Whether this is the secret that was stored in this folder."""
    try:
        return bool(secret) and (data_dir / FILE_NAME).read_text(encoding="ascii").strip() == secret
    except (OSError, UnicodeDecodeError):
        return False


def make_data_dir(path: Path) -> None:
    """Create the data folder with access for its owner only, if it does not exist.

    Raises:
        OSError: the folder cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _make(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=path.parent)  # 0600, O_EXCL
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return  # another process was faster; its secret is used
    finally:
        temporary.unlink()


def _keep_private(path: Path) -> None:
    if _others_may(path):
        path.chmod(0o600)
        logger.warning("The cookie secret %s was readable by other users. Its mode is now 0600.", path)
    if _others_may(path):  # some network and foreign file systems accept a mode and ignore it
        raise SettingsError(
            f"The cookie secret {path} is readable by other users and its mode cannot be changed. "
            "Set CHAINLIT_AUTH_SECRET instead."
        )


def _others_may(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
