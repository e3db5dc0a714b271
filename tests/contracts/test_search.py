"""The search: whole words, the prefix of the last word and pairs of Chinese characters, in a user's texts and titles.

New text is found at once. Text that was changed, deleted or given to another user is not found any more.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, literal, select, text

import datalayer
from datalayer.background import search_indexer as indexing
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import StorageUnavailable
from datalayer.history import search, search_index, threads
from datalayer.history.search_tokens import MOST_CHARACTERS, owner_key, tokens, understood
from datalayer.ownership import acting_as
from datalayer.records.review import AnswerFilter
from datalayer.records.search import Query
from datalayer.schema.chat import search_backlog, search_pending, search_texts, steps, users
from tests.support.patience import until
from tests.support.records import listed, new_id, page, step, thread, user_id, vote
from tests.support.reviewing import account, talk

SAID = "A Needle in the haystack, 100% sure. GRÜßE aus Köln und İzmir. 今天天气很好。Ｗｉｄｅ ﾃｽﾄ. Python3教程. x\x00y"


WORDS_AND_WHETHER_FOUND = [
    ("needle", True),
    ("NEEDLE in", True),
    ("haystack needle", True),
    ("need", True),
    ("need ", False),
    ("need haystack", False),
    ("eedle", False),
    ("nee_le", False),
    ("needl%", False),
    ("grüße", True),
    ("GRÜSSE ", True),
    ("izmir", True),
    ("İZMİR ", True),
    ("天气", True),
    ("天天气", True),
    ("气", True),
    ("好", True),
    ("天很", False),
    ("晴", False),
    ("wide", True),
    ("ＷＩＤＥ ", True),
    ("テスト", True),
    ("ﾃｽ", True),
    ("python3教程 ", True),
    ("教 needle", True),
    ("100%", True),
    ("100%%", True),
    ("%", False),
    ("'", False),
    ("needle':* & absent | \\", False),
    ("needle' | 'needle", True),
    ('needle" OR "absent', False),
    ("NOT needle", False),
    ("words:needle", False),
    ("the title", True),
    ("title needle", False),  # one text must contain all words
    ("tool inp", True),
    ("absent", False),
    ("\x00", False),
    ("🙂", False),
    ("\ud800needle", True),
    ("needle " * 5000, True),
]


async def test_search_finds_words_in_titles_and_texts(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    owner, other = await user_id(layer, "alice"), await user_id(layer, "bob")
    wanted = await thread(layer, owner, name="The Title")
    await layer.create_step(step(wanted, SAID))
    await layer.create_step(step(wanted, output=None, input="Tool Input"))
    await layer.create_step(step(await thread(layer, other), SAID))
    assert await listed(layer, owner, search="   ") == [wanted], "an empty search"
    await thread(layer, owner, name="another")
    for words, found in WORDS_AND_WHETHER_FOUND:
        with subtests.test(words=words[:40]):
            assert await listed(layer, owner, search=words) == ([wanted] if found else [])


async def test_new_text_is_found_at_once(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    for number in range(5):
        made = await thread(layer, owner, name=f"title{number}")
        await layer.create_step(step(made, f"text{number}"))
        assert await listed(layer, owner, search=f"text{number}") == [made]
        assert await listed(layer, owner, search=f"title{number}") == [made]


async def test_a_changed_text_replaces_the_old_one_in_the_index(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner, name="first title")
    written = step(made, "first text", input="first input")
    await layer.create_step(written)
    assert await listed(layer, owner, search="first") == [made]
    await layer.update_step({**written, "output": "second text", "input": ""})
    await layer.replace_thread_name(made, "first title", "second title")
    assert await listed(layer, owner, search="first") == []
    assert await listed(layer, owner, search="second text") == [made]
    assert await listed(layer, owner, search="second title") == [made]
    await layer.update_step({**written, "output": "", "input": ""})
    await layer.update_thread(made, name="")
    assert await listed(layer, owner, search="second") == []
    assert await rows(layer) == (0, 0)


async def test_a_thread_that_gets_its_owner_later_is_found_by_that_owner(layer: ChainlitLayer) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    made = new_id()
    await layer.create_step(step(made, "needle"))
    assert await listed(layer, alice, search="needle") == []
    await layer.update_thread(made, user_id=alice)
    assert await listed(layer, alice, search="needle") == [made]
    await layer.update_thread(made, user_id=bob, name="haystack")
    assert await listed(layer, alice, search="needle") == await listed(layer, alice, search="haystack") == []
    assert await listed(layer, bob, search="needle") == await listed(layer, bob, search="haystack") == [made]


async def test_steps_and_owner_may_be_written_concurrently(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = [new_id() for _ in range(20)]
    for thread_id in made:
        await asyncio.gather(
            layer.create_step(step(thread_id, "needle")),
            layer.update_thread(thread_id, user_id=owner, name="a name"),
            layer.create_step(step(thread_id, "haystack")),
            layer.search_indexer.finish(),
        )
    for words in ("needle", "haystack", "name"):
        assert sorted(await listed(layer, owner, search=words)) == sorted(made)


@pytest.mark.parametrize("at_most", [0, 2_000])
async def test_the_texts_of_others_are_never_found(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    """Even if two users have the same key in the index; for rare and for frequent words."""
    frequent_above(at_most, monkeypatch)
    for module in (search, search_index):
        monkeypatch.setattr(module, "owner_key", lambda _user_id: "samesame")
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    theirs = {}
    for name, owner in (("alice", alice), ("bob", bob)):
        with datalayer.acting_as(name):
            theirs[name] = await thread(layer, owner, name="needle")
            await layer.create_step(step(theirs[name], "needle"))
    assert await listed(layer, alice, search="needle") == [theirs["alice"]]
    with datalayer.acting_as("bob"):
        assert await listed(layer, bob, search="needle") == [theirs["bob"]]
        assert await listed(layer, alice, search="needle") == []


@pytest.mark.parametrize("at_most", [0, 3, 2_000])
async def test_pages_of_a_search_are_the_filtered_list(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    """For rare words, which are looked up in the texts first, and for frequent words, which are looked up by thread."""
    frequent_above(at_most, monkeypatch)
    owner = await user_id(layer, "alice")
    wanted: list[str] = []
    voted: list[str] = []
    for number in range(12):
        made = await thread(layer, owner)
        for _ in range(2):
            written = step(made, "needle" if number % 2 else "haystack")
            await layer.create_step(written)
        if number % 2:
            wanted.insert(0, made)
        if number % 3 == 0:
            await layer.upsert_feedback(vote(written["id"], 1))
            voted.append(made)
    seen: list[str] = []
    after = None
    while True:
        found = await page(layer, owner, first=2, after=after, search="needle")
        seen += [one["id"] for one in found.data]
        after = found.pageInfo.endCursor
        if not found.pageInfo.hasNextPage:
            break
    assert seen == wanted
    assert await listed(layer, owner, search="needle", feedback=1) == [one for one in wanted if one in voted]
    assert await listed(layer, owner, search="needle", feedback=0) == []
    assert await listed(layer, owner, search="absent") == []


async def test_deletions_leave_nothing_to_find(layer: ChainlitLayer) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    made, other = await thread(layer, alice, name="needle"), await thread(layer, bob, name="needle")
    written = [step(made, f"needle {number}") for number in range(4)]
    for one in written:
        await layer.create_step(one)
    await layer.create_step(step(other, "needle"))
    await layer.search_indexer.finish()
    assert await rows(layer) == (7, 0)
    await layer.delete_step(written[3]["id"])
    await layer.cut_thread(made, written[0]["id"])
    assert await rows(layer) == (4, 0)
    assert await listed(layer, alice, search="3") == []
    await layer.update_step({**written[0], "output": "marked once more"})
    await layer.delete_thread(made)
    assert await rows(layer) == (2, 0)
    async with layer.database.write() as connection:
        await connection.execute(delete(users).where(users.c.id == bob))
    assert await rows(layer) == (0, 0)


async def test_text_left_unindexed_by_a_crash_is_found_by_the_next_process(
    layer: ChainlitLayer, database_url: str
) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    await layer.create_step(step(made, "needle"))
    await layer.search_indexer.stop()
    assert (await rows(layer))[1] > 0
    other = datalayer.create_data_layer(database_url)
    assert await listed(other, owner, search="needle") == [made]
    await other.close()


async def test_texts_are_indexed_without_a_search(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAUSE_SECONDS", 0.05)
    await layer.create_step(step(await thread(layer, await user_id(layer, "alice")), "needle"))

    async def all_are_indexed() -> bool:
        return await rows(layer) == (2, 0)

    await until(all_are_indexed)


async def test_a_slow_process_does_not_index_an_old_text_again(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    written = step(made, "old")
    await layer.create_step(written)
    async with layer.database.read() as connection:
        found, _ = await search_index.marked(connection, layer.database.dialect, 10)
    stale = [(one, one.words()) for one in found]
    await layer.update_step({**written, "output": "new"})
    assert await listed(layer, owner, search="new") == [made]
    async with layer.database.write() as connection:
        assert await search_index.store(connection, layer.database.dialect, stale) == 0
    assert await listed(layer, owner, search="new") == [made]
    assert await listed(layer, owner, search="old") == []


async def test_indexing_old_rows_does_not_overwrite_newer_texts(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    written = step(made, "old")
    await layer.create_step(written)
    async with layer.database.write() as connection:
        await connection.execute(delete(search_pending))
        await connection.execute(insert(search_backlog).values(table="steps"))
    async with layer.database.read() as connection:
        part = await search_index.backlog(connection, layer.database.dialect, 10)
    assert part is not None
    await layer.update_step({**written, "output": "new"})
    assert await layer.search_indexer.caught_up()
    walk, found, after = part
    stale = [(one, one.words()) for one in found]
    for mine in (True, False):
        async with layer.database.write() as connection:
            stored = await search_index.store_backlog(connection, layer.database.dialect, walk, stale, after)
            # The indexing in `caught_up` may have been here first.
            assert stored in (mine, False)
    assert await listed(layer, owner, search="new") == [made]
    assert await listed(layer, owner, search="old") == []


async def test_several_processes_index_concurrently(layer: ChainlitLayer, database_url: str) -> None:
    others = [datalayer.create_data_layer(database_url) for _ in range(2)]
    replicas = [layer, *others]
    owner = await user_id(layer, "alice")
    made = [await thread(layer, owner) for _ in range(4)]
    written = [step(made[number % 4], f"state0 word{number}") for number in range(60)]

    async def write(replica: ChainlitLayer, mine: list[dict[str, object]]) -> None:
        for state in range(3):
            for one in mine:
                changed = {**one, "output": f"state{state} {str(one['output']).split()[1]}"}
                await (replica.update_step(changed) if state else replica.create_step(changed))
            await replica.search_indexer.finish()

    await asyncio.gather(*(write(replica, written[number::3]) for number, replica in enumerate(replicas)))
    for replica in replicas:
        await replica.search_indexer.finish()
    assert await rows(layer) == (64, 0)
    for number in range(60):
        assert await listed(layer, owner, search=f"word{number} state2 ") == [made[number % 4]]
    assert await listed(layer, owner, search="state0") == await listed(layer, owner, search="state1") == []
    for other in others:
        await other.close()


REFUSAL = {
    "postgres": "ALTER TABLE search_texts ADD CHECK (words::text NOT LIKE '%poison%')",
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON search_texts WHEN NEW.words LIKE '%poison%' "
    "BEGIN SELECT RAISE(ABORT, 'refused'); END",
}


async def test_a_text_that_the_index_refuses_does_not_block_others(
    layer: ChainlitLayer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with layer.database.write() as connection:
        await connection.execute(text(REFUSAL[engine]))
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    for number in range(10):
        await layer.create_step(step(made, "poison" if number == 4 else "needle"))
    assert await listed(layer, owner, search="needle") == [made]
    assert await listed(layer, owner, search="poison") == []
    assert await rows(layer) == (10, 0)
    assert any("cannot be indexed" in line.message for line in caplog.records if line.levelno == logging.ERROR)


async def test_a_search_waits_for_a_limited_time(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    await layer.create_step(step(made, "early"))
    assert await listed(layer, owner, search="early") == [made]
    await layer.create_step(step(made, "late"))

    async def hang(*_: object) -> tuple[list[search_index.Found], bool]:
        await asyncio.sleep(600)
        return [], False

    monkeypatch.setattr(search_index, "marked", hang)
    begun = time.monotonic()
    monkeypatch.setattr(indexing, "WAIT_SECONDS", 0.1)
    assert not await layer.search_indexer.caught_up()
    assert await listed(layer, owner, search="early") == [made]
    assert time.monotonic() - begun < 60


async def test_the_beginning_of_an_enormous_text_is_found(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    enormous = "beginning " + "".join(map(chr, range(0x20000, 0x32000))) + " x" * MOST_CHARACTERS + " end"
    await layer.create_step(step(made, enormous))
    await layer.search_indexer.finish()
    assert await listed(layer, owner, search="beginning") == [made]
    assert await listed(layer, owner, search="end") == []
    assert (await layer.get_thread(made))["steps"][0]["output"] == enormous


async def test_duplicate_marks_are_processed_together(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    written = step(await thread(layer, owner), "growing")
    await layer.create_step(written)
    for number in range(5):
        await layer.update_step({**written, "output": f"growing {number}"})
        await layer.set_step_favorite(written, number % 2 == 0)
    async with layer.database.read() as connection:
        found, _ = await search_index.marked(connection, layer.database.dialect, 100)
    assert [len(one.marks) for one in found if one.step_id] == [6]
    assert found[-1].texts == ("growing 4",)


WORDS = st.lists(
    st.sampled_from(["needle", "need", "Nee", "天气", "天天气", "很", "grüße", "GRÜSSE", "x_1", "1", "%", "'", ":*"]),
    min_size=1,
    max_size=4,
).map(" ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(WORDS, min_size=1, max_size=4), queries=st.lists(WORDS | st.text(max_size=8), min_size=1, max_size=4)
)
async def test_a_search_finds_the_texts_with_every_token(
    layer: ChainlitLayer, texts: list[str], queries: list[str]
) -> None:
    owner = await user_id(layer, new_id())
    made = {}
    for answer in texts:
        made[await thread(layer, owner, name="-")] = answer
    for thread_id, answer in made.items():
        await layer.create_step(step(thread_id, answer))
    for words in queries:
        query = understood(words)
        wanted = [thread_id for thread_id, answer in made.items() if query and holds(answer, query)]
        if words.strip():
            assert sorted(await listed(layer, owner, search=words)) == sorted(wanted)


def holds(answer: str, query: Query) -> bool:
    there = tokens(answer)
    return set(query.whole) <= set(there) and all(
        any(token.startswith(one) for token in there) for one in query.beginnings
    )


async def test_postgres_uses_the_index_of_words(layer: ChainlitLayer, engine: str) -> None:
    owner, other = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, owner), await thread(layer, other)
    await layer.create_step(step(mine, "needle haystack"))
    rows = [
        {"id": new_id(), "name": "", "type": "tool", "threadId": theirs, "output": f"needle 天气 {n}"}
        for n in range(3000)
    ]
    async with layer.database.write() as connection:
        await connection.execute(insert(steps), rows)
    await layer.search_indexer.finish()
    query = understood("天气 nee")
    assert query is not None
    dialect = layer.database.dialect
    wanted = dialect.search_query(owner_key(owner), query)
    statement = select(search_texts.c.threadId).where(dialect.matches_words(literal(wanted)))
    plan = {"postgres": "EXPLAIN (ANALYZE, FORMAT TEXT) ", "sqlite": "EXPLAIN QUERY PLAN "}[engine]
    async with layer.database.write() as connection:
        await connection.execute(text("ANALYZE"))
        if engine == "postgres":
            # As on reading connections.
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = statement.compile(layer.database.engine.sync_engine, compile_kwargs={"literal_binds": True})
        lines = [str(row) for row in await connection.exec_driver_sql(plan + str(compiled))]
    if engine == "postgres":
        # No row of the other user is read, although all of them contain the words.
        assert any("Bitmap Index Scan on search_texts_words" in line and "rows=0" in line for line in lines), lines
    else:
        assert any("VIRTUAL TABLE INDEX" in line for line in lines), lines


def frequent_above(texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let words in more than this number of texts count as frequent, also in statements that were compiled before.

    The newest three threads are checked before rare words are looked up.
    """
    monkeypatch.setattr(search, "MOST_HITS", texts)
    monkeypatch.setattr(search, "FEW_HITS", min(texts, 5))
    monkeypatch.setattr(search, "WALKED", 3)
    monkeypatch.setattr(threads, "_listed", threads._listed.__wrapped__)


