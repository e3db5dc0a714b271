"""Threads: list, make, read, change and delete one's own."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from datalayer import Forbidden, InvalidRecord, NotFound, OwnThreadPage, ThreadChoice
from datalayer.chainlit_dicts import marks_of, thread_dict_of
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id, utc_now
from datalayer.records.chat import Thread as StoredThread
from threadkeeper.program_turns import TEMPORARY_SECONDS
from threadkeeper.shared_view import SHOWN_STEP_METADATA
from threadkeeper.web.api.access import Caller, Reader, Writer
from threadkeeper.web.api.once import Once, note_done
from threadkeeper.web.api.paging import Cursor, IfMatch, Limit, demand_match, matching, tried_again
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import (
    CHAT_SETTINGS,
    LONGEST_TAG,
    ChangedThread,
    ChatSettings,
    Fork,
    Hit,
    HitPage,
    NewThread,
    Thread,
    ThreadPage,
    checked_metadata,
    etag_of,
    thread_of,
    thread_of_record,
    with_same_settings,
    with_settings,
)
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Given = Annotated[NewThread, Body(default_factory=lambda: NewThread.model_validate({}))]


@router.get("/threads")
async def list_threads(
    *,
    caller: Reader,
    layer: Layer,
    cursor: Cursor = None,
    limit: Limit = 20,
    tag: Annotated[str | None, Query(max_length=LONGEST_TAG, description="Only threads with this tag.")] = None,
    pinned: Annotated[bool | None, Query(description="Only threads that are pinned, or that are not.")] = None,
    archived: Annotated[bool | None, Query(description="Only threads that are archived, or that are not.")] = None,
) -> ThreadPage:
    """The threads of the user, last activity first."""
    which = ThreadChoice(tag=tag, is_pinned=pinned, is_archived=archived, is_temporary=None)
    found = await page_of_threads(layer, caller, which, cursor, limit)
    return ThreadPage(data=[thread_of_record(one) for one in found.threads], next_cursor=found.next_cursor)


@router.get("/search")
async def search(
    caller: Reader,
    layer: Layer,
    q: Annotated[str, Query(min_length=1, max_length=1_000, description="Words; all of them are in a text.")],
    cursor: Cursor = None,
    limit: Limit = 20,
) -> HitPage:
    """The threads of the user in which all words are found, last activity first, archived ones too."""
    if not q.strip():
        raise invalid("query.q", "it has no word")
    which = ThreadChoice(words=q, is_archived=None)
    # Counted before: 0 means that the page, which is found later, lacks nothing.
    left = await layer.own_texts_to_index()
    found = await page_of_threads(layer, caller, which, cursor, limit)
    excerpts = {one.thread_id: one for one in await layer.excerpts(q, [one.id for one in found.threads])}
    hits = [
        Hit(
            thread=thread_of_record(one),
            excerpt="".join(part.text for part in excerpts[one.id].text) if one.id in excerpts else "",
        )
        for one in found.threads
    ]
    return HitPage(data=hits, next_cursor=found.next_cursor, texts_left=left)


async def page_of_threads(
    layer: ChainlitLayer, caller: Caller, which: ThreadChoice, cursor: str | None, limit: int
) -> OwnThreadPage:
    """A page of the caller's threads without their messages.

    Raises:
        Problem: the cursor is not valid.
    """
    try:
        return await layer.own_threads(caller.user_id, which, cursor=cursor, limit=limit)
    except InvalidRecord:
        raise invalid("query.cursor", "it is not the `next_cursor` of a page") from None


@router.post("/threads", status_code=201, dependencies=[Once])
async def create_thread(request: Request, caller: Writer, layer: Layer, given: Given, response: Response) -> Thread:
    """Make a thread. Its first message asks its first question."""
    metadata = dict(checked_metadata(given.metadata))
    if given.assistant is not None:
        try:
            metadata["chat_profile"] = (await layer.usable_assistant(given.assistant)).slug
        except (NotFound, Forbidden):
            raise invalid("body.assistant", "there is no such assistant for this user") from None
    if given.settings is not None:
        metadata |= await _with_settings(layer, caller, {}, given.settings)
    thread_id = str(uuid.uuid4())
    if given.is_temporary:
        await layer.make_temporary(thread_id, TEMPORARY_SECONDS)
    await layer.update_thread(
        thread_id, name=given.name or "", user_id=caller.user_id, metadata=metadata, tags=given.tags
    )
    note_done(request, thread_id)
    made = await own_thread(layer, caller, thread_id)
    response.headers["Location"] = location_of(f"/threads/{thread_id}")
    response.headers["ETag"] = etag_of(made)
    return made


@router.get("/threads/{thread_id}")
async def read_thread(caller: Reader, layer: Layer, thread_id: str, response: Response) -> Thread:
    """A thread without its messages."""
    found = await own_thread(layer, caller, thread_id)
    response.headers["ETag"] = etag_of(found)
    return found


@router.patch("/threads/{thread_id}")
async def change_thread(
    *,
    caller: Writer,
    layer: Layer,
    thread_id: str,
    given: ChangedThread,
    response: Response,
    if_match: IfMatch = None,
) -> Thread:
    """Rename, pin or archive a thread, or change its metadata, tags and settings.

    With `If-Match`, only if nobody changed it meanwhile.
    """
    if given.is_pinned and given.is_archived:
        raise invalid("body.is_archived", "a thread is either pinned or archived")

    async def change() -> None:
        head = await own_head(layer, caller, thread_id)
        found, stored = thread_of(head), head.get("metadata") or {}
        demand_match(if_match, etag_of(found), "thread")
        only_if = matching(if_match, _etag_of_record)
        metadata: dict[str, Any] | None = None
        if given.metadata is not None:
            metadata = checked_metadata(given.metadata)
            merged = {key: value for key, value in {**found.metadata, **metadata}.items() if value is not None}
            checked_metadata(merged)
        if given.settings is not None:
            metadata = {**(metadata or {}), **await _with_settings(layer, caller, stored, given.settings)}
            only_if = only_if or with_same_settings(stored)
        await layer.change_thread(
            found.id,
            name=given.name,
            metadata=metadata,
            tags=given.tags,
            is_pinned=given.is_pinned,
            is_archived=given.is_archived,
            only_if=only_if,
        )

    # With `If-Match`, the thread is found to be another at the next try.
    await tried_again(change)
    changed = await own_thread(layer, caller, thread_id)
    response.headers["ETag"] = etag_of(changed)
    return changed


@router.delete("/threads/{thread_id}", status_code=204)
async def delete_thread(caller: Writer, layer: Layer, thread_id: str, if_match: IfMatch = None) -> None:
    """Delete a thread with its messages and files, for ever."""
    found = await own_thread(layer, caller, thread_id)
    demand_match(if_match, etag_of(found), "thread")
    only_if = matching(if_match, _etag_of_record)
    if only_if is None:
        await layer.delete_thread(found.id)
    else:
        await layer.delete_thread_with_receipt(found.id, only_if=only_if)


@router.put("/threads/{thread_id}/share")
async def share_thread(caller: Writer, layer: Layer, thread_id: str) -> Thread:
    """Share a thread, as in the chat: every user of this server can read it at `/share/{id}`."""
    found = await own_thread(layer, caller, thread_id)
    try:
        await layer.update_thread(found.id, metadata={"is_shared": True, "shared_at": utc_now()})
    except Forbidden:
        sentence = "A copy of another user's thread cannot be shared."
        raise Problem(403, "forbidden", sentence) from None
    return await own_thread(layer, caller, thread_id)


@router.delete("/threads/{thread_id}/share", status_code=204)
async def unshare_thread(caller: Writer, layer: Layer, thread_id: str) -> None:
    """End the sharing of a thread."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    await layer.update_thread(own_id, metadata={"is_shared": None, "shared_at": None})


