"""The secret that signs login cookies, made once and kept beside the data, so that a restart logs nobody out.

The file comes into being whole or not at all: it is written under another name and then linked to its own, which
fails when it is there. Of two processes that start at once, the slower takes the secret of the faster.
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
    """The secret for `CHAINLIT_AUTH_SECRET`: the one that is set, else the one in `DATA_DIR`, made when it is missing.

    Raises:
        SettingsError: the file cannot be made or read, holds no secret, or others may read it for good.
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
        reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise SettingsError(
            f"The cookie secret {path} cannot be made or read ({reason}): "
            "set CHAINLIT_AUTH_SECRET, or a DATA_DIR that can be written."
        ) from error
    if len(secret) < ENOUGH_CHARACTERS:
        raise SettingsError(
            f"The cookie secret {path} has fewer than {ENOUGH_CHARACTERS} characters: remove it to have a new one made."
        )
    return secret


def make_data_dir(path: Path) -> None:
    """Make the data folder, for its owner alone, if it is not there.

    Raises:
        OSError: it cannot be made.
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
            return  # another process was faster: its secret is the one
    finally:
        temporary.unlink()


def _keep_private(path: Path) -> None:
    if _others_may(path):
        path.chmod(0o600)
        logger.warning("The cookie secret %s could be read by others; its mode was changed to 0600.", path)
    if _others_may(path):  # some network and foreign file systems take a mode and ignore it
        raise SettingsError(
            f"The cookie secret {path} can be read by others and its mode cannot be changed: set CHAINLIT_AUTH_SECRET."
        )


def _others_may(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
