"""One of two replicas is killed in the middle of fifty answers: what it did goes on at the other."""

import asyncio
import re
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Table, func, select, update

from datalayer import Limit, LimitStanding, acting_as, create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.jobs import job_elections, job_replicas
from datalayer.schema.turns import turn_claims
from datalayer.schema.usage import usage_reservations
from tests.support.chat_client import ChatClient
from tests.support.cheap_passwords import CHEAP_HASHER
from tests.support.model_server import ModelServer
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.pgbouncer import movable_pgbouncer, through
from tests.support.plain_http import PLAIN_HTTP
from tests.support.postgres import Databases
from tests.support.records import new_id
from tests.support.shared_server import model_settings
from tests.support.topology import Topology, two_replicas
from threadkeeper.chat.wording import unmark_answer
from threadkeeper.login.passwords import Passwords

# One after the other: two at once would need four cores.
pytestmark = [pytest.mark.replicas, pytest.mark.slow, pytest.mark.xdist_group("kill")]

T = TypeVar("T")
PASSWORD = "a long password"
PAGES = 50
ENDLESS = "slow:5000:0.5"
FOR_PROGRAMS = "slow:40:0"
ECHO = {"model": "echo"}
REVIEWERS = ("rita", "rolf", "ruth")
STORED_EVERY_SECONDS = 2
LONG_AGO = "2001-01-01T00:00:00.000000Z"


@pytest.fixture(params=["direct", "pgbouncer"])
def url(request: pytest.FixtureRequest, new_url: str, postgres: Databases) -> Iterator[str]:
    """A database without tables; `pgbouncer`: in transaction mode."""
    if request.param == "direct":
        yield new_url
        return
    with movable_pgbouncer(postgres.server_url, "transaction", pool_size=8) as pooler:
        yield through(new_url, pooler.port)


class StreamedPage:
    """A page with an endless answer. It remembers when it showed how much of it."""

    def __init__(self, name: str, client: ChatClient) -> None:
        self.name, self.client = name, client
        self._shown: list[tuple[float, str]] = []

    @property
    def words(self) -> int:
        """How many words of the answer are shown."""
        return len(self.client.answer.split()) if self.client.answer.startswith("word-") else 0

    @property
    def longest_pause(self) -> float:
        """The most seconds in which no word came. Words come every 0.5 s to a replica that is not busy."""
        grown = [then for at, (then, text) in enumerate(self._shown) if not at or text != self._shown[at - 1][1]]
        return max((later - earlier for earlier, later in pairwise(grown)), default=0.0)

    def look(self) -> None:
        # Until its answer begins, it shows the one before.
        if self.words:
            self._shown.append((time.monotonic(), self.client.answer))

    def shown_at(self, moment: float) -> str:
        return next((text for then, text in reversed(self._shown) if then <= moment), "")


async def test_what_a_killed_replica_did_goes_on_at_the_other_and_nothing_acknowledged_is_lost(
    url: str, tmp_path: Path, model_server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"user{number}" for number in range(PAGES)]
    settings = model_settings(model_server) | {"OPENAI_MODELS": f"echo,{ENDLESS},{FOR_PROGRAMS}"}
    async with AsyncExitStack() as opened:
        layer = create_data_layer(url)
        opened.push_async_callback(layer.close)
        # Before the replicas start, which remember limits for some seconds.
        keys = await prepared(layer, names)
        topology = await opened.enter_async_context(two_replicas(tmp_path, url, settings))
        killed, other = topology.replicas
        at = {name: (killed, other)[number % 2] for number, name in enumerate(names)}
        opening = [opened.enter_async_context(topology.page(name, PASSWORD, at=at[name])) for name in names]
        pages = [StreamedPage(name, client) for name, client in zip(names, await few_at_once(opening), strict=True)]
        of_killed, others = ([page for page in pages if at[page.name] == one] for one in (killed, other))
        programs = {name: await opened.enter_async_context(program(topology, key)) for name, key in keys.items()}
        for one in programs.values():
            topology.send_to(one, killed)

        votes = await asked_and_voted(pages)
        await enqueue(layer, [*votes.values()][: len(REVIEWERS)])
        locked = {name: await taken(programs[name]) for name in REVIEWERS}
        await asyncio.gather(*(page.client.send(f"Count {page.name}", modes={"model": ENDLESS}) for page in pages))
        busy = await under_way(pages)
        goes_on = model_server.hold_answers(after=5)
        job = await asked_in_background(programs["ann"])
        await until(lambda: has_sent(model_server, FOR_PROGRAMS), what="the answer to the program")
        for page in pages:
            page.look()

        process_id = topology.replicas[killed].process_id
        words = {page.name: page.words for page in others}
        died = time.monotonic()
        await topology.replicas[killed].kill()
        goes_on.set()
        for page in of_killed:
            await page.client.until(lambda page=page: not page.client.connected, what="the end of the connection")  # type: ignore[misc]
        resumed = await few_at_once([topology.again(page.client) for page in of_killed])
        took = time.monotonic() - died
        for again in resumed:
            opened.push_async_callback(again.close)
        assert topology.refused == [], "each page is at the other replica at its first attempt"
        assert {topology.replica_of(one) for one in resumed} == {other}

        late = STORED_EVERY_SECONDS + busy
        lost = [await lost_words(page, one, died, late, votes) for page, one in zip(of_killed, resumed, strict=True)]
        # The claim of the dead replica on a thread does not hold up the next question for long.
        asked = time.monotonic()
        answers = await few_at_once(
            [one.ask(f"after {page.name}", modes=ECHO) for page, one in zip(of_killed, resumed, strict=True)]
        )
        answered = time.monotonic() - asked
        assert answers == [f"You said: after {page.name}" for page in of_killed]
        await few_at_once([went_on(page, words[page.name]) for page in others])

        assert {name: await taken(programs[name]) for name in REVIEWERS} == locked
        await let_its_marks_be_old(layer, process_id)
        await job_is_done(programs["ann"], job)
        assert begun(model_server, FOR_PROGRAMS) == 2
        await asyncio.gather(*(one.titled() for one in resumed))
        await limits_are_right(layer, model_server, [page.name for page in of_killed])
        await until(lambda: no_thread_is_claimed(layer), what="the end of the claims")
    with capsys.disabled():
        print(
            f"{len(of_killed)} of {PAGES} pages were on the other replica after {took:.1f} s. Of the answers in "
            f"progress, {max(lost)} words at most ({max(lost) * 0.5:.1f} s) were not stored. The next answers took "
            f"{answered:.1f} s."
        )


