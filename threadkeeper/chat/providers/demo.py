"""The answer when no language model is configured: it says that it is a demo, and how to connect a model.

It does not pretend to understand the message; it only reports what can be counted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from threadkeeper.chat.messages import attached_names, typed_text
from threadkeeper.chat.model import AnswerEvent, Completion, Delta, Finish, ModelRequest, Source
from threadkeeper.chat.wording import say

SECONDS_PER_WORD = 0.02

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_KANA_OR_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_WORDS = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+\s*|\s+")


class DemoModel:
    demo = True
    source = Source("demo", "")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        for word in _WORDS.findall(demo_answer(request)):
            yield Delta(word)
            await asyncio.sleep(SECONDS_PER_WORD)
        yield _FINISH

    async def complete(self, request: ModelRequest) -> Completion:
        return Completion(demo_answer(request), _FINISH)

    async def load(self) -> None:
        """Does nothing: everything is loaded."""

    async def close(self) -> None:
        """Does nothing: no connection is open."""


# No tokens were billed, so none are reported.
_FINISH = Finish("stop", None, "demo")


def demo_answer(request: ModelRequest) -> str:
    """The text of the answer: in Chinese if the newest message is written in Chinese, else in English."""
    if request.demo_answer:
        return request.demo_answer
    question = request.messages[-1]
    typed = typed_text(question)
    language = "zh" if _CHINESE.search(typed) and not _KANA_OR_HANGUL.search(typed) else "en"
    received = say("demo_received", language, messages=len(request.messages), characters=len(typed))
    if names := attached_names(question):
        quoted = say("names_between", language).join(f"`{name.replace('`', chr(39))}`" for name in names)
        received = f"{received} {say('demo_attachments', language, names=quoted)}"
    paragraphs = [say("demo_answer", language), received, say("demo_connect", language), say("demo_kept", language)]
    return "\n\n".join(paragraphs)
