"""Makes the bucket of `BLOB_URL` if the object store does not have it. For a store of one's own, as in compose.yaml."""

import os
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_ATTEMPTS = 30


def main() -> None:
    bucket = urlsplit(os.environ["BLOB_URL"]).netloc
    client = boto3.client(
        "s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL"), region_name=os.environ.get("AWS_REGION")
    )
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            # The store is still starting.
            if not attempts_left:
                raise
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    main()
