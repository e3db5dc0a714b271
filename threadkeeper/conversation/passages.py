"""The passages of an answer: those that the model gets, and what the metadata of the answer says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threadkeeper.chat.assistants import Numbered

PASSAGES = "passages"
"""Metadata key of an answer: the passages that the model got, with number, title, page and score."""


@dataclass(frozen=True, slots=True)
class Passages:
    """The passages for one answer.

    Attributes:
        by_number: as the model cites them.
        training_id: of the training that they were found in.
        demo_answer: what the demo says of them.
    """

    by_number: Numbered = field(default_factory=dict)
    training_id: str | None = None
    demo_answer: str = ""

    def facts(self, before: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The metadata of the answer. `before`: the passages of its beginning, if it is continued."""
        facts = {fact["number"]: fact for fact in before}
        for number, one in self.by_number.items():
            facts.setdefault(
                number,
                {
                    "number": number,
                    "id": one.id,
                    "source": one.source_id,
                    "title": one.document_title,
                    "page": one.page,
                    "score": round(one.score, 4),
                },
            )
        return {PASSAGES: list(facts.values())} if facts else {}


NO_PASSAGES = Passages()


def passages_of(step: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The facts of the passages of an answer."""
    return (step.get("metadata") or {}).get(PASSAGES) or ()
