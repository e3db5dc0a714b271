"""The page with the form of an assistant, for the routes that show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response

from datalayer.records.assistants import ASSISTANT_TYPES, TRAINING_STARTS, Assistant, AssistantNumbers
from threadkeeper.web.assistants.fields import FOR_WHOM
from threadkeeper.web.assistants.trying import Tried, TryAssistant
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Offered, Pages
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Posted
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

LONGEST_QUESTION = 10_000
"""Characters of a question that is tried."""
_MODES = ("wizard", "advanced")


@dataclass(frozen=True, slots=True)
class Editing:
    """The request of a person who edits an assistant, with the models on offer for this person; none in the demo."""

    request: Request
    person: Person
    pages: PageWriter
    zone: Any
    models: Sequence[str]

    @property
    def say(self) -> Say:
        return speaker(self.request)

    async def tried(self, form: Posted, assistant: Assistant) -> Tried | None:
        """The answer to the question of the form; None without a question."""
        trial: TryAssistant | None = self.request.state.try_assistant
        question = form.one("question", longest=LONGEST_QUESTION).strip()
        if trial is None or not question:
            return None
        return await trial(assistant, question, user_id=self.person.id, language=self.say.language)

    def page(
        self,
        assistant: Assistant,
        values: Filled,
        *,
        numbers: AssistantNumbers | None = None,
        knowledge: str = "",
        form: Posted | None = None,
        tried: Tried | None = None,
        newer: tuple[int, int] | None = None,
        status: int = 200,
    ) -> Response:
        """The form.

        Args:
            assistant: as it is stored; without a slug if it is new. Its version is the one that a save is based on.
            values: the fields.
            numbers: of its answers.
            knowledge: the state of what it knows, in words.
            form: the posted form, if there was one.
            tried: the answer to the question of the form.
            newer: the version that the form was based on, and the one that somebody saved meanwhile.
            status: the HTTP status.
        """
        wanted, saved = (self.request.query_params.get(name, "") for name in ("mode", "saved"))
        own = values["model"]
        content = {
            "assistant": assistant,
            "is_new": not assistant.slug,
            "form": values,
            "mode": wanted if wanted in _MODES else values["mode"],
            "types": ASSISTANT_TYPES,
            "training_starts": TRAINING_STARTS,
            "for_whom": FOR_WHOM,
            "models": list(dict.fromkeys((*self.models, *([own] if own else ())))),
            "can_try": self.request.state.try_assistant is not None,
            "tried": tried,
            "question": form.one("question", longest=LONGEST_QUESTION) if form else "",
            "numbers": numbers,
            "knowledge": knowledge,
            "newer": newer,
            "saved": saved if saved == str(assistant.version) else "",
        }
        return self.pages.page(
            self.request, "assistants/edit.html", content, person=self.person, zone=self.zone, status=status
        )


async def _editing(request: Request, person: LoggedIn, pages: Pages, zone: Zone, offered: Offered) -> Editing:
    models = () if offered.is_demo else (await offered.of(person.identifier)).names
    return Editing(request, person, pages, zone, models)


Editor = Annotated[Editing, Depends(_editing)]
