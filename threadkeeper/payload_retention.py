"""Deletes what was said in calls to models once it has been kept for as long as the operator says."""

import asyncio
import logging

from datalayer.cleaning import utc_in
from datalayer.errors import DataLayerError
from datalayer.ownership import SYSTEM, acting_as
from datalayer.usage.usage import Usage

logger = logging.getLogger(__name__)

_DAY_SECONDS = 24 * 3600.0


async def forget_payloads(usage: Usage, days: int) -> None:
    """Now, and once a day from then on, for as long as nobody cancels it."""
    while True:
        try:
            with acting_as(SYSTEM):
                count = await usage.forget_payloads(utc_in(-days * _DAY_SECONDS))
        except DataLayerError as error:
            logger.warning("what was said in old calls is not deleted yet: %s", error)
        else:
            if count:
                logger.info("what was said in %d calls was deleted after %d days", count, days)
        await asyncio.sleep(_DAY_SECONDS)
