"""Prompts that users keep."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to ask again. `name` is the command in the composer, `owner` an identifier; a shared one is everyone's."""

    id: str
    name: str
    text: str
    owner: str
    is_shared: bool
    updated_at: str
