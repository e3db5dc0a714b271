"""The pictures of an answer: elements of its message, shown below it and kept with the thread."""

import logging
from collections.abc import Sequence

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.history.elements import STAYS_WITH_VERSION
from threadkeeper.chat.model import Picture
from threadkeeper.chat.wording import say

logger = logging.getLogger(__name__)


async def send_pictures(layer: ChainlitLayer, pictures: Sequence[Picture], answer: cl.Message, language: str) -> None:
    """Store the pictures of an answer, and send them to the page.

    The data layer logs and tells a failure; then the picture is missing.
    """
    for number, picture in enumerate(pictures, 1):
        ending = picture.mime.rpartition("/")[2]
        name = f"{say('picture_name', language, number=number)}.{ending}"
        element = cl.Image(name=name, content=picture.data, mime=picture.mime, display="inline")
        element.for_id = answer.id
        # Chainlit stores what it finds there, although only custom elements declare it.
        setattr(element, "props", {STAYS_WITH_VERSION: True})  # noqa: B010
        try:
            await layer.create_element(element)
            stored = await layer.get_element(element.thread_id, element.id)
        except DataLayerError as error:
            logger.error("a picture of an answer is not stored: %s", error, extra={"step_id": answer.id})
            continue
        if stored is not None:
            # With the address of the file, which the page shows.
            await cl.context.emitter.send_element(stored)
