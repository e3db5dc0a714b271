"""The passages of an answer: those that the model gets, those that it cites, and their elements.

A cited passage is an element of the answer: the page of a PDF, else the text. It is kept with the thread, so it can be
opened when its document has changed or is deleted.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import chainlit as cl
from chainlit.element import Element

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.history.elements import STAYS_WITH_VERSION
from datalayer.records.knowledge import Passage
from threadkeeper.chat.assistants import Numbered, Retriever
from threadkeeper.chat.wording import say
from threadkeeper.citations import CITED, PASSAGE, SOURCES, cited_numbers, element_name
from threadkeeper.formulas.page import for_page

logger = logging.getLogger(__name__)

PASSAGES = "passages"
"""Metadata key of an answer: the passages that the model got, with number, title, page and score."""
_NAMED_SOURCES = 5
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|<>$~-])")


@dataclass(frozen=True, slots=True)
class Passages:
    """The passages for one answer.

    Attributes:
        by_number: as the model cites them.
        training_id: of the training that they were found in.
        demo_answer: what the demo says of them.
        retriever: cuts pages out of PDFs.
    """

    by_number: Numbered = field(default_factory=dict)
    training_id: str | None = None
    demo_answer: str = ""
    retriever: Retriever | None = None

    def facts(self, before: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The metadata of the answer. `before`: the passages of its beginning, if it is continued."""
        facts = {fact["number"]: fact for fact in before}
        for number, one in self.by_number.items():
            facts.setdefault(number, _facts_of(number, one))
        return {PASSAGES: list(facts.values())} if facts else {}


NO_PASSAGES = Passages()


def passages_of(step: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The facts of the passages of an answer."""
    return (step.get("metadata") or {}).get(PASSAGES) or ()


def citation_facts(text: str, metadata: Mapping[str, Any], language: str) -> dict[str, Any]:
    """The metadata of an answer with this text: what it cites of its passages, or a sentence if it cites none."""
    facts = passages_of({"metadata": metadata})
    if not facts:
        return {}
    cited = cited_numbers(text, [fact["number"] for fact in facts])
    if cited:
        return {CITED: cited}
    named = list(dict.fromkeys(_heading(fact["title"], fact["page"], language) for fact in facts))
    return {SOURCES: say("passages_uncited", language, passages=" · ".join(named[:_NAMED_SOURCES]))}


def facts_of_elements(elements: Sequence[Mapping[str, Any]], answer_id: str) -> dict[str, Any]:
    """The metadata of an answer, as its elements know it; ElementDicts of a thread."""
    props = [element.get("props") for element in elements if element.get("forId") == answer_id]
    facts = sorted((one[PASSAGE] for one in props if one and PASSAGE in one), key=lambda fact: int(fact["number"]))
    return {PASSAGES: facts, CITED: [fact["number"] for fact in facts]} if facts else {}


async def send_cited(
    layer: ChainlitLayer, passages: Passages, numbers: Sequence[int], answer: cl.Message, language: str
) -> None:
    """Store the elements of the passages with these numbers, and send them to the page, which makes links to them.

    A failure is logged and told by the data layer; then the number stays text.
    """
    cited = {number: passages.by_number[number] for number in numbers if number in passages.by_number}
    if not cited:
        return
    pages: Mapping[int, bytes] = {}
    try:
        if passages.retriever is not None and passages.training_id is not None:
            pages = await passages.retriever.pages(passages.training_id, cited)
    except DataLayerError as error:
        logger.warning("no pages of cited passages: %s", error, extra={"step_id": answer.id})
    for number, one in cited.items():
        element = _element(number, one, pages.get(number), language)
        element.for_id = answer.id
        try:
            await layer.create_element(element)
        except DataLayerError as error:
            logger.error("a cited passage is not stored: %s", error, extra={"step_id": answer.id})
            continue
        await cl.context.emitter.send_element(element.to_dict())


def _element(number: int, passage: Passage, page: bytes | None, language: str) -> Element:
    name = element_name(number)
    element: Element
    if page is not None:
        element = cl.Pdf(name=name, content=page, page=1, display="page")
    else:
        heading = _heading(passage.document_title, passage.page, language)
        # The page takes every text between two dollars for a formula.
        text = for_page(passage.text)
        element = cl.Text(name=name, content=f"**{heading}**\n\n{text}", display="page", mime="text/plain")
    # Chainlit stores what it finds there.
    props = {PASSAGE: _facts_of(number, passage), STAYS_WITH_VERSION: True}
    setattr(element, "props", props)  # noqa: B010  only custom elements declare it
    return element


def _facts_of(number: int, one: Passage) -> dict[str, Any]:
    return {
        "number": number,
        "id": one.id,
        "source": one.source_id,
        "title": one.document_title,
        "page": one.page,
        "score": round(one.score, 4),
    }


def _heading(title: str, page: int | None, language: str) -> str:
    """The title in Markdown, with the page."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(title.split()))
    return escaped if page is None else say("passage_on_page", language, title=escaped, page=page)
