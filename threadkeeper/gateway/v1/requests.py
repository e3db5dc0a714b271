"""A request to `/v1`: its body, and the server that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from datalayer import ApiKey, Project, Provider
from threadkeeper.gateway.bodies import RequestBody
from threadkeeper.gateway.copies import as_json, decoded
from threadkeeper.gateway.endpoints import Endpoint, endpoint_of
from threadkeeper.gateway.headers import KeyStyle
from threadkeeper.gateway.places import Place
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.targets import Target, target_of
from threadkeeper.gateway.v1.servers import ModelServer

# Of the caller's own account at OpenAI. They would not fit to the key of the operator.
_OF_AN_ACCOUNT = (b"openai-organization", b"openai-project")
_LONGEST_MODEL = 200
# The field with the question, and those that a server may take in its place: OpenRouter chats about a prompt, Responses
# go on without an input, vLLM takes embeddings as a prompt and embeds messages, and llama.cpp embeds a content.
_QUESTIONS = {
    "chat/completions": ("messages", "prompt"),
    "responses": ("input", "prompt", "previous_response_id", "conversation"),
    "completions": ("prompt", "prompt_embeds"),
    "embeddings": ("input", "messages", "content"),
}


@dataclass(frozen=True, slots=True)
class ServerPlace(Place):
    """A server of the settings, with its key."""

    server: ModelServer
    model: str

    @property
    def deployment(self) -> str | None:
        return self.model if self.server.azure_version else None

    def secret(self) -> str | None:
        return self.server.key


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request with its JSON body. `path` is behind `/v1/`."""

    request: Request
    key: ApiKey
    path: str
    upload: RequestBody
    body: bytes
    value: dict[str, Any]

    @property
    def model(self) -> str:
        """The model that it names.

        Raises:
            Refused: it names none.
        """
        named = self.value.get("model")
        if not isinstance(named, str) or not named.strip() or len(named) > _LONGEST_MODEL:
            sentence = "The field `model` is missing, or not a name. GET /v1/models lists the models of this key."
            raise Refused(400, "model_missing", sentence, param="model")
        return named.strip()


async def wanted(request: Request, key: ApiKey, path: str, most_bytes: int) -> Wanted:
    """Read a request.

    Raises:
        Refused: its body is too large, or no JSON object.
        CallerLeft: it did not come whole.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    upload = RequestBody(request.receive, headers, most_bytes)
    body = decoded(await upload.whole(), headers.get("content-encoding", ""))
    value = as_json(body) if body is not None else None
    if body is None or not isinstance(value, dict):
        raise Refused(400, "invalid_json", "The body of the request is not a JSON object.")
    if any(name != "model" and name.lower() == "model" for name in value):
        # Some servers read names in any case, and would ask this model.
        raise Refused(400, "invalid_request", "The body has the field `model` in other letters.", param="model")
    return Wanted(_for_server(request), key, path, upload, body, value)


def demand_question(path: str, value: Mapping[str, Any]) -> None:
    """Require that a body asks something, because not every server says what is wrong otherwise.

    Raises:
        Refused: the field with the question is of the wrong type, or is missing, as are those in its place; or the
            answer would be written later, and could neither be fetched here nor be counted.
    """
    if path == "responses" and value.get("background") is True and value.get("stream") is not True:
        sentence = "Responses with `background` are not kept here: send `stream`, or leave `background` out."
        raise Refused(400, "unsupported_parameter", sentence, param="background")
    name, *others = _QUESTIONS[path]
    given = value.get(name)
    # To OpenAI, a prompt of null is the begin of a document.
    is_null_prompt = path == "completions" and name in value and given is None
    if is_null_prompt or (given is None and any(map(value.get, others))):
        return
    if path == "chat/completions":
        what = "a list of messages"
        is_question = isinstance(given, list) and bool(given) and all(isinstance(one, dict) for one in given)
    else:
        what = "a text or a list"
        # An object of llama.cpp has pictures beside the prompt.
        is_question = isinstance(given, str | list) or (isinstance(given, dict) and "prompt_string" in given)
    if not is_question:
        problem = "is missing" if given is None else f"is not {what}"
        raise Refused(400, "invalid_messages", f"The field `{name}` {problem}.", param=name)


def _for_server(request: Request) -> Request:
    """The request without the headers that are not for a server of this one: the body is decoded."""
    dropped = (*_OF_AN_ACCOUNT, b"content-encoding")
    headers = [(name, value) for name, value in request.scope["headers"] if name.lower() not in dropped]
    return Request({**request.scope, "headers": headers}, request.receive)


def place_of(server: ModelServer, model: str, path: str, project: Project) -> ServerPlace:
    """Where a model is asked."""
    base_url, _ = server.address(path, model)
    return ServerPlace(project, Provider(model, model), base_url, server, model)


def target_at(place: ServerPlace, asked: Wanted) -> tuple[Target, Endpoint]:
    """The address of a request, and what it is for.

    Raises:
        Refused: its query cannot be passed on.
    """
    _, own = place.server.address(asked.path, place.model)
    query = "&".join(filter(None, (asked.request.scope["query_string"].decode("latin-1"), own)))
    target = target_of(place.base_url, asked.path, query)
    endpoint = endpoint_of(urlsplit(place.base_url).hostname or "", target.path)
    style: KeyStyle = "api-key" if place.server.azure_version else "bearer"
    return target, replace(endpoint, key_style=style)
