"""What the pages need of the chat: a question to an assistant with settings that need not be saved."""

from collections.abc import Callable, Sequence
from typing import Protocol

from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import Passage
from datalayer.records.usage import LlmCall


class Tried(Protocol):
    """An answer, or a sentence why there is none. `model` is empty if no model was asked."""

    @property
    def answer(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def passages(self) -> Sequence[Passage]: ...
    @property
    def below(self) -> Sequence[Passage]: ...
    @property
    def is_unknown(self) -> bool: ...
    @property
    def left_out(self) -> tuple[str, ...]: ...
    @property
    def error(self) -> str | None: ...


class TryAssistant(Protocol):
    async def __call__(
        self,
        assistant: Assistant,
        question: str,
        *,
        user_id: str,
        language: str,
        key_id: str | None = None,
        project_id: str | None = None,
        on_call: Callable[[LlmCall], None] | None = None,
    ) -> Tried:
        """Ask the question.

        Args:
            assistant: with the settings that are tried.
            question: the text.
            user_id, language: of who tries.
            key_id: of the API key of a program.
            project_id: of the project that pays; None for the default one.
            on_call: gets each call of the model.

        Raises:
            DataLayerError: it is not known which models are on offer.
        """
