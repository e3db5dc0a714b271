"""A training from files to answers: what is unchanged is not embedded again, and no failure loses what answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from datalayer import Training
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.cheap_calibration import EACH
from tests.support.model_server import ModelServer
from tests.support.training_rig import NOBODY, Rig
from tests.unit.test_attachments import pdf
from threadkeeper.knowledge.retrieval.everyday import QUESTIONS as EVERYDAY
from threadkeeper.knowledge.retrieval.retriever import NothingTrained, OtherModel, Retriever
from threadkeeper.knowledge.training import TrainingFailed

QUESTIONS = len(EVERYDAY[::EACH])
"""That a training of a test embeds to find its threshold."""
HARBOUR = "The harbour opens at six in the morning.\n\nBoats longer than twelve metres need a pilot."
LIBRARY = "图书馆周一闭馆。\n\nForm TK-4711 renews a card of the library."


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[Rig]:
    made = Rig(layer, model_server)
    yield made
    await made.close()


async def test_files_are_trained_and_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadkeeper.knowledge.threshold._EMBEDDED_EACH", 1)
    await rig.put(
        "harbour.pdf",
        pdf("The harbour opens at six in the morning. " * 3, "Boats over twelve metres need a pilot. " * 3),
    )
    await rig.put("library.txt", LIBRARY)
    pairs = await rig.put("pairs.csv", "question,answer\nWho feeds the cats?,The night watch does.\n", "pairs")
    with pytest.raises(NothingTrained):
        await rig.found("anything")
    seen: list[int] = []

    async def progress(training: Training) -> None:
        seen.append(training.done_sources)

    training = await rig.trainer.train((await rig.layer.start_training("librarian")).id, progress=progress)
    assert (training.state, training.is_current, seen[-1]) == ("success", True, 3)
    # Two sources are trained at once, so that the count may grow by two between two calls.
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[0] < 3
    counts = training.counts
    assert (counts.documents, counts.reused_documents, counts.failed_documents) == (3, 0, 0)
    assert counts.tokens == sum(billed.prompt_tokens for billed in rig.server.ledger[1:])
    # One text was to learn the dimensions, and questions to find the threshold.
    assert counts.passages == counts.vectors == len(rig.embedded) - 1 - len(EVERYDAY)
    assert training.threshold is not None
    assert training.threshold >= 0.2
    assert (await rig.found("When does the harbour open in the morning?"))[0].startswith("The harbour opens")
    assert "TK-4711" in (await rig.found("tk-4711"))[0]
    assert (await rig.found("图书馆什么时候闭馆"))[0].startswith("图书馆周一闭馆")
    found = await Retriever(rig.layer).find("librarian", "Do boats need pilots?", rig.embedder, NOBODY)
    assert (found.passages[0].document_title, found.passages[0].page) == ("harbour.pdf", 2)
    (pair,) = await rig.layer.list_documents(training.id, pairs.id)
    assert (pair.title, pair.suggestion) == ("Who feeds the cats?", "Who feeds the cats?")


async def test_what_is_unchanged_is_not_embedded_again(rig: Rig) -> None:
    sheet = await rig.put("sheet.csv", "id,text\n1,the first row\n2,the second row\n", "datasheet", record_id="id")
    await rig.put("harbour.txt", HARBOUR)
    first = await rig.train()
    rig.server.forget()
    again = await rig.train()
    assert (again.state, again.counts.reused_documents, again.counts.documents) == ("success", 3, 3)
    assert len(rig.embedded) == 1 + QUESTIONS
    rig.server.forget()
    await rig.layer.put_source(sheet, b"id,text\n1,the first row\n2,a row that changed\n3,a new row\n")
    changed = await rig.train()
    assert sorted(rig.embedded[1:-QUESTIONS]) == ["id: 2\ntext: a row that changed", "id: 3\ntext: a new row"]
    assert (changed.counts.documents, changed.counts.reused_documents) == (4, 2)
    assert "the second row" not in " ".join(await rig.found("the second row"))
    # Only the newest trainings are kept.
    assert [training.number for training in await rig.layer.list_trainings("librarian")] == [3, 2]
    assert first.number == 1


async def test_of_ten_pdfs_only_the_one_that_changed_is_embedded_again(rig: Rig) -> None:
    pages = {
        number: [f"Rule {number}. {HARBOUR}", f"Annex {number}. Boats pay {number} euros."] for number in range(10)
    }
    sources = {number: await rig.put(f"{number}.pdf", pdf(*texts)) for number, texts in pages.items()}
    first = await rig.train()
    assert first.counts.documents == 10
    rig.server.forget()
    await rig.layer.put_source(sources[7], pdf(pages[7][0], "Annex 7. Boats pay 700 euros."))
    again = await rig.train()
    assert (again.counts.documents, again.counts.reused_documents) == (10, 9)
    assert all("Rule 7." in text or "Annex 7." in text for text in rig.embedded[1:-QUESTIONS])
    assert "700 euros" in " ".join(await rig.found("How many euros do boats pay by annex 7?"))


async def test_a_renamed_source_is_changed_and_its_documents_have_its_new_name(rig: Rig) -> None:
    source = await rig.put("harbour.txt", HARBOUR)
    await rig.put("library.txt", LIBRARY)
    await rig.train()
    await rig.layer.put_source(replace(source, title="port rules.txt"))
    assert (await rig.layer.knowledge_states(["librarian"]))["librarian"].changed_sources == 1
    again = await rig.train()
    assert (again.counts.documents, again.counts.reused_documents) == (2, 1)
    (document,) = await rig.layer.list_documents(again.id, source.id)
    assert document.title == "port rules.txt"
    assert (await rig.layer.knowledge_states(["librarian"]))["librarian"].changed_sources == 0


async def test_passages_of_a_deleted_source_take_no_places_of_others(rig: Rig) -> None:
    rows = "".join(f"{number},the harbour opens at six\n" for number in range(150))
    crowd = await rig.put("crowd.csv", f"id,text\n{rows}", "datasheet", record_id="id")
    await rig.put("guests.txt", "At six the harbour opens for guests who have a pilot of the town.")
    await rig.train()
    has_vectors = (await rig.layer.prepare_vectors()).name == "pgvector"
    retriever = Retriever(rig.layer, has_vector_search=has_vectors)

    async def titles() -> set[str]:
        question = "the harbour opens at six"
        found = await retriever.find("librarian", question, rig.embedder, NOBODY, threshold=0.0)
        return {passage.document_title for passage in found.passages}

    assert "guests.txt" not in await titles()
    await rig.layer.delete_source(crowd.id)
    assert await titles() == {"guests.txt"}


async def test_rows_of_a_long_table_are_found_and_given_with_the_names_of_its_columns(rig: Rig) -> None:
    rows = "".join(f"| {10 * row} kg | {row} euros |\n" for row in range(1, 80))
    await rig.put("fees.md", f"# Parcels\n\n| Weight | Surcharge |\n| --- | --- |\n{rows}")
    training = await rig.train()
    assert training.counts.passages > 3
    assert sum("| Weight | Surcharge |" in text for text in rig.embedded) > 3
    found = await rig.found("surcharge 730 kg")
    assert found[0].startswith("| Weight | Surcharge |\n")
    assert "| 730 kg | 73 euros |" in found[0]


async def test_other_settings_embed_everything_again(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    await rig.train()
    other = Rig(rig.layer, rig.server, "words:32", window=8)
    try:
        with pytest.raises(OtherModel):
            await other.found("When does the harbour open?")
        training = await other.train()
        assert (training.counts.reused_documents, training.settings and training.settings.dimensions) == (0, 32)
        assert training.counts.vectors > training.counts.passages
        assert (await other.found("When does the harbour open?"))[0].startswith("The harbour opens")
    finally:
        await other.close()


async def test_a_file_that_cannot_be_read_is_told_and_the_others_are_trained(rig: Rig) -> None:
    scanned = await rig.put("scan.pdf", pdf(None, None))
    partial = await rig.put("pairs.csv", "question,answer\nWho?,The watch.\nWhen?,\n", "pairs")
    training = await rig.train()
    results = {key: result for key, (result, _) in (await rig.layer.trained_sources(training.id)).items()}
    assert (training.state, training.counts.failed_documents) == ("success", 1)
    assert (results[scanned.id].refused, results[scanned.id].documents) == ("without_text", 0)
    taken = results[partial.id].taken
    assert taken is not None
    assert (taken["kept"], taken["total"], taken["left_out"]) == (1, 2, [["part_without_answer", {"count": 1}]])


@pytest.mark.parametrize("sources", [0, 1])
async def test_a_training_of_nothing_fails(rig: Rig, sources: int) -> None:
    if sources:
        await rig.put("scan.pdf", pdf(None))
    with pytest.raises(TrainingFailed):
        await rig.train()
    (training,) = await rig.layer.list_trainings("librarian")
    assert training.state == "failed"
    assert training.error
    assert training.failure is not None
    assert training.failure["kind"] == ("nothing_loaded" if sources else "no_source")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("503", "unreachable"),
        ("429", "rate_limit"),
        ("words-nan", "not_a_number"),
        ("words:32", "dimensions"),
        ("401", "refused"),
    ],
)
async def test_a_training_whose_server_fails_keeps_the_current_one(rig: Rig, name: str, kind: str) -> None:
    await rig.put("harbour.txt", HARBOUR)
    first = await rig.train()
    await rig.put("library.txt", LIBRARY)
    broken = Rig(rig.layer, rig.server, name, dimensions=64)
    try:
        with pytest.raises(TrainingFailed):
            await broken.train()
    finally:
        await broken.close()
    newest = (await rig.layer.list_trainings("librarian"))[0]
    assert (newest.state, newest.is_current) == ("failed", False)
    assert newest.error
    assert newest.failure is not None
    assert newest.failure["kind"] == f"embedding_{kind}"
    assert await rig.layer.current_training("librarian") == first
    assert len(await rig.found("When does the harbour open in the morning?")) >= 1
    assert (await rig.train()).counts.documents == 2


async def test_a_training_whose_process_ended_behind_the_swap_gets_its_index(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.put("harbour.txt", HARBOUR)
    done, indexed = await rig.train(), list[str]()

    async def index_vectors(training_id: str) -> None:
        indexed.append(training_id)

    monkeypatch.setattr(rig.layer, "index_vectors", index_vectors)
    caplog.set_level("INFO")
    rig.server.forget()
    assert await rig.trainer.train(done.id) == done
    assert (indexed, rig.embedded) == ([done.id], [])
    assert "has ended: success" in caplog.text
    assert "cancelled" not in caplog.text


async def test_a_server_that_comes_back_is_asked_again(rig: Rig) -> None:
    away = Rig(rig.layer, rig.server, "503:1")
    try:
        await away.put("harbour.txt", HARBOUR)
        assert (await away.train()).state == "success"
    finally:
        await away.close()


async def test_a_training_is_cancelled_between_documents(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    asked = 0

    async def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    await rig.put("sheet.csv", "id\n" + "\n".join(f"row {number}" for number in range(300)), "datasheet")
    started = await rig.layer.start_training("librarian")
    assert (await rig.trainer.train(started.id, cancelled=cancelled)).state == "cancelled"
    # Or from elsewhere, as another replica sees it in the database.
    again = await rig.layer.start_training("librarian")
    rig.server.forget()

    async def cancel(_training: Training) -> None:
        await rig.layer.cancel_training(again.id)

    assert (await rig.trainer.train(again.id, progress=cancel)).state == "cancelled"
    assert (await rig.trainer.train(again.id)).state == "cancelled", "an ended training is not begun again"


async def test_a_training_that_was_cut_goes_on_and_embeds_nothing_twice_but_the_cut_step(rig: Rig) -> None:
    rows = "text\n" + "\n".join(f"row {number} of many" for number in range(300))
    await rig.put("sheet.csv", rows, "datasheet")
    started = await rig.layer.start_training("librarian")
    cut = asyncio.create_task(rig.trainer.train(started.id))
    async with asyncio.timeout(60):
        while len(await rig.layer.list_documents(started.id)) < 100:
            await asyncio.sleep(0.01)
    cut.cancel()
    with suppress(asyncio.CancelledError):
        await cut
    done = await rig.trainer.train(started.id)
    assert (done.state, done.counts.documents) == ("success", 300)
    texts = [text for text in rig.embedded if text.startswith("text: row")]
    assert set(texts) == {f"text: row {number} of many" for number in range(300)}
    assert len(texts) - 300 <= 128, "at most one batch, and the one that was being stored"


async def test_a_large_document_is_embedded_in_batches_and_goes_on_where_it_was_cancelled(rig: Rig) -> None:
    many = 300
    await rig.put("large.txt", "\n\n".join(f"Rule {number} of the port. " * 8 for number in range(many)))
    started, seen = await rig.layer.start_training("librarian"), list[Training]()

    async def progress(training: Training) -> None:
        seen.append(training)

    async def cancelled() -> bool:
        return bool(seen) and seen[-1].counts.passages >= 100

    done = await rig.trainer.train(started.id, progress=progress, cancelled=cancelled)
    assert (done.state, done.counts.documents) == ("cancelled", 0)
    stored = done.counts.passages
    assert 100 <= stored < many
    assert max(len(request.body["input"]) for request in rig.server.requests) <= 64
    assert await rig.layer.current_training("librarian") is None
    rig.server.forget()
    again = await rig.trainer.train((await rig.layer.start_training("librarian")).id, progress=progress)
    assert (again.state, again.counts.documents) == ("success", 1)
    passages = [text for text in rig.embedded if "of the port" in text]
    assert len(set(passages)) == len(passages) <= again.counts.passages - stored + 1, "one was to learn the dimensions"
    (document,) = await rig.layer.list_documents(again.id)
    found = await rig.layer.list_passages(document.id, limit=2 * many)
    assert [one.position for one in found] == list(range(document.passages))
    assert document.passages == again.counts.passages
    texts = " ".join(await rig.found("Rule 299 of the port"))
    assert "Rule 299" in texts


async def test_the_progress_counts_documents_and_passages_within_a_source(rig: Rig) -> None:
    await rig.put("sheet.csv", "text\n" + "\n".join(f"row {number} of many" for number in range(300)), "datasheet")
    seen: list[tuple[int, int, int]] = []

    async def progress(training: Training) -> None:
        seen.append((training.done_sources, training.counts.documents, training.counts.passages))

    await rig.trainer.train((await rig.layer.start_training("librarian")).id, progress=progress)
    assert len({documents for sources, documents, _ in seen if not sources and 0 < documents < 300}) >= 2
    assert seen[-1] == (1, 300, 300)
    # What is taken from the training before counts as well, once.
    await rig.put("other.txt", HARBOUR)
    seen.clear()
    again = await rig.trainer.train((await rig.layer.start_training("librarian")).id, progress=progress)
    assert seen[-1] == (2, 301, again.counts.passages)


async def test_a_source_that_is_deleted_while_it_waits_is_left_out(rig: Rig) -> None:
    await rig.put("harbour.txt", HARBOUR)
    second = await rig.put("library.txt", LIBRARY)
    started = await rig.layer.start_training("librarian")

    rig.trainer.sources_at_once = 1

    async def delete(training: Training) -> None:
        if training.done_sources == 1:
            await rig.layer.delete_source(second.id)

    done = await rig.trainer.train(started.id, progress=delete)
    assert (done.state, done.counts.documents) == ("success", 1)
    (result, _) = (await rig.layer.trained_sources(done.id))[second.id]
    assert result.refused == "deleted"
