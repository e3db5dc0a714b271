"""What a store needs beside its URL: credentials and endpoints. No secret is part of a URL or of a `repr`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BlobOptions:
    """How to reach a store of Azure's or S3's. What is not given is looked for where the cloud's own SDK looks.

    Azure: one of connection string, account key and SAS; without any, `DefaultAzureCredential` (managed identity,
    workload identity, environment variables, `az login`). `azure_endpoint` is the address of the account where it is
    not `https://ACCOUNT.dfs.core.windows.net` (or `.blob.`): a sovereign cloud's, a private one.

    S3: without key and secret, boto's own chain (environment, `~/.aws`, instance role). `s3_endpoint` is the address
    of a compatible server.
    """

    azure_connection_string: str | None = field(default=None, repr=False)
    azure_key: str | None = field(default=None, repr=False)
    azure_sas: str | None = field(default=None, repr=False)
    azure_endpoint: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = field(default=None, repr=False)
    s3_session_token: str | None = field(default=None, repr=False)
    patience_seconds: float = 30.0
    """How long one request of a chunk (5 MiB at most) may take, with all its retries."""
    ca_file: str | None = None
    """PEM file of the authorities that sign the endpoint's certificate, where the system does not know them."""
