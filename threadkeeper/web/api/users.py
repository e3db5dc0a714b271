"""Users, for admins: list, add, change the role, disable, set a password, and delete with a receipt."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from datalayer import SYSTEM, Account, Receipt, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.login.passwords import (
    INVITED_SECONDS,
    LONGEST_IDENTIFIER,
    LONGEST_PASSWORD,
    Passwords,
    Refused,
    check_identifier,
    generate_password,
)
from threadkeeper.web.api.access import AdminCaller
from threadkeeper.web.api.once import keep_instead, note_done, once_with
from threadkeeper.web.api.paging import Cursor, IfMatch, Limit, demand_match, etag, matching, page_of
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.pages.addresses import PublicUrl
from threadkeeper.web.pages.dependencies import Accounts, Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Role = Literal["user", "reviewer", "admin"]
Password = Annotated[str, Field(min_length=8, max_length=LONGEST_PASSWORD)]


class NewUser(Strict):
    identifier: Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTIFIER)]
    password: Password | None = Field(None, description="Without one, the user is to be invited.")
    role: Role = "user"


class ChangedUser(Strict):
    """Fields that are left out stay. A new password ends all logins of the user."""

    role: Role | None = None
    is_disabled: bool | None = None
    password: Password | None = None


class ShownUser(BaseModel):
    id: str
    identifier: str
    role: str
    is_disabled: bool
    created_at: str | None
    signs_in_with: str = Field(description="`credentials`, or the provider of the login.")


class ShownInvitation(BaseModel):
    """An invitation, by which the user sets the password without an earlier one."""

    link: str = Field(description="It is shown here alone, and stored nowhere.")
    expires_at: str


class UserPage(BaseModel):
    data: list[ShownUser]
    next_cursor: str | None


@router.get("/users")
async def list_users(_caller: AdminCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> UserPage:
    """All users, by identifier; disabled ones too."""
    page, following = page_of(await layer.list_users(), lambda one: one.id, cursor, limit)
    return UserPage(data=[_shown(one) for one in page], next_cursor=following)


@router.post("/users", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def create_user(
    *, request: Request, caller: AdminCaller, layer: Layer, accounts: Accounts, given: NewUser, response: Response
) -> ShownUser:
    """Add a user who logs in with a password."""
    try:
        identifier = check_identifier(given.identifier)
    except Refused as refused:
        raise invalid("body.identifier", f"{refused}") from None
    with acting_as(SYSTEM):
        # Nobody knows a generated one. With a password, no other provider can take the name.
        secret = await hashed(accounts.passwords, given.password or generate_password())
        made = await layer.add_account(identifier, secret, given.role, by=caller.identifier)
    note_done(request)
    response.headers["Location"] = location_of(f"/users/{made.id}")
    response.headers["ETag"] = _etag(made)
    return _shown(made)


@router.get("/users/{user_id}")
async def read_user(_caller: AdminCaller, layer: Layer, user_id: str, response: Response) -> ShownUser:
    """A user."""
    found = await known_user(layer, user_id)
    response.headers["ETag"] = _etag(found)
    return _shown(found)


@router.patch("/users/{user_id}")
async def change_user(
    *,
    caller: AdminCaller,
    layer: Layer,
    accounts: Accounts,
    user_id: str,
    given: ChangedUser,
    response: Response,
    if_match: IfMatch = None,
) -> ShownUser:
    """Give a user another role or a password, or disable or enable the user."""
    found = await known_user(layer, user_id)
    demand_match(if_match, _etag(found))
    if given.is_disabled or given.role not in (None, "admin"):
        await _demand_other_admin(layer, found)
    with acting_as(SYSTEM):
        was_disabled = found.disabled_at is not None
        await layer.change_account(
            found.identifier,
            role=given.role,
            disabled=given.is_disabled if given.is_disabled != was_disabled else None,
            password_hash=None if given.password is None else await hashed(accounts.passwords, given.password),
            by=caller.identifier,
            only_if=matching(if_match, _etag),
        )
    changed = await known_user(layer, user_id)
    response.headers["ETag"] = _etag(changed)
    return _shown(changed)


@router.delete("/users/{user_id}")
async def delete_user(caller: AdminCaller, layer: Layer, user_id: str, if_match: IfMatch = None) -> Receipt:
    """Delete a user with all threads, votes and files, for ever; gives the receipt."""
    found = await known_user(layer, user_id)
    demand_match(if_match, _etag(found))
    await _demand_other_admin(layer, found)
    with acting_as(SYSTEM):
        return await layer.delete_user(found.identifier, by=caller.identifier, only_if=matching(if_match, _etag))


@router.post("/users/{user_id}/invitations", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def invite_user(
    *, request: Request, caller: AdminCaller, layer: Layer, public_url: PublicUrl, user_id: str
) -> ShownInvitation:
    """Invite a user who logs in with a password: gives a link for a week, once. It ends earlier links of the user.

    A repetition by `Idempotency-Key` is 409, and has no link.
    """
    found = await known_user(layer, user_id)
    if not (await _account(layer, found)).password_hash:
        raise Problem(409, "conflict", "The user logs in by another provider, which must stay the only way in.")
    if found.disabled_at:
        raise Problem(409, "conflict", "The user is disabled, so the link would not work. Enable the user first.")
    with acting_as(SYSTEM):
        made, secret = await layer.invite(found.identifier, seconds=INVITED_SECONDS, by=caller.identifier)
    note_done(request)
    sentence = "The first request has the link, which is stored nowhere. Invite the user again if it was lost."
    keep_instead(request, Problem(409, "made-already", sentence))
    return ShownInvitation(link=f"{public_url}/invitation?key={secret}", expires_at=made.expires_at)


@router.delete("/users/{user_id}/logins", status_code=204)
async def end_logins_of_user(caller: AdminCaller, layer: Layer, user_id: str) -> None:
    """End all logins of a user in browsers. Keys stay valid."""
    found = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        await layer.end_logins_of_user(found.identifier, by=caller.identifier)


async def _account(layer: ChainlitLayer, user: User) -> Account:
    account = await layer.get_account(user.identifier)
    if account is None:
        raise not_found("user")
    return account


async def known_user(layer: ChainlitLayer, user_id: str) -> User:
    """The user with this id.

    Raises:
        Problem: there is none.
    """
    identifier = (await layer.names_of_users([user_id])).get(user_id)
    account = None if identifier is None else await layer.get_account(identifier)
    if account is None:
        raise not_found("user")
    return account.user


async def _demand_other_admin(layer: ChainlitLayer, user: User) -> None:
    """Require that an admin is left without this user.

    Raises:
        Problem: the user is the only one.
    """
    if await layer.admins() == [user.identifier]:
        sentence = f"{user.identifier} is the only admin. Make another user an admin first."
        raise Problem(409, "only-admin", sentence)


async def hashed(passwords: Passwords, password: str) -> str:
    """The hash of the field `password`.

    Raises:
        Problem: it breaks a rule.
    """
    try:
        return await passwords.hash(password)
    except Refused as refused:
        raise invalid("body.password", f"{refused}") from None


def _shown(user: User) -> ShownUser:
    return ShownUser(
        id=user.id,
        identifier=user.identifier,
        role=user.role,
        is_disabled=user.disabled_at is not None,
        created_at=user.created_at,
        signs_in_with=str(user.metadata.get("provider") or "credentials"),
    )


def _etag(user: User) -> str:
    return etag(user.role, user.disabled_at)
