"""The gate of API keys: every reason to refuse one, the cache, wrong keys, rates."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request

from datalayer import ApiKey, StorageUnavailable, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.keys.secrets import new_secret
from tests.support.patience import until
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
    assert (former.status, former.sentence) == (403, "ada is not an admin any more.")
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


async def test_a_flood_of_wrong_keys_costs_few_lookups(layer: ChainlitLayer, lookups: list[str]) -> None:
    async def never(_seconds: float) -> None:
        await asyncio.Event().wait()

    gate = KeyGate(layer, throttle=LoginThrottle(most_waiting=10, sleep=never))
    asked = [asyncio.create_task(refused(gate, bearer(new_secret()))) for _ in range(1_000)]
    done, waiting = await asyncio.wait(asked, timeout=2)
    for task in waiting:
        task.cancel()
    assert len(lookups) == 3
    many = [task.result() for task in done]
    assert sum(one.status == 429 for one in many) >= 1_000 - 10
    assert {one.headers["Retry-After"] for one in many if one.status == 429} == {"15"}


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
