"""Assistants as models: `assistant:<slug>` asks the model of the assistant with its prompt, parameters and passages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from datalayer import SYSTEM, ApiKey, Forbidden, NotFound, Project, acting_as
from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import Passage
from threadkeeper.chat.assistants import Found, answers_unknown, idk_text, numbered, prompted
from threadkeeper.chat.model import ModelError, Purpose
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.v1.citing import Citing
from threadkeeper.gateway.v1.conversations import Talk, with_parameters, with_prompt
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.gateway.v1.refused import RefusedParameters
from threadkeeper.gateway.v1.servers import ModelServer

PREFIX = "assistant:"
_WEB_PAGE = "url"
_STATUSES = {"over_limit": 429, "in_flight": 429, "rate_limit": 429, "unpriced": 403}


@dataclass(frozen=True, slots=True)
class AssistantQuestion:
    """A request as its assistant asks it. With `idk`, that text is the answer.

    `passages` by their numbers, `addresses` of web pages by the ids of their sources.
    """

    assistant: Assistant
    model: str
    passages: Mapping[int, Passage] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    training_id: str | None = None
    idk: str | None = None

    @property
    def citing(self) -> Citing:
        return Citing(self.passages, self.addresses)

    @property
    def fields(self) -> dict[str, Any]:
        """Of the row of the call."""
        return {"assistant": self.assistant.slug, "assistant_version": self.assistant.version}


class Assistants:
    """The assistants of this server, for keys."""

    def __init__(self, parts: V1Parts) -> None:
        self._parts, self.refused = parts, RefusedParameters()

    async def names(self, key: ApiKey) -> list[str]:
        """The assistants of the key's user, as models. Raises DataLayerError."""
        if self._parts.layer is None:
            return []
        with acting_as(key.owner):
            return [f"{PREFIX}{one.slug}" for one in await self._parts.layer.list_assistants()]

    async def find(self, key: ApiKey, name: str) -> Assistant:
        """The assistant with this name of a model.

        Raises:
            Refused: there is none for the key's user.
            DataLayerError: it cannot be read.
        """
        try:
            if self._parts.layer is not None:
                with acting_as(key.owner):
                    return await self._parts.layer.usable_assistant(name.removeprefix(PREFIX))
        except (NotFound, Forbidden):
            pass
        sentence = f"There is no assistant {name.removeprefix(PREFIX)[:100]!r} for {key.owner}."
        raise Refused(404, "model_not_found", sentence, param="model")

    async def model_of(self, assistant: Assistant, key: ApiKey) -> str:
        """The model that answers: its own, if that is on offer for the key's user, else the default one.

        Raises:
            DataLayerError: it is not known what is on offer.
        """
        choice = await self._parts.offered.of(key.owner)
        return assistant.settings.model if assistant.settings.model in choice.names else choice.default

    async def ask(
        self,
        key: ApiKey,
        project: Project,
        assistant: Assistant,
        model: str,
        talk: Talk,
        *,
        thread_id: str | None,
    ) -> AssistantQuestion:
        """Find the passages for a question to this model, whose exchange is kept in this thread.

        Raises:
            Refused: they cannot be searched now, or a limit is reached.
        """
        found = Found()
        purpose = Purpose(
            "embedding",
            user_id=key.user_id,
            thread_id=thread_id,
            assistant=assistant.slug,
            assistant_version=assistant.version,
            key_id=key.id,
            project_id=project.id,
        )
        if self._parts.retriever is not None:
            before = [
                {"id": str(at), "type": f"{one.role}_message", "output": one.text} for at, one in enumerate(talk.before)
            ]
            try:
                with acting_as(key.owner):
                    found = await self._parts.retriever.find(assistant, talk.question.text, before, purpose)
            except ModelError as error:
                sentence = f"The passages for the question are not found: {error.detail}."
                raise Refused(_STATUSES.get(error.kind, 503), error.kind, sentence) from None
        passages = numbered(found.passages)
        if answers_unknown(assistant.settings, passages):
            return AssistantQuestion(assistant, model, training_id=found.training_id, idk=idk_text(assistant.settings))
        addresses = await self._addresses({one.source_id for one in passages.values()}) if passages else {}
        return AssistantQuestion(assistant, model, passages, addresses, found.training_id)

    async def _addresses(self, source_ids: Collection[str]) -> dict[str, str]:
        """The addresses of the sources that are web pages."""
        assert self._parts.layer is not None
        with acting_as(SYSTEM):
            sources = await self._parts.layer.get_sources(source_ids)
        return {
            one.id: str(one.options["address"]) for one in sources if one.kind == _WEB_PAGE and "address" in one.options
        }

    def body(
        self, path: str, value: dict[str, Any], talk: Talk, question: AssistantQuestion, server: ModelServer
    ) -> dict[str, Any]:
        """The body for the server of the model."""
        settings = question.assistant.settings
        prompt = prompted(settings, talk.question.text, question.passages, self._parts.default_prompt)
        body = with_prompt(path, value, talk, system_prompt=prompt.system_prompt, question=prompt.question)
        body = with_parameters(path, {**body, "model": question.model}, settings, is_openai=server.is_openai)
        return self.refused.without(path, body, settings)
