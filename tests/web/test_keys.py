"""The gate of API keys: every reason to refuse one, the cache, wrong keys, rates."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from datalayer import ApiKey, StorageUnavailable, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.keys.secrets import new_secret
from tests.support.counted import counted
from tests.support.pages import read_page
from tests.support.patience import until
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser
from threadkeeper.login.throttle import LoginThrottle
from threadkeeper.web.auth.keys import KeyGate, KeyRefused, rate_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Clock:
    """Time that tests set. `sleep` lets it go by."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(layer: ChainlitLayer, clock: Clock) -> KeyGate:
    return KeyGate(layer, throttle=LoginThrottle(clock=clock, sleep=clock.sleep), clock=clock)


@pytest.fixture
async def made(layer: ChainlitLayer, people: dict[str, User]) -> tuple[ApiKey, str]:
    with acting_as("uma"):
        return await layer.create_api_key("a program", ["threads:read"])


def asking(*headers: tuple[str, str], address: str = "192.0.2.1") -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "client": (address, 1)})


def bearer(secret: str, address: str = "192.0.2.1") -> Request:
    return asking(("authorization", f"Bearer {secret}"), address=address)


async def refused(gate: KeyGate, request: Request, scope: Any = "threads:read") -> KeyRefused:
    with pytest.raises(KeyRefused) as raised:
        await gate.key(request, scope)
    return raised.value


