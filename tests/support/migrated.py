"""Migrates a database that is to be copied for each test."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import datalayer


def migrate(url: str) -> None:
    """Create the tables in the database of this URL. Works with and without a running event loop."""

    async def create_tables() -> None:
        layer = datalayer.create_data_layer(url)
        await layer.migrate()
        await layer.close()

    # In a thread, because the first test to need it may be running in a loop already.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: asyncio.run(create_tables())).result()
