"""What reviewers do with an answer or its thread: judge, flag, pin, assign, take over, link a better run."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from datalayer.records.review import MarkKind, Verdict
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.shell import BadAddress, Pages, speaker
from threadkeeper.web.review import purposes
from threadkeeper.web.review.addresses import is_own, known_or_gone, thread_address, to
from threadkeeper.web.review.notices import keep_notice
from threadkeeper.web.review.queue import next_of_queue
from threadkeeper.web.review.reader import ReviewReader

LONGEST_BETTER_ANSWER = 100_000


def acts_router(layer: Callable[[], ReviewReader], pages: Pages, policy: ReviewPolicy) -> APIRouter:
    """What is posted from the page of a thread.

    Args:
        layer: gives the data layer.
        pages: writes the pages of what fails.
        policy: what the operator decides.
    """
    router = APIRouter(route_class=pages.route())

    @router.post("/review/threads/{thread_id}/verdicts", include_in_schema=False)
    async def judge(request: Request, person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        step_id = known_or_gone(form.one("step_id"))
        if form.one("action") == "remove":
            await layer().remove_verdict(step_id)
            return to(thread_address(known_or_gone(thread_id), form, step_id))
        label = form.one("label", longest=100)
        if label not in policy.labels:
            raise BadAddress("bad_label")
        better = form.one("better_answer", longest=LONGEST_BETTER_ANSWER)
        await layer().put_verdict(
            Verdict(
                step_id,
                label,
                tuple(one for one in form.all("reason") if one in policy.reasons),
                form.one("note", longest=10_000).strip() or None,
                better if better.strip() else None,
            )
        )
        if form.one("then") == "next":
            return await next_of_queue(request, layer(), policy)
        return keep_notice(request, to(thread_address(known_or_gone(thread_id), form, step_id)), "saved", step_id)

    @router.post("/review/threads/{thread_id}/marks", include_in_schema=False)
    async def mark(person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        known, kinds = known_or_gone(thread_id), ("pin", "flag")
        kind: MarkKind | None = next((one for one in kinds if one == form.one("kind")), None)  # type: ignore[misc]
        if kind is None:
            raise BadAddress("bad_choice", value=form.one("kind")[:60])
        if form.one("action") == "remove":
            await layer().unmark_thread(known, kind)
        else:
            await layer().mark_thread(known, kind, note=form.one("note", longest=500).strip() or None)
        return to(thread_address(known, form))

    @router.post("/review/threads/{thread_id}/assign", include_in_schema=False)
    async def assign(person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        step_id = known_or_gone(form.one("step_id"))
        await layer().enqueue_answers([step_id], reviewer=form.one("reviewer", longest=300) or None)
        return to(thread_address(known_or_gone(thread_id), form, step_id))

    @router.post("/review/threads/{thread_id}/take-over", include_in_schema=False)
    async def take_over(request: Request, person: Reviewer, form: Form, thread_id: str) -> Response:
        known, purpose = known_or_gone(thread_id), purposes.said_purpose(request)
        needed = policy.asks_purpose and not await is_own(layer(), person, known)
        if needed and purpose is None:
            return to(thread_address(known, form))
        step_id = form.one("step_id")
        answer = known_or_gone(step_id) if step_id else None
        origin = await layer().take_over(
            known,
            step_id=answer,
            purpose=purpose,
            purpose_required=needed,
            title_ending=speaker(request)("copy_ending"),
        )
        return to(f"/thread/{origin.thread_id}")

    @router.post("/review/threads/{thread_id}/better-run", include_in_schema=False)
    async def link_better_run(person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        known, original = known_or_gone(thread_id), form.one("original_step_id")
        await layer().link_better_run(
            known_or_gone(form.one("copy_id")),
            known_or_gone(form.one("better_step_id")),
            original_step_id=known_or_gone(original) if original else None,
        )
        return to(thread_address(known, form, original))

    return router
