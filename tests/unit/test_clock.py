"""The clock that dates messages: it never goes back a little, and follows the database's without jitter."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from chainlit.auth import create_jwt
from chainlit.user import User
from starlette.requests import Request
from starlette.responses import Response

from datalayer import cleaning
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from threadkeeper.conversation.clock import DatabaseClock
from threadkeeper.web.auth.tokens import read_token, renew_login_cookie

SECOND = 10**9


class Machine:
    """A clock that stands still: `now` is its time and `steady` its counter, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND
        self.steady = 5 * SECOND


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(cleaning, "time", SimpleNamespace(time_ns=lambda: machine.now))
    monkeypatch.setattr(cleaning, "_steady_ns", lambda: machine.steady)
    yield machine
    monkeypatch.undo()
    utc_now.correct(None)


@pytest.mark.usefixtures("machine")
def test_a_corrected_clock_goes_back_only_if_it_was_far_ahead() -> None:
    clock = cleaning._Clock()
    clock.correct(10.0)
    question = clock()
    clock.correct(9.99)
    answer = clock()
    assert answer > question
    clock.correct(None)
    assert clock() > answer
    clock.correct(-300.0)
    assert clock() < question


async def test_errors_of_the_measurement_correct_nothing(machine: Machine) -> None:
    measured = 0.0

    async def clock_ahead() -> float:
        return measured

    clock = DatabaseClock(cast(ChainlitLayer, SimpleNamespace(clock_ahead=clock_ahead)))

    async def corrected(ahead: float) -> float:
        nonlocal measured
        measured = ahead
        await clock.adjust()
        return (utc_now.nanoseconds() - machine.now) / SECOND

    found = [await corrected(seconds) for seconds in (0.2, 10.0, 10.02, 9.97, 10.5, 0.2)]
    assert found == pytest.approx([0.0, 10.0, 10.0, 10.0, 10.5, 0.0])
    # The counter stood still for an hour while the machine slept.
    await corrected(10.0)
    machine.now += 3_600 * SECOND
    assert await corrected(10.0) == pytest.approx(10.0)


async def test_the_login_after_a_change_of_the_password_is_dated_as_the_change(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", "a secret of the tests with 32 characters")
    old = create_jwt(User(identifier="ada"))
    request = Request({"type": "http", "headers": [(b"cookie", f"access_token={old}".encode())]})
    response = Response()
    machine.now = int(time.time() + 300) * SECOND
    await renew_login_cookie(request, response)
    cookie = response.headers["set-cookie"].partition(";")[0]
    token = read_token(cookie.removeprefix("access_token="), None)
    assert token is not None
    assert token.issued_at == machine.now // SECOND
