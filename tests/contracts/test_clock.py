"""A machine's clock that is apart from the database's: what is stored is dated by the database's."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from chainlit.user import User

from datalayer import cleaning
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from threadkeeper.conversation.clock import DatabaseClock
from threadkeeper.web.auth.tokens import issue_login, read_token

AHEAD_SECONDS = 300.0
SLACK_SECONDS = 30.0
"""How slow the machine may be; far less than the clocks are apart."""


class Machine:
    """The clock of this machine as the library reads it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(cleaning, "time", SimpleNamespace(time_ns=machine.time_ns))
    yield machine
    monkeypatch.undo()
    utc_now.correct(None)


def seconds_ahead(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("ahead", [AHEAD_SECONDS, -AHEAD_SECONDS])
async def test_a_clock_that_is_apart_is_corrected_until_it_is_right_again(
    layer: ChainlitLayer, machine: Machine, ahead: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock = DatabaseClock(layer)
    await clock.adjust()
    assert caplog.text == ""
    machine.ahead = ahead
    # As in a process that has dated nothing before: otherwise time stands still where the clock is behind.
    utc_now._last = 0
    assert seconds_ahead(utc_now()) == pytest.approx(ahead, abs=SLACK_SECONDS)
    await clock.adjust()
    first, second = utc_now(), utc_now()
    assert abs(seconds_ahead(first)) < SLACK_SECONDS
    assert first < second
    assert seconds_ahead(utc_in(7200)) == pytest.approx(7200, abs=SLACK_SECONDS)
    # Somebody sets the clock, before the next look at it.
    machine.ahead = 0.0
    assert abs(seconds_ahead(utc_now())) < SLACK_SECONDS
    await clock.adjust()
    assert abs(seconds_ahead(utc_now())) < SLACK_SECONDS
    told = [record.args for record in caplog.records]
    assert told == [(pytest.approx(value, abs=SLACK_SECONDS),) for value in (-ahead, 0)]


async def test_logins_are_dated_as_changes_of_passwords_are(
    layer: ChainlitLayer, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", "a secret of the tests with 32 characters")
    machine.ahead = -AHEAD_SECONDS
    await DatabaseClock(layer).adjust()
    token = read_token(issue_login(User(identifier="ada")), None)
    assert token is not None
    assert token.issued_at == pytest.approx(time.time(), abs=SLACK_SECONDS)
