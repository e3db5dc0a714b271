"""The job that recalculates the costs of stored calls, first as a dry run; then it changes exactly what that has shown.

What it has done is in the audit, once. If prices have changed while it was interrupted, it changes no further call, and
tells which part was done.

The arguments and the result are JSON: times, names of models, counts, and amounts as texts.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from datalayer import JobContext
from datalayer.errors import JobFailed
from datalayer.records.billing import Repricing
from datalayer.records.usage import Price, plain_amount
from threadkeeper.pricing.history import ChatServer
from threadkeeper.pricing.repricing import digest_of_published, reprice

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

REPRICE = "reprice"
SINCE, UNTIL, MODEL, FORGET, PLAN, OF, BY = "since", "until", "model", "forget", "plan", "of", "by"
"""Keys of the arguments. PLAN is the fingerprint of the dry run to carry out, OF its job; without them: a dry run. BY
is the admin who asked."""
PRICES, OWN, PUBLISHED = "prices", "own", "published"
"""Keys of the stored plan: the prices that it was made with: the ids of the operator's, and a digest of others."""
_COUNTS, _AMOUNTS = ("changed", "had_none", "unlisted"), ("before", "after", "unlisted_cost")


def register_repricing(layer: "ChainlitLayer", server: ChatServer) -> None:
    """Register the kind.

    Args:
        layer: whose calls are changed.
        server: of the chat's models.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        given, plan = context.arguments, context.arguments.get(PLAN)
        is_planned_now = False

        async def run(own: Sequence[Price], *, dry_run: bool) -> dict[str, Any]:
            models = (given[MODEL],) if given.get(MODEL) else ()
            done = await reprice(
                layer,
                server,
                given[SINCE],
                until=given[UNTIL],
                models=models,
                forget=bool(given[FORGET]),
                dry_run=dry_run,
                own=own,
            )
            return _as_json(done)

        async def make_plan() -> dict[str, Any]:
            nonlocal is_planned_now
            is_planned_now = True
            own = await layer.list_prices()
            prices = {OWN: [one.id for one in own if one.is_active], PUBLISHED: digest_of_published(server)}
            return await run(own, dry_run=True) | {PRICES: prices}

        async def note(**figures: str) -> None:
            period = {name: given[name] for name in (SINCE, UNTIL)}
            await layer.note_admin_act("reprice", given[BY], once="job", job=context.job_id, **period, **figures)

        # Stored, so that a job that was interrupted goes on: a part of the calls has its new cost then.
        found: dict[str, Any] = await context.step("plan", make_plan)
        prices = found.pop(PRICES)
        if plan is None or found["fingerprint"] != plan:
            return found | {"applied": False, "differs": plan is not None}
        known, planned = await layer.list_prices(), set(prices[OWN])
        # A price never changes, but for its end: these are the prices of the plan.
        own = [replace(one, is_active=one.id in planned) for one in known]
        done, ending = found, {"applied": True, "differs": False}
        if is_planned_now:
            done = await run(own, dry_run=False)
            ending["differs"] = done["fingerprint"] != plan
        elif prices[PUBLISHED] != digest_of_published(server):
            await note(changed="unknown")
            raise JobFailed(
                "the published prices, or the server of the chat, changed while this was interrupted: a part of the "
                "calls may have the costs of the dry run. Start a new dry run for the others."
            )
        elif planned != {one.id for one in known if one.is_active}:
            left = await run(own, dry_run=True)
            done = _without(found, left)
            is_stopped = bool(left["changed"] or (given[FORGET] and left["unlisted"]))
            ending |= {"differs": is_stopped, "stopped": is_stopped}
        else:
            await run(own, dry_run=False)
        forgotten = {"forgotten": str(done["unlisted"])} if given[FORGET] else {}
        await note(**{name: str(done[name]) for name in ("changed", "before", "after")}, **forgotten)
        return done | ending

    layer.register_job(REPRICE, work)


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
    nothing: dict[str, Any] = dict.fromkeys((*_COUNTS, *_AMOUNTS), 0)
    parts = [minus(one, not_done.get((one["model"], one["provider"]), nothing)) for one in whole["by_model"]]
    return minus(whole, left) | {"by_model": [one for one in parts if one["changed"] or one["unlisted"]]}
