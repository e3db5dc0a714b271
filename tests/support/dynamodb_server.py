"""moto's server for DynamoDB. It limits no throughput, and its index never lags behind.

It handles one request at a time: with several threads, as moto's own command starts it, another request can see an item
of a transaction that is not stored yet, and it has no error for two transactions that meet.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_sdk import described_once
from tests.support.kept_process import KeptProcess, free_port

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobody", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def dynamodb_server(directory: Path) -> Iterator[str]:
    """The options of a URL for a running server that keeps everything in memory; or those of TEST_DYNAMODB_URL.

    That variable is such as `dynamodb://prefix?region=eu-central-1`; the tests make and drop tables with this prefix.
    """
    with described_once():
        if url := os.environ.get("TEST_DYNAMODB_URL"):
            yield url.partition("?")[2]
            return
        port = free_port()
        command = [sys.executable, str(Path(__file__)), str(port)]
        environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
        with (
            KeptProcess(command, port=port, log=directory / "moto.log", environment=environment),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            yield f"region={REGION}&endpoint_url=http://127.0.0.1:{port}"


def table_prefix() -> str:
    """The beginning of the names of the tables that the tests make."""
    return os.environ.get("TEST_DYNAMODB_URL", "dynamodb://test").removeprefix("dynamodb://").partition("?")[0]


def _values_by_their_names(get_value: Callable[..., Any]) -> Callable[..., Any]:
    """Give the type of a value in an item by its name, as in `{"S": "text"}`.

    moto looks for each of the ten types by several names, which takes a third of its CPU time.
    """

    def found(self: Any, value: Any, key: str, shape: Any) -> Any:
        if type(value) is dict and getattr(getattr(shape, "parent", None), "name", "") == "AttributeValue":
            return value.get(key)
        return get_value(self, value, key, shape)

    return found


def _serve(port: int) -> None:
    # Slow imports, of the server's process alone.
    from moto.core import serialize  # noqa: PLC0415
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import run_simple  # noqa: PLC0415

    patched = _values_by_their_names(serialize.ResponseSerializer.get_value)
    serialize.ResponseSerializer.get_value = patched  # type: ignore[method-assign]
    run_simple("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=False)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
