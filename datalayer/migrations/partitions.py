"""Adds the partitions of the next months, at the start and once a day."""

import logging

from datalayer.database import Database
from datalayer.errors import DataLayerError

logger = logging.getLogger(__name__)


async def add_partitions(database: Database) -> None:
    """Add those that are missing. A failure is only logged: the partition of other times takes what they would take."""
    partitions = database.dialect.partitions
    if partitions is None:
        return
    try:
        async with database.write() as connection:
            # Another process that has the lock adds them.
            if await database.dialect.try_lock_migrations(connection):
                await partitions.add(connection)
    except DataLayerError as error:
        logger.warning("the partitions of the next months could not be added: %s", error)
