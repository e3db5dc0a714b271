"""Logins: which are accepted, which are refused and logged, and how guessing is slowed down."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from chainlit.user import User as ChainlitUser

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.cheap_passwords import CHEAP_HASHER
from threadkeeper import metrics
from threadkeeper.login.accounts import Authenticator, admit_external, ensure_admin, printable
from threadkeeper.login.passwords import Passwords, Refused, check_identifier, check_password, generate_password
from threadkeeper.login.throttle import FORGOTTEN_AFTER_SECONDS, LoginThrottle, TooManyTries


@dataclass
class Clock:
    """A clock that advances only with `sleep`."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
async def layer(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    layer = datalayer.create_data_layer(f"sqlite:///{shutil.copyfile(migrated_sqlite, tmp_path / 'accounts.db')}")
    yield layer
    await layer.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(CHEAP_HASHER)


@pytest.fixture
def authenticator(layer: ChainlitLayer, passwords: Passwords, clock: Clock) -> Authenticator:
    return Authenticator(layer, passwords, LoginThrottle(clock=clock, sleep=clock.sleep))


@pytest.fixture
async def ada(layer: ChainlitLayer, passwords: Passwords) -> datalayer.User:
    return await layer.add_account("ada", await passwords.hash("the engine"), role="reviewer")


# The first admin account


async def test_the_first_start_creates_an_admin_and_returns_the_password_once(
    layer: ChainlitLayer, passwords: Passwords, authenticator: Authenticator
) -> None:
    password = await ensure_admin(layer, passwords)
    assert password
    assert await ensure_admin(layer, passwords) is None
    admin = await authenticator.verify("admin", password)
    assert admin is not None
    assert admin.role == "admin"


async def test_no_admin_is_created_if_an_account_has_a_password(
    layer: ChainlitLayer, passwords: Passwords, ada: datalayer.User
) -> None:
    assert await ensure_admin(layer, passwords) is None
    assert [user.identifier for user in await layer.list_users()] == ["ada"]


async def test_a_start_without_an_admin_is_reported(
    layer: ChainlitLayer, passwords: Passwords, ada: datalayer.User, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ensure_admin(layer, passwords) is None
    assert "nobody is an admin" in caplog.text
    assert "threadkeeper user role NAME admin" in caplog.text
    caplog.clear()
    await layer.set_role("ada", "admin")
    assert await ensure_admin(layer, passwords) is None
    assert caplog.text == ""


async def test_a_user_of_a_provider_can_be_the_admin(layer: ChainlitLayer, passwords: Passwords) -> None:
    await layer.create_user(ChainlitUser(identifier="eve", metadata={"provider": "header"}))
    await layer.set_role("eve", "admin")
    assert await ensure_admin(layer, passwords) is None
    assert [user.role for user in await layer.list_users()] == ["admin"]


async def test_a_disabled_admin_does_not_count_as_an_admin(
    layer: ChainlitLayer, passwords: Passwords, ada: datalayer.User
) -> None:
    await layer.set_role("ada", "admin")
    assert await layer.admins() == ["ada"]
    await layer.set_disabled("ada", True)
    assert await layer.admins() == []


async def test_the_only_admin_keeps_the_role(layer: ChainlitLayer, passwords: Passwords, ada: datalayer.User) -> None:
    await layer.set_role("ada", "user")
    await layer.set_role("ada", "admin")
    with pytest.raises(datalayer.InvalidRecord, match="'ada', the only admin"):
        await layer.set_role("ada", "reviewer")
    await layer.add_account("bob", await passwords.hash("the wrench"), role="admin")
    await layer.set_role("ada", "reviewer")
    assert [(user.identifier, user.role) for user in await layer.list_users()] == [
        ("ada", "reviewer"),
        ("bob", "admin"),
    ]


@pytest.mark.parametrize(
    ("name", "role", "error"), [("ada", "king", datalayer.InvalidRecord), ("eve", "user", datalayer.NotFound)]
)
async def test_an_invalid_change_of_a_role_changes_nothing(
    layer: ChainlitLayer, ada: datalayer.User, name: str, role: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await layer.set_role(name, role)
    assert [(user.identifier, user.role) for user in await layer.list_users()] == [("ada", "reviewer")]


async def test_two_replicas_that_start_together_create_one_admin(database_url: str) -> None:
    both = asyncio.Barrier(2)

    class AtOnce(Passwords):
        async def hash(self, password: str) -> str:
            await both.wait()
            return await super().hash(password)

    passwords = AtOnce(CHEAP_HASHER)
    layers = [datalayer.create_data_layer(database_url) for _ in range(2)]
    made = await asyncio.gather(*(ensure_admin(layer, passwords) for layer in layers))
    (password,) = [password for password in made if password]
    assert await Authenticator(layers[1], passwords).verify("admin", password)
    for layer in layers:
        await layer.close()


async def test_an_admin_of_a_provider_is_not_changed(
    layer: ChainlitLayer, passwords: Passwords, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.create_user(ChainlitUser(identifier="admin", metadata={"provider": "github"}))
    assert await ensure_admin(layer, passwords) is None
    account = await layer.get_account("admin")
    assert account is not None
    assert account.password_hash is None
    assert "--role admin" in caplog.text


# Logging in with a password


async def test_the_correct_password_returns_the_user(authenticator: Authenticator, ada: datalayer.User) -> None:
    user = await authenticator.verify("  ada ", "the engine")
    assert user is not None
    assert (user.id, user.role) == (ada.id, "reviewer")


async def test_a_login_can_read_accounts_before_anybody_is_logged_in(
    authenticator: Authenticator, ada: datalayer.User
) -> None:
    with datalayer.acting_as(None):
        assert await authenticator.verify("ada", "the engine")
        assert datalayer.acting_user.get() is None


@pytest.mark.parametrize(
    ("identifier", "password", "reason"),
    [
        ("ada", "the engin", "wrong password"),
        ("ada", "", "wrong password"),
        ("ada", "x" * 2000, "longer than any"),
        ("nobody", "the engine", "no such user"),
        ("oauth", "the engine", "has no password"),
        ("disabled", "the engine", "is disabled"),
        ("broken", "the engine", "hash cannot be read"),
        ("", "the engine", "no such name"),
        ("a" * 256, "the engine", "no such name"),
        ("ada\n2026 INFO login ok", "the engine", "no such name"),
    ],
)
async def test_a_refusal_is_logged_without_the_password(
    layer: ChainlitLayer,
    passwords: Passwords,
    authenticator: Authenticator,
    ada: datalayer.User,
    caplog: pytest.LogCaptureFixture,
    identifier: str,
    password: str,
    reason: str,
) -> None:
    await layer.create_user(ChainlitUser(identifier="oauth", metadata={"provider": "github"}))
    await layer.add_account("disabled", await passwords.hash("the engine"))
    await layer.set_disabled("disabled", True)
    await layer.add_account("broken", "no hash")
    failed_before = metrics.registry.get_sample_value("threadkeeper_logins_total", {"outcome": "failed"}) or 0
    assert await authenticator.verify(identifier, password) is None
    (record,) = [record for record in caplog.records if record.name == "threadkeeper.login.accounts"]
    line = record.getMessage()
    assert record.levelno == logging.WARNING
    assert reason in line
    assert "\n" not in line
    assert len(line) < 400
    assert not password or password not in line
    assert metrics.registry.get_sample_value("threadkeeper_logins_total", {"outcome": "failed"}) == failed_before + 1


async def test_an_unknown_name_is_hashed_like_a_known_one(
    layer: ChainlitLayer, ada: datalayer.User, clock: Clock
) -> None:
    verified: list[bytes | str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            verified.append(hash)
            return super().verify(hash, password)

    hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
    authenticator = Authenticator(layer, Passwords(hasher), LoginThrottle(clock=clock, sleep=clock.sleep))
    for name in ("ada", "nobody"):
        await authenticator.verify(name, "wrong password")
    known, unknown = (str(password_hash).rsplit("$", 2)[0] for password_hash in verified)
    assert known == unknown  # the same parameters: version, memory, time and lanes


async def test_a_server_hashes_at_the_recommended_cost() -> None:
    assert extract_parameters(await Passwords().hash("the engine")) == RFC_9106_LOW_MEMORY


async def test_an_outdated_hash_is_renewed_at_login(layer: ChainlitLayer, ada: datalayer.User, clock: Clock) -> None:
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    authenticator = Authenticator(layer, stronger, LoginThrottle(clock=clock, sleep=clock.sleep))
    assert await authenticator.verify("ada", "the engine")
    account = await layer.get_account("ada")
    assert account is not None
    assert account.password_hash is not None
    assert not stronger.is_outdated(account.password_hash)
    assert await authenticator.verify("ada", "the engine")


async def test_an_unavailable_database_is_not_a_wrong_password(passwords: Passwords) -> None:
    layer = datalayer.create_data_layer("postgresql://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(datalayer.StorageUnavailable):
        await Authenticator(layer, passwords).verify("ada", "the engine")
    await layer.close()


# Guessing


async def test_each_failure_lengthens_the_pause_and_a_success_resets_it(
    authenticator: Authenticator, ada: datalayer.User, clock: Clock
) -> None:
    for _ in range(10):
        assert await authenticator.verify("ada", "wrong password") is None
    assert clock.pauses == [1, 2, 4, 8, 15, 15, 15]
    assert await authenticator.verify("ada", "the engine")
    clock.pauses.clear()
    assert await authenticator.verify("ada", "wrong password") is None
    assert clock.pauses == []


async def test_an_unknown_name_is_throttled_like_a_known_one(authenticator: Authenticator, clock: Clock) -> None:
    for _ in range(5):
        await authenticator.verify("nobody", "wrong password")
    assert clock.pauses == [1, 2]


async def test_a_throttled_name_does_not_slow_other_names(
    layer: ChainlitLayer, passwords: Passwords, ada: datalayer.User
) -> None:
    paused, go_on = asyncio.Event(), asyncio.Event()

    async def pause(_seconds: float) -> None:
        paused.set()
        await go_on.wait()

    authenticator = Authenticator(layer, passwords, LoginThrottle(sleep=pause))
    for _ in range(3):
        await authenticator.verify("mallory", "wrong password")
    slowed = asyncio.create_task(authenticator.verify("mallory", "wrong password"))
    await paused.wait()
    assert await authenticator.verify("ada", "the engine")
    assert not slowed.done()
    go_on.set()
    assert await slowed is None


async def test_attempts_for_one_name_run_in_turn_and_only_a_few_can_wait() -> None:
    throttle = LoginThrottle(most_waiting=3)
    inside, order, hold = 0, [], asyncio.Event()

    async def attempt(number: int) -> None:
        nonlocal inside
        async with throttle.attempt("ada") as attempt:
            inside += 1
            assert inside == 1
            await hold.wait()
            order.append(number)
            inside -= 1
            attempt.failed()

    attempts = [asyncio.create_task(attempt(number)) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyTries):
        await attempt(3)
    async with throttle.attempt("grace"):
        pass
    attempts[1].cancel()
    hold.set()
    await asyncio.wait(attempts)
    assert order == [0, 2]


async def test_the_throttle_forgets_old_failures(clock: Clock) -> None:
    throttle = LoginThrottle(clock=clock, sleep=clock.sleep)
    for _ in range(4):
        async with throttle.attempt("ada") as attempt:
            attempt.failed()
    clock.now += FORGOTTEN_AFTER_SECONDS + 1
    async with throttle.attempt("ada") as attempt:
        assert attempt.failed() == 1


async def test_the_throttle_remembers_a_limited_number_of_names(clock: Clock) -> None:
    throttle = LoginThrottle(most_identifiers=100, clock=clock, sleep=clock.sleep)
    for number in range(1000):
        async with throttle.attempt(f"name {number}") as attempt:
            attempt.failed()
    assert len(throttle) == 100
    async with throttle.attempt("name 999") as attempt:
        assert attempt.failed() == 2
    async with throttle.attempt("someone else") as attempt:
        attempt.succeeded()
    assert len(throttle) == 99


async def test_an_attempt_without_an_outcome_does_not_count(clock: Clock) -> None:
    throttle = LoginThrottle(clock=clock, sleep=clock.sleep)
    for _ in range(9):
        with pytest.raises(datalayer.StorageUnavailable):
            async with throttle.attempt("ada"):
                raise datalayer.StorageUnavailable("away")
    assert (clock.pauses, len(throttle)) == ([], 0)


async def test_a_name_has_one_pause_for_all_its_spellings(
    authenticator: Authenticator, clock: Clock, ada: datalayer.User
) -> None:
    for spelling in ("ada", "Ada", "ADA", "aDA", "adA"):
        assert await authenticator.verify(spelling, "a wrong guess") is None
    assert sum(clock.pauses) > 0, "a guesser has no free tries for each spelling"
    user = await authenticator.verify("ADA", "the engine")
    assert user is not None
    assert (user.id, user.identifier) == (ada.id, "ada")


# Users of other providers


@pytest.mark.parametrize(
    ("identifier", "admitted", "reason"),
    [
        ("new@example.org", True, ""),
        ("hers", True, ""),
        ("adopted", True, ""),
        ("ada", False, "local account"),
        ("ADA", False, "local account"),
        ("Hers", True, ""),
        ("HIS", False, "another provider"),
        ("Gone", False, "disabled"),
        ("e\u0301va", True, ""),
        ("his", False, "another provider"),
        ("gone", False, "disabled"),
        (" hers", False, "another one here"),
        ("", False, "empty"),
        ("hers\u202e", False, "control characters"),
    ],
)
async def test_which_users_of_a_provider_are_admitted(
    layer: ChainlitLayer,
    ada: datalayer.User,
    caplog: pytest.LogCaptureFixture,
    identifier: str,
    admitted: bool,
    reason: str,
) -> None:
    await layer.create_user(ChainlitUser(identifier="hers", metadata={"provider": "github"}))
    await layer.create_user(ChainlitUser(identifier="his", metadata={"provider": "google"}))
    await layer.create_user(ChainlitUser(identifier="adopted"))
    await layer.create_user(ChainlitUser(identifier="gone", metadata={"provider": "github"}))
    await layer.set_disabled("gone", True)
    with datalayer.acting_as(None):
        assert await admit_external(layer, identifier, "github") is admitted
    assert reason in caplog.text
    assert bool(caplog.records) is not admitted


# Rules


def test_rules_for_passwords() -> None:
    assert check_password("x" * 8) == "x" * 8
    assert check_password("密码密码密码密码")
    for wrong in ("x" * 7, "x" * 1025):
        with pytest.raises(Refused, match="password must have at"):
            check_password(wrong)


def test_rules_for_user_names() -> None:
    assert check_identifier(" ada@example.org ") == "ada@example.org"
    assert check_identifier("e\u0301va 王") == "\u00e9va 王"
    for wrong in ("", "   ", "a" * 256, "a\x00b", "a\nb", "a\u202eb", "a\ud800"):
        with pytest.raises(Refused, match="user name must"):
            check_identifier(wrong)


async def test_composed_and_decomposed_letters_give_the_same_password(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("caf\u00e9 noir"), "cafe\u0301 noir")


def test_generated_passwords_follow_the_rules_and_differ() -> None:
    generated = {generate_password() for _ in range(100)}
    assert len(generated) == 100
    assert all(check_password(password) for password in generated)


def test_a_name_in_the_log_is_one_line_of_bounded_length() -> None:
    assert printable("ada\r\n\x1b[31m\u202e王") == r"'ada\r\n\x1b[31m\u202e王'"
    assert len(printable("x" * 10_000)) < 300
