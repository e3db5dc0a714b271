"""`threadkeeper knowledge`, as an operator runs it: files become sources, and a server trains them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import AssistantSettings
from tests.contracts.test_training_jobs import SLUG, run, trains
from tests.support.command_line import CommandLine
from tests.support.model_server import ModelServer
from tests.support.office_files import excel, word
from tests.support.training_rig import Rig
from tests.unit.test_attachments import pdf
from threadkeeper.jobs.trainings import register_trainings

pytestmark = pytest.mark.slow


class Operator:
    """Runs commands about knowledge, with the database and the files of a test."""

    def __init__(self, directory: Path, database_url: str, **settings: str) -> None:
        self._run = CommandLine(directory)
        self._settings = {"DATABASE_URL": database_url, "BLOB_URL": f"file://{directory / 'blobs'}", **settings}

    async def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """The output and the errors of a command, which ends with this code."""
        done = await asyncio.to_thread(self._run, "knowledge", *arguments, **self._settings)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout, done.stderr

    async def rows(self, *arguments: str) -> list[list[str]]:
        output, _ = await self(*arguments)
        return [line.split("\t") for line in output.splitlines()[1:]]


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[Rig]:
    await layer.create_assistant(AssistantSettings("Librarian"), slug=SLUG)
    made = Rig(layer, model_server)
    yield made
    await made.close()


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    return Operator(tmp_path, database_url)


async def test_files_of_a_folder_are_added_trained_listed_and_removed(
    rig: Rig, operator: Operator, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    (folder / "guide").mkdir(parents=True)
    (folder / "harbour.pdf").write_bytes(pdf("The harbour opens at six in the morning. " * 3))
    (folder / "rules.docx").write_bytes(word("Dogs must be on a lead.", pictures=1))
    (folder / "prices.csv").write_text("item,price\nticket,3.50\n", "utf-8")
    (folder / "faults.xlsx").write_bytes(excel({"Faults": [["id", "fault"], ["E1", "The pump does not start"]]}))
    (folder / "guide" / "hours.md").write_text("# Hours\n\nThe museum is closed on Mondays.\n", "utf-8")
    (folder / "page.html").write_text("<html><body><p>The ferry carries bicycles.</p></body></html>", "utf-8")
    (folder / "data.json").write_text('{"phone": "555-0100"}', "utf-8")
    (folder / ".hidden").write_text("not taken", "utf-8")
    output, errors = await operator("add", SLUG, "docs")
    names = ["data.json", "faults.xlsx", "guide/hours.md", "harbour.pdf", "page.html", "prices.csv", "rules.docx"]
    assert [line for line in output.splitlines() if line.startswith("Added ")] == [f"Added {name}." for name in names]
    assert "“rules.docx” was read only in part. Not taken: pictures: 1." in output
    assert (errors, f"knowledge train {SLUG}" in output) == ("", True)
    assert [row[2] for row in await operator.rows("list", SLUG)] == names
    run(rig)
    output, _ = await operator("train", SLUG, "--wait")
    assert "Training 1 answers now: 7 documents (0 unchanged), 7 passages." in output
    assert {row[5] for row in await operator.rows("list", SLUG)} == {"1"}
    documents = await operator.rows("documents", SLUG)
    assert sorted(row[1] for row in documents) == names
    # The same folder again: what changed is replaced.
    (folder / "prices.csv").write_text("item,price\nticket,4.00\n", "utf-8")
    output, _ = await operator("add", SLUG, "docs")
    assert output.splitlines().count("Replaced prices.csv.") == 1
    assert len([line for line in output.splitlines() if line.startswith("Unchanged: ")]) == 6
    assert [row[5] for row in await operator.rows("list", SLUG) if row[2] == "prices.csv"] == ["changed since"]
    output, _ = await operator("train", SLUG, "--wait")
    assert "7 documents (6 unchanged)" in output
    assert [row[:2] for row in await operator.rows("trainings", SLUG)] == [["2 *", "success"], ["1", "success"]]
    output, _ = await operator("remove", SLUG, "rules.docx", "guide/hours.md")
    assert output.splitlines() == ["Removed rules.docx.", "Removed guide/hours.md."]
    assert len(await operator.rows("documents", SLUG)) == 5


async def test_pairs_and_a_datasheet_are_a_document_for_each_row(rig: Rig, operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("question,answer\nWho feeds the cats?,The night watch.\nWhen?,\n", "utf-8")
    sheet = "id,fault,remedy,ask\nE1,No start,Check the fuse,What if it does not start?\nE2,Squeaks,Oil it,Why?\n"
    (tmp_path / "faults.csv").write_text(sheet, "utf-8")
    output, _ = await operator("pairs", SLUG, "pairs.csv")
    assert "rows without a question or an answer: 1" in output
    chosen = ("--column", "fault", "--column", "remedy", "--record-id", "id", "--suggestion", "ask")
    await operator("datasheet", SLUG, "faults.csv", *chosen)
    _, errors = await operator("datasheet", SLUG, "faults.csv", "--column", "price", code=1)
    assert "lacks the chosen columns" in errors
    run(rig)
    await operator("train", SLUG, "--wait")
    rows = {row[0]: row for row in await operator.rows("documents", SLUG)}
    assert set(rows) == {"Who feeds the cats?", "No start", "Squeaks"}
    assert (rows["No start"][2], rows["No start"][7]) == ("E1", "What if it does not start?")
    found = await rig.found("fuse")
    assert found[0] == "fault: No start\nremedy: Check the fuse"
    assert [row[0] for row in await operator.rows("documents", SLUG, "--source", "pairs.csv")] == [
        "Who feeds the cats?"
    ]


async def test_what_cannot_be_added_is_told_and_the_rest_is_added(rig: Rig, operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf(None))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (tmp_path / "hours.txt").write_text("Open from nine.", "utf-8")
    output, errors = await operator("add", SLUG, "scan.pdf", "picture.png", "hours.txt", "nowhere.txt", code=1)
    assert output.splitlines() == ["Added hours.txt."]
    said = errors.splitlines()
    assert "contains no text" in said[0]
    assert "cannot be read. PDF, Word" in said[1]
    assert said[2:] == ["nowhere.txt cannot be read: No such file or directory.", "3 of 4 files were not added."]
    for arguments, words in (
        (("add", "nobody", "hours.txt"), "There is no assistant 'nobody'."),
        (("list", "nobody"), "There is no assistant 'nobody'."),
        (("remove", SLUG, "other.txt"), f"The assistant {SLUG} has no data source other.txt."),
        (("cancel", SLUG), f"No training of the assistant '{SLUG}' runs."),
        (("documents", SLUG), f"The assistant {SLUG} was never trained with success."),
    ):
        assert (await operator(*arguments, code=1))[1].strip() == words
    register_trainings(rig.layer, trains(rig))
    await operator("train", SLUG)
    assert "runs" in (await operator("train", SLUG, code=1))[1]
    assert (await operator("cancel", SLUG))[0] == f"Training 1 of the assistant {SLUG} is cancelled.\n"


async def test_a_failed_training_ends_the_command_with_its_reason(rig: Rig, operator: Operator) -> None:
    run(rig)
    _, errors = await operator("train", SLUG, "--wait", code=1)
    assert errors.strip() == "Training 1 is failed: the assistant has no data source."


async def test_addresses_of_listed_hosts_are_added_and_others_refused(
    rig: Rig, database_url: str, tmp_path: Path
) -> None:
    page, api = "https://docs.example.com/guide", "https://docs.example.com/items?page=1"
    refusing = Operator(tmp_path, database_url)
    _, errors = await refusing("url", SLUG, page, code=1)
    assert "KNOWLEDGE_URL_HOSTS" in errors

    operator = Operator(tmp_path, database_url, KNOWLEDGE_URL_HOSTS="docs.example.com")
    assert (await operator("url", SLUG, page, "--title", "Guide"))[0].startswith("Added Guide.")
    assert "Unchanged: Guide." in (await operator("url", SLUG, page))[0]
    named = ("--records", "data.items", "--column", "title", "--column", "body.text", "--page", "page")
    title = "https://docs.example.com/items"  # Without the query, which can be a key.
    assert f"Added {title}." in (await operator("api", SLUG, api, *named))[0]
    assert [row[1:3] for row in await operator.rows("list", SLUG)] == [["url", "Guide"], ["api", title]]
    (_, stored) = await rig.layer.list_sources(SLUG)
    assert stored.options == {
        "address": api,
        "records": "data.items",
        "columns": ["title", "body.text"],
        "page": "page",
    }
    for address in ("https://elsewhere.example/", "http://docs.example.com/", "file:///etc/hostname"):
        _, errors = await operator("url", SLUG, address, code=1)
        assert errors, address
    assert len(await rig.layer.list_sources(SLUG)) == 2