@pytest.fixture
def lookups(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets that were looked up in the database."""
    found, find = [], layer.find_api_key

    async def noted(secret: str) -> ApiKey | None:
        found.append(secret)
        return await find(secret)

    monkeypatch.setattr(layer, "find_api_key", noted)
    return found


async def test_both_headers_carry_a_key(gate: KeyGate, made: tuple[ApiKey, str]) -> None:
    key, secret = made
    for request in (
        bearer(secret),
        asking(("authorization", f"bearer   {secret} ")),
        asking(("x-api-key", secret)),
        asking(("x-api-key", secret), ("authorization", f"Bearer {secret}")),
        asking(("x-api-key", secret), ("authorization", "Basic dXNlcjo=")),
    ):
        assert (await gate.key(request, "threads:read")).id == key.id
    twice = await refused(gate, asking(("x-api-key", secret), ("authorization", f"Bearer {new_secret()}")))
    assert (twice.status, twice.kind) == (401, "several-keys")


async def test_a_request_without_a_valid_key_is_refused(
    gate: KeyGate, layer: ChainlitLayer, made: tuple[ApiKey, str], clock: Clock
) -> None:
    key, secret = made
    missing = await refused(gate, asking(("authorization", "Basic dXNlcjo=")))
    assert (missing.status, missing.kind, missing.headers) == (401, "key-missing", {"WWW-Authenticate": "Bearer"})
    for wrong in ("tk_", "\xe9", new_secret()):
        assert ((await refused(gate, bearer(wrong))).status) == 401
    lacking = await refused(gate, bearer(secret), "threads:write")
    assert (lacking.status, lacking.kind) == (403, "scope-missing")
    assert "threads:write" in lacking.sentence
    assert secret[10:] not in lacking.sentence

    await layer.revoke_api_key(key.id)
    assert await gate.key(bearer(secret), "threads:read"), "remembered for seconds"
    clock.now += 3
    assert (await refused(gate, bearer(secret))).kind == "key-invalid"


async def test_a_disabled_user_and_a_former_admin_are_out_within_seconds(
    gate: KeyGate, layer: ChainlitLayer, people: dict[str, User], clock: Clock
) -> None:
    with acting_as("ada"):
        _, secret = await layer.create_api_key("a script", ["admin"])
    assert await gate.key(bearer(secret), "admin")
    await layer.add_account("another", "hash", "admin")
    await layer.set_role("ada", "reviewer")
    clock.now += 3
    former = await refused(gate, bearer(secret), "admin")
    assert (former.status, former.sentence) == (403, "ada has no role for the scope admin any more.")
    await layer.set_disabled("ada", True)
    clock.now += 3
    assert (await refused(gate, bearer(secret), "admin")).status == 401


async def test_a_remembered_key_expires_in_time(
    gate: KeyGate, layer: ChainlitLayer, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    with acting_as("uma"):
        _, secret = await layer.create_api_key("short", ["threads:read"], expires_at="2199-01-01")
    assert await gate.key(bearer(secret), "threads:read")
    monkeypatch.setattr("threadkeeper.web.auth.keys.utc_now", lambda: "2199-01-01T00:00:00.000000Z")
    assert (await refused(gate, bearer(secret))).kind == "key-invalid"


async def test_many_requests_with_one_key_look_it_up_once(
    gate: KeyGate, made: tuple[ApiKey, str], lookups: list[str]
) -> None:
    _, secret = made
    await asyncio.gather(*(gate.key(bearer(secret), "threads:read") for _ in range(50)))
    assert lookups == [secret]


async def test_wrong_keys_of_an_address_are_slowed_and_right_ones_are_not(
    gate: KeyGate, made: tuple[ApiKey, str], lookups: list[str], clock: Clock
) -> None:
    _, secret = made
    assert await gate.key(bearer(secret), "threads:read")
    began = clock.now
    for _ in range(8):
        assert (await refused(gate, bearer(new_secret()))).status == 401
    assert clock.now - began >= 1 + 2 + 4 + 8 + 15, "the pauses grow"
    lookups.clear()
    at = clock.now
    assert await gate.key(bearer(secret), "threads:read")
    assert (clock.now, lookups) == (at, [secret]), "known before, so it waits for nobody"
    same = new_secret()
    for _ in range(2):
        await refused(gate, bearer(same, "192.0.2.2"))
    assert lookups.count(same) == 1


async def never(_seconds: float) -> None:
    await asyncio.Event().wait()


async def test_a_flood_of_wrong_keys_costs_few_statements(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(database_url, tmp_path, monkeypatch) as counter:
        gate, started = KeyGate(counter.layer, throttle=LoginThrottle(most_waiting=10, sleep=never)), list[str]()
        find = gate._find

        def noted(digest: str, secret: str, address: str) -> Any:
            started.append(digest)
            return find(digest, secret, address)

        monkeypatch.setattr(gate, "_find", noted)
        await refused(gate, bearer(new_secret()))
        counter.reset()
        started.clear()
        same, asked = new_secret(), list[asyncio.Task[KeyRefused]]()
        # Half of them come at once, and then ten at a time.
        for at in range(2_000):
            asked.append(asyncio.create_task(refused(gate, bearer(new_secret() if at % 2 else same))))
            if at >= 1_000 and at % 10 == 0:
                await asyncio.sleep(0)
        # Two more are looked up without a pause. Of the others, few wait: ten keys, and a hundred requests with them.
        await until(lambda: sum(task.done() for task in asked) >= 2_000 - 110)
        many = [task.result() for task in asked if task.done()]
        for task in [*asked, *gate._finding.values()]:
            task.cancel()
        assert {(one.status, one.headers.get("Retry-After")) for one in many} == {(401, None), (429, "15")}
        # A hundred of those that come at once, and those of ten more for each of two places that become free.
        assert len(started) <= 120
        assert counter.statements == 2


async def test_many_requests_with_a_key_that_is_not_known_yet_wait_for_its_lookup(
    layer: ChainlitLayer, made: tuple[ApiKey, str], lookups: list[str]
) -> None:
    gate = KeyGate(layer)
    await asyncio.gather(*(gate.key(bearer(made[1]), "threads:read") for _ in range(500)))
    assert len(lookups) == 1


async def test_the_requests_of_a_key_are_limited(gate: KeyGate, layer: ChainlitLayer, people: dict[str, User]) -> None:
    with acting_as("uma"):
        _, secret = await layer.create_api_key("slow", ["threads:read"], requests_per_minute=2)
    for left in (1, 0):
        request = bearer(secret)
        await gate.key(request, "threads:read")
        rate = rate_of(request)
        assert rate is not None
        assert (rate.limit, rate.remaining) == (2, left)
    request = bearer(secret)
    over = await refused(gate, request)
    assert (over.status, over.kind) == (429, "rate-exceeded")
    assert 1 <= int(over.headers["Retry-After"]) <= 30
    assert rate_of(request) is not None
    assert rate_of(bearer(secret)) is None


async def test_the_use_of_a_key_is_stored_beside_the_request(
    gate: KeyGate, layer: ChainlitLayer, made: tuple[ApiKey, str], clock: Clock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    _, secret = made
    seen: list[str] = []
    see: Callable[[str], Any] = layer.see_api_key

    async def noted(key_id: str) -> None:
        seen.append(key_id)
        await see(key_id)

    monkeypatch.setattr(layer, "see_api_key", noted)
    for _ in range(20):
        await gate.key(bearer(secret), "threads:read")
        clock.now += 2.9

    async def is_stored() -> bool:
        return all(key.last_used_at for key in await layer.list_api_keys())

    await until(is_stored)
    assert len(seen) == 1

    async def fails(_key_id: str) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(layer, "see_api_key", fails)
    clock.now += 60
    with caplog.at_level(logging.ERROR):
        await gate.key(bearer(secret), "threads:read")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "was not stored: away" in caplog.text
    assert secret not in caplog.text


async def test_a_user_makes_sees_and_revokes_a_key(layer: ChainlitLayer, browser_of: Browser) -> None:
    uma = await browser_of("user")
    page = await page_at(uma, "/me")
    assert "With a key, a program acts as you" in page.text
    form = {"name": "My <b>script</b>", "scope": ["threads:read", "admin"], "expires": "2199-12-31"}
    made = await posted(uma, page, "/me/keys", **form)
    assert made.status_code == 200
    assert "no-store" in made.headers["cache-control"]
    shown = read_page(made.text).one("p", class_="secret").text.strip()
    key = await layer.find_api_key(shown)
    assert key is not None
    assert (key.owner, key.name, key.scopes) == ("uma", "My <b>script</b>", ("threads:read",)), (
        "a made-up scope is none"
    )
    assert key.expires_at == "2200-01-01T00:00:00.000000Z"
    page = await page_at(uma, "/me")
    row = page.one("table", class_="api-keys").one("tbody").one("tr")
    for text in ("My <b>script</b>", f"{shown[:10]}…", "threads:read", "never", "Revoke"):
        assert text in row.text
    assert shown not in page.text
    rita = await browser_of("reviewer")
    other = await page_at(rita, "/me")
    assert "My <b>script" not in other.text
    assert (await posted(rita, other, f"/me/keys/{key.id}/revoke")).status_code == 404
    assert (await posted(uma, page, f"/me/keys/{key.id}/revoke")).headers["location"] == "/me#keys"
    assert await layer.find_api_key(shown) is None
    assert "My <b>script" not in (await page_at(uma, "/me")).text
    assert (await posted(uma, page, "/me/keys/none/revoke")).status_code == 404


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": " ", "scope": ["threads:read"]}, "say what the key is for"),
        ({"name": "x"}, "choose what the key may do"),
        ({"name": "x", "scope": ["admin"]}, "choose what the key may do"),
        ({"name": "x", "scope": ["threads:read"], "expires": "2001-01-01"}, "2001-01-01 is not a day from today on"),
        ({"name": "x", "scope": ["threads:read"], "expires": "soon"}, "soon is not a day"),
        ({"name": "x", "scope": ["threads:read"], "expires": "9999-12-31"}, "9999-12-31 is not a day"),
    ],
)
async def test_a_form_for_a_key_that_lacks_something_is_answered_with_what(
    layer: ChainlitLayer, browser_of: Browser, form: dict[str, Any], sentence: str
) -> None:
    uma = await browser_of("user")
    answer = await posted(uma, await page_at(uma, "/me"), "/me/keys", **form)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert await layer.list_api_keys() == []
