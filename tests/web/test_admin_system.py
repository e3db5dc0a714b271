"""The state of the server at `/admin/system`, and backups that it starts."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from datalayer import StorageUnavailable
from datalayer.backup.manifest import MANIFEST, SQLITE_COPY
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.installation import Replica
from tests.support.job_process import TIMES
from tests.support.pages import Element
from tests.support.patience import until
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser
from threadkeeper.jobs.backups import register_backups
from threadkeeper.logs import configure_logging

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def jobs(layer: ChainlitLayer, database_url: str, tmp_path: Path, whole_app: FastAPI) -> AsyncIterator[None]:
    """The server runs jobs."""
    register_backups(layer, database_url, tmp_path / "backups")
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


def lines(page: Element) -> dict[str, str]:
    """The facts at the top of the page."""
    first = page.all("dl")[0]
    return {one.one("dt").text: one.one("dd").text for one in first.all("div")}


def servers_of(page: Element) -> list[str]:
    """The servers that the page lists."""
    return [one.text for one in page.one("section", id="replicas").all("li")]


async def test_the_page_shows_each_part_and_what_does_not_answer(
    layer: ChainlitLayer, browser_of: Browser, jobs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await browser_of("admin")
    found = lines(await page_at(ada, "/admin/system"))
    assert found["Version"].startswith("Threadkeeper ")
    assert "works" in found["Database"]
    assert "SQLite 3." in found["Database"]
    assert "works" in found["File store"]
    assert found["Migrations"].startswith(("The schema is up to date.", "For “threadkeeper migrate --after”"))
    assert found["Search index"] == "complete"
    assert (found["Writes that wait"], found["Writes kept in files"]) == ("0", "none")

    page = await page_at(ada, "/admin/system")
    assert [one.text for one in page.one("section", id="retention").all("li")] == ["RETENTION_THREADS_DAYS: 90 days"]
    assert "deleted daily, once they are 30 days old" in page.one("section", id="retention").text
    process = {one.one("dt").text: one.one("dd").text for one in page.one("section", id="process").all("div")}
    assert process.keys() >= {"Memory", "Processor time", "Open files", "Started"}
    assert "Read replica" not in found

    class Standby:
        state = "behind"

    monkeypatch.setattr(type(layer), "read_replica", Standby())
    assert lines(await page_at(ada, "/admin/system"))["Read replica"].startswith("is behind")

    async def seen(*_: Any) -> list[Replica]:
        return [Replica("here:1", 2.0), Replica("gone:2", 300.0)]

    monkeypatch.setattr(layer, "replicas", seen)
    assert servers_of(await page_at(ada, "/admin/system")) == ["here:1 seen 2 s ago"], "the other runs no job any more"

    async def fails(*_: Any) -> None:
        raise StorageUnavailable("the disk is away")

    for name in ("ping", "texts_to_index", "replicas"):
        monkeypatch.setattr(layer, name, fails)
    page = await page_at(ada, "/admin/system?plan=1")
    assert "does not work: the disk is away" in lines(page)["Database"]
    assert "the disk is away" in page.one("section", id="replicas").text


async def test_recent_problems_are_kept_without_secrets_and_bounded(browser_of: Browser) -> None:
    ada = await browser_of("admin")
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        configure_logging("INFO", json=False, secrets=["a-very-secret-value"])
        for at in range(120):
            logging.getLogger("a.part").warning("warning %d of a-very-secret-value", at)
        try:
            raise ValueError("a-very-secret-value is wrong")
        except ValueError:
            logging.getLogger("a.part").exception("it failed")
        logging.getLogger("a.part").info("no problem at all")
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
    problems = (await page_at(ada, "/admin/system")).one("section", id="problems")
    rows = problems.one("tbody").all("tr")
    assert len(rows) == 100
    assert "it failed (ValueError:" in rows[0].text
    assert "warning 119 of" in rows[1].text
    assert "secret" not in problems.one("tbody").text
    assert "no problem at all" not in problems.text


async def test_a_backup_is_started_from_the_page_and_ticks_the_step(
    layer: ChainlitLayer, browser_of: Browser, jobs: None, tmp_path: Path
) -> None:
    ada = await browser_of("admin")
    page = await page_at(ada, "/admin/system")
    assert "No backup of this database is known." in page.text
    assert (await posted(ada, page, "/admin/system/backup")).headers["location"] == "/admin/system#backup"

    async def is_made() -> Any:
        section = (await page_at(ada, "/admin/system")).one("section", id="backup")
        return section if "The latest was finished" in section.text else None

    section = await until(is_made)
    folder = Path(section.all("code")[0].text)
    assert folder.parent == tmp_path / "backups"
    assert (folder / MANIFEST).exists() and (folder / SQLITE_COPY).exists()
    assert ", by ada." in section.text
    steps = (await page_at(ada, "/admin/start")).one("ol")
    assert "✓ Back up" in steps.text
    (entry,) = [one for one in (await layer.list_audit()).entries if one.action == "start_backup"]
    assert (entry.actor, set(entry.details or {})) == ("ada", {"job"})
