"""Every route of the application, requested with every role and without a login.

A new route needs a line here, which the test checks.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from datalayer import acting_as, acting_user
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.keys import KEY_SCOPES, ROLES_OF_SCOPES
from tests.support.records import new_id
from tests.web.conftest import NAMES, Browser
from threadkeeper.web.auth.roles import Admin, LoggedIn, Reviewer, reading_usage
from threadkeeper.web.on_demand import OnDemand

EVERYONE, DATA, PAGE = "everyone", "logged-in users", "logged-in users; visitors are redirected to the login"
# A form without its token is refused with 403, after the check of the role: others get a 404.
FORM = "logged-in users, with the token of a form"
REVIEW, REVIEW_FORM = "reviewers and admins", "reviewers and admins, with the token of a form"
ADMINS, ADMIN_FORM = "admins", "admins, with the token of a form"
KEYS = "programs with an API key; a login counts for nothing"
# The scope that a key needs; the role of its user as the service says.
USAGE_KEYS, ASSISTANT_KEYS, REVIEW_KEYS, ADMIN_KEYS, ACCOUNT_KEYS, DELETER_KEYS = (
    f"programs with a key for {scope}"
    for scope in ("usage:read", "assistants", "reviews", "admin", "account", "account or admin")
)
WHO_MAY = {
    # Ours.
    "GET /health": EVERYONE,
    "GET /ready": EVERYONE,
    "GET /metrics": EVERYONE,
    "GET /assets/threadkeeper/{name}": EVERYONE,
    # The thread decides who may read a file; others get a 404.
    "GET /files/{thread_id}/{element_id}/{name:path}": EVERYONE,
    "HEAD /files/{thread_id}/{element_id}/{name:path}": EVERYONE,
    "GET /usage": PAGE,
    "GET /usage/calls": PAGE,
    "GET /usage/portfolio": PAGE,
    "GET /usage/calls/{call_id}": PAGE,
    "GET /usage/export.csv": DATA,
    "GET /usage/export.jsonl": DATA,
    "GET /review": REVIEW,
    "POST /review/views": REVIEW_FORM,
    "POST /review/views/{view_id}/remove": REVIEW_FORM,
    "GET /review/threads/{thread_id}": REVIEW,
    "POST /review/threads/{thread_id}/open": REVIEW_FORM,
    "POST /review/threads/{thread_id}/verdicts": REVIEW_FORM,
    "POST /review/threads/{thread_id}/marks": REVIEW_FORM,
    "POST /review/threads/{thread_id}/assign": REVIEW_FORM,
    "POST /review/threads/{thread_id}/take-over": REVIEW_FORM,
    "POST /review/threads/{thread_id}/better-run": REVIEW_FORM,
    "GET /review/queue": REVIEW,
    "POST /review/queue/fill": REVIEW_FORM,
    "POST /review/queue/next": REVIEW_FORM,
    "POST /review/queue/release": REVIEW_FORM,
    "POST /review/queue/keep": REVIEW_FORM,
    "GET /review/numbers": REVIEW,
    "GET /review/statistics": REVIEW,
    "GET /review/export": REVIEW,
    "POST /review/export": REVIEW_FORM,
    "GET /review/audit": ADMINS,
    "GET /assistants": PAGE,
    "GET /assistants/new": ADMINS,
    "POST /assistants/new": FORM,
    # The assistant decides who may use and edit it; others get a 404.
    "GET /assistants/{slug}": PAGE,
    "POST /assistants/{slug}": FORM,
    "GET /assistants/{slug}/versions": PAGE,
    "POST /assistants/{slug}/restore": FORM,
    "POST /assistants/{slug}/delete": FORM,
    "POST /assistants/{slug}/picture": FORM,
    "GET /assistants/{slug}/picture/{sha256}": PAGE,
    "GET /assistants/{slug}/knowledge": PAGE,
    "POST /assistants/{slug}/knowledge/files": FORM,
    "POST /assistants/{slug}/knowledge/addresses": FORM,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/address": FORM,
    "GET /assistants/{slug}/knowledge/pairs": PAGE,
    "POST /assistants/{slug}/knowledge/pairs": FORM,
    "GET /assistants/{slug}/knowledge/sources/{source_id}": PAGE,
    "GET /assistants/{slug}/knowledge/sources/{source_id}/file": PAGE,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/rename": FORM,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/replace": FORM,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/delete": FORM,
    "GET /assistants/{slug}/knowledge/sources/{source_id}/pairs": PAGE,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/pairs": FORM,
    "GET /assistants/{slug}/knowledge/sources/{source_id}/columns": PAGE,
    "POST /assistants/{slug}/knowledge/sources/{source_id}/columns": FORM,
    "POST /assistants/{slug}/knowledge/trainings": FORM,
    "POST /assistants/{slug}/knowledge/trainings/cancel": FORM,
    "GET /assistants/{slug}/knowledge/trainings/{training_id}": PAGE,
    "GET /assistants/{slug}/knowledge/trainings/{training_id}/documents/{document_id}": PAGE,
    "GET /me/export": PAGE,
    "GET /me/export/{thread_format}": PAGE,
    "GET /me/import": PAGE,
    "POST /me/import": FORM,
    "POST /me/import/{job_id}/start": FORM,
    "POST /me/import/{job_id}/cancel": FORM,
    "GET /me/threads": PAGE,
    "POST /me/threads": FORM,
    # The thread decides who may fork it; others get a 404.
    "GET /me/threads/{thread_id}/fork": PAGE,
    "POST /me/threads/{thread_id}/fork": FORM,
    "GET /me/prompts": PAGE,
    "POST /me/prompts": FORM,
    "POST /me/prompts/{prompt_id}/delete": FORM,
    "GET /page/prompts": DATA,
    "GET /page/texts": EVERYONE,
    "GET /page/side-bar": DATA,
    "PUT /page/threads/{thread_id}/marks": DATA,
    "PUT /page/vote": DATA,
    "PUT /page/reasons": DATA,
    "GET /page/excerpts": DATA,
    "GET /page/threads/{thread_id}": DATA,
    "POST /page/threads/{thread_id}/copy": DATA,
    # Chainlit's page. Browsers of visitors go to the login: see `test_chainlit_pages`.
    "GET /": EVERYONE,
    "GET /thread": EVERYONE,
    "GET /thread/{thread_id}": EVERYONE,
    "GET /share/{thread_id}": EVERYONE,
    "GET /element/{element_id}": EVERYONE,
    # For programs with a key, and to read for our pages: see below, `test_keys` and `test_api`.
    "GET /api/v1/threads": KEYS,
    "POST /api/v1/threads": KEYS,
    "POST /api/v1/threads/{thread_id}/fork": KEYS,
    "GET /api/v1/search": KEYS,
    "GET /api/v1/prompts": KEYS,
    "POST /api/v1/prompts": KEYS,
    "PUT /api/v1/prompts/{prompt_id}": KEYS,
    "DELETE /api/v1/prompts/{prompt_id}": KEYS,
    "GET /api/v1/jobs/{job_id}": KEYS,
    "DELETE /api/v1/jobs/{job_id}": KEYS,
    "POST /api/v1/jobs/{job_id}/cancel": KEYS,
    "GET /api/v1/webhook-secret": KEYS,
    "GET /api/v1/threads/{thread_id}": KEYS,
    "PATCH /api/v1/threads/{thread_id}": KEYS,
    "DELETE /api/v1/threads/{thread_id}": KEYS,
    "POST /api/v1/threads/{thread_id}/copy": KEYS,
    "PUT /api/v1/threads/{thread_id}/share": KEYS,
    "DELETE /api/v1/threads/{thread_id}/share": KEYS,
    "GET /api/v1/threads/{thread_id}/messages": KEYS,
    "POST /api/v1/threads/{thread_id}/messages": KEYS,
    "PUT /api/v1/threads/{thread_id}/messages/{message_id}/feedback": KEYS,
    "DELETE /api/v1/threads/{thread_id}/messages/{message_id}/feedback": KEYS,
    "POST /api/v1/threads/{thread_id}/messages/{message_id}/edit": KEYS,
    "POST /api/v1/threads/{thread_id}/messages/{message_id}/regenerate": KEYS,
    "POST /api/v1/threads/{thread_id}/messages/{message_id}/continue": KEYS,
    "POST /api/v1/threads/{thread_id}/stop": KEYS,
    "PUT /api/v1/threads/{thread_id}/messages/{message_id}/favorite": KEYS,
    "DELETE /api/v1/threads/{thread_id}/messages/{message_id}/favorite": KEYS,
    "GET /api/v1/threads/{thread_id}/messages/{message_id}/versions": KEYS,
    "POST /api/v1/threads/{thread_id}/messages/{message_id}/versions/{number}/restore": KEYS,
    "GET /api/v1/favorites": KEYS,
    "GET /api/v1/threads/{thread_id}/elements": KEYS,
    "POST /api/v1/threads/{thread_id}/elements": KEYS,
    "GET /api/v1/threads/{thread_id}/elements/{element_id}/content": KEYS,
    "GET /interactions/": KEYS,
    "POST /interactions/": KEYS,
    "GET /interactions/{interaction_id}/messages/": KEYS,
    "POST /interactions/{interaction_id}/messages/": KEYS,
    # The assistant decides who may use and edit it.
    "GET /api/v1/assistants": ASSISTANT_KEYS,
    "POST /api/v1/assistants": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}": ASSISTANT_KEYS,
    "PATCH /api/v1/assistants/{slug}": ASSISTANT_KEYS,
    "DELETE /api/v1/assistants/{slug}": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/versions": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/versions/{version}/restore": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/numbers": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/picture": ASSISTANT_KEYS,
    "PUT /api/v1/assistants/{slug}/picture": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/sources": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/sources": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/sources/files": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/sources/{source_id}": ASSISTANT_KEYS,
    "DELETE /api/v1/assistants/{slug}/sources/{source_id}": ASSISTANT_KEYS,
    "PATCH /api/v1/assistants/{slug}/sources/{source_id}": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/sources/{source_id}/content": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/trials": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/trainings": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/trainings": ASSISTANT_KEYS,
    "GET /api/v1/assistants/{slug}/trainings/{training_id}": ASSISTANT_KEYS,
    "POST /api/v1/assistants/{slug}/trainings/{training_id}/cancel": ASSISTANT_KEYS,
    "GET /api/v1/reviews/answers": REVIEW_KEYS,
    "PUT /api/v1/reviews/answers/{answer_id}/verdict": REVIEW_KEYS,
    "DELETE /api/v1/reviews/answers/{answer_id}/verdict": REVIEW_KEYS,
    "GET /api/v1/reviews/threads/{thread_id}": REVIEW_KEYS,
    "GET /api/v1/reviews/queue": REVIEW_KEYS,
    "POST /api/v1/reviews/queue/next": REVIEW_KEYS,
    "POST /api/v1/reviews/queue/fill": REVIEW_KEYS,
    "PUT /api/v1/reviews/answers/{answer_id}/assignment": REVIEW_KEYS,
    "PUT /api/v1/reviews/answers/{answer_id}/lock": REVIEW_KEYS,
    "DELETE /api/v1/reviews/answers/{answer_id}/lock": REVIEW_KEYS,
    "PUT /api/v1/reviews/threads/{thread_id}/marks/{kind}": REVIEW_KEYS,
    "DELETE /api/v1/reviews/threads/{thread_id}/marks/{kind}": REVIEW_KEYS,
    "GET /api/v1/reviews/exports/{kind}": REVIEW_KEYS,
    "POST /api/v1/reviews/threads/{thread_id}/copy": REVIEW_KEYS,
    "PUT /api/v1/reviews/copies/{thread_id}/better-answer": REVIEW_KEYS,
    "GET /api/v1/reviews/views": REVIEW_KEYS,
    "POST /api/v1/reviews/views": REVIEW_KEYS,
    "DELETE /api/v1/reviews/views/{view_id}": REVIEW_KEYS,
    "GET /api/v1/reviews/views/{view_id}/answers": REVIEW_KEYS,
    "GET /api/v1/me": ACCOUNT_KEYS,
    "DELETE /api/v1/me": ACCOUNT_KEYS,
    "GET /api/v1/me/looks": ACCOUNT_KEYS,
    "GET /api/v1/me/logins": ACCOUNT_KEYS,
    "DELETE /api/v1/me/logins": ACCOUNT_KEYS,
    "DELETE /api/v1/me/logins/{login_id}": ACCOUNT_KEYS,
    "GET /api/v1/me/takeouts": ACCOUNT_KEYS,
    "POST /api/v1/me/takeouts": ACCOUNT_KEYS,
    "GET /api/v1/me/takeouts/{takeout_id}": ACCOUNT_KEYS,
    "POST /api/v1/me/takeouts/{takeout_id}/cancel": ACCOUNT_KEYS,
    "GET /api/v1/me/takeouts/{takeout_id}/content": ACCOUNT_KEYS,
    "PUT /api/v1/me/password": ACCOUNT_KEYS,
    "GET /api/v1/me/chat-settings": ACCOUNT_KEYS,
    "PATCH /api/v1/me/chat-settings": ACCOUNT_KEYS,
    "GET /api/v1/me/imports": ACCOUNT_KEYS,
    "POST /api/v1/me/imports": ACCOUNT_KEYS,
    "GET /api/v1/me/imports/{import_id}": ACCOUNT_KEYS,
    "POST /api/v1/me/imports/{import_id}/start": ACCOUNT_KEYS,
    "POST /api/v1/me/imports/{import_id}/cancel": ACCOUNT_KEYS,
    "GET /api/v1/audit": ADMIN_KEYS,
    "POST /api/v1/users/{user_id}/invitations": ADMIN_KEYS,
    "DELETE /api/v1/users/{user_id}/logins": ADMIN_KEYS,
    "GET /api/v1/export": KEYS,
    "GET /api/v1/threads/{thread_id}/export": KEYS,
    "GET /api/v1/me/keys": ACCOUNT_KEYS,
    "POST /api/v1/me/keys": ACCOUNT_KEYS,
    "GET /api/v1/me/keys/{key_id}": ACCOUNT_KEYS,
    "PATCH /api/v1/me/keys/{key_id}": ACCOUNT_KEYS,
    "DELETE /api/v1/me/keys/{key_id}": ACCOUNT_KEYS,
    "GET /api/v1/users/{user_id}/keys": ADMIN_KEYS,
    "POST /api/v1/users/{user_id}/keys": ADMIN_KEYS,
    "GET /api/v1/users/{user_id}/keys/{key_id}": ADMIN_KEYS,
    "DELETE /api/v1/users/{user_id}/keys/{key_id}": ADMIN_KEYS,
    "GET /api/v1/users": ADMIN_KEYS,
    "POST /api/v1/users": ADMIN_KEYS,
    "GET /api/v1/users/{user_id}": ADMIN_KEYS,
    "PATCH /api/v1/users/{user_id}": ADMIN_KEYS,
    "DELETE /api/v1/users/{user_id}": ADMIN_KEYS,
    "GET /api/v1/usage": USAGE_KEYS,
    "GET /api/v1/statistics": USAGE_KEYS,
    "GET /api/v1/prices": USAGE_KEYS,
    "POST /api/v1/prices": ADMIN_KEYS,
    "DELETE /api/v1/prices/{price_id}": ADMIN_KEYS,
    "GET /api/v1/limits": USAGE_KEYS,
    "POST /api/v1/limits": ADMIN_KEYS,
    "GET /api/v1/limits/{limit_id}": ADMIN_KEYS,
    "PATCH /api/v1/limits/{limit_id}": ADMIN_KEYS,
    "DELETE /api/v1/limits/{limit_id}": ADMIN_KEYS,
    "GET /api/v1/transactions": USAGE_KEYS,
    "GET /api/v1/transactions/{transaction_id}": USAGE_KEYS,
    "GET /api/v1/projects": USAGE_KEYS,
    "POST /api/v1/projects": ADMIN_KEYS,
    "GET /api/v1/projects/{slug}": USAGE_KEYS,
    "PATCH /api/v1/projects/{slug}": ADMIN_KEYS,
    "DELETE /api/v1/projects/{slug}": DELETER_KEYS,
    "GET /api/v1/portfolio": USAGE_KEYS,
    "GET /api/v1/settings": ADMIN_KEYS,
    "GET /api/v1/openapi.json": EVERYONE,
    "GET /api/v1/docs": EVERYONE,
    "GET /me": PAGE,
    "POST /me/shared/{thread_id}/stop": FORM,
    "POST /me/takeout": FORM,
    "POST /me/takeout/{job_id}/cancel": FORM,
    "GET /me/takeout/{job_id}": PAGE,
    "POST /me/logins/{login_id}/end": FORM,
    "POST /me/log-out": FORM,
    "POST /me/delete": FORM,
    **{
        f"{method} {path}": KEYS
        for path in ("/gateway", "/gateway/{path:path}", "/v1", "/v1/{path:path}")
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    },
    # Sends to another page.
    "GET /admin": PAGE,
    "GET /admin/start": ADMINS,
    "POST /admin/start/hide": ADMIN_FORM,
    "POST /admin/start/show": ADMIN_FORM,
    "GET /admin/models": ADMINS,
    "GET /admin/models/edit": ADMINS,
    "POST /admin/models/edit": ADMIN_FORM,
    "POST /admin/models/reset": ADMIN_FORM,
    "POST /admin/models/default": ADMIN_FORM,
    "POST /admin/models/default/reset": ADMIN_FORM,
    "POST /admin/models/try": ADMIN_FORM,
    "GET /admin/system": ADMINS,
    "POST /admin/system/backup": ADMIN_FORM,
    "GET /admin/money": ADMINS,
    "GET /admin/money/limits": ADMINS,
    "POST /admin/money/limits": ADMIN_FORM,
    "POST /admin/money/limits/{limit_id}/remove": ADMIN_FORM,
    "GET /admin/money/projects": ADMINS,
    "GET /admin/money/new-project": ADMINS,
    "POST /admin/money/projects": ADMIN_FORM,
    "GET /admin/money/projects/{slug}": ADMINS,
    "POST /admin/money/projects/{slug}": ADMIN_FORM,
    "POST /admin/money/projects/{slug}/delete": ADMIN_FORM,
    "GET /admin/money/reprice": ADMINS,
    "POST /admin/money/reprice": ADMIN_FORM,
    "GET /admin/money/reprice/{job_id}": ADMINS,
    "POST /admin/money/reprice/{job_id}/apply": ADMIN_FORM,
    # Without a model, it is a 404.
    "GET /admin/money/model": ADMINS,
    "GET /admin/money/prices/new": ADMINS,
    "POST /admin/money/prices": ADMIN_FORM,
    "GET /admin/money/price-list": ADMINS,
    "POST /admin/money/price-list": ADMIN_FORM,
    "POST /admin/money/price-list/store": ADMIN_FORM,
    "GET /admin/money/prices/{price_id}": ADMINS,
    "POST /admin/money/prices/{price_id}/end": ADMIN_FORM,
    "GET /admin/people": ADMINS,
    "POST /admin/people": ADMIN_FORM,
    "GET /admin/people/{user_id}": ADMINS,
    "POST /admin/people/{user_id}/role": ADMIN_FORM,
    "POST /admin/people/{user_id}/disable": ADMIN_FORM,
    "POST /admin/people/{user_id}/enable": ADMIN_FORM,
    "POST /admin/people/{user_id}/invite": ADMIN_FORM,
    "POST /admin/people/{user_id}/logins/end": ADMIN_FORM,
    "POST /admin/people/{user_id}/limits": ADMIN_FORM,
    "POST /admin/people/{user_id}/limits/{limit_id}/remove": ADMIN_FORM,
    "POST /admin/people/{user_id}/delete": ADMIN_FORM,
    # The secret of the invitation decides; without one, it is a 404.
    "GET /invitation": EVERYONE,
    "POST /invitation": EVERYONE,
    "POST /me/language": FORM,
    "POST /me/password": FORM,
    "POST /me/keys": FORM,
    "POST /me/keys/{key_id}/revoke": FORM,
    # Chainlit's.
    "MOUNT /ws/socket.io": EVERYONE,
    "GET /{full_path:path}": EVERYONE,
    "HEAD /": EVERYONE,
    "GET /assets/{filename:path}": EVERYONE,
    "GET /public/{filename:path}": EVERYONE,
    "GET /copilot/{filename:path}": EVERYONE,
    "GET /avatars/{avatar_id:str}": EVERYONE,
    "GET /favicon": EVERYONE,
    "GET /logo": EVERYONE,
    "GET /auth/config": EVERYONE,
    "GET /auth/oauth/{provider_id}": EVERYONE,
    "GET /auth/oauth/{provider_id}/callback": EVERYONE,
    "POST /auth/oauth/azure-ad-hybrid/callback": EVERYONE,
    "POST /auth/header": EVERYONE,
    "POST /auth/jwt": EVERYONE,
    "POST /login": EVERYONE,
    "POST /logout": EVERYONE,
    "POST /set-session-cookie": EVERYONE,
    "GET /project/translations": EVERYONE,
    "GET /user": EVERYONE,
    "GET /project/settings": DATA,
    "POST /project/threads": DATA,
    "GET /project/thread/{thread_id}": DATA,
    "PUT /project/thread": DATA,
    "DELETE /project/thread": DATA,
    "GET /project/share/{thread_id}": DATA,
    "PUT /project/thread/share": DATA,
    "GET /project/thread/{thread_id}/element/{element_id}": DATA,
    "PUT /project/element": DATA,
    "DELETE /project/element": DATA,
    "POST /project/file": DATA,
    "GET /project/file/{file_id}": DATA,
    "POST /project/action": DATA,
    "PUT /feedback": DATA,
    "DELETE /feedback": DATA,
    "POST /mcp": DATA,
    "DELETE /mcp": DATA,
}

OF_PROGRAMS = {
    KEYS: "",
    USAGE_KEYS: "usage:read",
    ASSISTANT_KEYS: "assistants",
    REVIEW_KEYS: "reviews",
    ADMIN_KEYS: "admin",
    ACCOUNT_KEYS: "account",
    DELETER_KEYS: "account or admin",
}

MOVED = {"/review/statistics": 308, "/admin": 303, "/admin/money/model": 404, "/admin/models/edit": 303}


def routes(found: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The method and path of each route, in nested routers too."""
    for route in found:
        # The API is the endpoint of several paths, and has the same routes below all of them.
        made = getattr(route, "endpoint", route)
        if isinstance(made, OnDemand):
            yield from routes(made.router.routes)
        elif (path := getattr(route, "path", None)) is None:
            yield from routes(route.original_router.routes)
        else:
            for method in getattr(route, "methods", None) or ("MOUNT",):
                yield method, path


