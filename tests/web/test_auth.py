"""Logins through Chainlit's routes, and the acting user of the data layer."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import httpx
import jwt
import pytest
from chainlit.auth import create_jwt
from chainlit.config import config
from chainlit.user import User as ChainlitUser
from fastapi import APIRouter, FastAPI
from multidict import CIMultiDict
from sqlalchemy import select, text, update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.schema.chat import credentials, logins, users
from tests.support.patience import until
from tests.web.conftest import SECRET, Serve
from threadkeeper.login.accounts import Authenticator
from threadkeeper.login.passwords import Passwords
from threadkeeper.web.auth.chainlit_logins import register_logins
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.auth.tokens import decode_login
from threadkeeper.web.mount import mount

PASSWORD = "the analytical engine"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ada(layer: ChainlitLayer, passwords: Passwords) -> datalayer.User:
    user = await layer.add_account("ada", await passwords.hash(PASSWORD))
    async with layer.database.write() as connection:
        # So that there may be logins of before now.
        await connection.execute(update(credentials).values(updatedAt=utc_in(-86_400)))
        await connection.execute(update(users).values(createdAt=utc_in(-86_400)))
    return user


@pytest.fixture
def gate(layer: ChainlitLayer, clock: Clock) -> Gate:
    return Gate(layer, clock=clock)


@pytest.fixture
def ours(
    layer: ChainlitLayer,
    passwords: Passwords,
    gate: Gate,
    chainlit_app: FastAPI,
    ada: datalayer.User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mount everything, with a route that returns the acting user."""
    router = APIRouter()

    async def acting() -> str | None:
        actor = datalayer.acting_user.get()
        return actor if actor is None or isinstance(actor, str) else "the system"

    @router.get("/acting")
    async def read_acting() -> dict[str, str | None]:
        return {"request": await acting(), "task": await asyncio.create_task(acting())}

    monkeypatch.setattr("chainlit.data._data_layer", layer)
    monkeypatch.setattr("chainlit.data._data_layer_initialized", True)
    register_logins(layer, auth_header="X-User", authenticator=Authenticator(layer, passwords))
    mount(chainlit_app, router, gate=gate)


async def log_in(client: httpx.AsyncClient, name: str = "ada", password: str = PASSWORD) -> httpx.Response:
    return await client.post("/login", data={"username": name, "password": password})


async def acting(client: httpx.AsyncClient, **headers: str) -> Any:
    answer = (await client.get("/acting", headers=headers)).json()
    assert answer["request"] == answer["task"]
    return answer["request"]


# Passwords


@pytest.mark.usefixtures("ours")
async def test_login_with_a_password(serve: Serve, layer: ChainlitLayer) -> None:
    async with serve() as client:
        assert (await log_in(client)).json() == {"success": True}
        user = (await client.get("/user")).json()
        assert user["identifier"] == "ada"
        assert await acting(client) == "ada"
        await client.post("/logout")
        assert (await client.get("/user")).status_code == 401
        assert await acting(client) is None
    account = await layer.get_account("ada")
    assert account is not None
    assert account.user.role == "user"
    assert account.password_hash is not None


