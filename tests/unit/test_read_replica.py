"""A read replica that cannot be used: the primary serves all reads, and the log says so once."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from datalayer import read_replica
from datalayer.database import Database
from datalayer.errors import ConfigurationError, DataLayerError, StatementRefused
from datalayer.read_replica import ReadReplica


class Server:
    """Answers each statement for a position with the same one, or with an error."""

    def __init__(self, position: int | DataLayerError | None, identity: str | DataLayerError = "7/1") -> None:
        self.position, self.identity = position, identity
        positions = SimpleNamespace(written=None, replayed=None, is_standby=None, identity="identity")
        self.dialect = SimpleNamespace(positions=positions)

    async def fetch(self, statement: Any, _values: Any) -> list[tuple[Any]]:
        answer = self.identity if statement == "identity" else self.position
        if isinstance(answer, DataLayerError):
            raise answer
        return [(answer,)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read looks again whether the standby can be used."""
    monkeypatch.setattr(read_replica, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(read_replica, "PROBE_EVERY_SECONDS", 0.0)


def replica(primary: Server, standby: Server) -> ReadReplica:
    return ReadReplica(cast(Database, primary), cast(Database, standby))


async def itself(database: Database) -> object:
    return database


@pytest.mark.parametrize("bad", [None, StatementRefused("it is not supported"), ConfigurationError("no such user")])
@pytest.mark.parametrize("is_primary", [True, False])
async def test_servers_that_do_not_tell_how_far_they_are_are_not_used(
    bad: DataLayerError | None, is_primary: bool, caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby = Server(bad if is_primary else 7), Server(7 if is_primary else bad)
    reads = replica(primary, standby)
    for actor in ("ann", "ben", "ann"):
        assert await reads.read(itself, actor, now=False) is primary
    assert reads.state == "away"
    (told,) = caplog.messages
    assert "the primary serves all reads" in told

    (primary if is_primary else standby).position = 7
    assert await reads.read(itself, "ann", now=True) is standby


async def test_a_server_that_does_not_tell_its_identity_is_used() -> None:
    for identity, is_used in (("7/1", True), ("7/2", False), (ConfigurationError("permission denied"), True)):
        primary, standby = Server(7), Server(7, identity)
        assert await replica(primary, standby).read(itself, "ann", now=False) is (standby if is_used else primary)


async def test_the_statement_is_refused_after_the_standby_was_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = Server(7), Server(7)
    reads = replica(primary, standby)
    assert await reads.read(itself, "ann", now=False) is standby
    monkeypatch.setattr(read_replica, "PROBE_EVERY_SECONDS", 60.0)
    primary.position = 8
    for position in (None, StatementRefused("it is not supported")):
        standby.position = position
        assert await reads.read(itself, "ann", now=True) is primary
    primary.position = None
    assert await reads.read(itself, "ben", now=True) is primary
    assert len(caplog.messages) == 1