async def few_at_once(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all. Fifty people do not press a key at the same moment, and a busy machine is slow."""
    places = asyncio.Semaphore(8)

    async def one(work: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await work

    return await asyncio.gather(*map(one, works))


async def prepared(layer: ChainlitLayer, names: list[str]) -> dict[str, str]:
    """Users, reviewers with their API keys, and one with a key for threads; each user has a limit."""
    await layer.migrate()
    await layer.note_first_steps("seen")
    hashed = await Passwords(CHEAP_HASHER).hash(PASSWORD)
    for name in names:
        await layer.add_account(name, hashed)
    await layer.put_limit(Limit(new_id(), "users", None, "month", "tokens", Decimal(100_000)))
    keys = dict[str, str]()
    for name, role, scopes in [
        ("ann", "user", ["threads:read", "threads:write"]),
        *((one, "reviewer", ["reviews"]) for one in REVIEWERS),
    ]:
        await layer.add_account(name, hashed, role)
        with acting_as(name):
            _, keys[name] = await layer.create_api_key("a program", scopes)
    return keys


def program(topology: Topology, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{topology.url}/api/v1", headers={"x-api-key": key}, **PLAIN_HTTP, timeout=60)


async def asked_and_voted(pages: list[StreamedPage]) -> dict[str, str]:
    """Each page asks, gets its answer, and votes for it. The answers' ids, by the users."""

    async def ask(page: StreamedPage) -> str:
        client = page.client
        assert await client.ask(f"before {page.name}", modes=ECHO) == f"You said: before {page.name}"
        answer_id = str(client.answers()[-1]["id"])
        vote = {"feedback": {"forId": answer_id, "value": 1}, "sessionId": client.session_id}
        (await client.http.put("/feedback", json=vote)).raise_for_status()
        # A title in progress would be one more call of the killed replica.
        await client.titled()
        return answer_id

    ids = await few_at_once([ask(page) for page in pages])
    return {page.name: answer_id for page, answer_id in zip(pages, ids, strict=True)}


async def enqueue(layer: ChainlitLayer, answer_ids: list[str]) -> None:
    with acting_as(REVIEWERS[0]):
        assert await layer.enqueue_answers(answer_ids) == len(answer_ids)


async def taken(reviewer: httpx.AsyncClient) -> str:
    """The answer of the queue that this reviewer has."""
    return str((await reviewer.post("/reviews/queue/next")).raise_for_status().json()["answer_id"])


async def under_way(pages: list[StreamedPage]) -> float:
    """Wait until a part of each answer must be stored. Gives by how many seconds this busy machine may be late."""

    def busy() -> float:
        # Twice the longest time that a replica was too busy to send a word.
        return 3 + 2 * max(page.longest_pause for page in pages)

    def is_stored() -> bool:
        for page in pages:
            page.look()
        moment = time.monotonic() - STORED_EVERY_SECONDS - busy()
        return all("word-10 " in page.shown_at(moment) for page in pages)

    late = 0.0

    def is_stored_or_later() -> bool:
        return is_stored() or busy() > late

    while not is_stored():
        # Each longer pause lets the wait be longer.
        late = busy()
        patience = PATIENCE_SECONDS + STORED_EVERY_SECONDS + late
        await until(is_stored_or_later, patience, what="ten words of each answer, long enough ago")
    return busy()


async def lost_words(page: StreamedPage, again: ChatClient, died: float, late: float, votes: dict[str, str]) -> int:
    """How many words that were shown are not stored. All that was acknowledged is, and what was shown `late` seconds
    before."""
    steps = (await again.stored())["steps"]
    question, answer, second, partial = (step for step in steps if step["type"].endswith("_message"))
    assert (question["output"], second["output"]) == (f"before {page.name}", f"Count {page.name}")
    assert (answer["id"], answer["output"]) == (votes[page.name], f"You said: before {page.name}")
    assert answer["feedback"]["value"] == 1
    stored = unmark_answer(partial["output"]).rstrip()
    shown = page.shown_at(died - late).rstrip()
    assert shown
    assert stored.startswith(shown)
    return len(page.shown_at(died).split()) - len(stored.split())


async def went_on(page: StreamedPage, words_before: int) -> None:
    """The answer of the other replica goes on, and what is stored of it in the end is what is shown."""
    client, seen = page.client, len(page.client.events)
    await client.until(lambda: page.words >= words_before + 5, what="five more words")
    await client.emit("stop")
    await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]), what="the end of the turn")
    await client.until(lambda: "status" in (client.answers()[-1].get("metadata") or {}), what="the end of the answer")
    stored = next(step for step in (await client.stored())["steps"] if step["id"] == client.answers()[-1]["id"])
    assert stored["output"] == client.answer
    assert len(unmark_answer(stored["output"]).split()) >= words_before + 5