@router.post("/threads/{thread_id}/fork", status_code=201, dependencies=[Once])
async def fork_thread(
    *, request: Request, caller: Writer, layer: Layer, thread_id: str, given: Fork, response: Response
) -> Thread:
    """Copy a thread of the user as far as a message into a new thread. Its `metadata.forked_from` names both."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    step_id = known_id(given.message_id)
    try:
        forked = await layer.fork_thread(own_id, step_id or "")
    except (NotFound, InvalidRecord):
        raise invalid("body.message_id", "there is no such message in the thread") from None
    note_done(request, forked)
    response.headers["Location"] = location_of(f"/threads/{forked}")
    made = await own_thread(layer, caller, forked)
    response.headers["ETag"] = etag_of(made)
    return made


@router.post("/threads/{thread_id}/copy", status_code=201, dependencies=[Once])
async def copy_thread(request: Request, caller: Writer, layer: Layer, thread_id: str, response: Response) -> Thread:
    """Copy a thread that another user shares, to go on in it."""
    known = known_id(thread_id)
    if known is None:
        raise not_found("thread")
    copied = await layer.copy_shared_thread(known, shown_metadata=SHOWN_STEP_METADATA)
    note_done(request, copied)
    made = await own_thread(layer, caller, copied)
    response.headers["Location"] = location_of(f"/threads/{copied}")
    response.headers["ETag"] = etag_of(made)
    return made


async def demand_own_thread(layer: ChainlitLayer, caller: Caller, thread_id: str) -> str:
    """The id of a thread of the caller's user, which is not read.

    Raises:
        Problem: there is none.
    """
    known = known_id(thread_id)
    if known is None or await layer.get_thread_author(known) != caller.identifier:
        raise not_found("thread")
    return known


async def own_whole_thread(
    layer: ChainlitLayer, caller: Caller, thread_id: str, *, what: str = "thread"
) -> dict[str, Any]:
    """The ThreadDict of a thread of the caller's user, with its steps and elements.

    Raises:
        Problem: there is none; its sentence has `what` in it.
    """
    known = known_id(thread_id)
    found: dict[str, Any] | None = None if known is None else await layer.get_thread(known)
    # The layer also gives shared threads of others.
    if found is None or found["userIdentifier"] != caller.identifier:
        raise not_found(what)
    return found


def _etag_of_record(found: StoredThread) -> str:
    return etag_of(thread_of(thread_dict_of(found) | marks_of(found)))


async def _with_settings(
    layer: ChainlitLayer, caller: Caller, stored: Mapping[str, Any], given: ChatSettings
) -> dict[str, Any]:
    """As `with_settings`, for the metadata of a thread: one without settings has those of its user."""
    if stored.get(CHAT_SETTINGS) is None:
        user = await layer.get_user(caller.identifier)
        stored = user.metadata if user is not None else {}
    return with_settings(stored, given)


async def own_thread(layer: ChainlitLayer, caller: Caller, thread_id: str) -> Thread:
    """As `own_whole_thread`, without its contents."""
    return thread_of(await own_head(layer, caller, thread_id))


async def own_head(layer: ChainlitLayer, caller: Caller, thread_id: str, *, what: str = "thread") -> dict[str, Any]:
    """As `own_whole_thread`, without steps and elements."""
    known = known_id(thread_id)
    found = None if known is None else await layer.get_thread_head(known)
    if found is None or found["userIdentifier"] != caller.identifier:
        raise not_found(what)
    return found
