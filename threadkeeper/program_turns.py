"""Questions that programs ask: what the API passes to the conversation, and what comes back.

The API and the conversation do not know each other; both know this.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from datalayer.records.assistants import Assistant
from datalayer.records.keys import ApiKey
from datalayer.records.knowledge import Passage
from datalayer.records.usage import LlmCall

SYSTEM_PROMPT = "system_prompt"
"""The setting of a thread with its own system prompt."""
TEMPORARY_SECONDS = 24 * 3600.0
"""So long after its beginning, a temporary thread is deleted."""
REPEATED_SECONDS = 23 * 3600.0
"""What is younger may be of a lost attempt of the same request. Answers to an `Idempotency-Key` are kept for a day,
from a moment before what they made is dated."""
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

    `was_stopped` is whether somebody stopped it, or the server, which `is_shutdown` then says.
    """

    question_id: str
    answer_id: str | None = None
    failure: str = ""
    failure_kind: str = ""
    was_stopped: bool = False
    is_shutdown: bool = False
    notices: list[str] = field(default_factory=list)


class AnswerVersion(NamedTuple):
    """The texts of a question and its answer as they are or were, and what the model thought before it answered."""

    question: str
    answer: str
    answer_id: str
    thought: str


class AnswerVersions(NamedTuple):
    """All versions of a question, oldest first, and the position of the one that the thread has now."""

    question_id: str
    all: tuple[AnswerVersion, ...]
    at: int


class UnfinishedAnswer(NamedTuple):
    """The question of an incomplete answer, and a digest of the answer's text."""

    question_id: str
    text_print: str