async def rows(layer: ChainlitLayer) -> tuple[int, int]:
    """The numbers of indexed texts and of pending marks; checks that SQLite's index and its table agree."""
    async with layer.database.write() as connection:
        counts = [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (search_texts, search_pending)
        ]
        if layer.database.dialect.name == "sqlite":
            await connection.execute(text("INSERT INTO search_words (search_words) VALUES ('integrity-check')"))
    return counts[0], counts[1]


async def put_by_another_writer(layer: ChainlitLayer, thread_id: str, texts: list[str]) -> None:
    """Store steps as a restore or an older version does: this process is not told."""
    made = [{"id": new_id(), "name": "", "type": "tool", "threadId": thread_id, "output": one} for one in texts]
    async with layer.database.write() as connection:
        await connection.execute(insert(steps), made)


@pytest.fixture
def idle_indexer(layer: ChainlitLayer) -> Iterator[pytest.MonkeyPatch]:
    """Nothing is indexed in the background, until it is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.search_indexer, "_begin", lambda: None)
        yield patch


@pytest.fixture
def forty_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    statements = search_index._own_waiting, search_index._own_marks
    monkeypatch.setattr(search_index, "MOST_AT_ONCE", 40)
    monkeypatch.setattr(search_index, "OWN_BATCH", 10)
    for statement in statements:
        statement.cache_clear()
    yield
    for statement in statements:
        statement.cache_clear()


@pytest.mark.usefixtures("idle_indexer", "forty_at_once")
async def test_a_search_indexes_its_own_texts_and_waits_for_no_others(layer: ChainlitLayer) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, alice), await thread(layer, bob)
    await put_by_another_writer(layer, theirs, [f"needle {number}" for number in range(200)])
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(30)])
    assert await listed(layer, alice, search="needle 29") == [mine]
    # Bob's 200 texts and the title of his thread still wait.
    assert await rows(layer) == (31, 201)


@pytest.mark.usefixtures("forty_at_once")
async def test_a_search_tells_how_many_of_its_texts_are_left(
    layer: ChainlitLayer, idle_indexer: pytest.MonkeyPatch
) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, alice), await thread(layer, bob)
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(50)])
    await put_by_another_writer(layer, theirs, [f"needle {number}" for number in range(5)])
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 51
    with acting_as("bob"):
        assert await layer.own_texts_to_index() == 0
    assert await layer.texts_to_index() == 51
    idle_indexer.undo()
    await layer.search_indexer.finish()
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 0


@pytest.mark.usefixtures("forty_at_once")
async def test_the_many_texts_of_a_user_who_searches_are_indexed_first(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, idle_indexer: pytest.MonkeyPatch
) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, alice), await thread(layer, bob)
    await put_by_another_writer(layer, theirs, [f"needle {number}" for number in range(200)])
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(60)])
    waiting: list[tuple[int, int]] = []
    store = search_index.store

    async def watch(connection: Any, dialect: Any, words: Any) -> int:
        stored = await store(connection, dialect, words)
        counts = select(search_pending.c.userId, func.count()).group_by(search_pending.c.userId)
        left = {row[0]: row[1] for row in await connection.execute(counts)}
        waiting.append((left.get(alice, 0), left.get(bob, 0)))
        return stored

    monkeypatch.setattr(search_index, "store", watch)
    assert await layer.search_indexer.own_left(alice) == 61
    idle_indexer.undo()
    await layer.search_indexer.finish()
    assert next(others for own, others in waiting if own == 0) == 201
    assert waiting[-1] == (0, 0)


@pytest.mark.usefixtures("forty_at_once")
@pytest.mark.parametrize("walked", [0, 3])
async def test_texts_from_before_the_index_are_found_at_once(
    layer: ChainlitLayer, walked: int, idle_indexer: pytest.MonkeyPatch
) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, alice, name="old title"), await thread(layer, bob, name="old title")
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(20)] + ["", "?!"])
    await put_by_another_writer(layer, theirs, [f"needle {number}" for number in range(20)])
    await make_older_than_the_index(layer, walked)
    assert await layer.texts_to_index() == 44 - walked
    assert await listed(layer, alice, search="old title") == [mine]
    if not walked:
        assert await listed(layer, alice, search="needle 19") == [mine]
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 0
    assert (await rows(layer))[1] == 0
    assert await layer.texts_to_index() > 0
    idle_indexer.undo()
    await layer.search_indexer.finish()
    assert await layer.texts_to_index() == 0
    assert await listed(layer, bob, search="old title") == [theirs]


async def make_older_than_the_index(layer: ChainlitLayer, walked: int = 0) -> None:
    """As after an adoption: nothing is marked, and the walk has reached this many steps."""
    async with layer.database.write() as connection:
        await connection.execute(delete(search_pending))
        ids = (await connection.execute(select(steps.c.id).order_by(steps.c.id))).scalars().all()
        position = ids[walked - 1] if walked else None
        await connection.execute(insert(search_backlog).values(table="steps", position=position))
        await connection.execute(insert(search_backlog).values(table="threads"))


@pytest.mark.usefixtures("forty_at_once")
@pytest.mark.parametrize("event", ["a restore", "another walk"])
async def test_texts_are_found_at_once_when_a_walk_begins_again(
    layer: ChainlitLayer, event: str, idle_indexer: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(9)])
    await make_older_than_the_index(layer, 3)
    await listed(layer, alice, search="title")
    if event == "another walk":
        idle_indexer.undo()
        await layer.search_indexer.finish()
        await listed(layer, alice, search="title")
        idle_indexer.setattr(layer.search_indexer, "_begin", lambda: None)
    async with layer.database.write() as connection:
        await connection.execute(delete(search_texts))
        await connection.execute(delete(search_backlog))
    await make_older_than_the_index(layer)
    assert await listed(layer, alice, search="needle") == [mine]
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 0


@pytest.mark.usefixtures("idle_indexer", "forty_at_once")
async def test_a_search_does_not_index_more_older_texts_than_its_bound(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(200)])
    await make_older_than_the_index(layer)
    assert await layer.search_indexer.own_left(alice) == 201
    assert (await rows(layer))[0] == 0


@pytest.mark.usefixtures("idle_indexer")
async def test_a_search_counts_again_what_was_written_during_the_one_before(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await layer.search_indexer.own_left(alice)
    real, counted, go_on = search_index.waiting_of, asyncio.Event(), asyncio.Event()

    async def wait(database: Any, of: str) -> Any:
        found = await real(database, of)
        if not counted.is_set():
            counted.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(search_index, "waiting_of", wait)
    first = asyncio.create_task(layer.search_indexer.own_left(alice))
    await counted.wait()
    await put_by_another_writer(layer, mine, ["needle"])
    second = asyncio.create_task(listed(layer, alice, search="needle"))
    await asyncio.sleep(0.05)
    go_on.set()
    await first
    assert await second == [mine]


@pytest.mark.usefixtures("idle_indexer", "forty_at_once")
async def test_many_own_texts_are_counted_every_five_seconds(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await put_by_another_writer(layer, mine, ["needle"] * 50)
    assert await layer.search_indexer.own_left(alice) == 51
    await put_by_another_writer(layer, mine, ["needle"] * 50)
    assert await layer.search_indexer.own_left(alice) == 51
    monkeypatch.setattr(indexing, "COUNT_SECONDS", 0.0)
    layer.search_indexer._own_counted[alice] = (0.0, 51)
    assert await layer.search_indexer.own_left(alice) == 101
    # Soon the rest is few, and each search counts it.
    async with layer.database.write() as connection:
        rest = select(search_pending.c.id).order_by(search_pending.c.id).offset(30)
        await connection.execute(delete(search_pending).where(search_pending.c.id.in_(rest)))
    assert await layer.search_indexer.own_left(alice) == 0


@pytest.fixture
def two_kilobytes_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(search_index, "MOST_BYTES", 2_000)
    search_index._own_marks.cache_clear()
    yield
    search_index._own_marks.cache_clear()


@pytest.mark.usefixtures("two_kilobytes_at_once")
async def test_a_batch_of_large_texts_is_smaller(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, idle_indexer: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await layer.search_indexer.own_left(alice)
    # Each character has three bytes.
    texts = ["天" * 300 + f" needle{number}" for number in range(6)]
    await put_by_another_writer(layer, mine, [*texts, "haystack"])
    async with layer.database.read() as connection:
        found, more = await search_index.marked(connection, layer.database.dialect, 100)
    assert ([len(one.texts) for one in found], more) == ([1, 1, 1], True)
    assert len(await search_index.marked_of(layer.database, alice)) == 3
    sizes: list[int] = []
    for name in ("store", "store_backlog"):
        monkeypatch.setattr(search_index, name, counting(getattr(search_index, name), sizes))
    assert await listed(layer, alice, search="needle5") == [mine]
    assert sizes == [3, 3, 1]
    async with layer.database.write() as connection:
        await connection.execute(delete(search_texts))
    await make_older_than_the_index(layer)
    sizes.clear()
    idle_indexer.undo()
    await layer.search_indexer.finish()
    # Seven steps in the order of their random ids, in which the small one may be anywhere, and the title.
    assert (sum(sizes), max(sizes) <= 4) == (8, True)
    assert await listed(layer, alice, search="haystack") == [mine]
    assert await layer.texts_to_index() == 0


def counting(store: Any, sizes: list[int]) -> Any:
    async def counted(connection: Any, dialect: Any, *arguments: Any) -> Any:
        sizes.extend(len(one) for one in arguments if isinstance(one, list))
        return await store(connection, dialect, *arguments)

    return counted


@pytest.mark.usefixtures("idle_indexer", "forty_at_once")
async def test_a_search_in_progress_ends_with_its_batch_when_the_layer_closes(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await put_by_another_writer(layer, mine, [f"needle {number}" for number in range(35)])
    real, began, go_on = search_index.store, asyncio.Event(), asyncio.Event()

    async def wait(connection: Any, dialect: Any, words: Any) -> int:
        began.set()
        await go_on.wait()
        return await real(connection, dialect, words)

    monkeypatch.setattr(search_index, "store", wait)
    searches = [asyncio.create_task(layer.search_indexer.own_left(alice)) for _ in range(3)]
    await began.wait()
    stopped = asyncio.create_task(layer.search_indexer.stop())
    await asyncio.sleep(0.05)
    assert not stopped.done()
    go_on.set()
    await stopped
    assert [one.done() for one in searches] == [True] * 3
    # The first batch of ten is stored; each search tells that the others are left.
    assert [one.result() for one in searches] == [26] * 3
    assert await rows(layer) == (10, 26)
    assert await layer.search_indexer.own_left(alice) == 26


@pytest.mark.usefixtures("idle_indexer", "forty_at_once")
@pytest.mark.parametrize("function", ["store", "mark_older"])
async def test_a_search_that_cannot_index_tells_how_many_texts_are_left(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, function: str
) -> None:
    alice = await user_id(layer, "alice")
    mine = await thread(layer, alice)
    await put_by_another_writer(layer, mine, ["needle", "haystack"])
    if function == "mark_older":
        await make_older_than_the_index(layer)

    async def fail(*_: object) -> None:
        raise StorageUnavailable("another process has locked it")

    monkeypatch.setattr(search_index, function, fail)
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 3
    assert "3 texts of a user cannot be indexed for the search now: another process has locked it" in caplog.text


@pytest.mark.usefixtures("forty_at_once")
async def test_a_reviewers_search_tells_how_many_texts_it_could_not_find(
    layer: ChainlitLayer, idle_indexer: pytest.MonkeyPatch
) -> None:
    await account(layer, "rita", "reviewer")
    turn = await talk(layer, answer="a needle")
    idle_indexer.undo()
    await layer.search_indexer.finish()
    idle_indexer.setattr(layer.search_indexer, "_begin", lambda: None)
    await put_by_another_writer(layer, turn.thread, ["haystack"] * 50)
    which, other = AnswerFilter(words="needle"), AnswerFilter(thumb="none")
    with acting_as("rita"):
        for one in (which, other):
            found, count = await layer.list_answers(one), await layer.count_answers(one)
            assert ([row.step_id for row in found.rows], count.count) == ([turn.answer], 1)
            assert (found.texts_left, count.texts_left) == ((50, 50) if one is which else (0, 0))
        idle_indexer.undo()
        await layer.search_indexer.finish()
        assert (await layer.list_answers(which)).texts_left == 0


@pytest.mark.usefixtures("idle_indexer")
async def test_a_search_that_cannot_count_fails_and_does_not_pass_for_complete(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await user_id(layer, "alice")

    async def fail(*_: object) -> None:
        raise StorageUnavailable("the database gives no answer")

    monkeypatch.setattr(search_index, "waiting_of", fail)
    with pytest.raises(StorageUnavailable):
        await listed(layer, alice, search="needle")


@pytest.mark.usefixtures("idle_indexer")
async def test_a_refused_own_text_is_skipped_and_does_not_hide_others(
    layer: ChainlitLayer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with layer.database.write() as connection:
        await connection.execute(text(REFUSAL[engine]))
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, alice), await thread(layer, bob)
    await put_by_another_writer(layer, theirs, ["needle"] * 100)
    await put_by_another_writer(layer, mine, ["needle", "poison", "haystack"])
    assert await listed(layer, alice, search="needle") == [mine]
    assert await listed(layer, alice, search="haystack") == [mine]
    with acting_as("alice"):
        assert await layer.own_texts_to_index() == 0
    assert [line.message for line in caplog.records if "cannot be indexed" in line.message]


async def test_the_marks_of_one_user_are_found_without_reading_those_of_others(
    layer: ChainlitLayer, engine: str
) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    theirs = await thread(layer, bob)
    await layer.search_indexer.finish()
    await layer.search_indexer.stop()
    await put_by_another_writer(layer, theirs, ["needle"] * 3_000)
    statement = search_index._own_waiting()
    plan = {"postgres": "EXPLAIN (ANALYZE, FORMAT TEXT) ", "sqlite": "EXPLAIN QUERY PLAN "}[engine]
    async with layer.database.write() as connection:
        if engine == "postgres":
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = statement.params(user_id=alice).compile(
            layer.database.engine.sync_engine, compile_kwargs={"literal_binds": True}
        )
        lines = "\n".join(str(row) for row in await connection.exec_driver_sql(plan + str(compiled)))
    assert "search_pending_of_user" in lines
    assert "Rows Removed by Filter" not in lines
