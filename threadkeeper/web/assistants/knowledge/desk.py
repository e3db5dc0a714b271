"""What each page of the knowledge of an assistant needs: who asks, the assistant, and the sources.

The routes require that the reader may edit the assistant, and then read as the system, because the data layer gives
knowledge to nobody else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Depends, HTTPException, Request, Response

from datalayer import SYSTEM, DataSource, Training, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import Assistant
from threadkeeper.knowledge.acts import demand_editable
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.loading import LoadLimits, LoadRefused
from threadkeeper.knowledge.wording import say_refused
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

_LONGEST_STEM = 180
_LONGEST_SUFFIX = 20


@dataclass(frozen=True, slots=True)
class AssistantDesk:
    """The request of a person who may edit the assistant."""

    request: Request
    person: Person
    pages: PageWriter
    zone: ZoneInfo
    layer: ChainlitLayer
    limits: LoadLimits
    places: Places
    assistant: Assistant

    @property
    def say(self) -> Say:
        return speaker(self.request)

    @property
    def slug(self) -> str:
        return self.assistant.slug

    @property
    def here(self) -> str:
        """The address of the page of the knowledge."""
        return f"/assistants/{quote(self.slug)}/knowledge"

    def page(self, template: str, values: dict[str, Any], status: int = 200, page_address: str = "") -> Response:
        values = {"assistant": self.assistant, "here": self.here, **values}
        return self.pages.page(
            self.request,
            f"assistants/knowledge/{template}",
            values,
            person=self.person,
            zone=self.zone,
            status=status,
            page_address=page_address,
        )

    def refused(self, refusal: LoadRefused, name: str) -> str:
        """Why a file was not taken."""
        return say_refused(refusal.refusal, name, self.limits, self.say.language, refusal.missing)

    async def source(self, source_id: str) -> DataSource:
        """The data source of the assistant.

        Raises:
            HTTPException: it has none of this id.
        """
        with acting_as(SYSTEM):
            found = await self.layer.get_source(source_id)
        if found is None or found.assistant_id != self.slug:
            raise HTTPException(404)
        return found

    async def content(self, source: DataSource) -> bytes:
        """The file of a data source."""
        with acting_as(SYSTEM):
            return (await self.layer.read_source(source.id))[1]

    async def training(self, training_id: str) -> Training:
        """The training of the assistant.

        Raises:
            HTTPException: it has none of this id.
        """
        with acting_as(SYSTEM):
            found = await self.layer.get_training(training_id)
        if found is None or found.assistant_id != self.slug:
            raise HTTPException(404)
        return found

    async def names(self, trainings: Sequence[Training]) -> dict[str, str]:
        """The names of those who started these trainings, by their ids."""
        with acting_as(SYSTEM):
            return await self.layer.names_of_users({one.started_by for one in trainings if one.started_by})


async def _desk(
    *, request: Request, person: LoggedIn, pages: Pages, zone: Zone, layer: Layer, slug: str
) -> AssistantDesk:
    limits: LoadLimits = request.state.knowledge_limits
    places: Places = request.state.knowledge_places
    return AssistantDesk(request, person, pages, zone, layer, limits, places, await demand_editable(layer, slug))


Desk = Annotated[AssistantDesk, Depends(_desk)]


def whole(text: str | None) -> int:
    """The text as a number; 0 if it is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else 0


def title_of(file_name: str) -> str:
    """The title of a source whose file has this name. Its ending stays, because it decides between formats of text."""
    name = " ".join(PurePath(file_name.replace("\\", "/")).name.split())
    path = PurePath(name)
    return path.stem[:_LONGEST_STEM] + path.suffix[:_LONGEST_SUFFIX]


def with_ending(title: str, ending_of: str) -> str:
    """The title with the ending of another one."""
    suffix = PurePath(ending_of).suffix
    return title_of(title if title.lower().endswith(suffix.lower()) else f"{title}{suffix}")
