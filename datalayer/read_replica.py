"""Reads from a standby of the database, which are never behind what the same user has stored through this process.

A standby replays the primary's log, so it is a moment behind. A user who has stored something needs the log up to
there: its position is asked of the primary at the user's next read, which then waits a moment for the standby, or goes
to the primary. A user who is new to this process may have stored something through another one, and so needs the log up
to now.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from sqlalchemy import Select

from datalayer.database import Database
from datalayer.errors import ConfigurationError, DataLayerError, SchemaError, StatementRefused, StorageUnavailable
from datalayer.ownership import Actor

logger = logging.getLogger(__name__)

T = TypeVar("T")

WAIT_SECONDS = 0.2
"""How long a read waits for the standby to replay what its user has stored."""
PROBE_EVERY_SECONDS = 5.0
"""Every so often it is looked whether the standby has replayed what was stored by the look before."""
AWAY_SECONDS = 5.0
"""How long the primary serves all reads after an error of the standby."""
_POLL_SECONDS = 0.01
_CHECK_SECONDS = 2.0
_MOST_USERS = 20_000

State = Literal["used", "behind", "away"]


class ReadReplica:
    """Sends a read to the standby or to the primary."""

    def __init__(self, primary: Database, standby: Database) -> None:
        """
        Raises:
            ConfigurationError: the engine has no standbys.
        """
        self._primary, self._standby = primary, standby
        positions = primary.dialect.positions
        if positions is None or standby.dialect.positions is None:
            raise ConfigurationError("only Postgres has read replicas")
        self._positions = positions
        self._users: OrderedDict[Actor, int | object] = OrderedDict()
        """For each user the position that the standby must have reached; another object if it is not known yet."""
        self._replayed = 0
        self._probed = 0
        self._probed_at = self._failed_at = float("-inf")
        self._is_behind = self._has_failed = False

    @property
    def state(self) -> State:
        """What the last read found: "behind" if the standby is more than some seconds behind the primary."""
        if self._has_failed:
            return "away"
        return "behind" if self._is_behind else "used"

    def wrote(self, actor: Actor) -> None:
        """The user's write has ended: later reads of this user show it."""
        self._remember(actor, object())

    async def read(self, work: Callable[[Database], Awaitable[T]], actor: Actor, *, now: bool) -> T:
        """The result of `work`, which only reads, on the standby or on the primary; raises what it raises there.

        Args:
            now: whether everything must be seen that this process has stored, by whomever.
        """
        if await self._serves(actor, now=now):
            try:
                return await work(self._standby)
            except (StorageUnavailable, ConfigurationError, SchemaError, StatementRefused) as error:
                self._leave(error)
        return await work(self._primary)

    async def look(self) -> tuple[bool, int]:
        """Whether the standby is one, and how many bytes of the log it is behind.

        Raises:
            StorageUnavailable: one of both does not answer.
            DataLayerError: one of both does not tell how far its log is, or refuses the connection; or the standby is
                one of another database.
        """
        await self._demand_same()
        written = await _position(self._primary, self._positions.written)
        replayed = await _position(self._standby, self._positions.replayed)
        rows = await self._standby.fetch(self._positions.is_standby, {})
        return bool(rows[0][0]), max(written - replayed, 0)

    async def demand_settings(self) -> None:
        """Connect to the standby, so that a mistake in its URL is told at the start.

        Raises:
            ConfigurationError: the URL of the standby can never work.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._standby.ping()
        except (StorageUnavailable, TimeoutError):
            # The first read finds this too and says so, and the primary serves until the standby answers.
            return

    async def close(self) -> None:
        await self._standby.close()

    async def _serves(self, actor: Actor, *, now: bool) -> bool:
        """Whether the standby has replayed what this read has to show."""
        if time.monotonic() - self._failed_at < AWAY_SECONDS:
            return False
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._probe()
            needed = None if self._is_behind else await self._needed(actor, now=now)
            if needed is None:
                return False
            async with asyncio.timeout(_CHECK_SECONDS):
                return await self._reaches(needed)
        except (DataLayerError, TimeoutError) as error:
            self._leave(error)
            return False

    async def _probe(self) -> None:
        """Look now and then whether the standby follows. Without the primary, it serves on."""
        if time.monotonic() - self._probed_at < PROBE_EVERY_SECONDS:
            return
        self._probed_at = time.monotonic()
        self._replayed = await _position(self._standby, self._positions.replayed)
        try:
            written = await _position(self._primary, self._positions.written)
            await self._demand_same()
        except StorageUnavailable:
            written = 0
        if self._has_failed:
            logger.info("the read replica is used again")
            self._has_failed = False
        was_behind, self._is_behind = self._is_behind, self._replayed < self._probed
        if self._is_behind != was_behind:
            words = "more than %s seconds behind, so the primary serves all reads" if self._is_behind else "not behind"
            logger.warning("the read replica is " + words, *([PROBE_EVERY_SECONDS] if self._is_behind else []))
        self._probed = written

    async def _demand_same(self) -> None:
        """Compare both databases: positions in the logs of two others say nothing.

        Raises:
            ConfigurationError: the standby is one of another database.
            StorageUnavailable: one of both does not answer.
        """
        ours, theirs = [await _identity(one, self._positions.identity) for one in (self._primary, self._standby)]
        if None not in (ours, theirs) and ours != theirs:
            raise ConfigurationError("it is not a standby of the database, but another database")

    async def _needed(self, actor: Actor, *, now: bool) -> int | None:
        """The position of the log that the standby must have reached for a read of this user.

        None if the primary does not answer, which then tells the caller itself.
        """
        known = self._users.get(actor)
        if isinstance(known, int) and not now:
            return known
        asked = object()
        self._remember(actor, asked)
        try:
            position = await _position(self._primary, self._positions.written)
        except StorageUnavailable:
            return None
        if self._users.get(actor) is asked:
            # No write of the user has ended meanwhile.
            self._users[actor] = position
        return position

    async def _reaches(self, needed: int) -> bool:
        """Whether the standby has reached the position, or does within a moment."""
        ends = time.monotonic() + WAIT_SECONDS
        while self._replayed < needed:
            self._replayed = await _position(self._standby, self._positions.replayed)
            if self._replayed < needed:
                if time.monotonic() > ends:
                    return False
                await asyncio.sleep(_POLL_SECONDS)
        return True

    def _leave(self, error: Exception) -> None:
        self._failed_at, self._probed_at = time.monotonic(), float("-inf")
        if not self._has_failed:
            reason = str(error) or "it does not answer in time"
            logger.warning("the read replica cannot be used now, so the primary serves all reads: %s", reason)
        self._has_failed = True

    def _remember(self, actor: Actor, state: object) -> None:
        self._users[actor] = state
        self._users.move_to_end(actor)
        if len(self._users) > _MOST_USERS:
            self._users.popitem(last=False)


async def _position(database: Database, statement: Select[tuple[int]]) -> int:
    found = (await database.fetch(statement, {}))[0][0]
    if found is None:
        # As a server that only looks like a standby, and shares the storage of its primary.
        raise ConfigurationError("the server does not tell how far its log is")
    return int(found)


async def _identity(database: Database, statement: Select[tuple[str]]) -> str | None:
    """What is the same on a primary and its standbys; None if the server does not tell it."""
    try:
        return str((await database.fetch(statement, {}))[0][0])
    except (ConfigurationError, SchemaError, StatementRefused):
        return None
