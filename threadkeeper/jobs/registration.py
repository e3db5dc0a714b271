"""Every kind of job of the application is registered here."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from datalayer.backup.manifest import POSTGRES_DUMP
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.database import dialect_of
from datalayer.errors import JobFailed
from datalayer.records.knowledge import Training
from threadkeeper.chat.model import Model
from threadkeeper.jobs.backups import register_backups
from threadkeeper.jobs.imports import register_imports
from threadkeeper.jobs.repricing import register_repricing
from threadkeeper.jobs.retention import register_retention
from threadkeeper.jobs.takeouts import register_takeouts
from threadkeeper.jobs.titles import register_titles
from threadkeeper.jobs.trainings import Train, register_trainings
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.suggestions import Suggester
from threadkeeper.pricing.history import ChatServer
from threadkeeper.settings.settings import Settings


def register_jobs(layer: ChainlitLayer, settings: Settings, model: Model, knowledge: KnowledgeOnDemand) -> None:
    register_retention(layer, settings.retention_days, settings.retention_every_hours, settings.usage_payload_days)
    register_takeouts(layer)
    register_imports(layer, settings.data_dir.absolute() / "imports", settings.retention_days.get("threads"))
    if dump_line(settings) is None:
        register_backups(layer, settings.resolved_database_url, settings.data_dir.absolute() / "backups")
    register_repricing(layer, server_of(model))
    register_titles(layer, model, settings.title_model)
    suggester = Suggester(layer, model, settings.title_model)
    register_trainings(layer, training_with(knowledge, suggester))


def server_of(model: Model) -> ChatServer:
    """The server of the chat's models, for their prices."""
    return ChatServer() if model.demo else ChatServer(model.source.provider, model.source.base_url)


def dump_line(settings: Settings) -> str | None:
    """The command that copies the database for a backup; None if the server can copy it itself.

    Raises:
        ConfigurationError: the URL of the database is not valid.
    """
    dialect = dialect_of(settings.resolved_database_url)
    if dialect.copy_database is not None:
        return None
    return dialect.dump_commands(settings.resolved_database_url, Path("/backups/today") / POSTGRES_DUMP)[0]


def training_with(knowledge: KnowledgeOnDemand, suggester: Suggester | None = None) -> Train:
    """Trains with the knowledge of this process, which is opened for the first training.

    Args:
        suggester: makes the questions of trainings that succeed; None: nobody does.
    """

    async def train(
        training_id: str,
        *,
        progress: Callable[[Training], Awaitable[None]],
        cancelled: Callable[[], Awaitable[bool]],
    ) -> Training:
        try:
            trainer = (await knowledge.service()).trainer
        except NoKnowledge as error:
            raise JobFailed(str(error)) from error
        from threadkeeper.knowledge.training import TrainingFailed  # noqa: PLC0415  the service has imported it

        try:
            ended = await trainer.train(training_id, progress=progress, cancelled=cancelled)
        except TrainingFailed as error:
            raise JobFailed(str(error)) from error
        # It answers already. A process that dies here does this again, and nothing else.
        if suggester is not None:
            await suggester.suggest(ended)
        return ended

    return train
