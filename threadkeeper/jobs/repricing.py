"""The job that recalculates the costs of stored calls, first as a dry run; then it changes exactly what that has shown.

The arguments and the result are JSON: times, names of models, counts, and amounts as texts.
"""

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from datalayer import JobContext
from datalayer.records.billing import Repricing
from datalayer.records.usage import plain_amount
from threadkeeper.pricing.history import ChatServer
from threadkeeper.pricing.repricing import reprice

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

REPRICE = "reprice"
SINCE, UNTIL, MODEL, FORGET, PLAN, OF = "since", "until", "model", "forget", "plan", "of"
"""Keys of the arguments. PLAN is the fingerprint of the dry run to carry out, OF its job; without them: a dry run."""


def register_repricing(layer: "ChainlitLayer", server: ChatServer) -> None:
    """Register the kind.

    Args:
        layer: whose calls are changed.
        server: of the chat's models.
    """

    async def work(context: JobContext) -> dict[str, Any]:
        plan = context.arguments.get(PLAN)

        async def run(*, dry_run: bool) -> dict[str, Any]:
            given: Mapping[str, Any] = context.arguments
            models = (given[MODEL],) if given.get(MODEL) else ()
            done = await reprice(
                layer,
                server,
                given[SINCE],
                until=given[UNTIL],
                models=models,
                forget=bool(given[FORGET]),
                dry_run=dry_run,
            )
            return _as_json(done)

        # Stored, so that a job that was interrupted goes on: a part of the calls has its new cost then.
        found: dict[str, Any] = await context.step("plan", lambda: run(dry_run=True))
        if plan is None or found["fingerprint"] != plan:
            return found | {"applied": False, "differs": plan is not None}
        done = await run(dry_run=False)
        return found | {"applied": True, "differs": not context.interruptions and done["fingerprint"] != plan}

    layer.register_job(REPRICE, work)


def _as_json(done: Repricing) -> dict[str, Any]:
    values = asdict(done) | {"by_model": [_plain(asdict(one)) for one in done.by_model]}
    return _plain(values)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: plain_amount(value) if isinstance(value, Decimal) else value for name, value in values.items()}
