"""What assistants know: sources and trainings are stored, swapped at once, and lost with nothing left."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import (
    AlreadyExists,
    BlobNotFound,
    DataSource,
    DocumentPassage,
    InvalidRecord,
    KnowledgeState,
    NotFound,
    PassageVector,
    SourceChanged,
    SourceResult,
    Training,
)
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.files.verify import FileCheck
from datalayer.history.search_tokens import tokens
from tests.support.knowledge import SETTINGS, document, fingerprint, packed, source, trained
from tests.support.records import new_id
from threadkeeper.knowledge.retrieval.background import Background
from threadkeeper.knowledge.retrieval.retriever import Retriever
from threadkeeper.knowledge.retrieval.words import hashes_of


async def found_texts(layer: ChainlitLayer, training: Training) -> list[str]:
    """The texts of all passages of a training."""
    ids = [one.id async for page in layer.training_vectors(training) for one in page]
    return [passage.text for passage in await layer.get_passages([(one, 1.0) for one in ids])]


async def rows(layer: ChainlitLayer, table: str) -> int:
    async with layer.database.read() as connection:
        return int((await connection.execute(text(f'SELECT count(*) FROM "{table}"'))).scalar_one())


async def test_a_source_and_its_file_are_stored_replaced_and_deleted(layer: ChainlitLayer) -> None:
    stored = await layer.put_source(source(options={"columns": ["a", "b"]}), b"first", "text/plain")
    assert stored.created_at is not None
    assert (stored.byte_size, await layer.read_source(stored.id)) == (5, (stored, b"first"))
    renamed = await layer.put_source(replace(stored, title="Other", object_key=None, byte_size=None, sha256=None))
    assert (renamed.title, (await layer.read_source(stored.id))[1]) == ("Other", b"first")
    changed = await layer.put_source(renamed, b"second")
    assert changed.created_at == stored.created_at
    assert await layer.list_sources("librarian") == [changed]
    with pytest.raises(BlobNotFound):
        await layer.blobs.read(str(stored.object_key))
    await layer.delete_source(stored.id)
    assert await layer.list_sources("librarian") == []
    with pytest.raises(BlobNotFound):
        await layer.blobs.read(str(changed.object_key))
    for unknown in (stored.id, "nothing"):
        with pytest.raises(NotFound):
            await layer.read_source(unknown)
    assert await rows(layer, "blob_deletions") == 0


async def test_of_two_who_replace_the_same_file_the_second_is_told(layer: ChainlitLayer) -> None:
    stored = await layer.put_source(source(), b"first")
    given = await asyncio.gather(
        *(layer.put_source(stored, content, replaces=stored.sha256) for content in (b"of ada", b"of uma")),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in given) == ["DataSource", "SourceChanged"]
    kept = next(one for one in given if isinstance(one, DataSource))
    found, content = await layer.read_source(stored.id)
    assert (found, content[:3]) == (kept, b"of ")
    renamed = await layer.put_source(replace(stored, title="Other"))
    assert (renamed.sha256, renamed.object_key) == (kept.sha256, kept.object_key), "a new title keeps the newest file"
    await layer.delete_source(stored.id)
    with pytest.raises(SourceChanged):
        await layer.put_source(stored, b"third", replaces=kept.sha256)
    assert await layer.list_sources("librarian") == []


async def test_the_file_of_a_source_is_no_orphan(layer: ChainlitLayer) -> None:
    stored = await layer.put_source(source(), b"content")
    report = await FileCheck(layer.database, layer.blobs, repair=True, grace_seconds=0).run()
    assert (report.blobs, report.left) == (1, 0)
    assert (await layer.read_source(stored.id))[1] == b"content"


@pytest.mark.parametrize("fields", [{"kind": "table"}, {"title": " "}, {"id": "one"}])
async def test_a_source_that_is_not_valid_is_refused(layer: ChainlitLayer, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        await layer.put_source(replace(source(), **fields), b"")


async def test_one_training_at_a_time_whoever_starts_it(layer: ChainlitLayer) -> None:
    started = await asyncio.gather(*(layer.start_training("librarian") for _ in range(4)), return_exceptions=True)
    trainings = [one for one in started if isinstance(one, Training)]
    assert len(trainings) == 1
    assert sum(isinstance(one, AlreadyExists) for one in started) == 3
    other = await layer.start_training("gardener")
    assert (other.number, other.state) == (1, "new")
    # The database itself refuses a second one, also from another program.
    with pytest.raises(InvalidRecord):
        async with layer.database.write() as connection:
            await connection.execute(
                text(
                    'INSERT INTO trainings (id, "assistantId", number, state, "isCurrent", "createdAt")'
                    f" VALUES ('{new_id()}', 'librarian', 2, 'training', false, 'now')"
                )
            )
    assert await layer.cancel_training(trainings[0].id)
    again = await layer.start_training("librarian", "ada")
    assert (again.number, again.started_by) == (2, "ada")
    assert [one.state for one in await layer.list_trainings("librarian")] == ["new", "cancelled"]


async def test_a_training_answers_at_once_and_a_failed_one_keeps_the_current(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    first = await trained(layer, [document(handbook.id, "a", ["one", "two"]), document(handbook.id, "b", ["three"])])
    assert await layer.current_training("librarian") == first
    assert (first.state, first.is_current, first.settings, first.threshold) == ("success", True, SETTINGS, 0.3)
    assert await layer.word_counts(first.id) == b"counts"

    second = await layer.start_training("librarian")
    await layer.begin_training(second.id, SETTINGS, 1)
    await layer.keep_documents(second.id, [document(handbook.id, "a", ["changed"])])
    assert await found_texts(layer, first) == ["one", "two", "three"], "what is trained is not seen before the swap"
    assert await layer.fail_training(second.id, "the server is away")
    failed = await layer.get_training(second.id)
    assert failed is not None
    assert (failed.state, failed.error, failed.is_current) == ("failed", "the server is away", False)
    assert await layer.current_training("librarian") == first
    assert not await layer.finish_training(second.id, 0.3, b"")
    for call in (
        layer.keep_documents(second.id, [document(handbook.id, "a", ["late"])]),
        layer.take_documents(second.id, handbook.id, [("a", fingerprint("one\ntwo"))]),
        layer.take_source(second.id, handbook.id, 1),
    ):
        with pytest.raises(NotFound):
            await call

    third = await trained(layer, [document(handbook.id, "a", ["changed"]), document(handbook.id, "b", ["three"])])
    assert await found_texts(layer, third) == ["three", "changed"]
    assert (third.counts.documents, third.counts.passages, third.counts.reused_documents) == (2, 2, 2)
    assert await found_texts(layer, first) == ["one", "two", "three"], "an old training keeps what it had"


async def test_counts_and_costs_of_a_training(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 2)
    priced = replace(document(handbook.id, "a", ["one two", "three"]), tokens=7, cost=Decimal("0.000001"))
    await layer.keep_documents(training.id, [priced])
    await layer.keep_documents(training.id, [replace(priced, key="b", title="b", fingerprint="b")])
    await layer.bill_training(training.id, 3, Decimal("0.5"))
    result = SourceResult(handbook.id, "Handbook", "sha", "pdf 1", {"left_out": [["part_pictures", {}]]}, None, 2, 1)
    await layer.keep_source_result(training.id, result, {"columns": []})
    await layer.keep_source_result(training.id, result, {"columns": ["a"]})
    assert await layer.trained_sources(training.id) == {handbook.id: (result, {"columns": ["a"]})}
    running = await layer.get_training(training.id)
    assert running is not None
    assert (running.state, running.done_sources, running.expected_sources) == ("training", 1, 2)
    assert await layer.finish_training(training.id, 0.3, b"")
    done = await layer.get_training(training.id)
    assert done is not None
    counts = done.counts
    assert (counts.documents, counts.failed_documents, counts.passages, counts.vectors) == (2, 1, 4, 4)
    assert (counts.words, counts.characters) == (6, 26)
    assert (counts.tokens, counts.cost) == (17, Decimal("0.500002"))
    listed = await layer.list_documents(training.id)
    assert [(one.key, one.passages) for one in listed] == [("a", 2), ("b", 2)]
    await layer.start_training("librarian")
    with pytest.raises(NotFound):
        await layer.list_documents(new_id())


async def test_an_unknown_cost_stays_unknown(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await trained(layer, [document(handbook.id, "a", ["one"]), document(handbook.id, "b", ["two"])])
    assert training.counts.cost is None


async def test_a_training_that_is_begun_again_keeps_what_it_has(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 1)
    whole = document(handbook.id, "a", ["one"])
    await layer.keep_documents(training.id, [whole])
    # As after the end of the process: a document whose passages are not all there is not taken.
    cut = document(handbook.id, "b", ["two"])
    async with layer.database.write() as connection:
        await connection.execute(
            text(
                'INSERT INTO documents (id, "assistantId", "sourceId", key, fingerprint, since, seen, title, passages,'
                f" words, characters) VALUES ('{new_id()}', 'librarian', '{handbook.id}', 'b', '{cut.fingerprint}',"
                " 1, 0, 'b', 1, 1, 3)"
            )
        )
    assert await layer.begin_training(training.id, SETTINGS, 1)
    wanted = [("a", whole.fingerprint), ("b", cut.fingerprint), ("a", "another")]
    assert await layer.take_documents(training.id, handbook.id, wanted) == {("a", whole.fingerprint)}
    await layer.keep_documents(training.id, [cut])
    assert await layer.finish_training(training.id, 0.3, b"")
    done = await layer.get_training(training.id)
    assert done is not None
    assert await found_texts(layer, done) == ["one", "two"]


async def test_small_documents_share_a_transaction_and_large_ones_are_written_in_pieces(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 1)
    write, transactions = layer.database.write, 0

    def counted(**options: bool) -> AbstractAsyncContextManager[AsyncConnection]:
        nonlocal transactions
        transactions += 1
        return write(**options)

    monkeypatch.setattr(layer.database, "write", counted)
    small = [document(handbook.id, f"small {at}", [f"text {at}", "more"]) for at in range(40)]
    wanted = [(one.key, one.fingerprint) for one in small]
    assert await layer.take_documents(training.id, handbook.id, wanted) == set()
    assert transactions == 0, "what is not there is only read"
    # The same document twice, as from a table with a repeated row.
    await layer.keep_documents(training.id, [*small, small[0]])
    assert transactions == 1
    assert await layer.take_documents(training.id, handbook.id, wanted) == set(wanted)
    assert transactions == 2
    large = document(handbook.id, "large", [f"part {at}" for at in range(130)])
    await layer.keep_documents(training.id, [large, document(handbook.id, "last", ["one"])])
    assert transactions == 2 + 4, "the rows, two pieces, and the end"
    monkeypatch.undo()
    assert await layer.finish_training(training.id, 0.3, b"")
    done = await layer.get_training(training.id)
    assert done is not None
    assert (done.counts.documents, done.counts.passages) == (42, 80 + 130 + 1)


async def test_the_words_of_passages_and_of_long_questions_hold_up_nothing_else(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are computed in another thread than the one that answers everybody."""
    threads: dict[str, set[int]] = {}

    def noting(text: str) -> list[str]:
        threads.setdefault(text, set()).add(threading.get_ident())
        return tokens(text)

    monkeypatch.setattr("datalayer.knowledge.documents.tokens", noting)
    monkeypatch.setattr("threadkeeper.knowledge.retrieval.ranking.tokens", noting)
    handbook = await layer.put_source(source(), b"x")
    one = document(handbook.id, "one", ["The crane lifts boats."])
    done = await trained(layer, [replace(one, passages=(replace(one.passages[0], hashes=hashes_of("crane")),))])
    retriever = Retriever(layer)
    retriever.note_background(done, Background())
    long, short = "Which boats does the crane lift? " * 1_000, "Which boats?"
    for question in (long, short):
        assert len(await retriever.scored(done, question, np.ones(4, np.float32))) == 1
    (stored,) = (text for text in threads if text.endswith("The crane lifts boats."))
    here = threading.get_ident()
    assert here not in threads[stored]
    assert here not in threads[long]
    assert threads[short] == {here}, "a short question does not wait for a thread"


