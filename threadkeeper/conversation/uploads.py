"""Files that programs upload: elements of a thread that are of no message, until a question names them."""

import asyncio
import logging
import mimetypes
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chainlit as cl
from chainlit.element import Element

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError, InvalidRecord, NotFound
from threadkeeper.chat.attachments.reader import AttachmentRefused
from threadkeeper.conversation.program_turn import send_to_pages
from threadkeeper.conversation.question import QuestionReader
from threadkeeper.program_turns import TurnRefused

logger = logging.getLogger(__name__)

_ENGLISH = "en"
_UNKNOWN = "application/octet-stream"


async def take_file(
    layer: ChainlitLayer, questions: QuestionReader, thread_id: str, *, name: str, mime: str | None, path: Path
) -> str:
    """As `threadkeeper.program_turns.AskThread.take_file`."""
    named = mime if mime and mime != _UNKNOWN else mimetypes.guess_type(name)[0] or _UNKNOWN
    element_id = str(uuid.uuid4())
    try:
        await questions.take(element_id, name, named, await asyncio.to_thread(path.read_bytes))
    except AttachmentRefused as refused:
        raise TurnRefused("file-refused", refused.notice.say(_ENGLISH)) from None
    kinds: dict[str, Any] = {"image": cl.Image, "pdf": cl.Pdf}
    kind = kinds.get(Element.infer_type_from_mime(named), cl.File)
    # As Chainlit makes an element of what a page uploads.
    element = kind(thread_id=thread_id, id=element_id, name=name, mime=named, path=str(path), display="inline")
    await layer.create_element(element)
    return element_id


async def attach_files(
    layer: ChainlitLayer, questions: QuestionReader, question: dict[str, Any], element_ids: Sequence[str]
) -> None:
    """Let the uploaded files belong to the question, which is not stored yet.

    Raises:
        TurnRefused: there are too many, or one is not there or belongs to another message.
    """
    if not element_ids:
        return
    try:
        questions.limits.admit_count(len(set(element_ids)))
        await layer.attach_elements(
            question["threadId"], element_ids, question["id"], most_bytes=questions.limits.most_bytes_together
        )
    except AttachmentRefused as refused:
        raise TurnRefused("file-refused", refused.notice.say(_ENGLISH)) from None
    except InvalidRecord:
        raise TurnRefused("file-refused", questions.limits.too_large_together().notice.say(_ENGLISH)) from None
    except NotFound:
        sentence = "The thread has no such file, or the file belongs to a message already."
        raise TurnRefused("file-refused", sentence) from None


async def release_files(layer: ChainlitLayer, question: dict[str, Any]) -> None:
    """Let the files of a question that could not be stored be of no message again, for the next try."""
    try:
        await layer.detach_elements(question["threadId"], question["id"])
    except DataLayerError as error:
        ids = {"thread_id": question["threadId"], "step_id": question["id"]}
        logger.error("the files of a question that was not stored can be of no other: %s", error, extra=ids)


async def show_files(layer: ChainlitLayer, owner: str, thread_id: str, element_ids: Sequence[str]) -> None:
    """Send the files to the pages that have the thread open."""
    for one in element_ids:
        if (element := await layer.get_element(thread_id, one)) is not None:
            await send_to_pages(thread_id, owner, "element", element)
