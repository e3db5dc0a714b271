"""The page on which questions and answers are edited: a table, in pages.

A row names the pair that it was. So two people can edit the same list: changes of different pairs are both stored. If
somebody changed the same pair meanwhile, nothing is stored, and the row becomes a new pair, to be stored or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from datalayer import SYSTEM, DataSource, SourceChanged, acting_as
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loading import LoadRefused
from threadkeeper.knowledge.pairs import (
    LONGEST_ANSWER,
    LONGEST_QUESTION,
    EditedPair,
    Merged,
    Pair,
    merged,
    read_pairs,
    written,
)
from threadkeeper.knowledge.source_acts import NewSource, put_source, replace_file
from threadkeeper.knowledge.wording import say_taken
from threadkeeper.web.assistants.knowledge.desk import AssistantDesk, Desk, title_of, whole
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Posted, read_form, redirect_to

PAIRS_A_PAGE = 25
NEW_ROWS = 3
_MOST_ROWS = 200
_MOST_CHARACTERS_A_PAGE = 200_000
"""A page with long answers has fewer pairs, so that its form stays within its limit."""
_LARGEST_FORM = 8_000_000
_LONGEST_FIELD = 1_000_000
_TRIES = 5

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _pairs_form(request: Request, _person: LoggedIn) -> Posted:
    return await read_form(request, most_bytes=_LARGEST_FORM, most_fields=5 * _MOST_ROWS)


PairsForm = Annotated[Posted, Depends(_pairs_form)]


@dataclass(frozen=True, slots=True)
class Part:
    """The pairs on a page: those from the place `first` of the list that contain the words."""

    pairs: Sequence[Pair]
    first: int
    next: int | None
    before: int | None
    found: int
    words: str = ""


@router.get("/assistants/{slug}/knowledge/pairs")
async def begin_pairs(desk: Desk) -> Response:
    return _page(desk, None, _part([], 0, ""), _blank(NEW_ROWS), title=desk.say("knowledge_pairs_title"))


@router.post("/assistants/{slug}/knowledge/pairs")
async def create_pairs(form: PairsForm, desk: Desk) -> Response:
    rows, title, part = _rows(form), title_of(form.one("title")), _part([], 0, "")
    if form.one("do") == "more":
        return _page(desk, None, part, _more(rows), title=title)
    with acting_as(SYSTEM):
        is_taken = bool(title) and await desk.layer.find_source(desk.slug, "pairs", title=title) is not None
    done = merged([], rows)
    notice = ""
    if not title:
        notice = desk.say("knowledge_no_title")
    elif is_taken:
        # The act would replace the list of this title.
        notice = desk.say("knowledge_title_taken", title=title)
    elif not done.problems:
        notice = _too_few_or_many(desk, done)
    if notice or done.problems:
        return _page(desk, None, part, rows, done.problems, title=title, notice=notice, status=400)
    try:
        new = NewSource("pairs", title, written(done.pairs))
        change = await put_source(desk.layer, desk.slug, new, desk.limits, started_by=desk.person.id)
    except LoadRefused as refused:
        raise InvalidInput("knowledge_unreadable", reason=desk.refused(refused, title)) from None
    return redirect_to(f"{desk.here}/sources/{change.source.id}/pairs?saved=1")


@router.get("/assistants/{slug}/knowledge/sources/{source_id}/pairs")
async def read_list(desk: Desk, source_id: str) -> Response:
    source = await _list(desk, source_id)
    stored, taken = await _stored(desk, source)
    asked = desk.request.query_params
    part = _part(stored, whole(asked.get("from")), asked.get("words", "")[:200].strip())
    rows = [EditedPair(one.key, one.question, one.answer) for one in part.pairs] + _blank(NEW_ROWS)
    return _page(desk, source, part, rows, taken=taken, saved=asked.get("saved") == "1", count=len(stored))


@router.post("/assistants/{slug}/knowledge/sources/{source_id}/pairs")
async def save_list(form: PairsForm, desk: Desk, source_id: str) -> Response:
    rows = _rows(form)
    first, words = whole(form.one("from")), form.one("words").strip()[:200]
    for _ in range(_TRIES):
        source = await _list(desk, source_id)
        stored, taken = await _stored(desk, source)
        part = _part(stored, first, words)
        if form.one("do") == "more":
            return _page(desk, source, part, _more(rows), taken=taken, count=len(stored))
        done = merged(stored, rows)
        notice = _too_few_or_many(desk, done) if not done.problems else ""
        if notice or done.problems:
            is_conflict = "changed" in done.problems.values()
            if is_conflict:
                notice = desk.say("knowledge_pair_conflict")
            # What somebody else changed or removed can be stored as a new pair.
            rows = [replace(row, key="") if done.problems.get(at) == "changed" else row for at, row in enumerate(rows)]
            status = 409 if is_conflict else 400
            return _page(
                desk, source, part, rows, done.problems, notice=notice, status=status, taken=taken, count=len(stored)
            )
        try:
            await replace_file(
                *(desk.layer, desk.slug, source.id, written(done.pairs), desk.limits),
                replaces=source.sha256,
                started_by=desk.person.id,
            )
        except SourceChanged:
            # Somebody saved in this moment: the changes are merged with theirs.
            continue
        return redirect_to(f"{desk.here}/sources/{source.id}/pairs?from={first}&saved=1")
    raise InvalidInput("knowledge_busy")


async def _list(desk: AssistantDesk, source_id: str) -> DataSource:
    source = await desk.source(source_id)
    if source.kind != "pairs":
        raise HTTPException(404)
    return source


async def _stored(desk: AssistantDesk, source: DataSource) -> tuple[list[Pair], Taken]:
    try:
        return await read_pairs(await desk.content(source), desk.limits)
    except LoadRefused as refused:
        raise InvalidInput("knowledge_unreadable", reason=desk.refused(refused, source.title)) from None


def _too_few_or_many(desk: AssistantDesk, done: Merged) -> str:
    most = desk.limits.options.max_rows
    if not done.pairs:
        return desk.say("knowledge_no_pairs")
    return desk.say("knowledge_many_pairs", most=most) if len(done.pairs) > most else ""


def _rows(form: Posted) -> list[EditedPair]:
    keys, removed = form.each("key", longest=40), set(form.each("remove", longest=40))
    questions, answers = (form.each(name, longest=_LONGEST_FIELD) for name in ("question", "answer"))
    if not len(keys) == len(questions) == len(answers):
        raise InvalidInput("bad_form")
    return [
        EditedPair(key, question, answer, bool(key) and key in removed)
        for key, question, answer in zip(keys, questions, answers, strict=True)
    ]


def _blank(count: int) -> list[EditedPair]:
    return [EditedPair("", "", "")] * count


def _more(rows: Sequence[EditedPair]) -> list[EditedPair]:
    return [*rows, *_blank(min(NEW_ROWS, max(0, _MOST_ROWS - len(rows))))]


def _part(stored: Sequence[Pair], first: int, words: str) -> Part:
    wanted = words.casefold()
    found = [one for one in stored if wanted in one.question.casefold() or wanted in one.answer.casefold()]
    first = first if first < len(found) else 0
    shown: list[Pair] = []
    characters = 0
    for one in found[first : first + PAIRS_A_PAGE]:
        characters += len(one.question) + len(one.answer)
        if shown and characters > _MOST_CHARACTERS_A_PAGE:
            break
        shown.append(one)
    after = first + len(shown)
    before = max(0, first - PAIRS_A_PAGE) if first else None
    return Part(shown, first, after if after < len(found) else None, before, len(found), words)


def _page(
    desk: AssistantDesk,
    source: DataSource | None,
    part: Part,
    rows: Sequence[EditedPair],
    problems: Mapping[int, str] | None = None,
    *,
    title: str = "",
    notice: str = "",
    status: int = 200,
    taken: Taken | None = None,
    saved: bool = False,
    count: int = 0,
) -> Response:
    values = {
        "source": source,
        "part": part,
        "rows": rows,
        "problems": problems or {},
        "title": title,
        "notice": notice,
        "left_out": say_taken(taken, source.title, desk.say.language) if taken and source else [],
        "saved": saved,
        "count": count,
        "pairs_a_page": PAIRS_A_PAGE,
        "longest": (LONGEST_QUESTION, LONGEST_ANSWER),
    }
    return desk.page("pairs.html", values, status)