async def test_unchanged_sources_are_taken_whole_and_old_trainings_are_removed(layer: ChainlitLayer) -> None:
    one, two = [await layer.put_source(source(title=title), b"x") for title in ("One", "Two")]
    numbers = [
        await trained(layer, [document(one.id, "a", ["stays"]), document(two.id, "a", [f"text {at}"])])
        for at in range(3)
    ]
    last = await layer.start_training("librarian")
    await layer.begin_training(last.id, SETTINGS, 2)
    assert await layer.take_source(last.id, one.id, numbers[-1].number) == 1
    assert await layer.finish_training(last.id, 0.3, b"")
    done = await layer.current_training("librarian")
    assert done is not None
    assert await found_texts(layer, done) == ["stays"]
    assert await rows(layer, "passages") == 4
    assert await layer.remove_old_trainings("librarian", keep=2) == 2
    assert [training.number for training in await layer.list_trainings("librarian")] == [4, 3]
    assert await found_texts(layer, numbers[-1]) == ["stays", "text 2"]
    assert await rows(layer, "passages") == 2
    assert await rows(layer, "passage_vectors") == 2


async def test_a_deleted_source_is_found_no_more_also_while_it_is_trained(layer: ChainlitLayer) -> None:
    one, two = [await layer.put_source(source(title=title), b"x") for title in ("One", "Two")]
    first = await trained(layer, [document(one.id, "a", ["first"]), document(two.id, "a", ["second"])])
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 2)
    for of in (one, two):
        await layer.keep_documents(training.id, [document(of.id, "b", [f"new of {of.title}"])])
    await layer.delete_source(one.id)
    assert await found_texts(layer, first) == ["second"]
    await layer.keep_documents(training.id, [document(one.id, "c", ["late"])])
    assert await layer.finish_training(training.id, 0.3, b"")
    done = await layer.current_training("librarian")
    assert done is not None
    assert await found_texts(layer, done) == ["new of Two"]
    await layer.delete_knowledge("librarian")
    for table in ("data_sources", "trainings", "training_sources", "documents", "passages", "passage_vectors"):
        assert await rows(layer, table) == 0, table


