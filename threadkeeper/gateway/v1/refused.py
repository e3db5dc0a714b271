"""Parameters of assistants that their models refuse. As in the chat, an assistant answers without them.

The caller did not send them and could not leave them out. What a caller sends itself is refused to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from datalayer.records.assistants import AssistantSettings
from threadkeeper.chat.providers.reported_errors import ReportedError, named_parameter, read_error
from threadkeeper.chat.providers.server_words import meaning_of
from threadkeeper.gateway.copies import as_json
from threadkeeper.gateway.v1.conversations import MOST, own_parameters

logger = logging.getLogger(__name__)

_BAD_REQUEST = 400


class RefusedParameters:
    """What the models of this process have refused: their name, the parameter, and its value."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, str, str]] = set()

    def without(self, path: str, value: dict[str, Any], settings: AssistantSettings) -> dict[str, Any]:
        """The body without the parameters that its model is known to refuse."""
        for name in (*own_parameters(path, settings), *(MOST if settings.max_tokens is not None else ())):
            if _place(value, name) in self._refused:
                value = _changed(value, name)
        return value

    def again(
        self, path: str, value: dict[str, Any], settings: AssistantSettings
    ) -> Callable[[bytes], dict[str, Any] | None]:
        """Gives another body for the words of a refusal: without the refused parameter of the assistant, or with the
        other name of the maximum, which is never left out. None if the refusal is about something else."""
        names = [*own_parameters(path, settings), *(MOST if settings.max_tokens is not None else ())]
        tried: set[str] = set()

        def other(said: bytes) -> dict[str, Any] | None:
            nonlocal value
            body = as_json(said)
            error = read_error(body) if body is not None else ReportedError(message=said.decode(errors="replace"))
            if meaning_of(_BAD_REQUEST, error.code, error.message) == "too_long":
                return None
            name = named_parameter(error, [name for name in names if name in value])
            if name is None or (name in MOST and tried & set(MOST)):
                return None
            logger.warning("model %s refuses the %s of an assistant; asking without", value["model"], name)
            tried.add(name)
            self._refused.add(_place(value, name))
            value = _changed(value, name)
            return value

        return other


def _place(value: dict[str, Any], name: str) -> tuple[str, str, str]:
    """A temperature that is out of range does not rule out others; a name of the maximum is refused with any value."""
    return value["model"], name, "" if name in MOST else repr(value.get(name))


def _changed(value: dict[str, Any], name: str) -> dict[str, Any]:
    left = {key: one for key, one in value.items() if key != name}
    if name in MOST and name in value:
        left[next(one for one in MOST if one != name)] = value[name]
    return left
