"""The settings of a conversation: the model picker in the composer, and Chainlit's settings dialog.

A user can keep the settings of a thread as the default for new threads, in the metadata of the user. Values come from
browsers and stored threads, so each is checked before it is used.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import chainlit as cl
from chainlit.input_widget import NumberInput, Slider, Switch, TextInput

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper.chat.model import Sampling
from threadkeeper.chat.wording import say
from threadkeeper.program_turns import LONGEST_SYSTEM_PROMPT, SYSTEM_PROMPT

MODEL = "model"
_TEMPERATURE, _MAX_TOKENS = "temperature", "max_tokens"
_NO_SYSTEM_PROMPT = "no_system_prompt"
_KEPT = (SYSTEM_PROMPT, _NO_SYSTEM_PROMPT, _TEMPERATURE, _MAX_TOKENS)
_AS_DEFAULT = "as_default"
_OF_USER = "chat_settings"


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings for the answers of a conversation. `max_tokens` None leaves the length to the model, `temperature`
    None the temperature."""

    system_prompt: str
    temperature: float | None
    max_tokens: int | None
    sampling: Sampling = field(default_factory=Sampling)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], default: "Choices") -> "Choices":
        """The values from the page. A missing or invalid one is replaced by the default."""
        prompt = values.get(SYSTEM_PROMPT)
        temperature = _number(values.get(_TEMPERATURE), default.temperature or 0.0)
        max_tokens = _number(values.get(_MAX_TOKENS), default.max_tokens or 0)
        own_prompt = prompt.strip()[:LONGEST_SYSTEM_PROMPT] if isinstance(prompt, str) else ""
        return cls(
            "" if values.get(_NO_SYSTEM_PROMPT) is True else own_prompt or default.system_prompt,
            min(max(temperature, 0.0), 2.0),
            int(max_tokens) if max_tokens >= 1 else None,
        )


async def offer_settings(values: Mapping[str, Any], default: Choices, language: str) -> None:
    """Fill the settings dialog with the values of this conversation."""
    choices = Choices.from_values(values, default)
    # The default prompt is not shown; an empty field means the default.
    own_prompt = values.get(SYSTEM_PROMPT) if isinstance(values.get(SYSTEM_PROMPT), str) else ""
    await cl.ChatSettings(
        [
            TextInput(
                id=SYSTEM_PROMPT,
                label=say("setting_system_prompt", language),
                description=say("setting_system_prompt_hint", language),
                initial=own_prompt,
                multiline=True,
            ),
            Switch(
                id=_NO_SYSTEM_PROMPT,
                label=say("setting_no_system_prompt", language),
                description=say("setting_no_system_prompt_hint", language),
                initial=values.get(_NO_SYSTEM_PROMPT) is True,
            ),
            Slider(
                id=_TEMPERATURE,
                label=say("setting_temperature", language),
                description=say("setting_temperature_hint", language),
                initial=choices.temperature or 0.0,
                min=0,
                max=2,
                step=0.1,
            ),
            NumberInput(
                id=_MAX_TOKENS,
                label=say("setting_max_tokens", language),
                description=say("setting_max_tokens_hint", language),
                initial=choices.max_tokens or 0,
            ),
            Switch(
                id=_AS_DEFAULT,
                label=say("setting_as_default", language),
                description=say("setting_as_default_hint", language),
                initial=False,
            ),
        ]
    ).send()
    # An order, and not a setting of the thread.
    cl.context.session.chat_settings.pop(_AS_DEFAULT, None)


def personal_settings(user: object) -> Mapping[str, Any]:
    """The user's default for new threads; {} without one."""
    metadata = getattr(user, "metadata", None) or {}
    kept = metadata.get(_OF_USER)
    return kept if isinstance(kept, Mapping) else {}


async def take_settings(layer: ChainlitLayer, values: Mapping[str, Any], default: Choices, language: str) -> None:
    """Store the values of the dialog: in the thread if it has begun, and as the user's default if that is wanted."""
    session = cl.context.session
    wanted = session.chat_settings.pop(_AS_DEFAULT, None) is True and values.get(_AS_DEFAULT) is True
    try:
        if session.has_first_interaction:
            await layer.update_thread(session.thread_id, metadata={_OF_USER: session.chat_settings})
        if not wanted or session.user is None:
            return
        kept = {key: session.chat_settings.get(key) for key in _KEPT}
        stored = await layer.create_user(cl.User(identifier=session.user.identifier, metadata={_OF_USER: kept}))
    except DataLayerError:
        # The layer has logged the failure, and the user has a toast.
        return
    session.user.metadata = stored.metadata
    await cl.context.emitter.send_toast(say("setting_as_default_saved", language), "success")
    await offer_settings(session.chat_settings, default, language)


async def offer_no_settings() -> None:
    """Leave the settings dialog out: an assistant has its own settings."""
    await cl.ChatSettings([]).send()


async def offer_models(models: Sequence[str], chosen: str, language: str) -> None:
    """Show the model picker in the composer, with this model selected. With one model there is no picker.

    While it is not known which models are on offer, the page keeps what it has.
    """
    if not models:
        return
    if len(models) == 1:
        # The page may have the picker of an earlier conversation.
        await cl.context.emitter.set_modes([])
        return
    options = [cl.ModeOption(id=model, name=model, default=model == chosen) for model in models]
    await cl.context.emitter.set_modes([cl.Mode(id=MODEL, name=say("model_picker", language), options=options)])


def picked_model(modes: object) -> str:
    """The picked model; "" without one. A page can send any value."""
    picked = modes.get(MODEL) if isinstance(modes, Mapping) else None
    return picked if isinstance(picked, str) else ""


def chosen_model(modes: object, models: Sequence[str]) -> str:
    """The picked model, or the first one if the pick is not on offer. Before it is known what is, the picked one."""
    picked = picked_model(modes)
    return picked if picked in models or not models else models[0]


def _number(value: Any, default: float) -> float:
    # The page sends the content of a field as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default
