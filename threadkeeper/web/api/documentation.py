"""The OpenAPI document of the API, and a page that shows it."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from threadkeeper.settings.root_path import root_path, under_root
from threadkeeper.web.api.problems import MEDIA_TYPE, ProblemDetails
from threadkeeper.web.api.route import ERRORS, PREFIX
from threadkeeper.web.pages.dependencies import Pages
from threadkeeper.web.pages.failures import PageRoute

VERSION = "1"
_METHODS = ("get", "post", "put", "patch", "delete")
_REFERENCE = "#/components/schemas/{model}"


def document_of(routes: Sequence[BaseRoute], address: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes.

    Args:
        routes: of the API.
        address: of the application.
    """
    found = get_openapi(
        title="Threadkeeper",
        version=VERSION,
        openapi_version="3.1.0",
        description="What a person does in the browser, a program does with an API key. HEAD is answered as GET.",
        routes=routes,
        servers=[{"url": address}],
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `tk_…`."},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    found["security"] = [{"bearer": []}, {"header": []}]
    schema = ProblemDetails.model_json_schema(ref_template=_REFERENCE)
    components["schemas"] |= {**schema.pop("$defs", {}), "ProblemDetails": schema}
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="ProblemDetails")}}}
    for operations in found["paths"].values():
        for method, operation in operations.items():
            if method in _METHODS:
                operation["responses"] |= {
                    str(status): {"description": HTTPStatus(status).phrase, "content": content}
                    for status in _errors_of(operation)
                }
    return found


def _errors_of(operation: dict[str, Any]) -> list[int]:
    """The statuses of the errors of an operation: those that every one has, and those of its parameters."""
    given = {one["name"].lower() for one in operation.get("parameters", ())}
    found = {401, 403, 404, 413, 422, 429, 503}
    if "requestBody" in operation:
        found.add(400)
    if "if-match" in given:
        found |= {409, 412}
    if "idempotency-key" in given:
        found.add(409)
    return sorted(found | set(operation.pop(ERRORS, ())))


def documentation_router(routes: Sequence[BaseRoute]) -> APIRouter:
    """The routes of the document and of its page."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    made: dict[str, dict[str, Any]] = {}
    making = asyncio.Lock()

    async def document() -> dict[str, Any]:
        root = root_path()
        async with making:
            if root not in made:
                # It takes more than a second of CPU time, for which answers that are being streamed would wait.
                made[root] = await asyncio.to_thread(document_of, routes, under_root("/", root))
        return made[root]

    @router.get("/openapi.json")
    async def read_document() -> dict[str, Any]:
        return await document()

    async def read_page(request: Request, pages: Pages) -> Response:
        found = await document()
        values = {"document": found, "operations": list(_operations(found)), "schemas": found["components"]["schemas"]}
        return pages.page(request, "api.html", values, person=None)

    router.routes.append(PageRoute(f"{PREFIX}/docs", read_page, methods=["GET"], include_in_schema=False))
    return router


def _operations(document: dict[str, Any]) -> Any:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                yield {
                    "id": operation["operationId"],
                    "method": method.upper(),
                    "path": path,
                    "paragraphs": (operation.get("description") or "").split("\n\n"),
                    "parameters": operation.get("parameters", ()),
                    "body": _body_of(operation),
                    "answers": [
                        (status, _schema_of(answer))
                        for status, answer in operation["responses"].items()
                        if int(status) < 400
                    ],
                }


def _body_of(operation: dict[str, Any]) -> str:
    return _schema_of(operation.get("requestBody", {}))


def _schema_of(holder: dict[str, Any]) -> str:
    """The name of the schema of a body; empty without one."""
    for content in holder.get("content", {}).values():
        if reference := content.get("schema", {}).get("$ref"):
            return str(reference).rpartition("/")[2]
    return ""
