"""Loads questions and answers from CSV: each pair is a document, with its question as title and suggestion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.tables import csv_rows

_QUESTION = {"question", "q", "prompt", "问题", "提问", "问"}
_ANSWER = {"answer", "a", "response", "答案", "回答", "答"}


class PairsLoader:
    name: ClassVar[str] = "pairs"
    version: ClassVar[int] = 3

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        rows = csv_rows(data, taken)
        first = next(rows, None)
        if first is None:
            raise Refused("without_text")
        question_at, answer_at = 0, 1
        if named := _columns(first):
            question_at, answer_at = named
        else:
            rows = chain([first], rows)
        taken.unit = "rows"
        seen: set[str] = set()
        unanswered = repeated = 0
        for row in rows:
            taken.total += 1
            question, answer = (row[at] if at < len(row) else "" for at in (question_at, answer_at))
            if not (question and answer):
                unanswered += 1
                continue
            text = f"{question}\n\n{answer}"
            if taken.kept >= options.max_rows or taken.characters + len(text) > options.max_characters:
                continue
            if question in seen:
                repeated += 1
                continue
            seen.add(question)
            taken.kept += 1
            taken.characters += len(text)
            yield LoadedDocument(text, question, question, suggestion=question)
        for key, count in (("part_without_answer", unanswered), ("part_repeated_questions", repeated)):
            if count:
                taken.left_out.append((key, {"count": count}))
        if not seen:
            raise Refused("without_text")


def _columns(first: Sequence[str]) -> tuple[int, int] | None:
    """The places of question and answer, if the first row names them."""
    names = [cell.strip().lower() for cell in first]
    questions = [at for at, name in enumerate(names) if name in _QUESTION]
    answers = [at for at, name in enumerate(names) if name in _ANSWER]
    return (questions[0], answers[0]) if questions and answers else None