@pytest.mark.usefixtures("ours")
async def test_a_failed_login_does_not_reveal_whether_the_user_exists(serve: Serve) -> None:
    async with serve() as client:
        wrong, unknown = await log_in(client, password="wrong password"), await log_in(client, name="nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert not client.cookies


async def test_a_login_without_the_database_is_not_reported_as_a_wrong_password(
    serve: Serve, chainlit_app: FastAPI, passwords: Passwords
) -> None:
    away = datalayer.create_data_layer("postgresql://nobody@127.0.0.1:1/nowhere")
    register_logins(away, authenticator=Authenticator(away, passwords))
    mount(chainlit_app, gate=Gate(away))
    async with serve() as client:
        answer = await log_in(client)
    assert answer.status_code == 503
    assert "cannot be reached" in answer.json()["detail"]
    await away.close()


# The acting user


@pytest.mark.usefixtures("ours")
async def test_only_a_valid_token_sets_the_acting_user(serve: Serve) -> None:
    claims = {"identifier": "ada", "metadata": {}, "iat": datetime.now(UTC)}
    later, before = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    good = jwt.encode({**claims, "exp": later}, SECRET, "HS256")
    bad = {
        "expired": jwt.encode({**claims, "exp": before}, SECRET, "HS256"),
        "signed by another": jwt.encode({**claims, "exp": later}, "another secret, as long as the first one", "HS256"),
        "without an end": jwt.encode(claims, SECRET, "HS256"),
        "not signed": jwt.encode({**claims, "exp": later}, "", "none"),
        "of no user": jwt.encode({"exp": later}, SECRET, "HS256"),
        "no token": "x",
    }
    async with serve() as client:
        assert await acting(client) is None
        assert await acting(client, Authorization=f"Bearer {good}") == "ada"
        assert await acting(client, Cookie=f"access_token={good}") == "ada"
        assert await acting(client, Cookie=f"access_token_0={good[:40]}; access_token_1={good[40:]}") == "ada"
        assert await acting(client, Authorization=f"Basic {good}") is None
        for what, token in bad.items():
            assert await acting(client, Authorization=f"Bearer {token}") is None, what
            assert await acting(client, Cookie=f"access_token={token}") is None, what


# Disabled and deleted accounts


@pytest.mark.usefixtures("ours")
async def test_a_disabled_account_is_anonymous_within_seconds(
    serve: Serve, layer: ChainlitLayer, clock: Clock, gate: Gate
) -> None:
    async with serve() as client:
        await log_in(client)
        assert await acting(client) == "ada"
        await layer.set_disabled("ada", True)
        assert await acting(client) == "ada"  # remembered
        clock.now += 3
        assert await acting(client) is None
        assert not await gate.admits(client.cookies["access_token"])
        for method, path in (("GET", "/user"), ("POST", "/project/threads"), ("GET", "/ws/socket.io/?EIO=4")):
            assert (await client.request(method, path, json={})).status_code == 401, path
        assert (await client.get("/")).status_code == 200, "the page, to log in as someone else"
        assert (await log_in(client)).status_code == 401
        await layer.set_disabled("ada", False)
        clock.now += 3
        assert await acting(client) == "ada"


@pytest.mark.usefixtures("ours")
async def test_a_websocket_of_a_disabled_account_is_refused(serve: Serve, layer: ChainlitLayer, clock: Clock) -> None:
    async with serve() as client, aiohttp.ClientSession() as session:
        await log_in(client)
        cookie = {"Cookie": f"access_token={client.cookies['access_token']}"}
        url = str(client.base_url.join("/ws/socket.io/?EIO=4&transport=websocket"))
        async with session.ws_connect(url, headers=cookie) as websocket:
            assert (await websocket.receive_str()).startswith("0{")
        await layer.set_disabled("ada", True)
        clock.now += 3
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers=cookie)
        assert refused.value.status == 403