async def test_passages_are_found_by_their_words_within_their_assistant(layer: ChainlitLayer) -> None:
    for assistant in ("librarian", "gardener"):
        of = await layer.put_source(source(assistant), b"x")
        texts = [f"Form TK-4711 of the {assistant}", "几点关门？晚上六点。", "other"]
        await trained(layer, [document(of.id, "a", texts, pages=3)], assistant)
    training = await layer.current_training("librarian")
    assert training is not None

    async def found(*words: str) -> list[str]:
        ids = await layer.passages_with_words(training, words, 10)
        return sorted(passage.text for passage in await layer.get_passages([(one, 1.0) for one in ids]))

    assert await found("4711", "nothing") == ["Form TK-4711 of the librarian"]
    assert await found("关门", "other") == ["other", "几点关门？晚上六点。"]
    assert await found("gardener") == []
    assert await found() == []
    (best,) = await layer.passages_with_words(training, ["other"], 10)
    (passage,) = await layer.get_passages([(best, 0.7)])
    assert (passage.document_title, passage.score, passage.page) == ("a", 0.7, None)
    assert await layer.passage_vectors(training, [best, 10**9]) == [PassageVector(best, 0, packed(1, 0, 0, 0))]
    assert await layer.passage_hashes([best, 10**9]) == {best: b"other"}


