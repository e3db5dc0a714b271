"""What the API key of a program allows: models, and tokens a minute; and the project that pays."""

from collections.abc import Mapping
from typing import Any

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.records.assistants import Assistant
from datalayer.records.keys import ApiKey
from threadkeeper.conversation.assistants import Answerer, answerer_of, profile_of_thread
from threadkeeper.offered_models import OfferedModels
from threadkeeper.program_turns import TurnRefused


class KeyAllowance:
    """Asks and counts what keys allow. `offered` knows the models on offer."""

    def __init__(self, layer: ChainlitLayer, offered: OfferedModels) -> None:
        self._layer, self._offered = layer, offered

    async def demand(self, thread: dict[str, Any], question: Mapping[str, Any], key: ApiKey) -> None:
        """Require that the key may ask the question of the thread now.

        Raises:
            TurnRefused: it does not allow the model, or no token is left.
        """
        await self.demand_model(thread, question, key)
        await self._demand_rate(key)

    async def demand_model(self, thread: dict[str, Any], question: Mapping[str, Any], key: ApiKey) -> None:
        """Require that the key allows the model that will answer, or its assistant.

        Raises:
            TurnRefused: it does not.
        """
        if not key.models:
            return
        answerer = await answerer_of(self._layer, self._offered, profile_of_thread(thread))
        _demand_model(answerer, answerer.model(question.get("modes")), key)

    async def demand_trial(self, saved: Assistant, tried: Assistant, key: ApiKey) -> None:
        """Require that the key may try an assistant now with settings that are not saved.

        Raises:
            TurnRefused: as `demand`.
        """
        if key.models:
            names = (await self._offered.of(acting_user.get())).names
            model = Answerer(tried, offered=names).model(None)
            _demand_model(Answerer(saved, offered=names), model, key)
        await self._demand_rate(key)

    async def _demand_rate(self, key: ApiKey) -> None:
        """Require that the key has a token left a minute. How many an answer takes is known at its end."""
        if key.tokens_per_minute is None:
            return
        with acting_as(SYSTEM):
            rate = await self._layer.take_rate(key.id, "tokens", 1, key.tokens_per_minute)
        if not rate.allowed:
            sentence = f"The key {key.prefix}… allows {rate.limit} tokens a minute."
            raise TurnRefused("rate-exceeded", sentence, rate.retry_after)

    async def count_tokens(self, key: ApiKey, used: int) -> None:
        """Count the tokens that an answer has used."""
        if key.tokens_per_minute is None or not used:
            return
        with acting_as(SYSTEM):
            await self._layer.take_rate(key.id, "tokens", used, key.tokens_per_minute, is_owed=True)

    async def project_of(self, key: ApiKey) -> str | None:
        """The id of the project that pays, if it is not the default one."""
        return None if key.project is None else await self._layer.project_id(key.project)


def _demand_model(answerer: Answerer, model: str, key: ApiKey) -> None:
    """Require that the key allows this model, or the assistant with it.

    Raises:
        TurnRefused: it does not.
    """
    if model in key.models:
        return
    # An assistant is allowed with its own model, or with the default one if it has none.
    assistant = answerer.assistant
    is_allowed = assistant is not None and f"assistant:{assistant.slug}" in key.models
    if not is_allowed or model != answerer.model(None):
        raise TurnRefused("model-not-allowed", f"The key {key.prefix}… does not allow the model {model}.")
