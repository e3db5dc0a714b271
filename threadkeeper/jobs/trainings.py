"""The job that trains an assistant. Its state is in the database, so it needs no steps: it goes on where it was cut.

A job that is cancelled cancels its training, one that fails fails it. One that is interrupted leaves it as it is, and
the next process goes on with it. `knowledge.acts` starts and cancels trainings.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from datalayer import JobContext, JobFailed
from datalayer.errors import DataLayerError, JobLater, StorageUnavailable
from datalayer.records.knowledge import Training
from threadkeeper.knowledge.acts import TRAINING

if TYPE_CHECKING:
    # The pages use the acts, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

logger = logging.getLogger(__name__)

TRAININGS_AT_ONCE = 2
"""In one process, so that a long training does not hold up all others."""


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
        training_id = str(context.arguments["training"])

        async def show(training: Training) -> None:
            # A cancelled job ends between documents, and not within one.
            if not context.cancelled:
                await context.progress(training.done_sources, training.expected_sources)

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
            await layer.fail_training(training_id, str(error))
            raise
        except Exception as error:
            await layer.fail_training(training_id, f"unexpected error ({type(error).__name__}); see the server's log")
            raise
        if ended.state == "failed":
            raise JobFailed(f"{ended.error} This training has ended: start a new one.")
        return {"state": ended.state, "number": ended.number, "documents": ended.counts.documents}

    layer.register_job(TRAINING, run, at_once=TRAININGS_AT_ONCE)