async def test_without_pgvector_the_reason_is_told(layer: ChainlitLayer, engine: str) -> None:
    looked = await layer.look_for_vectors()
    search = await layer.prepare_vectors()
    assert looked == search
    if engine == "sqlite":
        assert (search.name, search.reason) == ("numpy", "SQLite has no index of vectors")
        return
    async with layer.database.read() as connection:
        available = text("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        has_pgvector = (await connection.execute(available)).scalar_one()
    assert (search.name, search.reason) == (
        ("pgvector", "") if has_pgvector else ("numpy", "the server does not have pgvector")
    )


async def test_pgvector_finds_what_was_stored_before_and_after_it(pgvector_layer: ChainlitLayer) -> None:
    layer = pgvector_layer
    handbook = await layer.put_source(source(), b"x")
    directions = [packed(*(1.0 if at == number else 0.1 * number for at in range(4))) for number in range(4)]
    before = document(handbook.id, "a", ["zero", "one"], directions[:2])
    first = await trained(layer, [before])
    installed = text("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
    for there in (0, 1):
        assert (await layer.look_for_vectors()).name == "pgvector"
        async with layer.database.read() as connection:
            assert (await connection.execute(installed)).scalar_one() == there, "who looks creates nothing"
        assert (await layer.prepare_vectors()).name == "pgvector"
    async with layer.database.read() as connection:
        stored = "SELECT CAST(attstorage AS text) FROM pg_attribute WHERE attname = 'embedding' AND attnum > 0"
        assert (await connection.execute(text(stored))).scalar_one() == "m", "within the row, which is read whole"
    after = document(handbook.id, "b", ["two", "three", "-"], [*directions[2:], packed(0, 0, 0, 0)])
    second = await trained(layer, [before, after])
    other = await layer.put_source(source("gardener"), b"x")
    await trained(layer, [document(other.id, "a", ["two"], directions[2:3])], "gardener")
    assert len(await layer.nearest_passages(first, directions[2], 10)) == 2
    found = await layer.nearest_passages(second, directions[2], 10)
    assert (await layer.get_passages(found))[0].text == "two"
    assert found[0][1] == pytest.approx(1, abs=0.01)
    assert len(found) == 5
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert found[-1][1] == 0, "a zero vector is like nothing"


async def test_a_large_training_is_searched_through_its_index_and_gives_all_rows_that_are_asked_for(
    pgvector_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = pgvector_layer
    monkeypatch.setattr("datalayer.knowledge.passage_search._EXACT_VECTORS", 50)
    await layer.prepare_vectors()
    chance = random.Random(7)
    vectors = [packed(*(chance.gauss(0, 1) for _ in range(4))) for _ in range(3_000)]
    texts = [f"passage {number}" for number in range(len(vectors))]
    of_others = await layer.put_source(source("gardener"), b"x")
    await trained(layer, [document(of_others.id, "a", texts, vectors)], "gardener")
    handbook = await layer.put_source(source(), b"x")
    training = await trained(layer, [document(handbook.id, "a", texts[:60], vectors[:60])])
    async with layer.database.read() as connection:
        indexes = (await connection.execute(text("SELECT indexname FROM pg_indexes"))).scalars().all()
    assert "passage_vectors_4" in indexes
    # The planner would read the 60 rows by the index of their assistant, and the other one is to be tried.
    async with layer.database.write() as connection:
        await connection.execute(text("DROP INDEX passage_vectors_of_assistant"))
    found = await layer.nearest_passages(training, vectors[0], 40)
    assert len(found) == 40
    monkeypatch.setattr("datalayer.knowledge.passage_search._EXACT_VECTORS", 100)
    exact = await layer.nearest_passages(training, vectors[0], 40)
    assert len({one for one, _ in found} & {one for one, _ in exact}) >= 36


async def test_an_index_whose_build_was_cut_off_is_built_again(pgvector_layer: ChainlitLayer) -> None:
    await pgvector_layer.prepare_vectors()
    vectors = pgvector_layer.database.dialect.vectors
    assert vectors is not None
    await vectors.index(pgvector_layer.database, 4)
    async with pgvector_layer.database.write() as connection:
        await connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('passage_vectors_4' AS regclass)")
        )
    await vectors.index(pgvector_layer.database, 4)
    async with pgvector_layer.database.read() as connection:
        valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = CAST('passage_vectors_4' AS regclass)")
        assert (await connection.execute(valid)).scalar_one() is True


async def test_documents_are_listed_in_pages_and_read_with_their_passages(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    titles = ["b", "a", "同", "c", "a2"]
    training = await trained(layer, [document(handbook.id, one, [f"{one} 1", f"{one} 2"]) for one in titles])
    whole = await layer.list_documents(training.id)
    pages, after = [], None
    while page := await layer.list_documents(training.id, limit=2, after=after):
        pages.append([one.title for one in page])
        after = page[-1].id
    assert [len(one) for one in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == [one.title for one in whole]
    first = whole[0]
    assert await layer.get_document(training, first.id) == first
    assert await layer.list_passages(first.id) == [DocumentPassage(0, "a 1", 2), DocumentPassage(1, "a 2", 2)]
    assert await layer.list_passages(first.id, first=1, limit=1) == [DocumentPassage(1, "a 2", 2)]
    for unknown in (new_id(), "nothing"):
        assert await layer.get_document(training, unknown) is None
    other = await trained(
        layer, [document((await layer.put_source(source("gardener"), b"x")).id, "z", ["z"])], "gardener"
    )
    assert await layer.get_document(other, first.id) is None, "of another assistant"


async def test_states_of_several_assistants(layer: ChainlitLayer) -> None:
    sources = [await layer.put_source(source(title=str(at)), b"x") for at in range(3)]
    chosen = {"record_id": "a", "columns": ["a"]}
    sources.append(await layer.put_source(source(title="3", options=chosen), b"x"))
    assert await layer.knowledge_states(["librarian", "gardener"]) == {
        "librarian": KnowledgeState(4, 4),
        "gardener": KnowledgeState(),
    }
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 5)
    for one in sources:
        await layer.keep_documents(training.id, [document(one.id, one.title, [one.title])])
        result = SourceResult(one.id, one.title, one.sha256, "text 1", {}, None, 1)
        await layer.keep_source_result(training.id, result, one.options)
    gone = SourceResult(new_id(), "gone", None, None, None, "deleted", 0)
    await layer.keep_source_result(training.id, gone, {})
    assert (await layer.knowledge_states(["librarian"]))["librarian"] == KnowledgeState(4, 4, 0, None, "training")
    await layer.finish_training(training.id, 0.3, b"")
    ended = await layer.get_training(training.id)
    assert ended is not None
    state = (await layer.knowledge_states(["librarian"]))["librarian"]
    assert state == KnowledgeState(4, 0, 4, ended.finished_at, "success")
    await layer.put_source(replace(sources[3], options=dict(reversed(chosen.items()))))
    await layer.put_source(replace(sources[0], title="another title"))
    assert (await layer.knowledge_states(["librarian"]))["librarian"].changed_sources == 1
    await layer.put_source(sources[0], b"other bytes")
    await layer.put_source(replace(sources[1], options={"columns": ["a"]}))
    await layer.delete_source(sources[2].id)
    await layer.put_source(source(title="new"), b"x")
    failed = await layer.start_training("librarian")
    await layer.fail_training(failed.id, "why")
    state = (await layer.knowledge_states(["librarian"]))["librarian"]
    assert (state.sources, state.changed_sources, state.newest) == (4, 4, "failed")
    assert state.trained_at == ended.finished_at


async def test_sources_are_listed_in_pages_with_what_was_trained_of_them(layer: ChainlitLayer) -> None:
    sources = [await layer.put_source(source(title=f"{at} harbour 50%"), b"x") for at in range(5)]
    await layer.put_source(source("gardener", title="of another assistant"), b"x")
    first = await layer.page_of_sources("librarian", limit=2)
    assert [one.source for one in first.sources] == [sources[4], sources[3]]
    assert all((one.result, one.trained_options) == (None, None) for one in first.sources)
    await layer.delete_source(sources[3].id)
    second = await layer.page_of_sources("librarian", limit=2, cursor=first.next_cursor)
    assert [one.source for one in second.sources] == [sources[2], sources[1]], "a cursor outlives its row"
    last = await layer.page_of_sources("librarian", limit=2, cursor=second.next_cursor)
    assert ([one.source for one in last.sources], last.next_cursor) == ([sources[0]], None)
    for part, found in (("HARBOUR 50%", 4), ("1 h", 1), ("_", 0), ("another", 0)):
        assert len((await layer.page_of_sources("librarian", title=part)).sources) == found, part
    await layer.put_source(source("sailor", title="ÄRGER 100%.md"), b"x")
    for part, found in (("ärger 100%", 1), ("Ärger", 1), ("arger", 0), ("1%0", 0)):
        assert len((await layer.page_of_sources("sailor", title=part)).sources) == found, part
    with pytest.raises(InvalidRecord):
        await layer.page_of_sources("librarian", cursor="nothing")

    old = await trained(layer, [])
    await layer.keep_source_result(old.id, SourceResult(sources[0].id, "old", None, None, None, None, 1), {})
    current = await layer.start_training("librarian")
    await layer.begin_training(current.id, SETTINGS, 4)
    results = [
        SourceResult(one.id, one.title, one.sha256, "text 1", {}, refused, at)
        for at, (one, refused) in enumerate(zip(sources[:3], (None, "broken", None), strict=True))
    ]
    for result in results:
        await layer.keep_source_result(current.id, result, {"columns": ["a"]})
    listed = [one for one in (await layer.page_of_sources("librarian")).sources if one.result]
    assert [one.result and one.result.title for one in listed] == ["old"], "the current one answers until the swap"
    await layer.finish_training(current.id, 0.3, b"")
    listed = list((await layer.page_of_sources("librarian")).sources)[::-1]
    assert [one.result for one in listed] == [*results, None]
    assert [one.trained_options for one in listed] == [{"columns": ["a"]}] * 3 + [None]
    assert await layer.listed_source("librarian", sources[1].id) == listed[1]
    assert await layer.listed_source("gardener", sources[1].id) is None

    page = await layer.page_of_results(current.id, limit=1)
    assert page.results == (results[1],), "what was refused comes first"
    rest = await layer.page_of_results(current.id, cursor=page.next_cursor)
    assert (rest.results, rest.next_cursor) == ((results[0], results[2]), None)
    some = await layer.trained_sources(current.id, [sources[0].id, new_id()])
    assert {key: result for key, (result, _) in some.items()} == {sources[0].id: results[0]}


async def test_a_source_is_found_by_its_title_or_its_address(layer: ChainlitLayer) -> None:
    first = await layer.put_source(source(title="hours.md"), b"x")
    second = await layer.put_source(source(title="hours.md"), b"x")
    address = "https://docs.example.com/it's"
    link = await layer.put_source(DataSource(new_id(), "librarian", "url", "Docs", {"address": address}))
    assert await layer.find_source("librarian", "file", title="hours.md") == first
    assert await layer.find_source("librarian", "url", address=address) == link
    for kind, wanted in (
        *(("pairs", {"title": "hours.md"}), ("file", {"title": "Hours.md"}), ("url", {"address": "x"})),
        *(("file", {"title": "\x00"}), ("url", {"address": "\x00"})),
    ):
        assert await layer.find_source("librarian", kind, **wanted) is None
    assert await layer.find_source("gardener", "file", title="hours.md") is None
    assert await layer.get_sources([second.id, link.id, new_id(), "nothing"]) == [second, link]
    assert await layer.get_sources([]) == []


async def test_what_a_cancelled_training_would_still_write_is_no_lost_write(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await layer.start_training("librarian")
    await layer.begin_training(training.id, SETTINGS, 1)
    await layer.cancel_training(training.id)
    caplog.set_level("INFO")
    late = asyncio.create_task(layer.keep_documents(training.id, [document(handbook.id, "a", ["late"])]))
    await asyncio.sleep(0)
    late.cancel()
    await layer.settled(new_id())
    (told,) = [one for one in caplog.records if one.name == "datalayer.writes.admission"]
    assert (told.levelname, told.message) == (
        "INFO",
        f"a write was left out, and nobody waits for it: the training {training.id} does not run: its state is "
        "'cancelled'",
    )
    assert await rows(layer, "documents") == 0


async def test_no_share_of_the_table_gives_fewer_passages_than_asked_for(layer: ChainlitLayer) -> None:
    await _every_share_gives_what_is_asked_for(layer)


async def test_with_pgvector_no_share_of_the_table_gives_fewer_passages_than_asked_for(
    pgvector_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the largest is searched through the index, and the others exactly.
    monkeypatch.setattr("datalayer.knowledge.passage_search._EXACT_VECTORS", 100)
    await _every_share_gives_what_is_asked_for(pgvector_layer)


async def _every_share_gives_what_is_asked_for(layer: ChainlitLayer) -> None:
    has_vector_search = (await layer.prepare_vectors()).name == "pgvector"
    total, chance = 3_000, random.Random(7)
    owners = {"0.1 %": total // 1_000, "1 %": total // 100, "50 %": total // 2}
    trainings = []
    for owner, count in (owners | {"others": total - sum(owners.values())}).items():
        of_owner = await layer.put_source(source(owner), b"x")
        vectors = [packed(*(chance.gauss(0, 1) for _ in range(4))) for _ in range(count)]
        texts = [f"passage {number}" for number in range(count)]
        trainings.append(await trained(layer, [document(of_owner.id, "a", texts, vectors)], owner))
    retriever = Retriever(layer, has_vector_search=has_vector_search)
    for training, count in zip(trainings, owners.values(), strict=False):
        for _ in range(5):
            asked = np.array([chance.gauss(0, 1) for _ in range(4)], np.float32)
            retriever.note_background(training, Background())
            found = [one for one, _ in await retriever.scored(training, "nothing", asked / np.linalg.norm(asked))]
            assert len(found) == len(set(found)) >= min(count, 10), training.assistant_id
            if has_vector_search:
                rows = await layer.nearest_passages(training, asked.astype("<f2").tobytes(), 200)
                assert len(rows) == min(count, 200), training.assistant_id


async def test_passages_of_many_near_vectors_do_not_displace_the_others(layer: ChainlitLayer) -> None:
    """One passage has more vectors than a search asks for first, all nearer than those of the others."""
    handbook = await layer.put_source(source(), b"x")
    one = document(handbook.id, "a", [f"passage {number}" for number in range(12)], [packed(0, 1, 0, 0)] * 12)
    crowded = replace(one.passages[0], vectors=(packed(1, 0, 0, 0),) * 1_000)
    training = await trained(layer, [replace(one, passages=(crowded, *one.passages[1:]))])
    retriever = Retriever(layer, has_vector_search=(await layer.prepare_vectors()).name == "pgvector")
    retriever.note_background(training, Background())
    found = await retriever.scored(training, "nothing", np.array([1, 0, 0, 0], np.float32))
    assert len(found) >= 10
