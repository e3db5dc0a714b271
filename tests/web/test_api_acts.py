"""What a person does in the browser, a program can do: each act of a page names its route of the API, or a reason.

A new form or button needs a line here, which the test checks. docs/api.md says the reasons too.
"""

import pytest
from fastapi import FastAPI

from tests.web.test_roles import WHO_MAY, routes
from threadkeeper.web.api.documentation import document_of
from threadkeeper.web.api.route import PREFIX
from threadkeeper.web.api.routes import api_router

READS = ("GET", "HEAD", "MOUNT")
REASONS = {
    "login": "A program has a key, and no login: it ends those of its user with DELETE /me/logins.",
    "invited": "Who follows an invitation has no key yet.",
    "shown": "It changes what the page itself shows, and nothing that a program sees.",
    "page": "Chainlit's page sends it beside what the chat's events do; programs have the routes of threads.",
    "off": "It is switched off: no act of a person reaches it.",
    "operator": "It is for operators: `threadkeeper backup`, `reprice`, settings of models, and `/v1` to try one.",
}
ACTS = {
    "POST /review/views": "POST /reviews/views",
    "POST /review/views/{view_id}/remove": "DELETE /reviews/views/{view_id}",
    # To read a thread of another user leaves a row in the audit.
    "POST /review/threads/{thread_id}/open": "GET /reviews/threads/{thread_id}",
    "POST /review/threads/{thread_id}/verdicts": "PUT /reviews/answers/{answer_id}/verdict",
    "POST /review/threads/{thread_id}/marks": "PUT /reviews/threads/{thread_id}/marks/{kind}",
    "POST /review/threads/{thread_id}/assign": "PUT /reviews/answers/{answer_id}/assignment",
    "POST /review/threads/{thread_id}/take-over": "POST /reviews/threads/{thread_id}/copy",
    "POST /review/threads/{thread_id}/better-run": "PUT /reviews/copies/{thread_id}/better-answer",
    "POST /review/queue/fill": "POST /reviews/queue/fill",
    "POST /review/queue/next": "POST /reviews/queue/next",
    "POST /review/queue/release": "DELETE /reviews/answers/{answer_id}/lock",
    "POST /review/queue/keep": "PUT /reviews/answers/{answer_id}/lock",
    "POST /review/export": "GET /reviews/exports/{kind}",
    "POST /assistants/new": "POST /assistants",
    # Its form saves, and tries a question.
    "POST /assistants/{slug}": "PATCH /assistants/{slug} POST /assistants/{slug}/trials",
    "POST /assistants/{slug}/restore": "POST /assistants/{slug}/versions/{version}/restore",
    "POST /assistants/{slug}/delete": "DELETE /assistants/{slug}",
    "POST /assistants/{slug}/picture": "PUT /assistants/{slug}/picture",
    "POST /assistants/{slug}/knowledge/files": "POST /assistants/{slug}/sources/files",
    "POST /assistants/{slug}/knowledge/addresses": "POST /assistants/{slug}/sources",
    # One of the same address is replaced.
    "POST /assistants/{slug}/knowledge/sources/{source_id}/address": "POST /assistants/{slug}/sources",
    "POST /assistants/{slug}/knowledge/pairs": "POST /assistants/{slug}/sources",
    "POST /assistants/{slug}/knowledge/sources/{source_id}/rename": "PATCH /assistants/{slug}/sources/{source_id}",
    # One of the same title is replaced.
    "POST /assistants/{slug}/knowledge/sources/{source_id}/replace": "POST /assistants/{slug}/sources/files",
    "POST /assistants/{slug}/knowledge/sources/{source_id}/delete": "DELETE /assistants/{slug}/sources/{source_id}",
    "POST /assistants/{slug}/knowledge/sources/{source_id}/pairs": "POST /assistants/{slug}/sources",
    "POST /assistants/{slug}/knowledge/sources/{source_id}/columns": "PATCH /assistants/{slug}/sources/{source_id}",
    "POST /assistants/{slug}/knowledge/trainings": "POST /assistants/{slug}/trainings",
    "POST /assistants/{slug}/knowledge/trainings/cancel": ("POST /assistants/{slug}/trainings/{training_id}/cancel"),
    "POST /me/import": "POST /me/imports",
    "POST /me/import/{job_id}/start": "POST /me/imports/{import_id}/start",
    "POST /me/import/{job_id}/cancel": "POST /me/imports/{import_id}/cancel",
    "POST /me/threads": "PATCH /threads/{thread_id} DELETE /threads/{thread_id}",
    "POST /me/threads/{thread_id}/fork": "POST /threads/{thread_id}/fork",
    "POST /me/prompts": "POST /prompts PUT /prompts/{prompt_id}",
    "POST /me/prompts/{prompt_id}/delete": "DELETE /prompts/{prompt_id}",
    # A cookie of the browser.
    "POST /me/language": "shown",
    "POST /me/password": "PUT /me/password",
    "POST /me/keys": "POST /me/keys",
    "POST /me/keys/{key_id}/revoke": "DELETE /me/keys/{key_id}",
    "POST /me/shared/{thread_id}/stop": "DELETE /threads/{thread_id}/share",
    "POST /me/takeout": "POST /me/takeouts",
    "POST /me/takeout/{job_id}/cancel": "POST /me/takeouts/{takeout_id}/cancel",
    "POST /me/logins/{login_id}/end": "DELETE /me/logins/{login_id}",
    "POST /me/log-out": "DELETE /me/logins",
    "POST /me/delete": "DELETE /me",
    "PUT /page/threads/{thread_id}/marks": "PATCH /threads/{thread_id}",
    "PUT /page/vote": "PUT /threads/{thread_id}/messages/{message_id}/feedback",
    "PUT /page/reasons": "PUT /threads/{thread_id}/messages/{message_id}/feedback",
    "POST /page/threads/{thread_id}/copy": "POST /threads/{thread_id}/copy",
    "POST /admin/people": "POST /users",
    "POST /admin/people/{user_id}/role": "PATCH /users/{user_id}",
    "POST /admin/people/{user_id}/disable": "PATCH /users/{user_id}",
    "POST /admin/people/{user_id}/enable": "PATCH /users/{user_id}",
    "POST /admin/people/{user_id}/invite": "POST /users/{user_id}/invitations",
    "POST /admin/people/{user_id}/logins/end": "DELETE /users/{user_id}/logins",
    "POST /admin/people/{user_id}/limits": "POST /limits",
    "POST /admin/people/{user_id}/limits/{limit_id}/remove": "DELETE /limits/{limit_id}",
    "POST /admin/people/{user_id}/delete": "DELETE /users/{user_id}",
    "POST /admin/start/hide": "shown",
    "POST /admin/start/show": "shown",
    "POST /admin/system/backup": "operator",
    "POST /admin/models/try": "operator",
    "POST /admin/models/edit": "operator",
    "POST /admin/models/reset": "operator",
    "POST /admin/models/default": "operator",
    "POST /admin/models/default/reset": "operator",
    "POST /admin/money/limits": "POST /limits",
    "POST /admin/money/limits/{limit_id}/remove": "DELETE /limits/{limit_id}",
    "POST /admin/money/projects": "POST /projects",
    "POST /admin/money/projects/{slug}": "PATCH /projects/{slug}",
    "POST /admin/money/projects/{slug}/delete": "DELETE /projects/{slug}",
    "POST /admin/money/prices": "POST /prices",
    # Stores nothing: it shows the prices, and the next form stores each of them.
    "POST /admin/money/price-list": "POST /prices",
    "POST /admin/money/price-list/store": "POST /prices",
    "POST /admin/money/prices/{price_id}/end": "DELETE /prices/{price_id}",
    "POST /admin/money/reprice": "operator",
    "POST /admin/money/reprice/{job_id}/apply": "operator",
    "POST /invitation": "invited",
    # Chainlit's.
    "POST /login": "login",
    "POST /logout": "login",
    "POST /auth/jwt": "login",
    "POST /auth/header": "login",
    "POST /auth/oauth/azure-ad-hybrid/callback": "login",
    "POST /set-session-cookie": "login",
    "PUT /project/thread": "PATCH /threads/{thread_id}",
    "PUT /project/thread/share": "PUT /threads/{thread_id}/share DELETE /threads/{thread_id}/share",
    "DELETE /project/thread": "DELETE /threads/{thread_id}",
    "POST /project/threads": "GET /threads GET /search",
    "PUT /feedback": "PUT /threads/{thread_id}/messages/{message_id}/feedback",
    "DELETE /feedback": "DELETE /threads/{thread_id}/messages/{message_id}/feedback",
    "POST /project/file": "POST /threads/{thread_id}/elements",
    "PUT /project/element": "off",
    "DELETE /project/element": "off",
    # The buttons under an answer: another answer, the rest of it, an earlier version; questions of an assistant.
    "POST /project/action": (
        "POST /threads/{thread_id}/messages/{message_id}/regenerate"
        " POST /threads/{thread_id}/messages/{message_id}/continue"
        " POST /threads/{thread_id}/messages/{message_id}/versions/{number}/restore"
        " POST /threads/{thread_id}/messages"
    ),
    "POST /mcp": "off",
    "DELETE /mcp": "off",
}
EVENTS = {
    "client_message": "POST /threads/{thread_id}/messages",
    "edit_message": "POST /threads/{thread_id}/messages/{message_id}/edit",
    "message_favorite": "PUT /threads/{thread_id}/messages/{message_id}/favorite",
    "stop": "POST /threads/{thread_id}/stop POST /jobs/{job_id}/cancel",
    "chat_settings_change": "PATCH /threads/{thread_id} PATCH /me/chat-settings",
    "chat_settings_edit": "shown",
    "clear_session": "POST /threads",
    "connect": "page",
    "connection_successful": "page",
    "disconnect": "page",
    "audio_start": "off",
    "audio_chunk": "off",
    "audio_end": "off",
    "window_message": "off",
    "fetch_favorites": "GET /favorites",
}
"""What Chainlit's page sends by its socket."""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_each_act_of_a_person_has_a_route_of_the_api_or_a_reason(whole_app: FastAPI) -> None:
    from chainlit.server import sio  # noqa: PLC0415  after CHAINLIT_APP_ROOT is set

    found = {f"{method} {path}" for method, path in routes(whole_app.router.routes)}
    of_programs = ("/api/v1/", "/interactions/", "/gateway/", "/v1/")
    changes = {line for line in found if not line.startswith(READS)}
    acts = {line for line in changes if not f"{line.partition(' ')[2]}/".startswith(of_programs)}
    assert not acts - ACTS.keys(), "each act has its line"
    assert set(sio.handlers["/"]) == EVENTS.keys()
    for line, said in (ACTS | EVENTS).items():
        if said in REASONS:
            continue
        words = said.split(" ")
        for method, path in zip(words[::2], words[1::2], strict=True):
            assert f"{method} {PREFIX}{path}" in WHO_MAY, f"{line}: there is no {method} {path}"


def test_every_post_of_the_api_takes_an_idempotency_key() -> None:
    document = document_of(api_router().routes, "http://api")
    posts = {path: one["post"] for path, one in document["paths"].items() if "post" in one}
    assert len(posts) > 30
    missing = [
        path
        for path, one in posts.items()
        if "idempotency-key" not in {given["name"].lower() for given in one.get("parameters", ())}
    ]
    assert not missing
