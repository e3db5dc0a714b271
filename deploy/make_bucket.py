"""Makes the bucket of `BLOB_URL` if the object store does not have it. For a store of one's own, as in compose.yaml."""

import os
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_ATTEMPTS = 30
_NEEDS_REGION = "IllegalLocationConstraintException"


def main() -> None:
    bucket = urlsplit(os.environ["BLOB_URL"]).netloc
    client = boto3.client(
        "s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL"), region_name=os.environ.get("AWS_REGION")
    )
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
                _make(client, bucket)
        except (BotoCoreError, ClientError):
            # The store is still starting.
            if not attempts_left:
                raise
            time.sleep(1)
        else:
            return


def _make(client: Any, bucket: str) -> None:
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != _NEEDS_REGION:
            raise
        # Amazon's regions, but for the first one, want to be named. Some stores of one's own refuse any name.
        region = {"LocationConstraint": client.meta.region_name}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=region)


if __name__ == "__main__":
    main()