@pytest.mark.usefixtures("ours")
async def test_the_token_of_a_deleted_account_does_not_create_it_again(serve: Serve, layer: ChainlitLayer) -> None:
    token = create_jwt(ChainlitUser(identifier="ghost"))
    async with serve() as client:
        answer = await client.get("/user", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert await layer.get_user("ghost") is None


@pytest.mark.usefixtures("ours")
async def test_other_cookies_of_a_disabled_account_are_kept(
    serve: Serve, layer: ChainlitLayer, chainlit_app: FastAPI
) -> None:
    await layer.set_disabled("ada", True)
    token = create_jwt(ChainlitUser(identifier="ada"))
    async with serve() as client:
        answer = await client.post(
            "/logout", headers={"Cookie": f"oauth_state=kept; access_token={token}", "Authorization": "Bearer x"}
        )
        assert "access_token" not in answer.headers.get("set-cookie", "")
        assert await acting(client, Cookie=f"oauth_state=kept; access_token={token}") is None


@pytest.mark.usefixtures("ours")
async def test_a_login_from_a_replica_whose_clock_is_ahead_is_valid(serve: Serve) -> None:
    ahead = {"Authorization": f"Bearer {token_of('ada', minutes_ago=-5)}"}
    async with serve() as client:
        assert await acting(client, **ahead) == "ada"
        # Chainlit decodes it again.
        assert (await client.get("/user", headers=ahead)).status_code == 200
        later = {"Authorization": f"Bearer {token_of('ada', minutes_ago=-11)}"}
        assert await acting(client, **later) is None, "no clock is as wrong as this"


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_no_login_is_verified(secret: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = token_of("ada")
    monkeypatch.delenv("CHAINLIT_AUTH_SECRET", raising=False)
    if secret is not None:
        monkeypatch.setenv("CHAINLIT_AUTH_SECRET", secret)
    with pytest.raises(RuntimeError, match="CHAINLIT_AUTH_SECRET is not set"):
        decode_login(signed)


# Logins that are ended


def token_of(name: str, *, minutes_ago: float = 0) -> str:
    """An older login as Chainlit signs it; no other login of this name is from the same second."""
    now = datetime.now(UTC)
    claims = {
        **ChainlitUser(identifier=name).to_dict(),
        "iat": now - timedelta(minutes=minutes_ago),
        "exp": now + timedelta(hours=1),
    }
    return jwt.encode(claims, SECRET, "HS256")


def cookie_of(token: str, agent: str = "Firefox") -> dict[str, str]:
    return {"Cookie": f"access_token={token}", "User-Agent": agent}


async def logins_of(layer: ChainlitLayer, name: str) -> list[datalayer.Login]:
    # Nobody waits for a login's record but this.
    await asyncio.sleep(0.05)
    await layer._writer.settled()
    with datalayer.acting_as(name):
        return await layer.list_logins()


@pytest.mark.usefixtures("ours")
async def test_the_first_request_records_the_login_but_not_its_token(serve: Serve, layer: ChainlitLayer) -> None:
    token, bearer = token_of("ada", minutes_ago=9), token_of("ada", minutes_ago=2)
    async with serve() as client:
        for _ in range(3):
            assert await acting(client, **cookie_of(token)) == "ada"
            assert await acting(client, Authorization=f"Bearer {bearer}", **{"User-Agent": "curl"}) == "ada"
        second, first = await logins_of(layer, "ada")
    assert (first.agent, second.agent) == ("Firefox", "curl")
    age = datetime.now(UTC) - datetime.fromisoformat(first.started_at)
    assert timedelta(minutes=9) <= age < timedelta(minutes=10)
    left = datetime.fromisoformat(first.expires_at) - datetime.now(UTC)
    assert timedelta(minutes=59) < left < timedelta(hours=1)
    async with layer.database.read() as connection:
        (row, _) = (await connection.execute(select(logins).order_by(logins.c.startedAt))).all()
    for part in token.split("."):
        assert not any(part in str(value) for value in row)


@pytest.mark.usefixtures("ours")
async def test_an_ended_login_is_anonymous_within_seconds_and_others_stay(
    serve: Serve, layer: ChainlitLayer, clock: Clock
) -> None:
    phone, laptop = cookie_of(token_of("ada", minutes_ago=1), "phone"), cookie_of(token_of("ada"), "laptop")
    async with serve() as client:
        for headers in (phone, laptop):
            assert await acting(client, **headers) == "ada"
        (ended,) = [one.id for one in await logins_of(layer, "ada") if one.agent == "phone"]
        with datalayer.acting_as("ada"):
            await layer.end_login(str(ended))
        assert await acting(client, **phone) == "ada"  # remembered
        clock.now += 3
        assert await acting(client, **phone) is None
        assert (await client.get("/user", headers=phone)).status_code == 401
        assert (await client.get("/ws/socket.io/?EIO=4", headers=phone)).status_code == 401
        assert await acting(client, **laptop) == "ada"
        bearer = {"Authorization": f"Bearer {phone['Cookie'].removeprefix('access_token=')}"}
        assert await acting(client, **bearer) is None
    assert [one.agent for one in await logins_of(layer, "ada")] == ["laptop"]


@pytest.mark.usefixtures("ours")
async def test_another_encoding_of_the_token_does_not_revive_an_ended_login(
    serve: Serve, layer: ChainlitLayer, clock: Clock
) -> None:
    token = token_of("ada")
    # With the padding of base64, which may be left out.
    twins = [token, f"{token}="]
    async with serve() as client:
        for twin in twins:
            assert await acting(client, **cookie_of(twin)) == "ada"
        assert len(await logins_of(layer, "ada")) == 1
        await client.post("/logout", headers=cookie_of(token))
        clock.now += 3
        for twin in twins:
            assert await acting(client, **cookie_of(twin)) is None


@pytest.mark.usefixtures("ours")
async def test_the_login_is_found_with_two_cookie_headers(serve: Serve, layer: ChainlitLayer, clock: Clock) -> None:
    """Libraries differ: one reads the last of several cookie headers, another the first."""
    token = token_of("ada")
    async with serve() as client, aiohttp.ClientSession() as session:
        await client.post("/logout", headers=cookie_of(token))
        clock.now += 3
        url = str(client.base_url.join("/ws/socket.io/?EIO=4&transport=websocket"))
        for other in ("garbage", token_of("nobody")):
            twice = CIMultiDict([("Cookie", f"access_token={token}; x=1"), ("Cookie", f"access_token={other}")])
            async with session.get(str(client.base_url.join("/acting")), headers=twice) as answer:
                assert (await answer.json())["request"] is None
            async with session.get(str(client.base_url.join("/user")), headers=twice) as answer:
                assert answer.status in (204, 401)
            if other != "garbage":
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(url, headers=twice)
                continue
            async with session.ws_connect(url, headers=twice) as websocket:
                assert (await websocket.receive_str()).startswith("0{")
                await websocket.send_str('40{"sessionId":"x","clientType":"webapp","userEnv":"{}"}')
                assert (await websocket.receive_str()).startswith("44{")


@pytest.mark.usefixtures("ours")
async def test_a_new_account_rejects_old_tokens_of_its_name(serve: Serve, layer: ChainlitLayer, clock: Clock) -> None:
    token = token_of("ada", minutes_ago=5)
    async with serve() as client:
        assert await acting(client, **cookie_of(token)) == "ada"
        with datalayer.acting_as("ada"):
            await layer.delete_user("ada")
            # Within the time that is remembered: another tab asks who it is.
            assert (await client.get("/user", headers=cookie_of(token))).status_code in (200, 401)
        assert await layer.get_user("ada") is None
        await layer.create_user(ChainlitUser(identifier="ada", metadata={"provider": "header"}))
        clock.now += 3
        assert await acting(client, **cookie_of(token)) is None
        assert await acting(client, **cookie_of(token_of("ada"))) == "ada"


@pytest.mark.usefixtures("ours")
async def test_logging_out_does_not_wait_for_a_slow_store(
    serve: Serve, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    held, token = asyncio.Event(), token_of("ada")
    log_out = layer.log_out

    async def slowly(user_id: str, login: datalayer.Login) -> None:
        await held.wait()
        await log_out(user_id, login)

    monkeypatch.setattr(layer, "log_out", slowly)
    monkeypatch.setattr("threadkeeper.web.auth.chainlit_logins._LOG_OUT_SECONDS", 0.05)
    async with serve() as client:
        answer = await client.post("/logout", headers=cookie_of(token))
        assert answer.json() == {"success": True}
        assert "access_token" in answer.headers["set-cookie"]
        held.set()
        await asyncio.sleep(0.3)
        clock.now += 3
        assert await acting(client, **cookie_of(token)) is None


@pytest.mark.usefixtures("ours")
async def test_lookups_of_rejected_logins_are_cached(
    serve: Serve, layer: ChainlitLayer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, asked = token_of("nobody"), []
    look = layer.get_account_and_login

    async def counted(identifier: str, token_hash: str) -> Any:
        asked.append(identifier)
        return await look(identifier, token_hash)

    monkeypatch.setattr(layer, "get_account_and_login", counted)
    async with serve() as client:
        for _ in range(5):
            assert await acting(client, **cookie_of(token)) is None
    assert asked == ["nobody"]


@pytest.mark.usefixtures("ours")
async def test_a_websocket_is_closed_when_its_login_ends(serve: Serve, layer: ChainlitLayer, clock: Clock) -> None:
    headers = cookie_of(token_of("ada"))
    async with serve() as client, aiohttp.ClientSession() as session:
        url = str(client.base_url.join("/ws/socket.io/?EIO=4&transport=websocket"))
        async with session.ws_connect(url, headers=headers) as websocket:
            assert (await websocket.receive_str()).startswith("0{")
            (login,) = await logins_of(layer, "ada")
            with datalayer.acting_as("ada"):
                await layer.end_login(str(login.id))
            clock.now += 3
            await websocket.send_str("40")
            assert (await websocket.receive()).type == aiohttp.WSMsgType.CLOSE
            assert websocket.close_code == 1008


@pytest.mark.usefixtures("ours")
async def test_logging_out_invalidates_copies_of_the_cookie(serve: Serve, layer: ChainlitLayer, clock: Clock) -> None:
    async with serve() as client:
        await log_in(client)
        copied = cookie_of(client.cookies["access_token"])
        assert await acting(client) == "ada"
        answer = await client.post("/logout")
        assert answer.json() == {"success": True}
        assert "access_token" not in client.cookies
        clock.now += 3
        assert await acting(client, **copied) is None
    assert await logins_of(layer, "ada") == []


@pytest.mark.usefixtures("ours")
async def test_a_login_that_cannot_be_recorded_is_admitted_and_logged(
    serve: Serve,
    layer: ChainlitLayer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = await layer.add_account("grace", "no real hash")
    await layer.see_login(other.id, datalayer.Login("0" * 64, utc_now(), utc_in(60)))
    async with layer.database.write() as connection:
        await connection.execute(text("""CREATE UNIQUE INDEX no_second ON logins (coalesce("endedAt", ''))"""))
    headers, refused = cookie_of(token_of("ada")), "could not record a login of 'ada'"
    async with serve() as client:
        for tries in (1, 2):
            for _ in range(3):
                assert await acting(client, **headers) == "ada"
            await logins_of(layer, "ada")
            clock.now += 3
            await until(lambda tries=tries: caplog.text.count(refused) >= tries)  # type: ignore[misc]
            assert caplog.text.count(refused) == tries
        async with layer.database.write() as connection:
            await connection.execute(text("DROP INDEX no_second"))
        assert await acting(client, **headers) == "ada"
        assert len(await logins_of(layer, "ada")) == 1
    assert headers["Cookie"][-20:] not in caplog.text


@pytest.mark.usefixtures("ours")
async def test_the_last_use_of_a_login_is_recorded_every_few_minutes(
    serve: Serve, layer: ChainlitLayer, clock: Clock
) -> None:
    headers = cookie_of(token_of("ada"))

    async def seen_at() -> str | None:
        clock.now += 3
        assert await acting(client, **headers) == "ada"
        return (await logins_of(layer, "ada"))[0].seen_at

    async with serve() as client:
        first = await seen_at()
        assert await seen_at() == first
        long_ago = utc_in(-301)
        async with layer.database.write() as connection:
            await connection.execute(update(logins).values(seenAt=long_ago))
        again = await seen_at()
    assert first is not None and again is not None
    assert again > first > long_ago


async def test_without_the_database_a_login_is_neither_accepted_nor_rejected(
    serve: Serve, chainlit_app: FastAPI
) -> None:
    away = datalayer.create_data_layer("postgresql://nobody@127.0.0.1:1/nowhere")
    mount(chainlit_app, gate=Gate(away))
    headers = {"Authorization": f"Bearer {create_jwt(ChainlitUser(identifier='ada'))}"}
    async with serve() as client:
        assert (await client.get("/user", headers=headers)).status_code == 503
        assert (await client.get("/favicon", headers=headers)).status_code == 200
        assert (await client.get("/", headers={})).status_code == 200
        page = await client.get("/login", headers={**headers, "Accept": "text/html,*/*;q=0.8"})
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
        file = await client.get("/files/a/b/c.png", headers={**headers, "Accept": "text/html"})
        assert file.status_code == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with aiohttp.ClientSession() as session:
                await session.ws_connect(
                    str(client.base_url.join("/ws/socket.io/?EIO=4&transport=websocket")),
                    headers={"Cookie": f"access_token={headers['Authorization'].removeprefix('Bearer ')}"},
                )
    await away.close()


# A proxy's header


@pytest.mark.usefixtures("ours")
async def test_a_trusted_header_names_the_user(serve: Serve, layer: ChainlitLayer) -> None:
    async with serve() as client:
        answer = await client.post("/auth/header", headers={b"X-User": "王@example.org".encode()})
        assert answer.json() == {"success": True}
        assert await acting(client) == "王@example.org"
    user = await layer.get_user("王@example.org")
    assert user is not None
    assert user.metadata["provider"] == "header"


@pytest.mark.usefixtures("ours")
async def test_every_spelling_of_a_name_logs_in_the_same_user(serve: Serve, layer: ChainlitLayer) -> None:
    owner = None
    for spelling in ("Grace@Example.org", "grace@example.org", "GRACE@EXAMPLE.ORG"):
        async with serve() as client:
            assert (await client.post("/auth/header", headers={"X-User": spelling})).json() == {"success": True}
            assert await acting(client) == "Grace@Example.org", "as the name came first"
            user = (await client.get("/user")).json()
        assert user["identifier"] == "Grace@Example.org"
        owner = owner or user["id"]
        assert user["id"] == owner
    async with serve() as client:
        assert (await log_in(client, name="ADA")).json() == {"success": True}
        assert await acting(client) == "ada"
        assert (await client.post("/auth/header", headers={"X-User": "ADA"})).status_code == 401
    assert sorted(one.identifier for one in await layer.list_users()) == ["Grace@Example.org", "ada"]


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    "headers",
    [[], [("X-User", "ada")], [("X-User", "ADA")], [("X-User", "grace"), ("X-User", "mallory")], [("X-User", "")]],
)
async def test_a_header_that_is_missing_or_sent_twice_or_names_a_local_account_is_refused(
    serve: Serve, headers: list[tuple[str, str]]
) -> None:
    async with serve() as client:
        assert (await client.post("/auth/header", headers=headers)).status_code == 401
        assert not client.cookies


async def test_without_the_setting_no_header_is_trusted(
    serve: Serve, layer: ChainlitLayer, chainlit_app: FastAPI
) -> None:
    register_logins(layer)
    mount(chainlit_app, gate=Gate(layer))
    async with serve() as client:
        assert (await client.post("/auth/header", headers={"X-User": "grace"})).status_code == 400
        assert (await client.get("/auth/config")).json()["headerAuth"] is False


# OAuth


@pytest.fixture
def github(layer: ChainlitLayer, chainlit_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OAUTH_GITHUB_CLIENT_ID", "id")
    monkeypatch.setenv("OAUTH_GITHUB_CLIENT_SECRET", "secret")
    register_logins(layer)
    return config.code.oauth_callback


async def test_oauth_is_offered_if_its_variables_are_set(serve: Serve, layer: ChainlitLayer, github: Any) -> None:
    async with serve() as client:
        assert (await client.get("/auth/config")).json()["oauthProviders"] == ["github"]
    register_logins(layer)


async def test_a_picture_from_an_oauth_provider_is_dropped(github: Any) -> None:
    theirs = ChainlitUser(identifier="octocat", metadata={"image": "https://elsewhere/x.png", "provider": "github"})
    user = await github("github", "token", {}, theirs)
    assert (user.identifier, user.metadata) == ("octocat", {"provider": "github"})


async def test_oauth_does_not_open_a_local_account(github: Any, ada: datalayer.User) -> None:
    for spelling in ("ada", "Ada"):
        assert await github("github", "token", {}, ChainlitUser(identifier=spelling)) is None


async def test_oauth_logs_in_the_same_user_in_every_spelling(layer: ChainlitLayer, github: Any) -> None:
    await layer.create_user(ChainlitUser(identifier="Octocat", metadata={"provider": "github"}))
    found = await github("github", "token", {}, ChainlitUser(identifier="OCTOCAT"))
    assert found.identifier == "Octocat"
