"""A stand-in for Azure Data Lake Storage Gen2, which has no emulator.

It serves the requests of the SDK to the `dfs` and `blob` endpoints of an account over real HTTP, from memory. It
accepts only requests with a valid signature (`azure_signatures.py`), a token that it has issued, or a link that was
signed with a key that it has issued. It follows the documentation of the service:

- A file is visible from its creation, and empty. Appended data is visible once it is flushed.
- A folder is created with its first file, is listed, and stays without files. A folder that is not empty is deleted
  only with `recursive=true`. A file cannot be renamed into a folder that does not exist.
- A rename replaces an existing file, keeps the properties, and with a SAS needs a SAS for its source as well.
"""

import base64
import hashlib
import json
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from io import BytesIO
from types import TracebackType
from typing import Self
from urllib.parse import unquote
from xml.etree import ElementTree

from aiohttp import web

from tests.support.azure_signatures import Refused, check_sas, check_shared_key, query_of

_PAGE = 3
_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "PATCH": "w", "DELETE": "d"}
_IDENTITY_SECRET = "identity-secret"


@dataclass
class _File:
    properties: dict[str, str]
    content: bytes = b""
    appended: bytearray = field(default_factory=bytearray)
    is_folder: bool = False
    etag: str = field(default_factory=lambda: f'"{secrets.token_hex(6)}"')
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))


