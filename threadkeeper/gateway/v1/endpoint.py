"""Answers the requests of `/v1`: finds the server of the model, and lets the gateway pass the request on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datalayer import ApiKey
from datalayer.records.keys import KeyScope
from threadkeeper.gateway.bodies import CallerLeft
from threadkeeper.gateway.gateway import LEFT, Asked, Gateway
from threadkeeper.gateway.questions import question_of
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.v1.errors import ToldErrors, error_response, refused_of
from threadkeeper.gateway.v1.models import described, listed
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.gateway.v1.requests import Wanted, place_of, target_at, wanted
from threadkeeper.web.auth.keys import lacks_scope

_ASKED = ("chat/completions", "completions", "responses", "embeddings")
_CHANGES = ToldErrors()


class V1:
    """The endpoint of this process."""

    def __init__(self, gateway: Gateway, parts: V1Parts) -> None:
        self._gateway, self._parts = gateway, parts

    async def answer(self, request: Request, key: ApiKey) -> Response:
        """The response to a request with a valid key, which has the scope `gateway` or `assistants`."""
        try:
            return await self._answer(request, key, request.path_params["path"].strip("/"))
        except CallerLeft:
            return Response(status_code=LEFT)
        except Exception as error:  # noqa: BLE001  every error gets its shape; unforeseen ones are logged
            return error_response(refused_of(error))

    async def _answer(self, request: Request, key: ApiKey, path: str) -> Response:
        if request.method == "POST" and path in _ASKED:
            return await self._ask(await wanted(request, key, path, self._gateway.most_bytes))
        if request.method == "GET" and path.partition("/")[0] == "models":
            return self._models(key, path.partition("/")[2])
        known = path in _ASKED or path.partition("/")[0] == "models"
        raise Refused(405 if known else 404, "unknown_url", f"There is no {request.method} /v1/{path[:200]}.")

    async def _ask(self, asked: Wanted) -> Response:
        model = asked.model
        _demand_scope(asked.key, "gateway")
        _demand_model(asked.key, model)
        server = self._parts.servers.of(model, asked.path)
        if server is None:
            raise _no_model(model)
        place = place_of(server, model, asked.path, await self._gateway.places.paying(asked.key))
        target, endpoint = target_at(place, asked)
        question = question_of(endpoint, asked.value, path=target.path)
        return await self._gateway.pass_on(
            Asked(
                asked.request,
                asked.key,
                place,
                target,
                endpoint,
                asked.upload,
                asked.body,
                question,
                asked.value,
                changes=_CHANGES,
            )
        )

    def _models(self, key: ApiKey, name: str) -> Response:
        models = [one for one in self._parts.servers.models if _may_use(key, one)]
        if not name:
            return JSONResponse(listed(models))
        if name not in models:
            raise _no_model(name)
        return JSONResponse(described(name))


def _may_use(key: ApiKey, model: str) -> bool:
    return "gateway" in key.scopes and (not key.models or model in key.models)


def _demand_scope(key: ApiKey, scope: KeyScope) -> None:
    if scope not in key.scopes:
        raise lacks_scope(key, scope)


def _demand_model(key: ApiKey, *names: str) -> None:
    if key.models and not set(names) & set(key.models):
        sentence = f"The key {key.prefix}… may not use the model {names[0]}. It may use {', '.join(key.models)}."
        raise Refused(403, "model_not_allowed", sentence, param="model")


def _no_model(name: str) -> Refused:
    sentence = f"There is no model {name!r} for this request. GET /v1/models lists the models of this key."
    return Refused(404, "model_not_found", sentence, param="model")