class TurnRefused(Exception):
    """A question is not asked, or a file not taken.

    `kind` is "not-found", "busy", "too-late", "model-not-allowed", "rate-exceeded" or "file-refused".

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


class BackgroundTurns(Protocol):
    """Answers questions that are stored."""

    async def answer(self, thread_id: str, question_id: str, *, key: ApiKey) -> ProgramTurn | TurnResult:
        """Start the turn of a stored question, or give the answer if it is stored.

        What an earlier turn of the question left that was cut, or that failed, is deleted before.

        Raises:
            TurnRefused: the thread or the question was deleted, or the thread answers already, or the key does not
                allow the model.
        """

    async def go_on(
        self, thread_id: str, answer_id: str, begun: UnfinishedAnswer, *, key: ApiKey
    ) -> ProgramTurn | TurnResult:
        """Start the turn that continues an answer, or give the answer if an earlier turn has continued it.

        Args:
            thread_id, answer_id: of the answer.
            begun: the answer as it was to be continued.
            key: who asks.

        Raises:
            TurnRefused: as for `answer`, or the answer is not the last message any more.
        """


class AskThread(Protocol):
    """Asks a question in a thread of the acting user, as a page of the chat would."""

    async def models_of(self, owner: str) -> Sequence[str]:
        """The models on offer for this user, the default first.

        Raises:
            DataLayerError: they cannot be read.
        """

    async def demand_trial(self, saved: Assistant, tried: Assistant, *, key: ApiKey) -> str | None:
        """Require that a key may try an assistant now; gives the id of the project that pays, if not the default one.

        Args:
            saved: the assistant as it is stored.
            tried: with the settings of the trial.
            key: who tries.

        Raises:
            TurnRefused: the key does not allow the model of the trial, or any more tokens now.
            DataLayerError: it is not known which models are on offer.
        """

    async def count_tokens(self, key: ApiKey, used: int) -> None:
        """Count the tokens that a trial has used."""

    @property
    def most_bytes(self) -> int:
        """Of a file."""

    async def take_file(self, thread_id: str, *, name: str, mime: str | None, path: Path) -> str:
        """Store a file in a thread of the acting user, for a later question; gives the id of its element.

        Args:
            thread_id: of the thread.
            name: the name of the file.
            mime: as the program names its type; None if it does not.
            path: where it is; it is not read any more when this has returned.

        Raises:
            TurnRefused: no question could have this file: it is of a kind that is not taken, too large or broken.
            DataLayerError: it is not stored.
        """

    async def __call__(
        self,
        thread_id: str,
        text: str,
        *,
        model: str | None,
        key: ApiKey,
        elements: Sequence[str] = (),
        question_id: str | None = None,
    ) -> ProgramTurn:
        """Start the turn.

        Args:
            thread_id: a thread of the key's user.
            text: the question.
            model: one of the models on offer; None for that of the assistant or the default.
            key: who asks.
            elements: the ids of files that were taken, and are of no message yet.
            question_id: of the question, so that a repetition finds the files that a lost attempt gave it; None for a
                new one.

        Raises:
            TurnRefused: there is no such thread, or it answers already, or the key does not allow the model or any
                more tokens now, or the files cannot be of one question.
        """

    async def ask_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> ProgramTurn:
        """Ask a question again, as the chat does when it is edited, or its answer regenerated.

        All messages behind the question are deleted; what they said stays as earlier versions.

        Args:
            thread_id: a thread of the key's user.
            message_id: with a text, any question; without one, the last question or the message below it.
            text: in place of that of the question; None to keep it.
            model: one of the models on offer; None for the one that was asked.
            key: who asks.

        Raises:
            TurnRefused: as for a new question, or the message is not in the last turn.
        """

    async def store_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> str:
        """Prepare a question that `BackgroundTurns.answer` answers again later; gives its id.

        It gets its text, and all messages behind it are deleted, before this returns.

        Args:
            thread_id, message_id, text, model, key: as `ask_again`.

        Raises:
            TurnRefused: as `ask_again`.
        """

    async def versions(self, thread_id: str, message_id: str) -> AnswerVersions:
        """The versions of a question of the acting user, by its id or that of its answer.

        Raises:
            TurnRefused: there is no such thread, or no such message with an answer.
        """

    async def put_back(self, thread_id: str, message_id: str, at: int, *, key: ApiKey) -> "ProgramTurn | TurnResult":
        """Put the version at this position in place of the current one, as the chat does. No model is asked.

        Raises:
            TurnRefused: as for a new question, or there is no such version, or the question is not the last one.
        """

    async def continue_answer(self, thread_id: str, answer_id: str, *, key: ApiKey) -> ProgramTurn:
        """Let the model go on with an incomplete answer, the last message of a thread.

        Raises:
            TurnRefused: as for a new question, or the answer is complete or not the last one.
        """

    async def unfinished(self, thread_id: str, answer_id: str, *, key: ApiKey) -> UnfinishedAnswer:
        """The incomplete answer that `BackgroundTurns.go_on` continues later.

        Raises:
            TurnRefused: as `continue_answer`.
        """

    async def stop(self, thread_id: str) -> bool:
        """Stop the turn that runs in a thread of the acting user, as Stop on a page, and wait for its end.

        False if it has not ended after ten seconds; another process stops its turn within seconds.

        Raises:
            DataLayerError: it is not known whether there is one.
        """

    async def store(
        self,
        thread_id: str,
        text: str,
        *,
        model: str | None,
        key: ApiKey,
        elements: Sequence[str] = (),
        question_id: str | None = None,
    ) -> str:
        """Store a question that `BackgroundTurns.answer` answers later; gives its id.

        Args:
            thread_id, text, model, key, elements, question_id: as for a question that is answered at once.

        Raises:
            TurnRefused: as for a question that is answered at once, but for a thread that answers already.
        """


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a user or an assistant: its role, its text, and the addresses of its pictures."""

    role: str
    text: str
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptExchange:
    """A question of a program and its answer, which the chat did not give, to be kept in a thread.

    Attributes:
        key: whose user the thread belongs to.
        thread_id: of the thread.
        is_new: whether it is to be made; then `before` are its first messages.
        before: what was said before the question.
        question: None if the thread has it.
        answer: the text.
        model: that was asked.
        reason: the finish_reason.
        call: its row; None if no server was asked.
        assistant: that answered, if one did.
        passages: that it got, by their numbers.
        training_id: in which they were found.
        is_unknown: whether the answer is the `idk` text.
    """

    key: ApiKey
    thread_id: str
    is_new: bool
    before: Sequence[Said]
    question: Said | None
    answer: str
    model: str
    reason: str | None = None
    call: LlmCall | None = None
    assistant: Assistant | None = None
    passages: Mapping[int, Passage] = field(default_factory=dict)
    training_id: str | None = None
    is_unknown: bool = False


class KeepExchange(Protocol):
    """Keeps an exchange in a thread of the key's user."""

    async def __call__(self, exchange: KeptExchange) -> None:
        """Returns when it is stored.

        Raises:
            DataLayerError: it is not stored.
        """