def begun(model_server: ModelServer, model: str) -> int:
    """How many answers this model has begun; titles are not streamed."""
    return sum(bool(one.body.get("stream")) and one.model == model for one in model_server.requests)


def has_sent(model_server: ModelServer, model: str) -> bool:
    return any(one.model == model and one.completion_tokens for one in model_server.ledger)


async def asked_in_background(ann: httpx.AsyncClient) -> dict[str, Any]:
    thread_id = (await ann.post("/threads", json={})).raise_for_status().json()["id"]
    body = {"content": "Count", "background": True, "model": FOR_PROGRAMS}
    job: dict[str, Any] = (await ann.post(f"/threads/{thread_id}/messages", json=body)).raise_for_status().json()
    return {**job, "thread_id": thread_id}


async def let_its_marks_be_old(layer: ChainlitLayer, process_id: int) -> None:
    """Let the marks of the dead replica as one that runs jobs be old, as if half a minute had passed."""
    dead = select(job_replicas.c.id).where(job_replicas.c.name.endswith(f":{process_id}"))
    async with layer.database.write() as connection:
        of_dead = job_elections.c.replicaId.in_(dead)
        await connection.execute(update(job_elections).where(of_dead).values(until=job_elections.c.until - 3600))
        aged = update(job_replicas).where(job_replicas.c.id.in_(dead)).values(seenAt=job_replicas.c.seenAt - 3600)
        # There are none if half a minute has passed: the other replica has deleted them.
        await connection.execute(aged)


async def job_is_done(ann: httpx.AsyncClient, job: dict[str, Any]) -> None:
    """The other replica has answered; the question has one answer, which is whole."""

    async def done() -> bool:
        return bool((await ann.get(f"/jobs/{job['id']}")).raise_for_status().json()["state"] == "done")

    await until(done, what="the end of the job")
    found = (await ann.get(f"/threads/{job['thread_id']}/messages")).raise_for_status().json()["data"]
    whole = "".join(f"word-{number} " for number in range(1, 41))
    assert [(one["role"], one["content"]) for one in found] == [("user", "Count"), ("assistant", whole)]


async def limits_are_right(layer: ChainlitLayer, model_server: ModelServer, names: list[str]) -> None:
    """Used are the tokens of finished calls. What was reserved for the killed ones counts until it expires."""

    async def standing(name: str) -> LimitStanding:
        user = await layer.get_user(name)
        assert user is not None
        (found,) = await layer.limit_standings(user.id, None, zone="UTC")
        return found

    def billed(name: str) -> int:
        its = re.compile(rf"\b{name}\b")
        reported = (one for one in model_server.ledger if one.reported and its.search(str(one.messages)))
        return sum(one.prompt_tokens + one.completion_tokens for one in reported)

    for name in names:

        async def is_counted(name: str = name) -> bool:
            return (await standing(name)).used == billed(name)

        await until(is_counted, what=f"the usage of {name}")
        assert (await standing(name)).in_flight > 0

    async def is_released() -> bool:
        # One for each call of the killed replica, also that of the program.
        return await rows_of(layer, usage_reservations) == len(names) + 1

    await until(is_released, what="the release of what the other replica had reserved")
    async with layer.database.write() as connection:
        await connection.execute(update(usage_reservations).values(expiresAt=LONG_AGO))
    assert {(await standing(name)).in_flight for name in names} == {Decimal(0)}


async def no_thread_is_claimed(layer: ChainlitLayer) -> bool:
    return await rows_of(layer, turn_claims) == 0


async def rows_of(layer: ChainlitLayer, table: Table) -> int:
    async with layer.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())
