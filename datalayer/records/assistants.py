"""Frozen records of assistants: what an assistant is, who may use it, its versions and its numbers.

Users are named by their identifiers, times are UTC texts (`YYYY-MM-DDTHH:MM:SS.ffffffZ`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

AssistantType = Literal["chat", "qa", "analyst"]
"""`chat` talks, `qa` answers from passages alone and says its `idk` text without any, `analyst` works on data."""
AssistantMode = Literal["wizard", "advanced"]
AccessKind = Literal["everyone", "users", "role"]
TrainingStart = Literal["by_hand", "on_change", "daily", "weekly"]
"""What starts a training: somebody, each change of a data source, or a schedule, if something has changed by then."""

ASSISTANT_TYPES: tuple[AssistantType, ...] = get_args(AssistantType)
ASSISTANT_MODES: tuple[AssistantMode, ...] = get_args(AssistantMode)
ACCESS_KINDS: tuple[AccessKind, ...] = get_args(AccessKind)
TRAINING_STARTS: tuple[TrainingStart, ...] = get_args(TrainingStart)
ACCESS_ROLES = ("reviewer", "admin")
"""The roles that an assistant can be given to. Admins have it in any case."""
DEFAULT_ASSISTANT = "default"
"""The slug of the chat without an assistant. No assistant has it."""
CONTEXT, QUESTION = "context", "question"
"""The placeholders of a prompt template."""


@dataclass(frozen=True, slots=True)
class AssistantSettings:
    """What a version of an assistant is.

    Texts that are not set are empty; numbers that are not set are None, and then the model server decides. `model` and
    `embedding_model` are empty for the default ones. `prompt` is a template: with `{question}` it replaces the
    question that is sent, without it is the system prompt. `score_threshold` is from 0 to 1. `tips` are offered after
    each answer, `opening_prompts` at the begin.
    """

    name: str
    description: str = ""
    type: AssistantType = "chat"
    mode: AssistantMode = "wizard"
    prologue: str = ""
    prompt: str = ""
    model: str = ""
    embedding_model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    n: int = 1
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, float] = dataclasses.field(default_factory=dict)
    stop: tuple[str, ...] = ()
    idk: str = ""
    idk_link: str = ""
    score_threshold: float | None = None
    opening_prompts: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()
    training: TrainingStart = "by_hand"


@dataclass(frozen=True, slots=True)
class AssistantAccess:
    """Who may use an assistant besides its owner and the admins: everyone, a role, or the named users."""

    kind: AccessKind = "everyone"
    role: str | None = None
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssistantPicture:
    """A picture: its media type and its bytes."""

    media_type: str
    content: bytes = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Assistant:
    """One version of an assistant.

    `version` counts from 1; `current_version` is the newest. `access` and `owner` hold for all versions. `picture` is
    the SHA-256 of the picture of this version. `restored_from` is the version whose settings this one has again.
    `may_edit`: whether the acting user may.
    """

    id: str
    slug: str
    version: int
    current_version: int
    settings: AssistantSettings
    access: AssistantAccess = AssistantAccess()
    owner: str | None = None
    picture: str | None = None
    saved_at: str | None = None
    saved_by: str | None = None
    restored_from: int | None = None
    created_at: str | None = None
    deleted_at: str | None = None
    may_edit: bool = False

    @property
    def reference(self) -> str:
        """How answers and calls name this version, and the filters of review and usage."""
        return version_reference(self.slug, self.version)


@dataclass(frozen=True, slots=True)
class AssistantUse:
    """The numbers of the answers of one version; `version` is None for answers that name none.

    `unknown` of the answers were the `idk` text. `cost` (US dollars) is that of the answers whose cost is known;
    None without any.
    """

    version: int | None
    threads: int
    answers: int
    up: int
    down: int
    unknown: int
    cost: Decimal | None = None

    @property
    def unknown_share(self) -> float | None:
        """The share of answers that were the `idk` text, from 0 to 1; None without answers."""
        return self.unknown / self.answers if self.answers else None


@dataclass(frozen=True, slots=True)
class AssistantNumbers:
    """The numbers of an assistant: of all versions together, and of each version, newest first."""

    total: AssistantUse
    versions: tuple[AssistantUse, ...] = ()


@dataclass(frozen=True, slots=True)
class AssistantProblem:
    """A value that an assistant cannot have: the field, the kind of problem, and the values of its sentence."""

    field: str
    kind: str
    values: Mapping[str, object] = dataclasses.field(default_factory=dict)


def version_reference(slug: str, version: int) -> str:
    """The slug and the version as one text. A slug has no `@`."""
    return f"{slug}@{version}"


def version_of_reference(reference: str) -> tuple[str, int] | None:
    """The slug and the version of a reference; None if the text is not one."""
    slug, _, number = reference.rpartition("@")
    is_number = number.isascii() and number.isdecimal() and len(number) <= 9
    return (slug, int(number)) if slug and is_number else None
