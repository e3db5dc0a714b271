"""The costs of past calls at `/admin/money/reprice`: a dry run as a job, and what it has shown is done when confirmed.

The job that carries it out leaves a row in the audit.
"""

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, utc_now
from datalayer.records.jobs import Job
from datalayer.records.usage import CallFilter
from threadkeeper.jobs.repricing import BY, FORGET, MODEL, OF, PLAN, REPRICE, SINCE, UNTIL
from threadkeeper.web.admin.money import LONGEST_NAME, used_since
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.fields import Fields
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

JOBS_SHOWN = 10
_FIELDS = ("since", "until", "model", "forget")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/admin/money/reprice")
async def read_repricing(*, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    given = {name: clean_text(request.query_params.get(name, ""))[:LONGEST_NAME] for name in _FIELDS}
    return await _form(request, layer, pages, person=person, zone=zone, form=Filled(given))


@router.post("/admin/money/reprice")
async def start_dry_run(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone
) -> Response:
    say = speaker(request)
    fields = Fields(form, say, _FIELDS)
    since, now = fields.day("since", zone), utc_now()
    until = fields.day("until", zone, is_end=True, is_needed=False)
    if since is not None and since >= min(until or now, now):
        fields.refuse("since", say("money_bad_period"))
    if len(fields.values["model"]) > LONGEST_NAME:
        fields.refuse("model", say("bad_length", most=LONGEST_NAME))
    if fields.problems:
        return await _form(request, layer, pages, person=person, zone=zone, form=fields.filled, status=400)
    arguments = {
        SINCE: since,
        # What comes later is not in what is shown, and so not in what is done.
        UNTIL: min(until or now, now),
        MODEL: fields.values["model"] or None,
        FORGET: bool(fields.values["forget"]),
        BY: person.identifier,
    }
    with acting_as(SYSTEM):
        job = await layer.start_job(REPRICE, arguments)
    return redirect_to(f"/admin/money/reprice/{job.id}")


@router.get("/admin/money/reprice/{job_id}")
async def read_job(*, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, job_id: str) -> Response:
    job = await _job(layer, job_id)
    values = {
        "job": job,
        "since": job.arguments[SINCE],
        "until": job.arguments[UNTIL],
        "model": job.arguments[MODEL],
        "forgets": job.arguments[FORGET],
        "result": _result(job),
        "is_dry": job.arguments.get(PLAN) is None,
        "is_refused": "busy" in request.query_params,
    }
    return pages.page(request, "admin/repriced.html", values, person=person, zone=zone)


@router.post("/admin/money/reprice/{job_id}/apply")
async def apply(person: Admin, _form: Form, layer: Layer, job_id: str) -> Response:
    """Carry out what the dry run has shown, once, unless another one is being carried out."""
    dry = await _job(layer, job_id)
    found = _result(dry)
    if found is None or found["applied"]:
        raise HTTPException(409)
    with acting_as(SYSTEM):
        plan = {PLAN: found["fingerprint"], OF: dry.id, BY: person.identifier}
        # One at a time: while one runs, this is that one.
        job = await layer.start_job(REPRICE, dry.arguments | plan, key=REPRICE)
    if job.arguments[OF] != dry.id:
        return redirect_to(f"/admin/money/reprice/{dry.id}?busy=1")
    return redirect_to(f"/admin/money/reprice/{job.id}")


async def _job(layer: ChainlitLayer, job_id: str) -> Job:
    with acting_as(SYSTEM):
        job = await layer.get_job(job_id)
    if job is None or job.kind != REPRICE:
        raise HTTPException(404)
    return job


def _result(job: Job) -> dict[str, Any] | None:
    """The result of a job that is done, with amounts as numbers."""
    if job.state != "done":
        return None
    return _with_amounts(job.result) | {"by_model": [_with_amounts(one) for one in job.result["by_model"]]}


def _with_amounts(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: Decimal(values[name]) for name in ("before", "after", "unlisted_cost")}


async def _form(
    request: Request,
    layer: ChainlitLayer,
    pages: PageWriter,
    *,
    person: Person,
    zone: ZoneInfo,
    form: Filled,
    status: int = 200,
) -> Response:
    with acting_as(SYSTEM):
        called = await layer.called_models(CallFilter(since=used_since()))
        jobs = await layer.list_jobs(kinds=[REPRICE], limit=JOBS_SHOWN)
    values = {
        "form": form,
        "models": sorted({one.model for one in called}),
        "jobs": [(job, _result(job)) for job in jobs.jobs],
        "longest_name": LONGEST_NAME,
    }
    return pages.page(request, "admin/reprice.html", values, person=person, zone=zone, status=status)
