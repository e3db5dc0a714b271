"""What an assistant makes of a question: the prompt, the parameters of the request, and the `idk` text.

`{context}` is filled with passages, which a `Retriever` finds. Without one there are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from datalayer.assistants.templates import filled, placeholders
from datalayer.records.assistants import CONTEXT, QUESTION, Assistant, AssistantSettings
from datalayer.records.knowledge import Passage
from threadkeeper.chat.context.steps import Step
from threadkeeper.chat.model import Sampling

NO_PASSAGES = "[No passages were found.]"


class Retriever(Protocol):
    async def passages(self, assistant: Assistant, question: str, thread: Sequence[Step]) -> Sequence[Passage]:
        """The passages for a question, the best first; none if nothing reaches the threshold of the assistant.

        Args:
            assistant: the version that is asked.
            question: the text that the user typed.
            thread: the StepDicts before the question, oldest first.
        """


@dataclass(frozen=True, slots=True)
class Prompted:
    """The system prompt, and the text that is sent in place of the question."""

    system_prompt: str
    question: str


def prompted(settings: AssistantSettings, question: str, passages: Sequence[Passage], default_prompt: str) -> Prompted:
    """The question as this assistant asks it. Without a template, it is asked as it is, with the default prompt."""
    if not settings.prompt:
        return Prompted(default_prompt, question)
    text = filled(settings.prompt, {CONTEXT: context_of(passages), QUESTION: question})
    return Prompted("", text) if QUESTION in placeholders(settings.prompt) else Prompted(text, question)


def prompted_to_continue(
    settings: AssistantSettings, question: str, passages: Sequence[Passage], default_prompt: str
) -> str:
    """The system prompt under which an answer to this question is continued."""
    prompt = prompted(settings, question, passages, default_prompt)
    return prompt.system_prompt or prompt.question


def context_of(passages: Sequence[Passage]) -> str:
    """The passages, numbered, as they are put into the prompt."""
    return "\n\n".join(f"[{number}] {_title(one)}\n{one.text}" for number, one in enumerate(passages, 1)) or NO_PASSAGES


def answers_unknown(settings: AssistantSettings, passages: Sequence[Passage]) -> bool:
    """Whether the answer is the `idk` text: the assistant answers from passages alone, and there are none."""
    return settings.type == "qa" and not passages


def idk_text(settings: AssistantSettings) -> str:
    """The `idk` text in Markdown, with its link."""
    return f"{settings.idk}\n\n<{settings.idk_link}>" if settings.idk_link else settings.idk


def sampling_of(settings: AssistantSettings) -> Sampling:
    return Sampling(
        top_p=settings.top_p,
        presence_penalty=settings.presence_penalty,
        frequency_penalty=settings.frequency_penalty,
        logit_bias=tuple(settings.logit_bias.items()),
        stop=settings.stop,
    )


def _title(passage: Passage) -> str:
    return passage.document_title if passage.page is None else f"{passage.document_title}, p. {passage.page}"
