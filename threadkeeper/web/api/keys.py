"""API keys: a user's own, and for admins those of every user.

No key makes one with more scopes or models, or a later end, than it has itself. For its own user it also makes none
that another project pays for, and none at all if it has a rate or a budget. The rate, the budget and the project of an
admin's key are not those of the keys that it makes for other users.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from datalayer import SYSTEM, ApiKey, Forbidden, InvalidRecord, NotFound, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from datalayer.keys.keys import LONGEST_NAME, MOST_MODELS
from datalayer.records.keys import KeyScope
from threadkeeper.web.api.access import AccountCaller, AdminCaller, Caller
from threadkeeper.web.api.calls_query import instant, zone_named
from threadkeeper.web.api.once import keep_instead, note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit, page_of
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.api.users import known_user
from threadkeeper.web.pages.dependencies import Layer, Pages

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

KeyName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
_HIGHEST_RATE = 10**9
_Rate = Annotated[int, Field(ge=1, le=_HIGHEST_RATE)]


class NewKey(Strict):
    """A key has at most the scopes and models of the key with which it is made, and ends no later."""

    name: KeyName
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=20)]
    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=MOST_MODELS)] = Field(
        default_factory=list, description="The only models that it may use; by default those of the calling key."
    )
    project: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The slug of the project that pays; by default, for the own user, that of the calling key."
    )
    requests_per_minute: _Rate | None = None
    tokens_per_minute: _Rate | None = None
    expires_at: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="A day or a time; by default that of the calling key."
    )


class RenamedKey(Strict):
    name: KeyName


class ShownKey(BaseModel):
    id: str
    name: str
    prefix: str = Field(description="The first ten characters of the secret.")
    owner: str
    scopes: list[KeyScope]
    models: list[str] = Field(description="Empty if it may use every model.")
    project: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class MadeKey(ShownKey):
    secret: str = Field(description="The key itself. It is shown here alone, and stored nowhere.")


class KeyPage(BaseModel):
    data: list[ShownKey]
    next_cursor: str | None


@router.get("/me/keys")
async def list_own_keys(caller: AccountCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> KeyPage:
    """The user's keys, newest first, with expired ones; revoked ones are left out."""
    return _page(await layer.list_api_keys(caller.identifier), cursor, limit)


@router.post("/me/keys", status_code=201, dependencies=[once_with("account", from_pages=False)])
async def make_own_key(
    *, request: Request, caller: AccountCaller, layer: Layer, pages: Pages, given: NewKey, response: Response
) -> MadeKey:
    """Make a key of the user, which is shown once. A repetition by `Idempotency-Key` is 409: it names the key, and has
    no secret."""
    fields = await _own_fields(layer, caller, given, pages.time_zone)
    made = await _make(layer, caller, given, fields)
    return _answer(request, response, "/me/keys", *made)


@router.get("/me/keys/{key_id}")
async def read_own_key(_caller: AccountCaller, layer: Layer, key_id: str) -> ShownKey:
    """A key of the user, also if it is revoked."""
    return _shown(await _known(layer, key_id))


@router.patch("/me/keys/{key_id}")
async def rename_own_key(_caller: AccountCaller, layer: Layer, key_id: str, given: RenamedKey) -> ShownKey:
    """Give a key of the user another name. What it may do stays: make another one for that, and revoke this one."""
    found = await _known(layer, key_id)
    try:
        return _shown(await layer.rename_api_key(found.id, given.name))
    except InvalidRecord as error:
        raise invalid("body.name", f"{error}") from None


@router.delete("/me/keys/{key_id}", status_code=204)
async def revoke_own_key(_caller: AccountCaller, layer: Layer, key_id: str) -> None:
    """Revoke a key of the user for ever; also the one of this request. It is refused within seconds."""
    await layer.revoke_api_key((await _known(layer, key_id)).id)


@router.get("/users/{user_id}/keys")
async def list_keys(
    _caller: AdminCaller, layer: Layer, user_id: str, cursor: Cursor = None, limit: Limit = 20
) -> KeyPage:
    """The keys of a user, newest first, with expired ones; revoked ones are left out."""
    user = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        return _page(await layer.list_api_keys(user.identifier), cursor, limit)


