"""The shapes of what the API takes and gives, and how they are made of what the layer stores."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datalayer import InvalidRecord, User
from datalayer import Thread as ThreadRecord
from datalayer.chainlit_dicts import marks_of, thread_dict_of
from datalayer.cleaning import clean_json
from threadkeeper.program_turns import LONGEST_SYSTEM_PROMPT
from threadkeeper.web.api.problems import invalid

LONGEST_NAME = 1_000
MOST_TAGS = 100
LONGEST_TAG = 200
LONGEST_QUESTION = 500_000
LARGEST_METADATA = 16_000
"""Characters, as JSON."""
LARGEST_PAGE = 100
MOST_FILES = 100
"""Named by a message; the operator allows fewer (`ATTACHMENT_MAX_FILES`)."""
CHAT_SETTINGS = "chat_settings"
"""Metadata key of a thread, and of a user."""
# What the chat stores there: a program neither sees nor sets it.
_OF_CHAT = frozenset(
    {
        "chat_profile",
        "chat_settings",
        "client_type",
        "env",
        "id",
        "interaction",
        "is_shared",
        "name",
        "shared_at",
        "user",
    }
)

_CHANGED = {"name", "metadata", "tags", "assistant", "is_pinned", "is_archived", "settings"}

Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Tag = Annotated[str, Field(min_length=1, max_length=LONGEST_TAG)]
Metadata = dict[str, Any]


class Strict(BaseModel):
    """A body: a field that does not exist is an error, because it is a mistake."""

    model_config = ConfigDict(extra="forbid")


class ChatSettings(Strict):
    """The settings of the chat without an assistant, as in its dialog. Null is the default of the server."""

    system_prompt: Annotated[str, Field(max_length=LONGEST_SYSTEM_PROMPT)] | None = None
    no_system_prompt: bool | None = Field(None, description="Whether none is sent, not even the default one.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=0, le=10**7)] | None = Field(
        None, description="Of an answer; 0 leaves it to the model."
    )


class NewThread(Strict):
    name: Name | None = None
    assistant: Annotated[str, Field(max_length=200)] | None = Field(None, description="The slug of its assistant.")
    metadata: Metadata = Field(default_factory=dict)
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = Field(default_factory=list)
    is_temporary: bool = Field(default=False, description="Whether it is deleted after a day, and in no search.")
    settings: ChatSettings | None = Field(None, description="Over those of the user.")


class ChangedThread(Strict):
    """Fields that are left out stay, also keys of `metadata` and `settings`, where null removes a key.

    The first settings of a thread that has none are over those of its user.
    """

    name: Name | None = None
    metadata: Metadata | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = None
    is_pinned: bool | None = Field(None, description="A pinned thread is not archived.")
    is_archived: bool | None = Field(None, description="An archived thread is not pinned.")
    settings: ChatSettings | None = None


class Fork(Strict):
    message_id: Annotated[str, Field(max_length=100, description="The last message of the new thread.")]


class Thread(BaseModel):
    id: str
    name: str | None
    created_at: str | None
    updated_at: str | None
    assistant: str | None
    metadata: Metadata
    tags: list[str]
    is_shared: bool = Field(description="Whether every user of this server can read it at `/share/{id}`.")
    is_pinned: bool
    is_archived: bool = Field(description="Whether it has left the chat's list. A search finds it.")
    expires_at: str | None = Field(description="When it is deleted, if it is temporary.")
    settings: ChatSettings


class ThreadPage(BaseModel):
    data: list[Thread]
    next_cursor: str | None


class Delivered(Strict):
    """How a program gets an answer."""

    stream: bool = Field(default=False, description="Answer as server-sent events.")
    background: bool = Field(
        default=False,
        description="Answer in the background: gives a job at once. The header `Prefer: respond-async` does the same.",
    )
    webhook: Annotated[str, Field(max_length=2_000)] | None = Field(
        None, description="Of an answer in the background: an address that is told when it has ended."
    )


class Answered(Delivered):
    """How a question is answered."""

    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="One of the models on offer. An assistant with a model of its own keeps it."
    )


class NewMessage(Answered):
    content: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION)]
    elements: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=MOST_FILES)] = Field(
        default_factory=list, description="The ids of uploaded files; each is of one message."
    )


class AnewAnswer(Answered):
    """As a new question is answered; without `model`, by the one that was asked."""


class EditedQuestion(AnewAnswer):
    content: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION)]


class ContinuedAnswer(Delivered):
    """Of a stream, only what is appended comes as `text`."""


class Vote(BaseModel):
    id: str
    value: Literal["up", "down"]
    comment: str | None
    reasons: list[str] | None = Field(None, description="Null in a review: there, the list of answers has them.")


class Message(BaseModel):
    id: str
    role: Literal["user", "assistant"]
    content: str
    created_at: str | None
    status: str | None = Field(description="Of an answer: complete, stopped, cut, length, filtered, error, notice.")
    is_error: bool
    model: str | None
    usage: dict[str, Any] | None
    feedback: Vote | None
    is_favorite: bool


class MessagePage(BaseModel):
    data: list[Message]
    next_cursor: str | None


class Favorite(BaseModel):
    thread_id: str
    message: Message


class FavoritePage(BaseModel):
    data: list[Favorite]
    next_cursor: str | None


class Turn(BaseModel):
    """A question, and what it was answered with."""

    question: Message
    answer: Message
    notices: list[str]


class StoppedAnswer(BaseModel):
    """How a thread is after Stop."""

    is_answering: bool = Field(description="Whether its answer has not ended yet: send Stop again.")
    answer: Message | None = Field(description="The last answer, if it was stopped.")


class Webhook(BaseModel):
    url: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    tries: int
    detail: str | None = Field(description="What became of each try.")


class ShownJob(BaseModel):
    """An answer in the background. `answer_id` is null until the job is done; `error` says why it failed."""

    id: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    created_at: str
    ended_at: str | None
    thread_id: str
    question_id: str
    answer_id: str | None
    error: str | None
    webhook: Webhook | None


class WebhookSecret(BaseModel):
    secret: str = Field(description="`whsec_…`, as libraries of Standard Webhooks take it.")


class NewVote(Strict):
    value: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    reasons: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = Field(
        default_factory=list, description="Of a thumbs-down, from those that the operator offers."
    )


class Element(BaseModel):
    id: str
    message_id: str | None = Field(description="Null until a message names an uploaded file.")
    name: str | None
    type: str | None
    mime: str | None
    has_file: bool


class ElementPage(BaseModel):
    data: list[Element]
    next_cursor: str | None


class Hit(BaseModel):
    thread: Thread
    excerpt: str = Field(description="Of the first message with the words; empty if only the name has them.")


class HitPage(BaseModel):
    data: list[Hit]
    next_cursor: str | None
    texts_left: int = Field(description="So many texts of the user cannot be found yet: the index is being built.")


def thread_of_record(found: ThreadRecord) -> Thread:
    """A record of a thread as the API gives it."""
    return thread_of(thread_dict_of(found) | marks_of(found))


def thread_of(found: Mapping[str, Any]) -> Thread:
    """A ThreadDict of `get_thread_head` as the API gives it."""
    metadata = found.get("metadata") or {}
    return Thread(
        id=found["id"],
        name=found.get("name") or None,
        created_at=found["createdAt"] or None,
        updated_at=found["updatedAt"],
        assistant=metadata.get("chat_profile") or None,
        metadata={key: value for key, value in metadata.items() if key not in _OF_CHAT},
        tags=list(found.get("tags") or ()),
        is_shared=metadata.get("is_shared") is True,
        is_pinned=found["pinnedAt"] is not None,
        is_archived=found["archivedAt"] is not None,
        expires_at=found["expiresAt"],
        settings=settings_of(metadata),
    )


def settings_of(metadata: Mapping[str, Any]) -> ChatSettings:
    """The settings in the metadata of a thread or a user; what is not valid, as from another version, is left out."""
    stored = metadata.get(CHAT_SETTINGS)
    found: dict[str, Any] = {}
    for name in ChatSettings.model_fields:
        try:
            found |= ChatSettings.model_validate({name: (stored or {}).get(name)}).model_dump(exclude_none=True)
        except (ValidationError, AttributeError):
            continue
    return ChatSettings(**found)


def with_settings(metadata: Mapping[str, Any], given: ChatSettings) -> dict[str, Any]:
    """The metadata of a thread or a user that stores these settings over the earlier ones."""
    changes = given.model_dump(exclude_unset=True)
    merged = settings_of(metadata).model_dump() | changes
    return {CHAT_SETTINGS: {name: value for name, value in merged.items() if value is not None}}


def with_same_settings(metadata: Mapping[str, Any]) -> Callable[[ThreadRecord | User], bool]:
    """The condition that a thread or a user still has the settings of these metadata."""
    return lambda found: (found.metadata or {}).get(CHAT_SETTINGS) == metadata.get(CHAT_SETTINGS)


def etag_of(thread: Thread) -> str:
    """The version of what a program can change."""
    changed = thread.model_dump(include=_CHANGED)
    return f'"{hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:32]}"'


def is_answer(step: Mapping[str, Any]) -> bool:
    """Whether the StepDict is what the model answered, and no error or notice."""
    status = (step.get("metadata") or {}).get("status")
    return step["type"] == "assistant_message" and not step.get("isError") and status not in ("error", "notice")


def message_of(step: Mapping[str, Any], vote: Mapping[str, Any] | None) -> Message:
    """The StepDict of a message, with the vote on it, as the API gives it."""
    metadata = step.get("metadata") or {}
    return Message(
        id=step["id"],
        role="user" if step["type"] == "user_message" else "assistant",
        content=step.get("output") or "",
        created_at=step.get("createdAt"),
        status=metadata.get("status"),
        is_error=bool(step.get("isError")),
        model=metadata.get("model"),
        usage=metadata.get("usage"),
        is_favorite=metadata.get("favorite") is True,
        feedback=None
        if not vote
        else Vote(
            id=vote["id"],
            value="up" if vote["value"] else "down",
            comment=vote.get("comment") or None,
            reasons=None,
        ),
    )


def checked_metadata(given: Metadata, field: str = "body.metadata") -> Metadata:
    """Metadata that a program may set.

    Raises:
        Problem: it is too large, has a key of the chat, or a number that JSON does not have.
    """
    if taken := _OF_CHAT & given.keys():
        raise invalid(f"{field}.{sorted(taken)[0]}", "this key belongs to the chat")
    try:
        written = json.dumps(given, allow_nan=False)
    except ValueError:
        raise invalid(field, "it has a number that is not finite") from None
    if len(written) > LARGEST_METADATA:
        raise invalid(field, f"it has more than {LARGEST_METADATA:,} characters")
    try:
        clean_json(given)
    except InvalidRecord as error:
        raise invalid(field, str(error)) from None
    return given
