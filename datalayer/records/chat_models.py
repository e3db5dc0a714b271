"""Frozen records of the models of the chat: what admins decide about each. Times as in `records/chat.py`."""

from dataclasses import dataclass, field

from datalayer.records.assistants import AssistantAccess


@dataclass(frozen=True, slots=True)
class ChatModel:
    """What admins have decided about a model.

    `is_offered` is whether the model is in the picker; None if that is as the setting says. `access` is for whom, if it
    is. `may_use` is whether the acting user is one of them. `is_default` is whether the model was made the default.
    """

    name: str
    is_offered: bool | None = None
    access: AssistantAccess = field(default_factory=AssistantAccess)
    is_default: bool = False
    may_use: bool = False
    changed_at: str | None = None
