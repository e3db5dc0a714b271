"""A Chainlit chat on Postgres, with files and feedback.

DATABASE_URL names the database, BLOB_URL the file store (the folder ./files if it is not set). Log in with any name and
the password "demo". Send a file: the app sends it back. `GET /bad-answers` lists your own answers with a thumbs-down.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import chainlit as cl
from chainlit.auth import get_current_user, get_token_from_cookies
from chainlit.auth.jwt import decode_jwt
from chainlit.context import context_var
from chainlit.server import app
from chainlit.types import Pagination, ThreadFilter
from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from jwt import InvalidTokenError

import datalayer
from datalayer.blobs.headers import content_disposition, content_type


async def show_write_failure(failure: datalayer.WriteFailure) -> None:
    """Say on the page that something was not stored. The library has already written the ids into the log."""
    if context_var.get(None) is not None:
        await cl.context.emitter.send_toast(f"The {failure.what} could not be saved.", "error")


layer = datalayer.create_data_layer(
    os.environ["DATABASE_URL"],
    os.environ.get("BLOB_URL", f"file://{Path('files').absolute()}"),
    file_url=lambda element: f"/files/{element.thread_id}/{element.id}",
    on_write_failure=show_write_failure,
    # What cannot be stored at the end is stored at the next start.
    spool=Path("spool.jsonl"),
)
cl.data_layer(lambda: layer)
cl.on_app_startup(layer.migrate)


@app.middleware("http")
async def act_as_the_user(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Tell the library whose request it is: Chainlit itself lets any user change anybody's vote."""
    token = get_token_from_cookies(request.cookies)
    try:
        user = decode_jwt(token).identifier if token else None
    except InvalidTokenError:
        user = None
    # The login itself creates the user, before anybody is logged in.
    actor = datalayer.SYSTEM if request.url.path in ("/login", "/logout") else user
    with datalayer.acting_as(actor):
        return await call_next(request)


@app.get("/files/{thread_id}/{element_id}")
async def read_file(thread_id: str, element_id: str) -> StreamingResponse:
    """A file, for those who may read its thread."""
    found = await layer.open_element(thread_id, element_id)
    if found is None:
        raise HTTPException(404)
    element, chunks = found
    headers = {
        # A file of unknown type is a download, so that no uploaded page runs on this address.
        "Content-Disposition": content_disposition(element.name, "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(chunks, media_type=content_type(element.mime or ""), headers=headers)


@app.get("/bad-answers")
async def bad_answers(user: Annotated[cl.User, Depends(get_current_user)]) -> list[dict[str, str | None]]:
    """The user's own threads that have a thumbs-down, with its comment."""
    stored = await layer.get_user(user.identifier)
    if stored is None:
        return []
    page = await layer.list_threads(Pagination(first=20), ThreadFilter(userId=stored.id, feedback=0))
    found: list[dict[str, str | None]] = []
    for listed in page.data:
        thread = await layer.get_thread(listed["id"])
        for step in thread["steps"] if thread else []:
            vote = step["feedback"]
            if vote and vote["value"] == 0:
                found.append({"thread": listed["id"], "comment": vote["comment"]})
    return found


# Chainlit's last route takes every path, so ours must come before it.
for _ in range(2):
    app.router.routes.insert(0, app.router.routes.pop())


@cl.password_auth_callback
def log_in(name: str, password: str) -> cl.User | None:
    return cl.User(name) if password == "demo" else None


@cl.on_chat_start
async def greet() -> None:
    await cl.Message("Hello. Send me a file.").send()


@cl.on_chat_resume
async def resume(thread: object) -> None:
    """Without this hook Chainlit offers no past threads. The page shows the stored messages by itself."""


@cl.on_message
async def answer(message: cl.Message) -> None:
    files = [
        cl.File(name=f"copy of {element.name}", path=element.path, mime=element.mime)
        for element in message.elements
        if element.path
    ]
    await cl.Message(f"You wrote: {message.content}", elements=files).send()
