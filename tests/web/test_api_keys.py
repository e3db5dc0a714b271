"""The API for keys and one's own password: no key makes one that may do more, and no secret is stored."""

from decimal import Decimal
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from datalayer import Limit, Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.schema.keys import api_replies
from tests.support.records import new_id
from tests.web.conftest import Browser, Program, problem
from threadkeeper.login.throttle import LoginThrottle

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OWN = ("account", "threads:read", "threads:write")


async def made(program: httpx.AsyncClient, path: str = "/me/keys", **fields: Any) -> dict[str, Any]:
    answer = await program.post(path, json={"name": "made", "scopes": ["threads:read"], **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/v1{path}/{found['id']}"
    return found


async def with_key(program: httpx.AsyncClient, secret: str, path: str) -> httpx.Response:
    return await program.get(path, headers={"x-api-key": secret})


async def test_a_program_makes_renames_and_revokes_keys_of_its_user(program_of: Program, layer: ChainlitLayer) -> None:
    program, other = await program_of(scopes=OWN), await program_of("admin", scopes=["account"])
    key = await made(program, expires_at="2190-01-01", requests_per_minute=60)
    secret = key.pop("secret")
    assert (secret[:10], key["owner"], key["requests_per_minute"]) == (key["prefix"], "uma", 60)
    assert (await with_key(program, secret, "/threads")).status_code == 200
    assert problem(await with_key(program, secret, "/me")) == (403, "scope-missing")
    here = f"/me/keys/{key['id']}"
    read = (await program.get(here)).json()
    assert read | {"last_used_at": None} == key, "the secret is shown once"
    listed = (await program.get("/me/keys", params={"limit": 1})).json()
    assert (listed["data"][0]["id"], listed["next_cursor"]) == (key["id"], key["id"])
    for answer in (
        await other.get(here),
        await other.patch(here, json={"name": "mine"}),
        await other.delete(here),
        await program.get(f"/me/keys/{new_id()}"),
    ):
        assert problem(answer) == (404, "not-found")
    assert (await program.patch(here, json={"name": "nightly"})).json()["name"] == "nightly"
    assert problem(await program.patch(here, json={"name": " "})) == (422, "invalid")
    assert (await program.delete(here)).status_code == 204
    assert problem(await with_key(program, secret, "/threads")) == (401, "key-invalid")
    assert (await program.get(here)).json()["revoked_at"] is not None
    assert [one["name"] for one in (await program.get("/me/keys")).json()["data"]] == ["a program"]
    with acting_as("ada"):
        actions = [(one.action, one.actor) for one in (await layer.list_audit()).entries]
    assert actions[:2] == [("revoke_key", "uma"), ("create_key", "uma")], "as from the page"


async def test_no_key_makes_one_that_may_do_more(program_of: Program, layer: ChainlitLayer) -> None:
    for slug in ("mine", "too"):
        await layer.put_project(Project(new_id(), slug, slug, owner="uma"))
    ends = utc_in(3_600)
    program = await program_of(scopes=OWN, models=["small", "tiny"], project="mine", expires_at=ends)
    key = await made(program)
    assert (key["models"], key["project"], key["expires_at"]) == (["small", "tiny"], "mine", ends), "as its maker"
    assert (await made(program, models=["tiny"], expires_at=utc_in(60)))["models"] == ["tiny"]
    for fields, field in (
        ({"scopes": ["threads:read", "usage:read"]}, "scopes"),
        ({"scopes": ["reviews"]}, "scopes"),
        ({"models": ["small", "large"]}, "models"),
        ({"project": "too"}, "project"),
        ({"expires_at": utc_in(7_200)}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ):
        refused = await program.post("/me/keys", json={"name": "more", "scopes": ["threads:read"], **fields})
        assert problem(refused) == (422, "invalid")
        assert refused.json()["errors"][0]["field"] == f"body.{field}"
    free = await program_of(scopes=OWN)
    assert (await made(free, project="too"))["project"] == "too", "that of the user"
    await layer.put_project(Project(new_id(), "ada's", "adas", owner="ada"))
    for slug in ("adas", "none"):
        refused = await free.post("/me/keys", json={"name": "more", "scopes": ["account"], "project": slug})
        assert refused.json()["errors"][0]["field"] == "body.project"
    for rate in ({"requests_per_minute": 1_000}, {"tokens_per_minute": 1_000}):
        limited = await program_of(scopes=OWN, **rate)
        less = {"name": "more", "scopes": ["account"], **rate}
        assert problem(await limited.post("/me/keys", json=less)) == (403, "forbidden")
    with acting_as("uma"):
        own = next(one for one in await layer.list_api_keys() if one.prefix == free.headers["x-api-key"][:10])
    await layer.put_limit(Limit(new_id(), "key", own.id, "day", "dollars", Decimal(1)))
    assert problem(await free.post("/me/keys", json={"name": "more", "scopes": ["account"]})) == (403, "forbidden")


async def test_admins_make_and_revoke_keys_of_others(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    admin, uma = await program_of("admin", scopes=["admin", "threads:read"]), await program_of(scopes=OWN)
    place = f"/users/{people['user'].id}/keys"
    key = await made(admin, place)
    assert key["owner"] == "uma"
    assert (await with_key(uma, key["secret"], "/threads")).status_code == 200
    assert [one["id"] for one in (await admin.get(place)).json()["data"]][:1] == [key["id"]]
    assert (await uma.get(f"/me/keys/{key['id']}")).status_code == 200
    for scopes in (["gateway"], ["admin"]):
        refused = await admin.post(place, json={"name": "more", "scopes": scopes})
        assert problem(refused) == (422, "invalid"), "more than the key of the admin, or than the user may have"
    assert problem(await admin.get(f"/users/{new_id()}/keys")) == (404, "not-found")
    theirs = f"/users/{people['reviewer'].id}/keys/{key['id']}"
    for answer in (await admin.get(theirs), await admin.delete(theirs)):
        assert problem(answer) == (404, "not-found")
    assert (await admin.get(f"{place}/{key['id']}")).json()["revoked_at"] is None
    assert (await admin.delete(f"{place}/{key['id']}")).status_code == 204
    assert problem(await with_key(uma, key["secret"], "/threads")) == (401, "key-invalid")
    with acting_as("ada"):
        entries = [(one.action, one.actor, one.owner_id) for one in (await layer.list_audit()).entries]
    assert entries[0] == ("revoke_key", "ada", people["user"].id)
    assert ("create_key", "ada", people["user"].id) in entries

    # A key for another user has no other models and no later end; its rate is its own.
    ends = utc_in(3_600)
    bounds: dict[str, Any] = {"models": ["small"], "expires_at": ends, "requests_per_minute": 1_000}
    bounded = await program_of("admin", scopes=["admin", "threads:read"], **bounds)
    key = await made(bounded, place)
    assert (key["models"], key["expires_at"], key["requests_per_minute"]) == (["small"], ends, None)
    for field, value in (("models", ["small", "large"]), ("expires_at", utc_in(7_200))):
        more = {"name": "more", "scopes": ["threads:read"], field: value}
        assert (await bounded.post(place, json=more)).json()["errors"][0]["field"] == f"body.{field}"

    # For the own user, the key of an admin is bounded as every other one.
    limited = await program_of("admin", scopes=["admin"], models=["small"], requests_per_minute=1_000)
    own = f"/users/{people['admin'].id}/keys"
    assert problem(await limited.post(own, json={"name": "x", "scopes": ["admin"]})) == (403, "forbidden")


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_a_repetition_gets_the_id_of_the_key_and_no_secret_is_stored(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User], role: str
) -> None:
    program = await program_of(role, scopes=["account", *(["admin"] if role == "admin" else [])])
    path = "/me/keys" if role == "user" else f"/users/{people['user'].id}/keys"
    once, body = {"Idempotency-Key": "first"}, {"name": "made", "scopes": ["account"]}
    first = await program.post(path, json=body, headers=once)
    assert first.status_code == 201, first.text
    again = await program.post(path, json=body, headers=once)
    assert problem(again) == (409, "made-already")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert first.json()["id"] in again.json()["detail"]
    async with layer.database.read() as connection:
        stored = str((await connection.execute(select(api_replies))).all())
    assert first.json()["id"] in stored
    assert first.json()["secret"][10:] not in stored
    assert len((await program.get(path)).json()["data"]) == (2 if role == "user" else 1)
    # A refused one may be sent again.
    wrong = {"name": "made", "scopes": ["gateway"]}
    refused = {"Idempotency-Key": "second"}
    assert problem(await program.post(path, json=wrong, headers=refused)) == (422, "invalid")
    assert (await program.post(path, json=body, headers=refused)).status_code == 201


async def test_the_own_password_is_changed_by_the_old_one(
    program_of: Program, browser_of: Browser, layer: ChainlitLayer
) -> None:
    program, browser = await program_of(scopes=["account"]), await browser_of("user")
    old, new = "the analytical engine", "notes by the translator"
    assert (await browser.get("/me")).status_code == 200
    wrong = await program.put("/me/password", json={"old": "the difference engine", "password": new})
    assert problem(wrong) == (422, "invalid")
    assert wrong.json()["errors"][0]["field"] == "body.old"
    for short in ("short", "x" * 2_000):
        refused = await program.put("/me/password", json={"old": old, "password": short})
        assert refused.json()["errors"][0]["field"] == "body.password"
    assert (await browser.get("/me")).status_code == 200, "nothing is changed yet"
    assert (await program.put("/me/password", json={"old": old, "password": new})).status_code == 204
    assert (await browser.get("/me")).status_code == 303, "the logins have ended"
    assert (await program.get("/me")).status_code == 200, "and the key is valid"
    for password, is_right in ((old, False), (new, True)):
        answer = await program.put("/me/password", json={"old": password, "password": new})
        assert (answer.status_code == 204) is is_right


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of logins, which take no time. It stands before the fixtures of the application."""
    taken: list[float] = []

    async def pause(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setitem(cast(Any, LoginThrottle.__init__).__kwdefaults__, "sleep", pause)
    return taken


async def test_wrong_old_passwords_slow_down_the_login_too(
    pauses: list[float], program_of: Program, browser_of: Browser
) -> None:
    program, visitor = await program_of(scopes=["account"]), await browser_of(None)
    wrong = {"old": "the difference engine", "password": "notes by the translator"}
    for _ in range(3):
        assert problem(await program.put("/me/password", json=wrong)) == (422, "invalid")
    assert not pauses
    await visitor.post("/login", data={"username": "uma", "password": "the analytical engine"})
    assert len(pauses) == 1
