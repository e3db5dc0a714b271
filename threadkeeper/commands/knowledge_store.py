"""What the commands of `threadkeeper knowledge` share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalayer import JobContext, JobFailed
from datalayer.assistants.assistants import Assistants
from datalayer.jobs.jobs import Jobs
from datalayer.knowledge.knowledge import Knowledge
from datalayer.records.knowledge import Training
from threadkeeper.commands.terminal import settings_or_end, with_layer
from threadkeeper.knowledge import acts
from threadkeeper.knowledge.source_acts import SourceChange
from threadkeeper.knowledge.wording import say_taken

if TYPE_CHECKING:
    from threadkeeper.settings.settings import Settings

Slug = Annotated[str, typer.Argument(help="The slug of the assistant, as in `assistants list`.", show_default=False)]
LANGUAGE = "en"


class KnowledgeStore(Assistants, Jobs, Knowledge):
    """Assistants, what they know, and the jobs that train them."""

    def register_trainings(self) -> None:
        """Let trainings be started here, for the servers to run."""

        async def only_servers_train(_context: JobContext) -> None:
            raise JobFailed("a command runs no jobs")

        self.register_job(acts.TRAINING, only_servers_train)


def with_knowledge(work: Any, settings: "Settings | None" = None) -> Any:
    async def with_trainings(store: KnowledgeStore) -> Any:
        store.register_trainings()
        return await work(store)

    return with_layer(KnowledgeStore, settings or settings_or_end(), with_trainings, files=True)


def say_put(change: SourceChange, name: str) -> None:
    done = {"added": "Added", "replaced": "Replaced", "unchanged": "Unchanged:"}[change.done]
    typer.echo(f"{done} {name}.")
    for sentence in say_taken(change.taken, name, LANGUAGE) if change.taken else ():
        typer.echo(f"  {sentence}")


def say_started(training: Training | None) -> None:
    if training is not None:
        typer.echo(f"Training {training.number} is started, because the assistant trains on change.")
