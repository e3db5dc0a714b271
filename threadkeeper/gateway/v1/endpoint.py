"""Answers the requests of `/v1`: finds the server of the model, and lets the gateway pass the request on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datalayer import ApiKey
from threadkeeper.chat.assistants import demo_quotes
from threadkeeper.chat.model import Delta, ModelRequest
from threadkeeper.gateway.bodies import CallerLeft, as_body
from threadkeeper.gateway.changes import Changes
from threadkeeper.gateway.gateway import LEFT, Asked, Gateway, headers_of
from threadkeeper.gateway.named_models import fallback_models
from threadkeeper.gateway.questions import question_of
from threadkeeper.gateway.refusals import Refused, refused_of
from threadkeeper.gateway.v1.assistants import PREFIX, AssistantQuestion, Assistants
from threadkeeper.gateway.v1.changes import AnswerChanges
from threadkeeper.gateway.v1.citing import Citing
from threadkeeper.gateway.v1.conversations import Talk, talk_of
from threadkeeper.gateway.v1.errors import OF_ANTHROPIC, ToldErrors, error_response, is_of_anthropic
from threadkeeper.gateway.v1.keeping import Kept, kept, wants_store, without_store
from threadkeeper.gateway.v1.local import local_response
from threadkeeper.gateway.v1.models import described, listed
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.gateway.v1.requests import Wanted, demand_question, place_of, target_at, wanted
from threadkeeper.web.auth.keys import demand_scope

_TALKED = ("chat/completions", "responses")
_ASKED = (*_TALKED, "completions", "embeddings")
_NOTHING_CITED, _OF_ANTHROPIC = ToldErrors(), ToldErrors(anthropic=True)


class V1:
    """The endpoint of this process."""

    def __init__(self, gateway: Gateway, parts: V1Parts) -> None:
        self._gateway, self._parts, self._servers = gateway, parts, parts.servers
        self._assistants = Assistants(parts)

    async def answer(self, request: Request, key: ApiKey) -> Response:
        """The response to a request with a valid key, which has the scope `gateway` or `assistants`."""
        path = request.path_params.get("path", "").strip("/")
        try:
            return await self._answer(request, key, path)
        except CallerLeft:
            return Response(status_code=LEFT)
        except Exception as error:  # noqa: BLE001  every error gets its shape; unforeseen ones are logged
            refused = refused_of(error, f"{request.method} /v1/{path[:200]} with the key {key.id}")
            return error_response(refused, anthropic=is_of_anthropic(path))

    async def _answer(self, request: Request, key: ApiKey, path: str) -> Response:
        if request.method == "POST" and path in _ASKED:
            return await self._ask(await wanted(request, key, path, self._gateway.most_bytes))
        if request.method == "POST" and path in OF_ANTHROPIC:
            return await self._ask_anthropic(request, key, path)
        if request.method == "GET" and path.partition("/")[0] == "models":
            return await self._models(key, path.partition("/")[2])
        sentence = f"There is no {request.method} /v1/{path[:200]}."
        if path in (*_ASKED, *OF_ANTHROPIC) or path.partition("/")[0] == "models":
            allowed = "GET" if path.partition("/")[0] == "models" else "POST"
            raise Refused(405, "unknown_url", sentence, {"Allow": allowed})
        raise Refused(404, "unknown_url", sentence)

    async def _ask(self, asked: Wanted) -> Response:
        model = asked.model
        demand_question(asked.path, asked.value)
        if model.startswith(PREFIX):
            return await self._ask_assistant(asked)
        demand_scope(asked.key, "gateway")
        _demand_model(asked.key, model)
        await self._demand_offered(asked, model)
        await self._demand_fallbacks(asked)
        is_demo = self._is_demo(model)
        if asked.path not in _TALKED or not (is_demo or wants_store(asked.value)):
            return await self._pass_on(asked, asked.body, model, _NOTHING_CITED)
        talk = talk_of(asked.path, asked.value)
        kept_in = await kept(self._parts, asked.key, asked.value, talk, model)
        changes = AnswerChanges(asked.path, Citing({}), kept_in)
        if is_demo:
            return self._locally(asked, changes, self._demo_words(talk, ""), kept_in)
        value = without_store(asked.path, asked.value, kept_in) if kept_in is not None else asked.value
        return await self._pass_on(replace(asked, value=value), as_body(value), model, changes, kept_in=kept_in)

    async def _ask_anthropic(self, request: Request, key: ApiKey, path: str) -> Response:
        """Pass Anthropic's own requests on to a provider of the gateway."""
        demand_scope(key, "gateway")
        place = await self._gateway.places.anthropic(key)
        below = path if place.base_url.rstrip("/").endswith("/v1") else f"v1/{path}"
        asked = await self._gateway.asked_at(request, key, place, below)
        return await self._gateway.pass_on(replace(asked, changes=_OF_ANTHROPIC))

    async def _ask_assistant(self, asked: Wanted) -> Response:
        key, name = asked.key, asked.model
        demand_scope(key, "assistants")
        if asked.path not in _TALKED:
            raise Refused(400, "assistant_not_here", f"An assistant does not answer /v1/{asked.path}.", param="model")
        assistant = await self._assistants.find(key, name)
        model = await self._assistants.model_of(assistant, key)
        _demand_model(key, f"{PREFIX}{assistant.slug}", model)
        await self._demand_fallbacks(asked)
        talk = talk_of(asked.path, asked.value)
        kept_in = await kept(self._parts, key, asked.value, talk, model)
        project = await self._gateway.places.paying(key)
        thread_id = kept_in.thread_id if kept_in is not None and not kept_in.is_new else None
        question = await self._assistants.ask(key, project, assistant, model, talk, thread_id=thread_id)
        if kept_in is not None:
            kept_in = replace(kept_in, question=question)
        changes = AnswerChanges(asked.path, question.citing, kept_in)
        if question.idk is not None:
            return self._locally(asked, changes, _words(question.idk), kept_in)
        if self._is_demo(model):
            words = self._demo_words(talk, demo_quotes(question.passages, None))
            return self._locally(asked, changes, words, kept_in)
        value = without_store(asked.path, asked.value, kept_in) if kept_in is not None else asked.value
        body = self._assistants.body(asked.path, value, talk, question, self._servers.chat)
        again = self._assistants.refused.again(asked.path, body, assistant.settings)
        asked = replace(asked, value=body)
        return await self._pass_on(
            asked, as_body(body), model, changes, question=question, kept_in=kept_in, again=again
        )

    async def _pass_on(
        self,
        asked: Wanted,
        body: bytes,
        model: str,
        changes: Changes,
        *,
        question: AssistantQuestion | None = None,
        kept_in: Kept | None = None,
        again: Callable[[bytes], dict[str, Any] | None] | None = None,
    ) -> Response:
        """Ask the server of the model."""
        server = self._servers.of(model, asked.path)
        if server is None:
            # The demo answers no questions on this path.
            raise _no_model(model)
        place = place_of(server, model, asked.path, await self._gateway.places.paying(asked.key))
        target, endpoint = target_at(place, asked)
        return await self._gateway.pass_on(
            Asked(
                asked.request,
                headers_of(asked.request),
                asked.key,
                place,
                target,
                endpoint,
                asked.upload,
                body,
                question_of(endpoint, asked.value, path=target.path),
                asked.value,
                fields=question.fields if question is not None else {},
                changes=changes,
                on_end=kept_in.end if kept_in is not None else None,
                again=again,
            )
        )

    async def _demand_fallbacks(self, asked: Wanted) -> None:
        """Require the same of the models that may answer in place of the first one. Raises as `_demand_offered`."""
        for model in fallback_models(asked.value):
            _demand_model(asked.key, model)
            await self._demand_offered(asked, model)

    async def _demand_offered(self, asked: Wanted, model: str) -> None:
        """Require that a model is on offer for the user of the key, as in the chat, or embeds.

        Raises:
            Refused: it is not.
            DataLayerError: it is not known what is.
        """
        choice = await self._parts.offered.of(asked.key.owner)
        if model in choice.names or (asked.path == "embeddings" and self._servers.embeds(model)):
            return
        if model in choice.others:
            sentence = f"{asked.key.owner} may not use the model {model}: it is on offer for others."
            raise Refused(403, "model_not_allowed", sentence, param="model")
        raise _no_model(model)

    def _is_demo(self, model: str) -> bool:
        return not self._servers.chat.base_url and model in self._servers.chat.models

    def _locally(
        self, asked: Wanted, changes: AnswerChanges, words: AsyncIterator[str], kept_in: Kept | None
    ) -> Response:
        is_streaming = asked.value.get("stream") is True
        words = words if kept_in is None else kept_in.after(words)
        return local_response(asked.path, asked.model, words, changes, is_streaming=is_streaming)

    async def _demo_words(self, talk: Talk, quotes: str) -> AsyncIterator[str]:
        """What the demo answers."""
        from threadkeeper.chat.providers.demo import DemoModel  # noqa: PLC0415  with a server it is not needed

        said: list[Any] = [{"role": one.role, "content": one.text} for one in (*talk.before, talk.question)]
        async for event in DemoModel().stream(ModelRequest(said, "demo", demo_answer=quotes)):
            if isinstance(event, Delta):
                yield event.text

    async def _all_models(self, key: ApiKey) -> list[str]:
        """The models of the chat for the user of the key, the default first, and those that embed."""
        embedding = self._servers.embedding
        names = (await self._parts.offered.of(key.owner)).names
        return list(dict.fromkeys([*names, *(embedding.models if embedding else ())]))

    async def _models(self, key: ApiKey, name: str) -> Response:
        models = [one for one in await self._all_models(key) if _may_use(key, one)] if "gateway" in key.scopes else []
        if "assistants" in key.scopes:
            models += [one for one in await self._assistants.names(key) if _may_use(key, one)]
        if not name:
            return JSONResponse(listed(models))
        if name not in models:
            raise _no_model(name)
        return JSONResponse(described(name))


async def _words(text: str) -> AsyncIterator[str]:
    yield text


def _may_use(key: ApiKey, model: str) -> bool:
    return not key.models or model in key.models


def _demand_model(key: ApiKey, *names: str) -> None:
    if key.models and not set(names) & set(key.models):
        sentence = f"The key {key.prefix}… may not use the model {names[0]}. It may use {', '.join(key.models)}."
        raise Refused(403, "model_not_allowed", sentence, param="model")


def _no_model(name: str) -> Refused:
    sentence = f"There is no model {name!r} for this request. GET /v1/models lists the models of this key."
    return Refused(404, "model_not_found", sentence, param="model")
