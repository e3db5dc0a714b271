"""Checks the signatures of requests as Azure Storage does: SharedKey, account SAS, service SAS and user delegation SAS.

Written from the service's documentation ("Authorize with Shared Key", "Create a service SAS", "Create a user
delegation SAS", "Create an account SAS"), not from the SDK, because it checks the signatures of the SDK.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote

from aiohttp import web

_SIGNED_HEADERS = (
    *("Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date"),
    *("If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"),
)
_RESPONSE_HEADERS = ("rscc", "rscd", "rsce", "rscl", "rsct")


class Refused(Exception):
    """The request is refused. The code is the error code of the service."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def sign(key: str, text: str) -> str:
    """The signature of a text; the key is in base64."""
    return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()


def check_shared_key(request: web.Request, account: str, key: str) -> None:
    """Raises Refused if the header `Authorization` is not the signature of this request with the account key."""
    headers = request.headers
    length = headers.get("Content-Length", "")
    values = [headers.get(name, "") for name in _SIGNED_HEADERS]
    values[2] = "" if length == "0" else length
    ours = sorted((name.lower(), value.strip()) for name, value in headers.items() if name.lower().startswith("x-ms-"))
    query = sorted((name.lower(), value) for name, value in request.query.items())
    text = "\n".join(
        [
            request.method,
            *values,
            *(f"{name}:{value}" for name, value in ours),
            f"/{account}{request.rel_url.raw_path}",
            *(f"{name}:{value}" for name, value in query),
        ]
    )
    if not hmac.compare_digest(headers["Authorization"], f"SharedKey {account}:{sign(key, text)}"):
        raise Refused(403, "AuthenticationFailed")


def check_sas(
    query: Mapping[str, str], path: str, account: str, key: str, delegation_keys: Mapping[str, str], needed: str
) -> None:
    """Raises Refused if the signature in the query is wrong or expired, or does not allow the operation.

    Args:
        query: the query of the request.
        path: `/container/path`, decoded.
        account: the account's name.
        key: the account's key.
        delegation_keys: the issued keys, by their end.
        needed: the letters of the permissions; one of them is enough.
    """
    if "ss" in query:
        fields = [
            account,
            *(query.get(name, "") for name in ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")),
        ]
        text = "\n".join(fields) + "\n"
    else:
        if query.get("sr") not in ("b", "c"):
            raise Refused(403, "AuthenticationFailed")
        resource = path if query["sr"] == "b" else "/" + path.split("/")[1]
        begin = [query.get("sp", ""), query.get("st", ""), query.get("se", ""), f"/blob/{account}{resource}"]
        end = [*(query.get(name, "") for name in ("sip", "spr", "sv", "sr")), "", query.get("ses", "")]
        overrides = [query.get(name, "") for name in _RESPONSE_HEADERS]
        if "skoid" in query:
            names = ("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "skdutid", "sduoid")
            key = delegation_keys.get(query.get("ske", ""), base64.b64encode(b"unknown").decode())
            text = "\n".join([*begin, *(query.get(name, "") for name in names), *end, "", "", *overrides])
        else:
            text = "\n".join([*begin, query.get("si", ""), *end, *overrides])
    if not hmac.compare_digest(query["sig"], sign(key, text)):
        raise Refused(403, "AuthenticationFailed")
    if datetime.fromisoformat(query["se"]) < datetime.now(UTC):
        raise Refused(403, "AuthenticationFailed")
    if not set(needed) & set(query["sp"]):
        raise Refused(403, "AuthorizationPermissionMismatch")


def query_of(signed: str) -> dict[str, str]:
    """The parts of a SAS without a URL."""
    return {name: unquote(value) for name, _, value in (part.partition("=") for part in signed.split("&"))}
