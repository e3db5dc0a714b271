"""Shared by the two Azure stores: construction, addresses, credentials, signing keys, and the meaning of errors."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity.aio import DefaultAzureCredential

from datalayer.blobs.base import LONGEST_SIGNED_SECONDS, BlobOptions, BlobStore, checked_key, request
from datalayer.blobs.content import MEBIBYTE
from datalayer.errors import BlobError, BlobNotFound, BlobRefused, ConfigurationError

Service = TypeVar("Service")

CHUNK_BYTES = 4 * MEBIBYTE

# Retries after about a second each. The SDK's default pauses of 18, 24 and 42 seconds are too long for users who wait.
_RETRIES = {"retry_total": 3, "initial_backoff": 0.1, "increment_base": 1, "random_jitter_range": 0.5}
_CONNECT_SECONDS = 5
# If our clock runs ahead, the signing key must be valid now all the same.
_CLOCK_SKEW = timedelta(minutes=5)
_WORDS = {
    "ContainerNotFound": "there is no such container",
    "FilesystemNotFound": "there is no such container",
    "AuthenticationFailed": "the credential was refused: is it the account's own, and has it not expired?",
    "InvalidAuthenticationInfo": "the credential was refused",
    "AuthorizationFailure": "the account's network rules or its credential refuse access",
    "AuthorizationPermissionMismatch": "the credential may not do this: it lacks a role such as Storage Blob Data "
    "Contributor, or a permission of its SAS",
    "AuthorizationResourceTypeMismatch": "the SAS does not cover files and containers",
    "AuthorizationServiceMismatch": "the SAS does not cover this service",
    "KeyBasedAuthenticationNotPermitted": "the account does not accept keys: use a managed identity",
    "AccountIsDisabled": "the account is disabled",
    "EndpointUnsupportedAccountFeatures": "the account does not support this service: with a hierarchical namespace "
    "use azure://, without one azure-blob://",
    "HierarchicalNamespaceNotEnabled": "the account has no hierarchical namespace: use azure-blob://",
    "ConditionNotMet": "the file was replaced while it was read",
}
# A service that does not speak the protocol of Data Lake, such as an account without a hierarchical namespace.
_NOT_UNDERSTOOD = (400, 405, 501)
_WRONG_SERVICE = "azure:// needs an account with a hierarchical namespace; for one without it use azure-blob://"
_ENDPOINT = "Azure's endpoint must be an address such as https://ACCOUNT.dfs.core.windows.net"
_PASSING = {"ConditionNotMet"}
_MISSING = {"BlobNotFound", "PathNotFound", "SourcePathNotFound", "ResourceNotFound"}


class AzureAccount(Generic[Service]):
    """One account: its client, created at the first use, and keys for signed URLs."""

    def __init__(
        self,
        account: str,
        options: BlobOptions,
        *,
        service: type[Service],
        kind: str,
        client_options: dict[str, Any],
    ) -> None:
        """
        Args:
            kind: the kind of the endpoint, `dfs` or `blob`.

        Raises:
            ConfigurationError: more than one credential, or an invalid key or endpoint.
        """
        self.account = account
        self.patience = options.patience_seconds
        self._options = options
        self._service = service
        self._kind = kind
        self._client_options = client_options
        self._client: Any = None
        self._identity: DefaultAzureCredential | None = None
        self._delegation_key: Any = None
        self._delegation_key_until = datetime.min.replace(tzinfo=UTC)
        self._one_at_a_time = asyncio.Lock()
        given = [options.azure_connection_string, options.azure_key, options.azure_sas]
        if sum(map(bool, given)) > 1:
            raise ConfigurationError("give one of connection string, account key and SAS for Azure, not several")
        if options.azure_key and not _is_base64(options.azure_key):
            raise ConfigurationError("the account key for Azure is not valid: it must be base64")
        try:
            endpoint = urlsplit(options.azure_endpoint or f"https://{account}.{kind}.core.windows.net")
        except ValueError:
            raise ConfigurationError(_ENDPOINT) from None
        if endpoint.scheme not in ("http", "https") or not endpoint.hostname or endpoint.query:
            raise ConfigurationError(_ENDPOINT)
        self._endpoint = endpoint.geturl()

    @property
    def client(self) -> Service:
        """The account's client.

        Raises:
            BlobRefused: the connection string is malformed, or names another account.
        """
        if self._client is None:
            options = self._options
            settings = {
                **_RETRIES,
                **self._client_options,
                "connection_timeout": _CONNECT_SECONDS,
                "read_timeout": self.patience,
                **({"connection_verify": options.ca_file} if options.ca_file else {}),
            }
            made: Any = self._service
            try:
                if options.azure_connection_string:
                    self._client = made.from_connection_string(options.azure_connection_string, **settings)
                else:
                    self._client = made(self._endpoint, credential=self._credential(), **settings)
            except (ValueError, KeyError, TypeError):
                # The SDK's message may quote a part of the secret.
                raise BlobRefused("the credential of Azure's store is malformed") from None
        if self._options.azure_connection_string and self._client.account_name != self.account:
            raise BlobRefused("the blob URL and the connection string name two different accounts of Azure's")
        client: Service = self._client
        return client

    def _credential(self) -> object:
        options = self._options
        if options.azure_key:
            return {"account_name": self.account, "account_key": options.azure_key}
        if options.azure_sas:
            return options.azure_sas.removeprefix("?")
        self._identity = DefaultAzureCredential()
        return self._identity

    async def signing_key(self, seconds: int) -> Any:
        """The account's key, or a user delegation key, for a signed URL that is valid for this many seconds.

        None if the credential is a SAS, which cannot sign and must stay secret.
        """
        key = getattr(getattr(self.client, "credential", None), "account_key", None)
        if key or self._identity is None:
            return key
        async with self._one_at_a_time:
            now = datetime.now(UTC)
            if self._delegation_key_until < now + timedelta(seconds=seconds):
                # A key for a day saves a request per link; Azure allows a week at most.
                until = now + timedelta(seconds=min(seconds + 24 * 3600, LONGEST_SIGNED_SECONDS))
                client: Any = self.client
                async with self.request():
                    self._delegation_key = await client.get_user_delegation_key(now - _CLOCK_SKEW, until)
                self._delegation_key_until = until
        return self._delegation_key

    def expiry(self, seconds: int) -> dict[str, Any]:
        """The lifetime of a signed URL, and its restriction to TLS if the endpoint has TLS."""
        scheme = urlsplit(self._client.url).scheme
        protocol = {"protocol": "https"} if scheme == "https" else {}
        return {"expiry": datetime.now(UTC) + timedelta(seconds=seconds), **protocol}

    def request(self) -> AbstractAsyncContextManager[None]:
        """The time limit and the errors of each request."""
        return request(self.patience, (AzureError, aiohttp.ClientError), self._translate)

    def _translate(self, error: Exception) -> BlobError:
        code = error_code(error)
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if code in _MISSING or (status == 404 and not code):
            return BlobNotFound("Azure's store has no file under this key")
        if isinstance(error, ClientAuthenticationError) and status is None:
            return BlobError("no credential for Azure was found, or it is not valid: see docs/files.md")
        if status is None:
            return BlobError(f"Azure's store cannot be reached now ({type(error).__name__})")
        answer = f"{status} {code}".strip()
        is_final = status in (401, 403) or (code in _WORDS and code not in _PASSING)
        error_type = BlobRefused if is_final else BlobError
        hint = _WORDS.get(code) or (_WRONG_SERVICE if status in _NOT_UNDERSTOOD and self._kind == "dfs" else "")
        return error_type(f"Azure's store refused the request ({answer})" + (f": {hint}" if hint else ""))

    async def chunks(self, downloaded: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The downloaded chunks, each within the time limit."""
        while True:
            async with self.request():
                chunk = await anext(downloaded, None)
            if chunk is None:
                return
            yield chunk

    async def close(self) -> None:
        """Close the client and the identity, if they were created."""
        client, identity, self._client, self._identity = self._client, self._identity, None, None
        self._delegation_key_until = datetime.min.replace(tzinfo=UTC)
        if client is not None:
            await client.close()
        if identity is not None:
            await identity.close()


class AzureStore(BlobStore, Generic[Service]):
    """A store in one container of an account, with an optional prefix."""

    def __init__(
        self, account: str, container: str, prefix: str, options: BlobOptions, *, service: type[Service], kind: str
    ) -> None:
        """Parameters and errors are those of `AzureAccount`."""
        self._account = AzureAccount(
            account,
            options,
            service=service,
            kind=kind,
            client_options={"max_single_get_size": CHUNK_BYTES, "max_chunk_get_size": CHUNK_BYTES},
        )
        self._container_name = container
        self._prefix = f"{prefix}/" if prefix else ""
        self._proved_writable = False

    async def close(self) -> None:
        await self._account.close()

    def _path(self, key: str) -> str:
        return self._prefix + checked_key(key)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def error_code(error: Exception) -> str:
    """The service's name of the error, such as `BlobNotFound`; empty if it has none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")
