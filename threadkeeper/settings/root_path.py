"""The path under which everything is served, from `CHAINLIT_ROOT_PATH`; "" for the root of the host.

Chainlit reads the variable by itself in several places, so it stays in the environment, in one spelling.
"""

import os
import re
from collections.abc import MutableMapping

VARIABLE = "CHAINLIT_ROOT_PATH"
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def clean_root_path(value: str) -> str:
    """The path with a slash in front and none at its end; "" for the root.

    Raises:
        ValueError: it has other characters than a path needs, or is no plain path.
    """
    path = "/" + value.strip().strip("/")
    if path == "/":
        return ""
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError("must be a path of letters, digits and - . _ ~, as in /chat")
    return path


def root_path() -> str:
    """The path in the environment.

    Raises:
        ValueError: it is not valid.
    """
    return clean_root_path(os.environ.get(VARIABLE, ""))


def put_root_path(root: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Put the path into the environment. Chainlit appends it to `CHAINLIT_URL`, so a path there must not repeat it."""
    if root:
        environment[VARIABLE] = root
    else:
        environment.pop(VARIABLE, None)
    address = environment.get("CHAINLIT_URL", "").rstrip("/")
    if root and address.endswith(root):
        environment["CHAINLIT_URL"] = address.removesuffix(root)


def under_root(address: str, root: str) -> str:
    """The address below the root path. An address of another host, or one that is below it already, is unchanged."""
    if not root or not address.startswith("/") or address.startswith("//"):
        return address
    is_below = address == root or address.startswith((f"{root}/", f"{root}?", f"{root}#"))
    return address if is_below else root + address
