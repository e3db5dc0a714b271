"""Clients of AWS without what their SDK does again for each one.

Each test makes two or three. A client reads the descriptions of its service (40 ms of CPU time), looks for those of all
services (20 ms) and loads the authorities of the public network (25 ms), which no server of a test needs.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def described_once() -> Iterator[None]:
    """Within the block, each file is read once. Without a file of authorities, clients trust no server with TLS."""
    # Slow imports, and few tests need them.
    from aiobotocore import httpsession  # noqa: PLC0415
    from botocore.httpsession import get_cert_path  # noqa: PLC0415
    from botocore.loaders import JSONFileLoader, Loader  # noqa: PLC0415

    load, find = functools.cache(JSONFileLoader().load_file), Loader.list_available_services
    found: dict[Any, list[str]] = {}

    def services(loader: Any, type_name: str) -> list[str]:
        key = (*loader.search_paths, type_name)
        if key not in found:
            found[key] = find(loader, type_name)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _loader, path: load(path))
        patch.setattr(Loader, "list_available_services", services)
        patch.setattr(httpsession, "get_cert_path", lambda verify: None if verify is True else get_cert_path(verify))
        yield
