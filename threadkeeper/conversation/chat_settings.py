"""The settings of a conversation: the model picker in the composer, and Chainlit's settings dialog.

Values come from browsers and stored threads, so each is checked before it is used.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import chainlit as cl
from chainlit.input_widget import NumberInput, Slider, TextInput

from threadkeeper.chat.wording import say

MODEL = "model"
_SYSTEM_PROMPT, _TEMPERATURE, _MAX_TOKENS = "system_prompt", "temperature", "max_tokens"
_LONGEST_SYSTEM_PROMPT = 20_000


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings for the answers of a conversation. `max_tokens` None leaves the length to the model."""

    system_prompt: str
    temperature: float
    max_tokens: int | None

    @classmethod
    def from_values(cls, values: Mapping[str, Any], default: "Choices") -> "Choices":
        """The values from the page. A missing or invalid one is replaced by the default."""
        prompt = values.get(_SYSTEM_PROMPT)
        temperature = _number(values.get(_TEMPERATURE), default.temperature)
        max_tokens = _number(values.get(_MAX_TOKENS), default.max_tokens or 0)
        own_prompt = prompt.strip()[:_LONGEST_SYSTEM_PROMPT] if isinstance(prompt, str) else ""
        return cls(
            own_prompt or default.system_prompt,
            min(max(temperature, 0.0), 2.0),
            int(max_tokens) if max_tokens >= 1 else None,
        )


async def offer_settings(values: Mapping[str, Any], default: Choices, language: str) -> None:
    """Fill the settings dialog with the values of this conversation."""
    choices = Choices.from_values(values, default)
    # The default prompt is not shown; an empty field means the default.
    own_prompt = values.get(_SYSTEM_PROMPT) if isinstance(values.get(_SYSTEM_PROMPT), str) else ""
    await cl.ChatSettings(
        [
            TextInput(
                id=_SYSTEM_PROMPT,
                label=say("setting_system_prompt", language),
                description=say("setting_system_prompt_hint", language),
                initial=own_prompt,
                multiline=True,
            ),
            Slider(
                id=_TEMPERATURE,
                label=say("setting_temperature", language),
                description=say("setting_temperature_hint", language),
                initial=choices.temperature,
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
        ]
    ).send()


async def offer_models(models: Sequence[str], chosen: str, language: str) -> None:
    """Show the model picker in the composer, if there is more than one model."""
    if len(models) < 2:
        return
    options = [cl.ModeOption(id=model, name=model, default=model == chosen) for model in models]
    await cl.context.emitter.set_modes([cl.Mode(id=MODEL, name=say("model_picker", language), options=options)])


def chosen_model(modes: object, models: Sequence[str]) -> str:
    """The picked model, or the first one if the pick is not on offer."""
    picked = modes.get(MODEL) if isinstance(modes, Mapping) else None
    return picked if isinstance(picked, str) and picked in models else models[0]


def _number(value: Any, default: float) -> float:
    # The page sends the content of a field as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default
