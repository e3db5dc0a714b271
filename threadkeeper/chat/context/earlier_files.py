"""The files of the earlier messages, as parts for the model: loaded, or marked as absent."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from threadkeeper.chat.attachments.reader import Attachment, AttachmentRefused, Picture
from threadkeeper.chat.context.refusals import WITHOUT_FILES
from threadkeeper.chat.context.steps import Step, metadata_of
from threadkeeper.chat.messages import Part, TextPart, absent_part, file_part, picture_parts

logger = logging.getLogger(__name__)

Element = Mapping[str, Any]
LoadAttachment = Callable[[Element], Awaitable[Attachment | None]]


class EarlierFiles:
    """The files of a thread.

    Args:
        elements: ElementDicts of the thread.
        sees: whether the model gets the pictures.
        load: reads the file of an ElementDict; None if it is not stored any more.

    Attributes:
        unseen: ids of the steps with pictures that the model does not get.
        left_out: ids of the steps with files that do not fit.
    """

    def __init__(self, elements: Sequence[Element], *, sees: bool, load: LoadAttachment | None) -> None:
        self._of_step: dict[str, list[Element]] = defaultdict(list)
        for element in elements:
            self._of_step[element.get("forId") or ""].append(element)
        self._sees, self._load = sees, load
        self._is_full = False
        self.unseen: set[str] = set()
        self.left_out: set[str] = set()

    async def parts_of(self, step: Step) -> list[Part]:
        """The parts of the files of a question."""
        parts: list[Part] = []
        for element in self._elements(step):
            if self._is_full:
                self.left_out.add(step["id"])
                parts.append(absent_part(_name(element), "it does not fit into this request any more"))
                continue
            loaded = await self._loaded(element)
            if isinstance(loaded, Picture) and not self._sees:
                self.unseen.add(step["id"])
            parts += parts_of([loaded], sees=self._sees) if isinstance(loaded, Attachment) else [loaded]
        return parts

    def leave_out(self, step: Step) -> bool:
        """The files of this question do not fit: from now on, files are marked and not loaded. False: it has none."""
        if self._is_full or not self._elements(step):
            return False
        self._is_full = True
        self.unseen.discard(step["id"])
        return True

    def _elements(self, step: Step) -> list[Element]:
        is_question = step.get("type") == "user_message"
        return [] if not is_question or metadata_of(step).get(WITHOUT_FILES) else self._of_step[step["id"]]

    async def _loaded(self, element: Element) -> Attachment | TextPart:
        """The file of an earlier message, or what the model gets in its place."""
        try:
            attachment = await self._load(element) if self._load else None
        except AttachmentRefused:
            return absent_part(_name(element), "it could not be read")
        except Exception:
            # One old file must not end the conversation; the model learns that the file is missing.
            logger.exception(
                "thread %s: the attachment %s could not be loaded", element.get("threadId"), element.get("id")
            )
            return absent_part(_name(element), "it could not be loaded")
        return absent_part(_name(element), "it is no longer there") if attachment is None else attachment


def parts_of(attachments: Sequence[Attachment], *, sees: bool) -> list[Part]:
    """The parts of files that were read. `sees`: whether the model gets pictures."""
    parts: list[Part] = []
    for attachment in attachments:
        if not isinstance(attachment, Picture):
            parts.append(file_part(attachment.name, attachment.text))
        elif sees:
            parts += picture_parts(attachment.name, attachment.data_url)
        else:
            parts.append(absent_part(attachment.name, "a picture, and this model cannot see pictures"))
    return parts


def _name(element: Element) -> str:
    return element.get("name") or "file"