@router.post("/users/{user_id}/keys", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def make_key(
    *,
    request: Request,
    caller: AdminCaller,
    layer: Layer,
    pages: Pages,
    user_id: str,
    given: NewKey,
    response: Response,
) -> MadeKey:
    """Make a key of a user, as `threadkeeper keys create` does.

    Its scopes and models are at most those of the calling key, and it ends no later. For another user, it has its own
    rate, budget and project.
    """
    user, zone = await known_user(layer, user_id), pages.time_zone
    is_own = user.id == caller.user_id
    fields = await _own_fields(layer, caller, given, zone) if is_own else _fields(caller, given, zone)
    made = await _make(layer, caller, given, fields, of=user)
    return _answer(request, response, f"/users/{user.id}/keys", *made)


@router.get("/users/{user_id}/keys/{key_id}")
async def read_key(_caller: AdminCaller, layer: Layer, user_id: str, key_id: str) -> ShownKey:
    """A key of a user, also if it is revoked."""
    user = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        return _shown(await _known(layer, key_id, user))


@router.delete("/users/{user_id}/keys/{key_id}", status_code=204)
async def revoke_key(caller: AdminCaller, layer: Layer, user_id: str, key_id: str) -> None:
    """Revoke a key of a user for ever."""
    user = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        await layer.revoke_api_key((await _known(layer, key_id, user)).id, by=caller.identifier)


async def _own_fields(layer: ChainlitLayer, caller: Caller, given: NewKey, zone: str) -> dict[str, Any]:
    """The fields of another key of the caller's user.

    Raises:
        Problem: it could do more than the calling key.
    """
    key, fields = _calling(caller), _fields(caller, given, zone)
    limited = [one for one in await layer.list_limits() if one.scope == "key" and one.subject_id == key.id]
    if limited or key.requests_per_minute is not None or key.tokens_per_minute is not None:
        sentence = "A key with a rate or a budget makes no keys of its user: each would have another one beside it."
        raise Problem(403, "forbidden", sentence)
    if key.project is not None and given.project not in (None, key.project):
        raise invalid("body.project", f"the project {key.project} pays for the key {key.prefix}…")
    return fields | {"project": given.project or key.project}


async def _make(
    layer: ChainlitLayer, caller: Caller, given: NewKey, fields: dict[str, Any], *, of: User | None = None
) -> tuple[ApiKey, str]:
    """Make a key of the caller, or in the caller's name one of another user; gives it with its secret."""
    key = _calling(caller)
    if missing := [one for one in given.scopes if one not in key.scopes]:
        raise invalid("body.scopes", f"the key {key.prefix}… does not have the scope {missing[0]} itself")
    try:
        if of is None:
            return await layer.create_api_key(given.name, given.scopes, **fields)
        with acting_as(SYSTEM):
            return await layer.create_api_key(
                given.name, given.scopes, user=of.identifier, by=caller.identifier, **fields
            )
    except (Forbidden, NotFound):
        # The user is known, so it is the project.
        raise invalid("body.project", "there is no such project for this user") from None


def _answer(request: Request, response: Response, place: str, made: ApiKey, secret: str) -> MadeKey:
    """The key with its secret. Its repetitions get its id alone."""
    note_done(request)
    where = location_of(f"{place}/{made.id}")
    sentence = f"The key {made.id} was made by the first request, which has its secret. Revoke it if that was lost."
    keep_instead(request, Problem(409, "made-already", sentence, headers={"Location": where}))
    response.headers["Location"] = where
    return MadeKey(**_shown(made).model_dump(), secret=secret)


def _calling(caller: Caller) -> ApiKey:
    # Pages of ours cannot ask for what is here.
    assert caller.key is not None
    return caller.key


def _fields(caller: Caller, given: NewKey, zone: str) -> dict[str, Any]:
    """The fields of another key of any user.

    Raises:
        Problem: it would have other models than the calling key, or end later.
    """
    key, ends = _calling(caller), instant(given.expires_at, zone_named(zone), "body.expires_at")
    if key.models and not set(given.models) <= set(key.models):
        raise invalid("body.models", f"the key {key.prefix}… allows only {', '.join(key.models)}")
    if key.expires_at is not None and (ends or key.expires_at) > key.expires_at:
        raise invalid("body.expires_at", f"the key {key.prefix}… expires at {key.expires_at}")
    return {
        "models": given.models or key.models,
        "project": given.project,
        "requests_per_minute": given.requests_per_minute,
        "tokens_per_minute": given.tokens_per_minute,
        "expires_at": ends or key.expires_at,
    }


async def _known(layer: ChainlitLayer, key_id: str, user: User | None = None) -> ApiKey:
    """A key that the acting user may see, of this user if one is given."""
    known = known_id(key_id)
    found = None if known is None else await layer.get_api_key(known)
    if found is None or (user is not None and found.user_id != user.id):
        raise not_found("key")
    return found


def _page(found: list[ApiKey], cursor: str | None, limit: int) -> KeyPage:
    valid = [one for one in found if one.revoked_at is None]
    page, following = page_of(valid, lambda one: one.id, cursor, limit)
    return KeyPage(data=[_shown(one) for one in page], next_cursor=following)


def _shown(key: ApiKey) -> ShownKey:
    return ShownKey(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        owner=key.owner,
        scopes=list(key.scopes),
        models=list(key.models),
        project=key.project,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
