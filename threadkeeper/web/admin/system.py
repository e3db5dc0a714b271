"""The state of the server at `/admin/system`: what `/health`, `/ready`, `/metrics` and `threadkeeper check` know.

Each part that asks something outside this process has its own time limit: the page shows also what does not answer.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, DataLayerError, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.writes.spool import Spool
from threadkeeper import metrics
from threadkeeper.jobs.backups import BACKUP
from threadkeeper.jobs.retention import cutoffs
from threadkeeper.logs import recent_problems
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.system import About

PART_SECONDS = 2.0
JOBS_SHOWN = 10
OUTCOMES = frozenset({"ok", "complete", "stopped", "failed"})
"""The labels of counts that the page says in words; the kinds of errors are shown as `/metrics` names them."""
ALIVE_SECONDS = 30.0
"""A server without a sign for longer runs no job: a row of it stays until another one removes it."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Part:
    """What a part answered, within `seconds`; or why it did not."""

    answer: Any = None
    seconds: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """What this process has used since `started` (UTC), as `/metrics` says; only Linux tells all but `first_token`.

    `first_token` is the mean, and `cpu` the sum, in seconds; `memory` is in bytes.
    """

    first_token: float | None
    memory: int
    cpu: float
    open_files: int
    most_files: int
    started: str


@router.get("/admin/system")
async def read_system(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, system: About
) -> Response:
    # Before all others, which would make them wait.
    pings = {"database": await _part(layer.ping), "files": await _part(layer.blobs.ping)}
    asks: dict[str, Callable[[], Awaitable[Any]]] = {
        "facts": layer.database_facts,
        "migrations": lambda: _migrations(layer),
        "texts_left": layer.texts_to_index,
        "replicas": layer.replicas,
        "jobs": lambda: layer.list_jobs(limit=JOBS_SHOWN),
        "backups": lambda: layer.list_jobs(kinds=[BACKUP], limit=1),
        "steps": layer.first_steps,
    }
    if "plan" in request.query_params:
        asks["plan"] = lambda: layer.plan_retention(cutoffs(system.retention_days or {}))
    with acting_as(SYSTEM):
        found = await asyncio.gather(*(_part(ask) for ask in asks.values()))
    parts = pings | dict(zip(asks, found, strict=True))
    disk = await asyncio.to_thread(shutil.disk_usage, system.data_dir)
    retention = dict(system.retention_days or {})
    values = {
        "version": version("threadkeeper"),
        "system": system,
        "parts": parts,
        "queued": layer.queued_writes,
        "spooled": await asyncio.to_thread(_sizes_of_spool, system.data_dir),
        "disk": disk,
        "counts": _counts(),
        "outcomes": OUTCOMES,
        "process": _process(),
        "read_replica": None if layer.read_replica is None else layer.read_replica.state,
        # These are deleted daily, without RETENTION_EVERY_HOURS.
        "payload_days": retention.pop("payloads", None),
        "retention": retention,
        "problems": recent_problems(),
        "settings": system.settings(),
        "alive_seconds": ALIVE_SECONDS,
    }
    return pages.page(request, "admin/system.html", values, person=person, zone=zone)


@router.post("/admin/system/backup")
async def start_backup(person: Admin, _form: Form, layer: Layer, system: About) -> Response:
    if system.dump_line is not None:
        raise HTTPException(404)
    with acting_as(SYSTEM):
        job = await layer.start_job(BACKUP, {"by": person.identifier}, key=BACKUP)
        await layer.note_admin_act("start_backup", person.identifier, job=job.id)
    return redirect_to("/admin/system#backup")


async def _part(ask: Callable[[], Awaitable[Any]]) -> Part:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PART_SECONDS):
            answer = await ask()
    except TimeoutError:
        return Part(problem=f"no answer within {PART_SECONDS:g} s")
    except DataLayerError as error:
        return Part(problem=str(error))
    return Part(answer, time.perf_counter() - began)


async def _migrations(layer: ChainlitLayer) -> tuple[list[str], list[str]]:
    """The names of the migrations that are due now, and of those that wait until no replica is older."""
    return await layer.pending_migrations(), await layer.pending_removals()


def _sizes_of_spool(data_dir: Path) -> tuple[int, int]:
    """The bytes of the spool file and of the file of refused writes."""
    spool = data_dir / "spool.jsonl"
    first, second = (path.stat().st_size if path.exists() else 0 for path in (spool, Spool(spool).refused))
    return first, second


def _process() -> Process:
    answers = _sample("threadkeeper_first_token_seconds_count")
    return Process(
        _sample("threadkeeper_first_token_seconds_sum") / answers if answers else None,
        int(_sample("process_resident_memory_bytes")),
        _sample("process_cpu_seconds_total"),
        int(_sample("process_open_fds")),
        int(_sample("process_max_fds")),
        datetime.fromtimestamp(_sample("process_start_time_seconds"), UTC).isoformat(),
    )


def _sample(name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def _counts() -> list[tuple[str, str | None, float]]:
    """What this process has counted since its start: key of the message, label, and number."""
    rows: list[tuple[str, str | None, float]] = [("system_sessions", None, _sample("threadkeeper_open_sessions"))]
    for key, name, label in (
        ("system_answers", "threadkeeper_answers_total", "outcome"),
        ("system_logins", "threadkeeper_logins_total", "outcome"),
        ("system_model_errors", "threadkeeper_model_errors_total", "kind"),
    ):
        for family in metrics.registry.collect():
            rows += [
                (key, one.labels[label], one.value) for one in family.samples if one.name == name and one.value > 0
            ]
    rows.append(("system_write_failures", None, _sample("threadkeeper_write_failures_total")))
    return rows
