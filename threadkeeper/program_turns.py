"""Questions that programs ask: what the API passes to the conversation, and what comes back.

The API and the conversation do not know each other; both know this.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from datalayer.records.keys import ApiKey

SYSTEM_PROMPT = "system_prompt"
"""The setting of a thread with its own system prompt."""
LONGEST_SYSTEM_PROMPT = 20_000

EventKind = Literal["question", "text", "taken_back", "notice", "answer", "failure"]


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """What happens in a turn.

    "question" and "answer" have the ids of the stored messages, "text" has the next piece of the answer, "taken_back"
    means that all text so far is no answer, "notice" and "failure" have a sentence for people.
    """

    kind: EventKind
    id: str = ""
    text: str = ""


@dataclass(slots=True)
class TurnResult:
    """How a turn ended. Without an answer, `failure` is a sentence and `failure_kind` its name for programs.

    `was_stopped` is whether somebody stopped it, or the server stopped.
    """

    question_id: str
    answer_id: str | None = None
    failure: str = ""
    failure_kind: str = ""
    was_stopped: bool = False
    notices: list[str] = field(default_factory=list)


class TurnRefused(Exception):
    """A question is not asked. `kind` is "not-found", "busy", "model-not-allowed" or "rate-exceeded".

    `retry_after` are the seconds until it may be asked; None if waiting does not help.
    """

    def __init__(self, kind: str, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.kind, self.sentence, self.retry_after = kind, sentence, retry_after


class ProgramTurn(Protocol):
    """A turn that runs on its own: it ends also when nobody waits for it."""

    def events(self) -> AsyncIterator[TurnEvent]:
        """Everything that happens, from the begin of the turn to its end."""

    async def result(self) -> TurnResult:
        """Wait for the end of the turn."""

    def stop(self) -> None:
        """End the turn, as Stop on a page: the answer keeps the text so far."""


class AskThread(Protocol):
    """Asks a question in a thread of the acting user, as a page of the chat would."""

    @property
    def models(self) -> Sequence[str]:
        """The models on offer, the default first."""

    async def __call__(self, thread_id: str, text: str, *, model: str | None, key: ApiKey) -> ProgramTurn:
        """Start the turn.

        Args:
            thread_id: a thread of the key's user.
            text: the question.
            model: one of the models on offer; None for that of the assistant or the default.
            key: who asks.

        Raises:
            TurnRefused: there is no such thread, or it answers already, or the key does not allow the model or any
                more tokens now.
        """
