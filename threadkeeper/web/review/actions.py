"""The forms on the page of a thread: rate, flag, pin, assign, copy to one's own chat, link a better answer."""

from fastapi import APIRouter, Request, Response

from datalayer.records.review import MarkKind, Verdict
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.review.addresses import known_or_404, thread_address
from threadkeeper.web.review.notices import NOTICES, read_purpose
from threadkeeper.web.review.policy import Policy, needs_purpose
from threadkeeper.web.review.queue import redirect_to_next

LONGEST_BETTER_ANSWER = 100_000
"""Characters."""

router = APIRouter(prefix="/review/threads/{thread_id}", route_class=PageRoute, include_in_schema=False)


@router.post("/verdicts")
async def judge(
    request: Request, _person: Reviewer, form: Form, layer: Layer, policy: Policy, thread_id: str
) -> Response:
    step_id = known_or_404(form.one("step_id"))
    if form.one("action") == "remove":
        await layer.remove_verdict(step_id)
        return redirect_to(thread_address(known_or_404(thread_id), form, step_id))
    label = form.one("label", longest=100)
    if label not in policy.labels:
        raise InvalidInput("bad_label")
    better = form.one("better_answer", longest=LONGEST_BETTER_ANSWER)
    await layer.put_verdict(
        Verdict(
            step_id,
            label,
            tuple(one for one in form.all("reason") if one in policy.reasons),
            form.one("note", longest=10_000).strip() or None,
            better if better.strip() else None,
        )
    )
    if form.one("then") == "next":
        return await redirect_to_next(request, layer, policy)
    response = redirect_to(thread_address(known_or_404(thread_id), form, step_id))
    return NOTICES.set(request, response, "saved", step_id)


@router.post("/marks")
async def mark(_person: Reviewer, form: Form, layer: Layer, thread_id: str) -> Response:
    known, kinds = known_or_404(thread_id), ("pin", "flag")
    kind: MarkKind | None = next((one for one in kinds if one == form.one("kind")), None)  # type: ignore[misc]
    if kind is None:
        raise InvalidInput("bad_choice", value=form.one("kind")[:60])
    if form.one("action") == "remove":
        await layer.unmark_thread(known, kind)
    else:
        await layer.mark_thread(known, kind, note=form.one("note", longest=500).strip() or None)
    return redirect_to(thread_address(known, form))


@router.post("/assign")
async def assign(_person: Reviewer, form: Form, layer: Layer, thread_id: str) -> Response:
    step_id = known_or_404(form.one("step_id"))
    await layer.enqueue_answers([step_id], reviewer=form.one("reviewer", longest=300) or None)
    return redirect_to(thread_address(known_or_404(thread_id), form, step_id))


@router.post("/take-over")
async def take_over(
    *, request: Request, person: Reviewer, form: Form, layer: Layer, policy: Policy, thread_id: str
) -> Response:
    known, purpose = known_or_404(thread_id), read_purpose(request)
    needed = await needs_purpose(policy, layer, person, known)
    if needed and purpose is None:
        return redirect_to(thread_address(known, form))
    step_id = form.one("step_id")
    answer = known_or_404(step_id) if step_id else None
    origin = await layer.take_over(
        known,
        step_id=answer,
        purpose=purpose,
        purpose_required=needed,
        title_ending=speaker(request)("copy_ending"),
    )
    return redirect_to(f"/thread/{origin.thread_id}")


@router.post("/better-run")
async def link_better_run(_person: Reviewer, form: Form, layer: Layer, thread_id: str) -> Response:
    known, original = known_or_404(thread_id), form.one("original_step_id")
    await layer.link_better_run(
        known_or_404(form.one("copy_id")),
        known_or_404(form.one("better_step_id")),
        original_step_id=known_or_404(original) if original else None,
    )
    return redirect_to(thread_address(known, form, original))
