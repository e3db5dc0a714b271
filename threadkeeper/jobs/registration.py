"""Every kind of job of the application is registered here."""

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.model import Model
from threadkeeper.jobs.retention import register_retention
from threadkeeper.jobs.takeouts import register_takeouts
from threadkeeper.jobs.titles import register_titles
from threadkeeper.settings.settings import Settings


def register_jobs(layer: ChainlitLayer, settings: Settings, model: Model) -> None:
    register_retention(layer, settings.retention_days, settings.retention_every_hours, settings.usage_payload_days)
    register_takeouts(layer)
    register_titles(layer, model, settings.title_model)
