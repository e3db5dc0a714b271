"""Whether the chat's first page is still to send a new operator to the first steps."""

from typing import Annotated

from fastapi import Depends, Request

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer

PAGE = "/admin/start"


class FirstStart:
    """Asks the layer until an admin has seen the first steps, and then no more."""

    def __init__(self, layer: ChainlitLayer) -> None:
        self._layer = layer
        self._is_over = False

    async def is_due(self) -> bool:
        """Whether the first start made an admin, and no admin has seen the page of the first steps.

        Raises:
            StorageUnavailable: the database cannot be read at the moment.
        """
        if not self._is_over:
            with acting_as(SYSTEM):
                shown = (await self._layer.first_steps()).shown
            self._is_over = "begun_at" not in shown or "seen_at" in shown
        return not self._is_over


async def _first_start(request: Request) -> FirstStart:
    first_start: FirstStart = request.state.first_start
    return first_start


First = Annotated[FirstStart, Depends(_first_start)]
