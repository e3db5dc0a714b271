"""Questions that the documents of a training answer, to offer them where nobody has thought of any.

Questions of the documents themselves (of a datasheet's column, or of pairs) come first. The model writes the others,
from five documents of as many sources as there are. The demo takes titles and headings.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Protocol

from datalayer.errors import DataLayerError
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import Document, DocumentPassage, Training
from threadkeeper.chat.model import Model, ModelError, ModelRequest, Purpose
from threadkeeper.knowledge.wording import say

logger = logging.getLogger(__name__)

KIND = "suggestions"
"""The kind of the calls."""
MOST_SUGGESTIONS = 20
MOST_DOCUMENTS = 5
TIMEOUT_SECONDS = 60.0

_PASSAGES_AT_A_PLACE = 4
_READ_CHARACTERS = 6_000
_LONGEST = 200
# Four questions have a hundred tokens; the rest is for models that think first.
_MAX_TOKENS = 1_000
_INSTRUCTION = (
    "The user shows you parts of a document. Write {count} short questions that these parts answer, in the language of "
    "the document, each on a line of its own. Each question must be understood by somebody who does not see the "
    "document, so name what it is about. Write the questions alone: no numbers, no answers, no explanation."
)
_MARK = re.compile(r"^\s*(?:[-*•·]|\d{1,2}[.)、．])\s*")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]")
_QUESTION_MARKS = ("?", "？")
# Further calls would be refused for the same reason.
_ENDS_ALL = frozenset({"auth", "quota", "over_limit", "in_flight", "unpriced", "limit_unchecked", "not_found"})


class SuggestionStore(Protocol):
    """The part of the data layer that suggestions use."""

    async def spread_documents(
        self, training: Training, limit: int, *, with_suggestion: bool = False
    ) -> list[Document]: ...
    async def list_passages(self, document_id: str, first: int = 0, limit: int = 50) -> list[DocumentPassage]: ...
    async def keep_suggestions(self, training_id: str, suggestions: Sequence[str]) -> bool: ...


class Suggester:
    """Makes the questions of trainings.

    Args:
        model: writes them, for whoever started the training and within their limits.
        name: of the model.
    """

    def __init__(self, store: SuggestionStore, model: Model, name: str) -> None:
        self._store, self._model, self._name = store, model, name

    async def suggest(self, training: Training) -> None:
        """Make and store the questions of a training that has succeeded, unless it has them. If that fails, the log
        says why, and the training stays as it is."""
        if training.state != "success" or training.suggestions is not None:
            return
        try:
            with acting_as(SYSTEM):
                await self._store.keep_suggestions(training.id, await self._questions(training))
        except DataLayerError as error:
            logger.warning("the training %s gets no suggestions: %s", training.id, error)

    async def _questions(self, training: Training) -> list[str]:
        own = await self._store.spread_documents(training, MOST_SUGGESTIONS, with_suggestion=True)
        found = _distinct(one.suggestion for one in own)
        if len(found) >= MOST_SUGGESTIONS:
            return found[:MOST_SUGGESTIONS]
        documents = await self._store.spread_documents(training, MOST_DOCUMENTS)
        if self._model.demo:
            made = [await self._of_headings(document) for document in documents if document.suggestion is None]
            return _distinct([*found, *_in_turns(made)])[:MOST_SUGGESTIONS]
        each = -(-(MOST_SUGGESTIONS - len(found)) // max(len(documents), 1))
        each = min(each, MOST_SUGGESTIONS // MOST_DOCUMENTS)
        made = []
        for document in documents:
            try:
                made.append(await self._asked_for(document, each, training))
            except ModelError as error:
                logger.warning("the training %s gets fewer suggestions: %s", training.id, error)
                if error.kind in _ENDS_ALL:
                    break
            except TimeoutError:
                logger.warning("the training %s gets fewer suggestions: no answer in time", training.id)
        return _distinct([*found, *_in_turns(made)])[:MOST_SUGGESTIONS]

    async def _asked_for(self, document: Document, count: int, training: Training) -> list[str]:
        """The questions that the model writes for a document. Raises ModelError and TimeoutError."""
        text = f"{document.title}\n\n{await self._parts_of(document)}"[:_READ_CHARACTERS]
        instruction = _INSTRUCTION.format(count=count)
        request = ModelRequest(
            [{"role": "system", "content": instruction}, {"role": "user", "content": text}],
            self._name,
            max_tokens=_MAX_TOKENS,
            purpose=Purpose(KIND, user_id=training.started_by, assistant=training.assistant_id),
        )
        async with asyncio.timeout(TIMEOUT_SECONDS):
            completion = await self._model.complete(request)
        lines = [_MARK.sub("", line).strip(' \t"“”*_`') for line in completion.text.splitlines()]
        return [line for line in lines if line.endswith(_QUESTION_MARKS) and len(line) <= _LONGEST][:count]

    async def _parts_of(self, document: Document) -> str:
        """Passages of the begin and of the middle of a document."""
        passages = await self._store.list_passages(document.id, 0, _PASSAGES_AT_A_PLACE)
        if (middle := document.passages // 2) >= _PASSAGES_AT_A_PLACE:
            passages += await self._store.list_passages(document.id, middle, _PASSAGES_AT_A_PLACE)
        return "\n\n".join(passage.text for passage in passages)

    async def _of_headings(self, document: Document) -> list[str]:
        """Questions made of the title and the headings of a document, without a model."""
        headings = _HEADING.findall(await self._parts_of(document))
        return [_about(text) for text in (_plain_title(document.title), *headings) if 1 < len(text) <= _LONGEST // 2]


def _about(title: str) -> str:
    if title.endswith(_QUESTION_MARKS):
        return title
    return say("suggestion_about", "zh" if _CJK.search(title) else "en", title=title)


def _plain_title(title: str) -> str:
    """A title without the suffix of a file."""
    path = PurePath(title)
    return path.stem if re.fullmatch(r"\.[A-Za-z]{2,5}", path.suffix) else title


def _distinct(texts: Iterable[str | None]) -> list[str]:
    """The texts on one line each, without empty ones and repetitions."""
    lines = (" ".join(text.split()) for text in texts if text)
    return list(dict.fromkeys(line for line in lines if line))


def _in_turns(groups: Sequence[Sequence[str]]) -> list[str]:
    """The first of each group, then the second of each."""
    longest = max(map(len, groups), default=0)
    return [group[at] for at in range(longest) for group in groups if at < len(group)]
