"""The job that trains an assistant, and the one that starts trainings that are due.

The state of a training is in the database, so its job needs no steps: it goes on where it was cut. A job that is
cancelled cancels its training, one that fails fails it. One that is interrupted leaves it as it is, and the next
process goes on with it. `knowledge.acts` starts and cancels trainings.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from datalayer import JobContext, JobFailed, JobSchedule
from datalayer.errors import AlreadyExists, DataLayerError, JobLater, NotFound, StorageUnavailable
from datalayer.records.knowledge import FETCHED_KINDS, RUNNING, Training
from threadkeeper.knowledge.acts import TRAINING, end_if_lost, seconds_since, start_training, train_after_change

if TYPE_CHECKING:
    # The pages use the acts, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

logger = logging.getLogger(__name__)

TRAININGS_AT_ONCE = 2
"""In one process, so that a long training does not hold up all others."""
DUE = "trainings-due"
_DAY_SECONDS = 24 * 3600.0
# What a training on change has missed, because it failed or its server died, is due after a day too.
_DUE_SECONDS = {"on_change": _DAY_SECONDS, "daily": _DAY_SECONDS, "weekly": 7 * _DAY_SECONDS}
_LOOK_SECONDS = 3600.0
_FIRST_AFTER_SECONDS = 60.0


class Train(Protocol):
    async def __call__(
        self,
        training_id: str,
        *,
        progress: Callable[[Training], Awaitable[None]],
        cancelled: Callable[[], Awaitable[bool]],
    ) -> Training:
        """Run a training to its end, as `Trainer.train` does. Raises JobFailed with the reason why it failed."""


def register_trainings(layer: "ChainlitLayer", train: Train) -> None:
    async def run(context: JobContext) -> dict[str, Any]:
        training_id, slug = str(context.arguments["training"]), str(context.arguments["assistant"])
        before = await _edits(layer, slug)
        try:
            ended = await _trained(layer, train, context, training_id)
        except (StorageUnavailable, JobLater):
            # The job is begun again.
            raise
        except Exception:
            # The same sources would fail again.
            if before != await _edits(layer, slug):
                await _train_changes(layer, slug)
            raise
        if ended.state == "success" and (await layer.knowledge_states([slug]))[slug].changed_sources:
            await _train_changes(layer, slug)
        return {"state": ended.state, "number": ended.number, "documents": ended.counts.documents}

    async def start_due(_context: JobContext) -> dict[str, list[str]]:
        assistants = {one.slug: one for one in await layer.list_assistants()}
        started, lost = [], []
        for slug, state in (await layer.knowledge_states(list(assistants))).items():
            start = assistants[slug].settings.training
            if state.newest in RUNNING:
                if await end_if_lost(layer, slug):
                    lost.append(slug)
            elif start != "by_hand" and state.sources:
                newest = await layer.list_trainings(slug, 1)
                if newest and seconds_since(newest[0].created_at) < _DUE_SECONDS[start]:
                    continue
                # What is at an address changes without a word.
                is_fetched = any(one.kind in FETCHED_KINDS for one in await layer.list_sources(slug))
                if not state.changed_sources and not (is_fetched and start != "on_change"):
                    continue
                try:
                    await start_training(layer, slug)
                except (AlreadyExists, NotFound) as error:
                    logger.info("no training of the assistant %s is started: %s", slug, error)
                else:
                    started.append(slug)
        return {"started": started, "lost": lost}

    layer.register_job(TRAINING, run, at_once=TRAININGS_AT_ONCE)
    layer.register_job(DUE, start_due, schedule=JobSchedule(_LOOK_SECONDS, _FIRST_AFTER_SECONDS))


async def _trained(layer: "ChainlitLayer", train: Train, context: JobContext, training_id: str) -> Training:
    """The training as it has ended. However it ends, its row says so, unless the job is to be begun again."""

    async def show(training: Training) -> None:
        # A cancelled job ends between documents, and not within one.
        if not context.cancelled:
            counts = training.counts
            text = f"{counts.documents:,} documents, {counts.passages:,} passages"
            await context.progress(training.done_sources, training.expected_sources, text)

    async def is_cancelled() -> bool:
        return context.cancelled

    try:
        ended = await train(training_id, progress=show, cancelled=is_cancelled)
        await show(ended)
    except asyncio.CancelledError:
        if context.cancelled:
            await layer.cancel_training(training_id)
        raise
    except (StorageUnavailable, JobLater):
        # The job is begun again.
        raise
    except DataLayerError as error:
        failure = {"kind": "job", "values": {"reason": str(error)}}
        await layer.fail_training(training_id, str(error), failure)
        raise
    except Exception as error:
        name = type(error).__name__
        failure = {"kind": "unexpected", "values": {"name": name}}
        await layer.fail_training(training_id, f"unexpected error ({name}); see the server's log", failure)
        raise
    if ended.state == "failed":
        raise JobFailed(f"{(ended.error or '').rstrip('.')}. This training has ended: start a new one.")
    return ended


async def _edits(layer: "ChainlitLayer", slug: str) -> set[tuple[str, str | None]]:
    """The sources with the times at which somebody changed them. A training that fetches one changes no time."""
    return {(one.id, one.updated_at) for one in await layer.list_sources(slug)}


async def _train_changes(layer: "ChainlitLayer", slug: str) -> None:
    """Train what changed during a training, if the assistant trains on change."""
    try:
        await train_after_change(layer, slug)
    except NotFound:
        logger.info("the assistant %s was deleted while it was trained", slug)
