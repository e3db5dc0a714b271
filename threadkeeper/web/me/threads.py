"""The page at `/me/threads`: all threads of the user, to search, pin, archive, put into folders, and delete."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from datalayer import InvalidRecord, ThreadChoice
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text
from datalayer.organizing.organizing import LONGEST_TAG
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, Posted, redirect_to
from threadkeeper.web.pages.notices import Notices
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/me/threads"
ROWS_A_PAGE = 50
LONGEST_WORDS = 300
VIEWS = {
    "": ThreadChoice(),
    "pinned": ThreadChoice(is_pinned=True),
    "archived": ThreadChoice(is_archived=True),
    "temporary": ThreadChoice(is_archived=None, is_temporary=True),
    "all": ThreadChoice(is_archived=None),
}
"""What each view of the page lists, by its name."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_NOTICES = Notices("threads_notice", ADDRESS)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page lists, as in its address."""

    view: str
    tag: str
    words: str

    def address(self, **changes: str) -> str:
        """The address of the page with these changes."""
        changed = {"view": self.view, "tag": self.tag, "q": self.words, **changes}
        query = urlencode({name: value for name, value in changed.items() if value})
        return f"{ADDRESS}?{query}" if query else ADDRESS

    @property
    def choice(self) -> ThreadChoice:
        return replace(VIEWS[self.view], tag=self.tag or None, words=self.words or None)


@router.get(ADDRESS)
async def read_threads(*, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone) -> Response:
    given = request.query_params
    shown = _shown(lambda name: clean_text(given.get(name, "")))
    cursor = cursor_of(given)
    try:
        found = await layer.own_threads(person.id, shown.choice, cursor=cursor, limit=ROWS_A_PAGE)
    except InvalidRecord:
        raise InvalidInput("bad_cursor") from None
    values = {
        "shown": shown,
        "views": tuple(VIEWS),
        "threads": found.threads,
        "next_cursor": found.next_cursor,
        "cursor": cursor,
        "folders": await layer.folders(person.id),
        "texts_left": await layer.own_texts_to_index() if shown.words else 0,
        "notice": _NOTICES.read(request),
        "rows_a_page": ROWS_A_PAGE,
        "longest_tag": LONGEST_TAG,
        "longest_words": LONGEST_WORDS,
    }
    return _NOTICES.clear(request, pages.page(request, "me/threads.html", values, person=person, zone=zone))


@router.post(ADDRESS)
async def change_threads(
    *, request: Request, person: LoggedIn, form: Form, layer: Layer, pages: Pages, zone: Zone
) -> Response:
    shown, chosen, act = _shown(form.one), form.all("thread", longest=40), form.one("act", longest=40)
    back = redirect_to(shown.address())
    if not chosen:
        return _NOTICES.set(request, back, "none")
    if act == "delete":
        # Some may be deleted already, as in another tab.
        names = await layer.names_of_threads(chosen)
        there = [one for one in chosen if one in names]
        if not there:
            return _NOTICES.set(request, back, "deleted", 0, 0, 0)
        if not form.has("sure"):
            values = {"shown": shown, "names": [(one, names[one]) for one in there]}
            return pages.page(request, "me/delete_threads.html", values, person=person, zone=zone)
        receipt = await layer.delete_threads(there)
        files = len(receipt.files) + len(receipt.files_left)
        return _NOTICES.set(request, back, "deleted", len(receipt.threads), receipt.messages, files)
    done = await _organize(layer, chosen, act, form)
    return _NOTICES.set(request, back, act, len(done))


async def _organize(layer: ChainlitLayer, chosen: Sequence[str], act: str, form: Posted) -> tuple[str, ...]:
    if act in ("pin", "unpin"):
        return await layer.organize_threads(chosen, is_pinned=act == "pin")
    if act in ("archive", "unarchive"):
        return await layer.organize_threads(chosen, is_archived=act == "archive")
    if act not in ("tag", "untag"):
        raise InvalidInput("bad_form")
    tag = form.one("folder", longest=LONGEST_TAG).strip()
    if not tag:
        raise InvalidInput("threads_no_folder")
    try:
        if act == "tag":
            return await layer.organize_threads(chosen, add_tags=[tag])
        return await layer.organize_threads(chosen, remove_tags=[tag])
    except InvalidRecord:
        raise InvalidInput("threads_too_many_tags") from None


def _shown(given: Callable[[str], str]) -> _Shown:
    """What the page is to list; `given` gives the value of a field, or ""."""
    shown = _Shown(given("view"), given("tag"), given("q").strip())
    if shown.view not in VIEWS or len(shown.tag) > LONGEST_TAG or len(shown.words) > LONGEST_WORDS:
        raise InvalidInput("bad_form")
    return shown