async def asked(browser: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """The response for ids that do not exist."""
    method = method.replace("MOUNT", "GET")
    address = re.sub(r"\{[^}]*\}", new_id(), path)
    return await browser.request(method, address, json={} if method not in ("GET", "HEAD") else None)


def demands_a_login(answer: httpx.Response) -> bool:
    # That a body lacks an Authorization header of its own is what `/auth/jwt` says to everyone.
    return answer.status_code == 401 and "header missing" not in answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.slow
async def test_every_route_admits_exactly_the_roles_of_the_table(whole_app: FastAPI, browser_of: Browser) -> None:
    found = {pair for pair in routes(whole_app.router.routes) if not pair[1].startswith("/for/")}
    # After logging out, a visitor is anonymous.
    there = sorted(found, key=lambda pair: (pair[1] == "/logout", pair))
    assert {f"{method} {path}" for method, path in there} == WHO_MAY.keys(), "each route has its line, and no other"
    for role in (None, *NAMES):
        browser = await browser_of(role)
        for method, path in there:
            answer, who_may = await asked(browser, method, path), WHO_MAY[f"{method} {path}"]
            what = f"{method} {path} for {role}: {answer.status_code} {answer.text[:80]}"
            assert answer.status_code < 500, what
            if who_may in OF_PROGRAMS:
                assert answer.status_code == 401, what
                continue
            assert demands_a_login(answer) is (role is None and who_may == DATA), what
            if role is None and who_may not in (EVERYONE, DATA):
                wanted = f"?next={answer.url.path}" if method == "GET" else ""
                assert (answer.status_code, answer.headers["location"]) == (303, f"/login{wanted}"), what
            elif (who_may in (REVIEW, REVIEW_FORM) and role == "user") or (
                who_may in (ADMINS, ADMIN_FORM) and role != "admin"
            ):
                assert answer.status_code == 404, what
            elif who_may in (FORM, REVIEW_FORM, ADMIN_FORM):
                assert answer.status_code == 403, what
            else:
                assert answer.status_code not in (303, 403) or path in MOVED, what
                if "{" not in path and who_may in (REVIEW, ADMINS):
                    assert answer.status_code == MOVED.get(path, 200), what


@pytest.fixture
def extra_routers() -> list[APIRouter]:
    """A route for each kind of person that returns the acting user."""
    router = APIRouter()

    def read(person: Any) -> dict[str, Any]:
        with reading_usage(person):
            actor = acting_user.get()
            return {"who": person.identifier, "reads": actor if isinstance(actor, str) else "all"}

    @router.get("/for/user")
    async def for_user(person: LoggedIn) -> dict[str, Any]:
        return read(person)

    @router.get("/for/reviewer")
    async def for_reviewer(person: Reviewer) -> dict[str, Any]:
        return read(person)

    @router.get("/for/admin")
    async def for_admin(person: Admin) -> dict[str, Any]:
        return read(person)

    return [router]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_usage_is_read_with_the_rights_of_the_role(whole_app: FastAPI, browser_of: Browser) -> None:
    opens = {None: [], "user": ["user"], "reviewer": ["user", "reviewer"], "admin": ["user", "reviewer", "admin"]}
    for role, opened in opens.items():
        browser = await browser_of(role)
        for kind in NAMES:
            answer = await browser.get(f"/for/{kind}")
            if kind in opened:
                reads = "all" if role == "admin" else NAMES[str(role)]
                assert answer.json() == {"who": NAMES[str(role)], "reads": reads}
            else:
                assert answer.status_code == (401 if role is None else 404)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_key_reaches_the_routes_of_its_scopes_alone(
    whole_app: FastAPI, layer: ChainlitLayer, browser_of: Browser
) -> None:
    of_programs = [
        (*line.split(" "), OF_PROGRAMS[who_may] or ("threads:read" if line.startswith("GET") else "threads:write"))
        for line, who_may in WHO_MAY.items()
        if who_may in OF_PROGRAMS and not line.partition(" ")[2].startswith(("/gateway", "/v1"))
    ]
    for role, name in NAMES.items():
        with acting_as(name):
            secrets = {
                scope: (await layer.create_api_key("x", [scope]))[1]
                for scope in KEY_SCOPES
                if role in ROLES_OF_SCOPES.get(scope, (role,))
            }
        for scope, secret in secrets.items():
            program = await browser_of(None)
            program.headers["x-api-key"] = secret
            for method, path, wanted in of_programs:
                answer = await asked(program, method, path)
                what = f"{method} {path} for {role} with {scope}: {answer.status_code}"
                assert answer.status_code < 500, what
                assert answer.status_code != 401, what
                if scope not in wanted.split(" or "):
                    assert answer.json()["type"].endswith(":scope-missing"), what
                else:
                    assert answer.status_code != 403 or answer.json()["type"].endswith(":forbidden"), what
