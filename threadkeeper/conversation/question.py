"""The question of a turn: its text and its files, from the page or from the store."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.attachments.cache import AttachmentCache
from threadkeeper.chat.attachments.reader import Attachment, AttachmentReader, AttachmentRefused, Picture
from threadkeeper.chat.context.history import Question
from threadkeeper.chat.context.refusals import WITHOUT_FILES
from threadkeeper.conversation.notices import notice
from threadkeeper.settings.settings import Settings


class QuestionReader:
    """Reads questions within the limits of the settings.

    `stored` gives a file of an earlier message, cached; `limits` are those of the files of a question.
    """

    def __init__(self, layer: ChainlitLayer, settings: Settings) -> None:
        self._layer = layer
        self._vision = settings.openai_vision
        self.limits = AttachmentReader(
            kinds=settings.attachment_kinds,
            max_files=settings.attachment_max_files,
            max_total_megabytes=settings.attachment_max_total_megabytes,
            max_megabytes=settings.attachment_max_megabytes,
            max_characters=settings.attachment_max_characters,
            max_pdf_pages=settings.attachment_max_pdf_pages,
        )
        self.stored = AttachmentCache(self._read_stored)

    async def read(self, thread: dict[str, Any], message: cl.Message) -> Question:
        """The question with its files; files of an edited question come from the store.

        Args:
            thread: a ThreadDict; its elements are used if the message has none.

        Raises:
            AttachmentRefused: a file is over a limit, cannot be read, or is a picture that the model cannot take.
        """
        attachments: list[Attachment] = []
        if (message.metadata or {}).get(WITHOUT_FILES):
            return Question(message.content, step_id=message.id)
        if message.elements:
            self.limits.admit(await asyncio.to_thread(_names_and_sizes, message.elements))
            for element in message.elements:
                content = await asyncio.to_thread(Path(element.path).read_bytes) if element.path else b""
                attachments.append(await self.limits.read(element.name, element.mime, content))
        else:
            # The question was edited after its thread was resumed, so its files are in the store.
            own = [element for element in thread["elements"] if element.get("forId") == message.id]
            attachments = [found for element in own if (found := await self.stored(element)) is not None]
        for attachment in attachments:
            self._demand_vision(attachment)
        return Question(message.content, attachments, step_id=message.id)

    async def take(self, element_id: str, name: str, mime: str, content: bytes) -> None:
        """Read a file that is uploaded before its question, which then need not read it again.

        Raises:
            AttachmentRefused: no question could have this file.
        """
        attachment = await self.limits.read(name, mime, content)
        self._demand_vision(attachment)
        self.stored.keep(element_id, attachment)

    def _demand_vision(self, attachment: Attachment) -> None:
        if isinstance(attachment, Picture) and not self._vision:
            raise AttachmentRefused("attachment_no_vision", name=attachment.name)

    async def _read_stored(self, element: Mapping[str, Any]) -> Attachment | None:
        found = await self._layer.open_element(element["threadId"], element["id"])
        if found is None:
            return None
        content = b"".join([chunk async for chunk in found[1]])
        return await self.limits.read(element["name"], element.get("mime"), content)


async def say_notices(question: Question, language: str) -> None:
    """Say on the page what was left out of the attached files."""
    notices = [one.say(language) for attachment in question.attachments for one in attachment.notices]
    if notices:
        await notice("\n\n".join(notices)).send()


def _names_and_sizes(elements: Sequence[Any]) -> list[tuple[str, int]]:
    return [(element.name, Path(element.path).stat().st_size if element.path else 0) for element in elements]