class DataLakeServer:
    """The stand-in, in the event loop of the test, until the end of the `async with` block."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.account = "keeper"
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self.containers: dict[str, dict[str, _File]] = {}
        self.token = secrets.token_urlsafe(16)
        self.requests: list[str] = []
        self._delegation_keys: dict[str, str] = {}
        self._tls = tls
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def identity(self) -> dict[str, str]:
        """Environment variables with which `DefaultAzureCredential` finds a managed identity here."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": _IDENTITY_SECRET}

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=256 * 1024**2)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(f"{request.method} {request.rel_url}")
        if request.path == "/msi/token":
            return self._give_token(request)
        try:
            self._authenticate(request)
            answer = await self._operation(request)(request, body)
        except Refused as refusal:
            answer = web.json_response({"error": {"code": refusal.code, "message": "refused"}}, status=refusal.status)
            answer.headers["x-ms-error-code"] = refusal.code
        return answer

    def _authenticate(self, request: web.Request) -> None:
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("SharedKey "):
            check_shared_key(request, self.account, self.key)
        elif authorization == f"Bearer {self.token}" and self._tls:
            return
        elif authorization.startswith("Bearer "):
            raise Refused(401, "InvalidAuthenticationInfo")
        elif "sig" in request.query and not authorization:
            needed = "l" if request.query.get("resource") == "filesystem" else _PERMISSIONS[request.method]
            self._check_sas(dict(request.query), request.path, needed)
        else:
            raise Refused(401, "NoAuthenticationInformation")

    def _check_sas(self, query: dict[str, str], path: str, needed: str) -> None:
        check_sas(query, path, self.account, self.key, self._delegation_keys, needed)

    def _operation(self, request: web.Request) -> Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]:
        query = request.query
        match request.method:
            case "POST" if query.get("comp") == "userdelegationkey":
                return self._give_delegation_key
            case "PUT" if query.get("restype") == "container":
                return self._make_container
            case "PUT" if "x-ms-rename-source" in request.headers:
                return self._rename
            case "PUT" if query.get("resource") == "file":
                return self._create
            case "PATCH" if query.get("action") == "append":
                return self._append
            case "PATCH" if query.get("action") == "flush":
                return self._flush
            case "GET" if query.get("resource") == "filesystem":
                return self._list
            case "GET" | "HEAD":
                return self._read
            case "DELETE":
                return self._delete
        raise Refused(400, "UnsupportedHttpVerb")

    # Authentication

    def _give_token(self, request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != _IDENTITY_SECRET:
            return web.json_response({"error": "unauthorized"}, status=401)
        expires = int(datetime.now(UTC).timestamp()) + 3600
        answer = {"access_token": self.token, "expires_on": str(expires), "resource": "storage", "token_type": "Bearer"}
        return web.json_response(answer)

    async def _give_delegation_key(self, request: web.Request, body: bytes) -> web.Response:
        if "Authorization" not in request.headers or request.headers["Authorization"].startswith("SharedKey"):
            raise Refused(403, "AuthenticationFailed")
        asked = {part.tag: part.text or "" for part in ElementTree.fromstring(body)}
        value = base64.b64encode(secrets.token_bytes(32)).decode()
        self._delegation_keys[asked["Expiry"]] = value
        parts = {
            **{"SignedOid": "object", "SignedTid": "tenant", "SignedStart": asked["Start"]},
            **{"SignedExpiry": asked["Expiry"], "SignedService": "b", "SignedVersion": "2020-02-10", "Value": value},
        }
        text = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
        return web.Response(text=f"<UserDelegationKey>{text}</UserDelegationKey>", content_type="application/xml")

    # Files and folders

    def _place(self, request: web.Request) -> tuple[dict[str, _File], str]:
        container, _, path = request.path.removeprefix("/").partition("/")
        if container not in self.containers:
            raise Refused(404, "FilesystemNotFound")
        return self.containers[container], path

    def _found(self, request: web.Request) -> _File:
        files, path = self._place(request)
        if path not in files:
            raise Refused(404, "PathNotFound")
        return files[path]

    async def _make_container(self, request: web.Request, body: bytes) -> web.Response:
        name = request.path.strip("/")
        if name in self.containers:
            raise Refused(409, "ContainerAlreadyExists")
        self.containers[name] = {}
        return web.Response(status=201, headers=_version_of(_File({})))

    async def _create(self, request: web.Request, body: bytes) -> web.Response:
        files, path = self._place(request)
        folder = path
        while folder := folder.rpartition("/")[0]:
            files.setdefault(folder, _File({}, is_folder=True))
        if path in files and files[path].is_folder:
            raise Refused(409, "PathAlreadyExists")
        files[path] = _File(_properties_in(request))
        return web.Response(status=201, headers=_version_of(files[path]))

    async def _append(self, request: web.Request, body: bytes) -> web.Response:
        file, position = self._found(request), int(request.query["position"])
        if position > len(file.content) + len(file.appended):
            raise Refused(400, "InvalidFlushPosition")
        # A retry appends the same range again, which replaces the earlier data.
        del file.appended[position - len(file.content) :]
        file.appended += body
        return web.Response(status=202)

    async def _flush(self, request: web.Request, body: bytes) -> web.Response:
        file = self._found(request)
        if int(request.query["position"]) != len(file.content) + len(file.appended):
            raise Refused(400, "InvalidFlushPosition")
        file.content += bytes(file.appended)
        file.appended.clear()
        file.properties |= _properties_in(request)
        file.etag = f'"{secrets.token_hex(6)}"'
        return web.Response(headers=_version_of(file))

    async def _rename(self, request: web.Request, body: bytes) -> web.Response:
        files, path = self._place(request)
        source, _, query = request.headers["x-ms-rename-source"].partition("?")
        source = unquote(source)
        if "sig" in request.query:
            self._check_sas(query_of(query), source, "md")
        _, _, old = source.removeprefix("/").partition("/")
        if old not in files:
            raise Refused(404, "SourcePathNotFound")
        if "/" in path and path.rpartition("/")[0] not in files:
            raise Refused(404, "RenameDestinationParentPathNotFound")
        if path in files and files[path].is_folder:
            raise Refused(409, "PathAlreadyExists")
        files[path] = files.pop(old)
        return web.Response(status=201, headers=_version_of(files[path]))

    async def _delete(self, request: web.Request, body: bytes) -> web.Response:
        files, path = self._place(request)
        file = self._found(request)
        if file.is_folder:
            if "recursive" not in request.query:
                raise Refused(400, "InvalidQueryParameterValue")
            below = [name for name in files if name.startswith(f"{path}/")]
            if below and request.query["recursive"] != "true":
                raise Refused(409, "DirectoryNotEmpty")
            for name in below:
                del files[name]
        del files[path]
        return web.Response()

    async def _read(self, request: web.Request, body: bytes) -> web.Response:
        file = self._found(request)
        if request.headers.get("If-Match", file.etag) != file.etag:
            raise Refused(412, "ConditionNotMet")
        headers = {**_version_of(file), **_headers_of(file), "Accept-Ranges": "bytes"}
        content = file.content
        asked = re.fullmatch(
            r"bytes=(\d+)-(\d*)", request.headers.get("x-ms-range", "") or request.headers.get("Range", "")
        )
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(content))
            return web.Response(headers=headers)
        if not asked:
            return web.Response(body=BytesIO(content), headers=headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            raise Refused(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return web.Response(status=206, body=BytesIO(content[start : end + 1]), headers=headers)

    async def _list(self, request: web.Request, body: bytes) -> web.Response:
        files, _ = self._place(request)
        folder, recursive = request.query.get("directory", ""), request.query["recursive"].lower() == "true"
        if folder and folder not in files:
            raise Refused(404, "PathNotFound")
        beginning = f"{folder}/" if folder else ""
        names = sorted(name for name in files if name.startswith(beginning))
        if not recursive:
            names = [name for name in names if "/" not in name.removeprefix(beginning)]
        names = [name for name in names if name > request.query.get("continuation", "")]
        page = names[: int(request.query.get("maxResults", _PAGE))]
        paths = []
        for name in page:
            file = files[name]
            entry = {"name": name, "contentLength": str(len(file.content)), "etag": file.etag}
            entry["lastModified"] = format_datetime(file.changed, usegmt=True)
            paths.append(entry | ({"isDirectory": "true"} if file.is_folder else {}))
        answer = web.Response(text=json.dumps({"paths": paths}), content_type="application/json")
        if len(page) < len(names):
            answer.headers["x-ms-continuation"] = page[-1]
        return answer


def _version_of(file: _File) -> dict[str, str]:
    return {
        "ETag": file.etag,
        "Last-Modified": format_datetime(file.changed, usegmt=True),
        "x-ms-version": "2026-02-06",
        "x-ms-request-id": "stand-in",
    }


def _properties_in(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items() if name.lower() in _KEPT}


_KEPT = ("x-ms-content-type", "x-ms-content-disposition", "x-ms-properties")


def _headers_of(file: _File) -> dict[str, str]:
    headers = {"Content-Type": file.properties.get("x-ms-content-type", "application/octet-stream")}
    if "x-ms-content-disposition" in file.properties:
        headers["Content-Disposition"] = file.properties["x-ms-content-disposition"]
    for pair in filter(None, file.properties.get("x-ms-properties", "").split(",")):
        name, _, value = pair.partition("=")
        headers[f"x-ms-meta-{name}"] = base64.b64decode(value).decode()
    headers["x-ms-resource-type"] = "directory" if file.is_folder else "file"
    headers["x-ms-blob-content-md5"] = base64.b64encode(hashlib.md5(file.content).digest()).decode()
    return headers
