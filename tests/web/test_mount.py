"""Mounting into Chainlit's application: order of routes, errors, security headers."""

import base64
import hashlib
import re
from http.cookies import SimpleCookie

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import datalayer
from tests.web.conftest import Serve, no_gate
from threadkeeper.web.api.on_demand import ApiOnDemand
from threadkeeper.web.mount import mount
from threadkeeper.web.security import SecurityHeaders, page_policy


def router_of(path: str, answer: str) -> APIRouter:
    router = APIRouter()

    @router.get(path)
    async def read() -> dict[str, str]:
        return {"answer": answer}

    return router


async def test_our_routes_come_before_the_catch_all_route(serve: Serve, chainlit_app: FastAPI) -> None:
    mount(chainlit_app, router_of("/health", "ours"), router_of("/deep/path", "ours"), gate=no_gate)
    async with serve() as client:
        assert (await client.get("/health")).json() == {"answer": "ours"}
        assert (await client.get("/deep/path")).json() == {"answer": "ours"}
        assert "<!doctype html>" in (await client.get("/anything/else")).text
        assert (await client.get("/auth/config")).json()["passwordAuth"] in (True, False)


async def test_a_second_mount_replaces_the_first(serve: Serve, chainlit_app: FastAPI) -> None:
    async def gate(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        passed.append("gate")
        await app(scope, receive, send)

    passed: list[str] = []
    mount(chainlit_app, router_of("/a", "first"), router_of("/b", "first"), gate=gate)
    count, middleware = len(chainlit_app.router.routes), len(chainlit_app.user_middleware)
    async with serve() as client:
        assert (await client.get("/a")).json() == {"answer": "first"}
        passed.clear()
        # As `chainlit run -w` does, while requests are served.
        mount(chainlit_app, router_of("/a", "second"), router_of("/c", "second"), gate=gate)
        assert (len(chainlit_app.router.routes), len(chainlit_app.user_middleware)) == (count, middleware)
        assert (await client.get("/a")).json() == {"answer": "second"}
        assert passed == ["gate"]
        assert (await client.get("/b")).headers["content-type"].startswith("text/html")
        mount(chainlit_app, gate=no_gate)
        await client.get("/a")
    assert passed == ["gate", "gate"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
async def test_the_openapi_pages_are_not_public(serve: Serve, chainlit_app: FastAPI, path: str) -> None:
    mount(chainlit_app, gate=no_gate)
    async with serve() as client:
        answer = await client.get(path)
    assert not re.search(r"swagger|redoc|\"openapi\"", answer.text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (datalayer.NotFound("no thread 1234"), 404),
        (datalayer.BlobNotFound("no key 1234"), 404),
        (datalayer.Forbidden("thread 1234 belongs to someone else"), 403),
        (datalayer.InvalidRecord("1234 is not a UUID"), 422),
        (datalayer.StorageUnavailable("host db-1234 is away"), 503),
        (datalayer.BlobError("/srv/1234 is full"), 503),
        (datalayer.SchemaError("table 1234"), 500),
    ],
)
async def test_storage_errors_become_plain_messages(
    serve: Serve, chainlit_app: FastAPI, error: datalayer.DataLayerError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    router = APIRouter()

    @router.get("/fails")
    async def fail() -> None:
        raise error

    mount(chainlit_app, router, gate=no_gate)
    async with serve() as client:
        answer = await client.get("/fails")
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")
    assert "1234" not in answer.text
    assert str(error) in caplog.text
    assert ("retry-after" in answer.headers) is (status == 503)


# Security headers


async def test_the_page_runs_only_its_own_scripts(serve: Serve, chainlit_app: FastAPI) -> None:
    mount(chainlit_app, gate=no_gate)
    async with serve() as client:
        plain = await client.get("/", headers={"Accept-Encoding": "identity"})
        packed = await client.get("/", headers={"Accept-Encoding": "gzip"})
        data = await client.get("/auth/config")
    policy = plain.headers["content-security-policy"]
    assert policy == packed.headers["content-security-policy"]
    assert plain.text == packed.text
    scripts = re.findall(r"<script>(.*?)</script>", plain.text, re.DOTALL)
    assert scripts
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "frame-ancestors 'none'" in policy
    assert plain.headers["x-frame-options"] == "DENY"
    assert "content-security-policy" not in data.headers
    for answer in (plain, packed, data):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


async def test_uploaded_markup_is_sandboxed_and_existing_headers_are_kept(serve: Serve, chainlit_app: FastAPI) -> None:
    router = APIRouter()

    @router.get("/project/file/x")
    async def uploaded(mime: str) -> Response:
        return Response("<script>1</script>", media_type=mime)

    @router.get("/own")
    async def own() -> Response:
        return Response("<p>", media_type="text/html", headers={"Content-Security-Policy": "sandbox"})

    mount(chainlit_app, router, gate=no_gate)
    async with serve() as client:
        for mime in ("image/svg+xml", "text/html", "text/xml", "text/xsl", "text/x+xml", "audio/x+xml", "image/png"):
            answer = await client.get("/project/file/x", params={"mime": mime})
            policy = answer.headers["content-security-policy"]
            assert "sandbox" in policy
            assert "default-src 'none'" in policy
        assert (await client.get("/own")).headers["content-security-policy"] == "sandbox"


def test_an_invalid_host_is_not_put_into_the_policy() -> None:
    assert "ws://chat.example.org:8000 wss://chat.example.org:8000" in page_policy(b"", "chat.example.org:8000")
    assert "evil" not in page_policy(b"", "evil.example; script-src *")


def sources(policy: str, directive: str) -> list[str]:
    return next(part.split()[1:] for part in policy.split("; ") if part.split()[0] == directive)


async def test_a_page_may_load_files_from_the_store_it_is_redirected_to(
    serve: Serve, chainlit_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str | Exception] = [datalayer.BlobError("away"), "https://box.example.org:1234/a/b?sig=secret"]

    async def file_link() -> str:
        answer = asked.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    mount(chainlit_app, gate=no_gate, headers=SecurityHeaders(file_link=file_link))
    async with serve() as client:
        first, second, third = [(await client.get("/")).headers["content-security-policy"] for _ in range(3)]
    assert "box.example.org" not in first
    assert "could not find out the host of the file store's links; the next page tries again: away" in caplog.text
    assert second == third
    for directive in ("img-src", "media-src", "frame-src"):
        assert sources(second, directive)[-1] == "https://box.example.org:1234"
    for directive in ("script-src", "connect-src", "default-src"):
        assert "https://box.example.org:1234" not in sources(second, directive)


def test_unsafe_eval_is_allowed_only_with_custom_elements() -> None:
    assert "'unsafe-eval'" in sources(page_policy(b"", "h", custom_elements=True), "script-src")
    assert "unsafe-eval" not in page_policy(b"", "h")


@pytest.mark.parametrize("served_over_https", [True, False])
async def test_every_cookie_is_secure_if_the_chat_is_served_over_https(
    serve: Serve, chainlit_app: FastAPI, served_over_https: bool
) -> None:
    @chainlit_app.get("/cookies")
    async def cookies() -> Response:
        response = Response(media_type="text/html")
        response.set_cookie("one", "1")
        response.set_cookie("two", "secure; secure=yes", path="/x")
        response.set_cookie("three", "3", secure=True, samesite="none")
        return response

    chainlit_app.router.routes.insert(0, chainlit_app.router.routes.pop())
    mount(chainlit_app, gate=no_gate, headers=SecurityHeaders(served_over_https=served_over_https))
    async with serve() as client:
        answer = await client.get("/cookies")
    found = [SimpleCookie(value) for value in answer.headers.get_list("set-cookie")]
    secure = {name: bool(morsel["secure"]) for cookie in found for name, morsel in cookie.items()}
    assert secure == {"one": served_over_https, "two": served_over_https, "three": True}
    assert all(value.lower().count("; secure") <= 1 for value in answer.headers.get_list("set-cookie"))
    assert "content-security-policy" in answer.headers


async def test_applications_share_the_routes_made_on_demand_and_not_their_state() -> None:
    built = []

    def build() -> APIRouter:
        router = APIRouter()

        @router.get("/whose")
        async def whose(request: Request) -> str:
            return str(request.state.layer)

        built.append(router)
        return router

    for name in ("one", "other"):
        app = FastAPI()
        app.router.routes.append(Route("/{path:path}", ApiOnDemand(build, layer=name)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            assert (await client.get("/whose")).json() == name
    assert len(built) == 1
