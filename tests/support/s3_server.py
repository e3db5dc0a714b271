"""moto's server for S3. It checks signatures in headers, but not in links."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.kept_process import KeptProcess, free_port
from tests.support.plain_http import PLAIN_HTTP

REGION = "eu-central-1"
_EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
_PAGE = "3"


@dataclass(frozen=True)
class S3Server:
    """A running server, and its key pair."""

    port: int
    access_key_id: str
    secret_access_key: str

    def check_signatures(self, *, checked: bool) -> None:
        """Set whether requests must be signed. If so, moto answers a signed link with 500."""
        unchecked = "0" if checked else "inf"
        httpx.post(
            f"http://127.0.0.1:{self.port}/moto-api/reset-auth", content=unchecked, **PLAIN_HTTP
        ).raise_for_status()


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A server that stores everything in memory and lists three objects per page."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with KeptProcess(command, port=port, log=directory / "moto.log", environment={"MOTO_S3_DEFAULT_MAX_KEYS": _PAGE}):
        yield S3Server(port, *_make_keys(port))


def _make_keys(port: int) -> tuple[str, str]:
    # The import takes half a second, and only the tests of S3 need it.
    import boto3  # noqa: PLC0415

    client = boto3.client(
        "iam",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id="nobody",
        aws_secret_access_key="nobody",
    )
    client.create_user(UserName="keeper")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [_EVERYTHING]})
    client.put_user_policy(UserName="keeper", PolicyName="everything", PolicyDocument=policy)
    keys = client.create_access_key(UserName="keeper")["AccessKey"]
    client.close()
    return keys["AccessKeyId"], keys["SecretAccessKey"]
