#!/usr/bin/env bash
# Guess: an exception that a middleware raises while the body of a request is read (too long, too slow, a client that is
#   gone) reaches the handler that the application has for it, wherever the body is read.
# True: it does where the route reads the body itself. Where FastAPI reads it, for a model or a form in the signature, it
#   becomes an HTTPException with the status 400 and "There was an error parsing the body", with the real one as
#   `__cause__`: the handler of the exception is not called. FastAPI lets only the exception of Starlette's own limit
#   through, and HTTPException.
# For a chat like ours: one limit answers 413 for an upload and 400 for a message, and a client that should shorten its
#   text is told that its JSON is broken. Look at `__cause__` in the handler of Starlette's HTTPException; one that is
#   registered for FastAPI's, a subclass, is not called either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 httpx==0.28.1 python-multipart==0.0.34
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version
from typing import Any

import httpx
from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class TooLong(Exception):
    pass


application = FastAPI()
causes = []


@application.exception_handler(TooLong)
async def too_long(request: Request, error: TooLong):
    return JSONResponse({"detail": "too long"}, 413)


@application.exception_handler(HTTPException)
async def refused(request: Request, error: HTTPException):
    causes.append(type(error.__cause__).__name__)
    return JSONResponse({"detail": error.detail}, error.status_code)


@application.post("/raw")
async def raw(request: Request):
    return len(await request.body())


@application.post("/model")
async def model(message: dict[str, Any]):
    return message


@application.post("/form")
async def form(file: UploadFile):
    return file.size


class Limit:
    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def bounded():
            message = await receive()
            if len(message.get("body", b"")) > 100:
                raise TooLong
            return message

        await self._app(scope, bounded, send)


application.add_middleware(Limit)


async def main():
    long = "x" * 200
    bodies = {"raw": {"content": long}, "model": {"json": {"text": long}}, "form": {"files": {"file": ("a.txt", long)}}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
        answers = {name: await client.post(f"/{name}", **body) for name, body in bodies.items()}
    return {name: (answer.status_code, answer.json()["detail"]) for name, answer in answers.items()}


seen = asyncio.run(main())
print("fastapi", version("fastapi"), " starlette", version("starlette"))
print("guess: 413, too long, for each")
for name, (status, detail) in seen.items():
    print(f"seen:  {name}: {status}, {detail}")
print("seen:  the causes of the HTTPExceptions:", causes)
broken = (400, "There was an error parsing the body")
if seen != {"raw": (413, "too long"), "model": broken, "form": broken} or causes != ["TooLong", "TooLong"]:
    sys.exit("The behaviour has changed.")
PY
