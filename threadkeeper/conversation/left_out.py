"""Tells the user, once per thread, what the model does not get of the earlier messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from threadkeeper.chat.context.history import Context
from threadkeeper.chat.context.reductions import Reduction
from threadkeeper.chat.context.steps import metadata_of
from threadkeeper.chat.wording import say
from threadkeeper.conversation.notices import notice

# The keys of the sentences, which mark the notices in the thread.
_OLDER, _FILES, _PICTURES, _REFUSED = "older_left_out", "files_left_out", "pictures_left_out", "older_refused"
_KEYS = (_OLDER, _FILES, _PICTURES, _REFUSED)


class LeftOutNotices:
    """The notices of one thread.

    Args:
        steps: its StepDicts so far, which show what was said already.
        model: the model that is asked.
        language: of the user.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], model: str, language: str) -> None:
        self._said = {key for step in steps for key in _KEYS if metadata_of(step).get(key)}
        self._model, self._language = model, language

    async def say(self, context: Context, reduction: Reduction) -> None:
        found = {
            _OLDER: context.left_out > 0,
            _FILES: context.files_left_out,
            _PICTURES: context.pictures_left_out,
            _REFUSED: reduction.leaves_messages_out,
        }
        for key in [key for key, is_left_out in found.items() if is_left_out and key not in self._said]:
            self._said.add(key)
            await notice(say(key, self._language, model=self._model), **{key: True}).send()
