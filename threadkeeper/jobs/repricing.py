"""The job that recalculates the costs of stored calls, first as a dry run; then it changes exactly what that has shown.

What it has done is in the audit, once, and the part that was done when it was cancelled, interrupted or failed; if the
database is away then, that part is in the log. If prices have changed while it was interrupted, it changes no further
call, and tells which part was done.

The arguments and the result are JSON: times, names of models, counts, and amounts as texts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from datalayer import JobContext
from datalayer.cleaning import utc_now
from datalayer.errors import JobFailed, StorageUnavailable
from datalayer.records.billing import Repricing
from datalayer.records.usage import Price, plain_amount
from threadkeeper.pricing.history import ChatServer
from threadkeeper.pricing.repricing import Progressed, digest_of_published, reprice

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

logger = logging.getLogger(__name__)

REPRICE = "reprice"
SINCE, UNTIL, MODEL, FORGET, PLAN, OF, BY = "since", "until", "model", "forget", "plan", "of", "by"
"""Keys of the arguments. PLAN is the fingerprint of the dry run to carry out, OF its job; without them: a dry run. BY
is the admin who asked."""
PRICES, OWN, PUBLISHED = "prices", "own", "published"
"""Keys of the stored plan: the prices that it was made with: the ids of the operator's, and a digest of others."""
_COUNTS, _AMOUNTS = ("changed", "had_none", "unlisted"), ("before", "after", "unlisted_cost")
_NOTHING: dict[str, Any] = dict.fromkeys((*_COUNTS, *_AMOUNTS), 0)


def register_repricing(layer: "ChainlitLayer", server: ChatServer) -> None:
    """Register the kind.

    Args:
        layer: whose calls are changed.
        server: of the chat's models.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        return await _Run(layer, server, context).work()

    layer.register_job(REPRICE, work)


class _Run:
    """One run of a job."""

    def __init__(self, layer: "ChainlitLayer", server: ChatServer, context: JobContext) -> None:
        self._layer, self._server, self._context, self._given = layer, server, context, context.arguments
        self._is_planned_now = False

    async def work(self) -> dict[str, Any]:
        """Make the plan, and carry it out if it is the one that the admin has seen; gives the result of the job."""
        plan = self._given.get(PLAN)
        # Stored, so that a job that was interrupted goes on: a part of the calls has its new cost then.
        found: dict[str, Any] = await self._context.step("plan", self._make_plan)
        prices = found.pop(PRICES)
        if plan is None or found["fingerprint"] != plan:
            return found | {"applied": False, "differs": plan is not None}
        known, planned = await self._layer.list_prices(), set(prices[OWN])
        # A price never changes, but for its end: these are the prices of the plan.
        own = [replace(one, is_active=one.id in planned) for one in known]
        done, ending = found, {"applied": True, "differs": False}
        if self._is_planned_now:
            done = await self._change(own, _NOTHING)
            ending["differs"] = done["fingerprint"] != plan
        elif prices[PUBLISHED] != digest_of_published(self._server):
            await self._note_end(changed="unknown")
            raise JobFailed(
                "the published prices, or the server of the chat, changed while this was interrupted: a part of the "
                "calls may have the costs of the dry run. Start a new dry run for the others."
            )
        else:
            left = await self._reprice(own, dry_run=True)
            before = _without(found, left)
            if planned == {one.id for one in known if one.is_active}:
                await self._change(own, before)
            else:
                done = before
                is_stopped = bool(left["changed"] or (self._given[FORGET] and left["unlisted"]))
                ending |= {"differs": is_stopped, "stopped": is_stopped}
        await self._note_end(**self._figures(done))
        return done | ending

    async def _make_plan(self) -> dict[str, Any]:
        self._is_planned_now = True
        own = await self._layer.list_prices()
        prices = {OWN: [one.id for one in own if one.is_active], PUBLISHED: digest_of_published(self._server)}
        return await self._reprice(own, dry_run=True) | {PRICES: prices}

    async def _change(self, own: Sequence[Price], before: dict[str, Any]) -> dict[str, Any]:
        """Change the calls; gives what was changed now. `before` was changed in an earlier run of this job."""
        now: dict[str, Any] = _NOTHING

        def progressed(done: Repricing) -> None:
            nonlocal now
            now = _as_json(done)
            if self._context.cancelled:
                raise asyncio.CancelledError

        try:
            return await self._reprice(own, dry_run=False, progressed=progressed)
        except (Exception, asyncio.CancelledError) as error:
            is_interrupted = isinstance(error, StorageUnavailable | asyncio.CancelledError)
            ended = "cancelled" if self._context.cancelled else "interrupted" if is_interrupted else "failed"
            part = self._figures(_sum(before, now))
            await self._note_part(ended=ended, **part)
            raise

    async def _note_part(self, **figures: str) -> None:
        # Not `job`: it may go on, and its end is noted too.
        job_id = self._context.job_id
        noting = asyncio.ensure_future(self._note("at", at=utc_now(), part_of=job_id, **figures))
        while not noting.done():
            # Each heartbeat cancels a job that another process has taken over.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([noting])
        error = "the server stops" if noting.cancelled() else noting.exception()
        if error is not None:
            told = "this part of a recalculation of costs is done, and not in the audit: %s: %s"
            logger.error(told, figures, error, extra={"job_id": job_id})

    async def _reprice(
        self, own: Sequence[Price], *, dry_run: bool, progressed: Progressed = lambda _done: None
    ) -> dict[str, Any]:
        given = self._given
        done = await reprice(
            self._layer,
            self._server,
            given[SINCE],
            until=given[UNTIL],
            models=(given[MODEL],) if given.get(MODEL) else (),
            forget=bool(given[FORGET]),
            dry_run=dry_run,
            own=own,
            progressed=progressed,
        )
        return _as_json(done)

    async def _note_end(self, **figures: str) -> None:
        await self._note("job", job=self._context.job_id, **figures)

    async def _note(self, once: str, **details: str) -> None:
        period = {name: self._given[name] for name in (SINCE, UNTIL)}
        await self._layer.note_admin_act("reprice", self._given[BY], once=once, **period, **details)

    def _figures(self, done: dict[str, Any]) -> dict[str, str]:
        forgotten = {"forgotten": str(done["unlisted"])} if self._given[FORGET] else {}
        return {name: str(done[name]) for name in ("changed", "before", "after")} | forgotten


def _as_json(done: Repricing) -> dict[str, Any]:
    values = asdict(done) | {"by_model": [_plain(asdict(one)) for one in done.by_model]}
    return _plain(values)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: plain_amount(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _without(whole: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """The part of the changes that was made, if these are left."""

    def minus(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        counts = {name: one[name] - other[name] for name in _COUNTS}
        return one | counts | _plain({name: Decimal(one[name]) - Decimal(other[name]) for name in _AMOUNTS})

    not_done = {(one["model"], one["provider"]): one for one in left["by_model"]}
    parts = [minus(one, not_done.get((one["model"], one["provider"]), _NOTHING)) for one in whole["by_model"]]
    return minus(whole, left) | {"by_model": [one for one in parts if one["changed"] or one["unlisted"]]}


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The figures of two parts of the changes."""
    counts = {name: one[name] + other[name] for name in _COUNTS}
    return counts | _plain({name: Decimal(one[name]) + Decimal(other[name]) for name in _AMOUNTS})
