"""`store`: an exchange is kept as a thread of the key's user, which opens in the browser."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from datalayer import ApiKey, acting_as
from datalayer.cleaning import known_id
from datalayer.records.usage import STOPPED, LlmCall
from threadkeeper.gateway.answer import Answer
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.v1.assistants import AssistantQuestion
from threadkeeper.gateway.v1.conversations import Talk
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.program_turns import KeepExchange, KeptExchange
from threadkeeper.web.auth.keys import demand_scope

logger = logging.getLogger(__name__)

HEADER = b"x-threadkeeper-thread-id"
THREAD_ID = "thread_id"
"""Its name in `metadata`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The thread in which an exchange is kept when it has ended. `question`: of an assistant, if one is asked."""

    keep: KeepExchange
    key: ApiKey
    thread_id: str
    is_new: bool
    talk: Talk
    model: str
    question: AssistantQuestion | None = None

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Of the response."""
        return ((HEADER, self.thread_id.encode()),)

    async def end(self, row: LlmCall, answer: Answer) -> LlmCall:
        """Keep what a server answered, also if its caller left. An answer without text is not kept.

        Gives the row, with the thread: the texts of the call are deleted with it.
        """
        is_whole = row.error_kind is None or row.finish_reason == STOPPED
        if answer.text and is_whole and await self._store(answer.text, row, answer.reason):
            return replace(row, thread_id=self.thread_id)
        return row

    async def after(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        """The pieces of an answer that no server gives; when they have ended, it is kept."""
        texts = []
        async for text in words:
            texts.append(text)
            yield text
        await self._store("".join(texts), None, "stop")

    async def _store(self, text: str, row: LlmCall | None, reason: str | None) -> bool:
        """Whether it is kept."""
        asked, talk = self.question, self.talk
        exchange = KeptExchange(
            self.key,
            self.thread_id,
            self.is_new,
            talk.before,
            talk.question if talk.is_asked or self.is_new else None,
            text,
            self.model,
            reason,
            row,
            assistant=asked.assistant if asked is not None else None,
            passages=asked.passages if asked is not None else {},
            training_id=asked.training_id if asked is not None else None,
            is_unknown=asked is not None and asked.idk is not None,
        )
        try:
            await self.keep(exchange)
        except Exception:
            # The program has its answer all the same.
            logger.exception("an exchange is not kept as a thread", extra={"thread_id": self.thread_id})
            return False
        return True


def wants_store(value: Mapping[str, Any]) -> bool:
    """Whether a request asks to be kept."""
    return value.get("store") is True


async def kept(parts: V1Parts, key: ApiKey, value: dict[str, Any], talk: Talk, model: str) -> Kept | None:
    """The thread in which a request asks to be kept; None if it does not.

    Raises:
        Refused: the user of the key has no such thread.
        KeyRefused: the key may not write threads.
        DataLayerError: the thread cannot be looked up.
    """
    if not wants_store(value) or parts.keep is None or parts.layer is None:
        return None
    demand_scope(key, "threads:write")
    metadata = value.get("metadata")
    wanted = metadata.get(THREAD_ID) if isinstance(metadata, dict) else None
    if wanted is None:
        return Kept(parts.keep, key, str(uuid.uuid4()), True, talk, model)
    thread_id = known_id(wanted)
    with acting_as(key.owner):
        author = await parts.layer.get_thread_author(thread_id) if thread_id is not None else None
    if thread_id is None or author != key.owner:
        sentence = f"{key.owner} has no thread {str(wanted)[:60]!r}."
        raise Refused(404, "thread_not_found", sentence, param="metadata.thread_id")
    return Kept(parts.keep, key, thread_id, False, talk, model)


def without_store(path: str, value: dict[str, Any], kept_in: Kept) -> dict[str, Any]:
    """The body for the server of an exchange that is kept here.

    Chat completions need not be stored there too, and have metadata only if they are. Responses can be gone on with
    there, so they are; their metadata come back with the answer.
    """
    if path == "chat/completions":
        return {name: one for name, one in value.items() if name not in ("store", "metadata")}
    metadata = value.get("metadata")
    return {**value, "metadata": {**(metadata if isinstance(metadata, dict) else {}), THREAD_ID: kept_in.thread_id}}
