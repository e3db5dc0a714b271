"""A day of chats with every odd model of the scripted server: questions, files, edits, buttons, stops and reloads."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.chat_client import ChatClient
from tests.support.model_server import THOUGHTS, Recorded
from tests.support.odd_streams import BODIES, CONTENTS, ENDS, FIRST_CHUNKS, USAGES
from tests.support.sample_files import picture, text_file

PASSWORD = "a long password"
WORDS = 30
# They send nothing, words, or a thought, and then nothing more until the user stops them: how fast the machine is does
# not decide what is stopped.
STOPPED_MODELS = ("hang", f"hang:{WORDS}", "think-hang:unclosed", "think-hang:reasoning_content")
MODELS = (
    *(
        "echo",
        "context-echo",
        "bytes",
        "comments",
        "returns",
        "late",
        "no-done",
        "no-usage",
        "odd-usage",
        "json",
        "html",
    ),
    *("garbage", "empty", "length", "filtered", "cut:5", "cut:0", "short:4", "error:3", "error:0"),
    *("401", "403", "404", "500", "500:1", "503", "429", "429:1:0", "429:3:0", "quota", "nobody-knows-it"),
    *("refuse:temperature", "refuse:stream_options", "refuse:stream", "window:60"),
    *(f"usage:{name}" for name in USAGES),
    *(f"ends:{name}" for name in ENDS),
    *(f"body:{name}" for name in BODIES),
    *(f"first:{name}:gpt-4o-mini" for name in FIRST_CHUNKS),
    *(f"content:{name}" for name in CONTENTS),
    *("choices:counted", "choices:beside", "choices:between", "ndjson"),
    *("others:images", "others:audio", "others:images:alone", "others:tool_calls:alone"),
    *(f"think:{shape}" for shape in THOUGHTS),
    *("think-limit:think", "think-limit:reasoning", "think-only:closing", "think-only:anthropic"),
    *("no-system", "no-system-template", "no-system-detail", "alternate", "no-stream-options"),
    *("no-pictures", "no-pictures-openrouter", "no-pictures-llama", "no-pictures-500", "no-pictures-string"),
    *("small-pictures:5", "filter:forbidden", "filter-all:forbidden", "grumpy:forbidden", "broken:forbidden"),
    *("filter-answers:forbidden", "broken-answers:forbidden"),
    *("gemini-window:600", "grok-window:600", "litellm-quota", "litellm-unknown", "busy:1:0"),
)
# These answer any thread whose last question is harmless, whatever happened in it before.
ANSWERING = (
    *("alternate", "no-system", "no-system-detail", "no-system-template", "no-stream-options", "no-pictures"),
    *("no-pictures-llama", "no-pictures-500", "no-pictures-string", "small-pictures:5", "filter:forbidden"),
    *("filter-all:forbidden", "filter-answers:forbidden", "grumpy:forbidden", "gemini-window:600"),
    *("grok-window:600", "think:think"),
    *("think:mistral", "usage:zeros", "first:azure:gpt-4o-mini", "json"),
)
_ACTS = ("edit", "press", "stop", "reload", None, None)
_BUTTONS = ("regenerate", "try_again", "continue_answer")


@dataclass(frozen=True)
class Turn:
    """A question to a model, with a file or without, and what the user does then."""

    model: str
    file: str | None
    words: str
    act: str | None


def planned(chance: random.Random, count: int) -> list[Turn]:
    """Turns that ask each model at least once."""
    models = [*MODELS, *(chance.choice(MODELS) for _ in range(count - len(MODELS)))]
    chance.shuffle(models)
    return [
        Turn(
            model,
            chance.choice(["picture", "text", None, None, None, None]),
            chance.choice(["forbidden fruit", "你好", "cats", "dogs", "word " * 50]),
            chance.choice(_ACTS),
        )
        for model in models
    ]


@dataclass
class Conversation:
    """One thread of one user. Its name is in each of its questions, so each request to a model shows its thread.

    `requests`: those that the model server has recorded so far.
    """

    base_url: str
    user: str
    name: str
    chance: random.Random
    requests: list[Recorded]
    done: Counter[str] = field(default_factory=Counter)
    thread_id: str = ""
    _client: ChatClient | None = None
    _is_titled: bool = False

    @property
    def client(self) -> ChatClient:
        assert self._client is not None
        return self._client

    async def open(self) -> None:
        """Open the thread in a new tab."""
        await self.close()
        client = ChatClient(self.base_url, self.user, PASSWORD, thread_id=self.thread_id or None)
        self._client = await client.__aenter__()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def use(self, turn: Turn) -> None:
        seen = len(self.client.events)
        files = await self._upload(turn.file)
        await self.client.send(f"{self.name}: {turn.words}", modes={"model": turn.model}, files=files)
        await self._ended(seen)
        match turn.act:
            case "edit":
                await self._edit()
            case "press":
                await self._press()
            case "stop":
                await self._stop()
            case "reload":
                await self.open()
                self.done["reload"] += 1
        self.done["question"] += 1

    async def ask(self, text: str, model: str) -> list[dict[str, Any]]:
        """Ask, and return the new messages of the assistant, notices included."""
        known = set(self.client.steps)
        await self.client.ask(text, modes={"model": model})
        await self._titled()
        return [step for step in self.client.answers() if step["id"] not in known]

    async def _ended(self, seen: int) -> None:
        await self.client.until(lambda: any(name == "task_end" for name, _ in self.client.events[seen:]))
        await self._titled()

    async def _titled(self) -> None:
        self.thread_id = self.client.thread_id or self.thread_id
        self._is_titled = self._is_titled or await self.client.titled()

    async def _upload(self, kind: str | None) -> list[str]:
        if kind is None:
            return []
        self.done[kind] += 1
        file = picture("cat.png") if kind == "picture" else text_file("notes.txt", "Some notes about animals")
        return [await self.client.upload(file["name"], file["buffer"], file["mimeType"])]

    async def _edit(self) -> None:
        asked = [step for step in (await self.client.stored())["steps"] if step["type"] == "user_message"]
        questions = [step for step in asked[-2:] if step["modes"]["model"] not in STOPPED_MODELS]
        seen = len(self.client.events)
        edited = {**self.chance.choice(questions), "output": f"{self.name}: an edited question"}
        await self.client.emit("edit_message", {"message": edited})
        await self._ended(seen)
        self.done["edit"] += 1

    async def _press(self) -> None:
        """Press one of the buttons under the last answer, if it has any."""
        shown: dict[str, dict[str, Any]] = {}
        for event, data in self.client.events:
            if event == "action" and data["name"] in _BUTTONS:
                shown[data["id"]] = data
            elif event == "remove_action":
                shown.pop(data["id"], None)
        if shown:
            action, seen = self.chance.choice([*shown.values()]), len(self.client.events)
            body = {"sessionId": self.client.session_id, "action": action}
            (await self.client.http.post("/project/action", json=body)).raise_for_status()
            await self._ended(seen)
            self.done[action["name"]] += 1

    async def _stop(self) -> None:
        seen, known, asked = len(self.client.events), set(self.client.steps), len(self.requests)
        model = self.chance.choice(STOPPED_MODELS)
        await self.client.send(f"{self.name}: count to the end", modes={"model": model})

        def has_come() -> bool:
            """Whether all that the model sends is on the page."""
            if model == "hang":
                return any(one.model == model and self.name in str(one.body) for one in self.requests[asked:])
            last = "to the end" if model.startswith("think") else f"word-{WORDS}"
            return any(
                step["output"].rstrip().endswith(last)
                for step in self.client.steps.values()
                if step["id"] not in known and step["type"] != "user_message"
            )

        await self.client.until(has_come)
        await self.client.emit("stop")
        await self._ended(seen)
        if model.startswith("hang:"):
            assert "Stopped here." in self.client.answer
        self.done["stop"] += 1


async def live(conversation: Conversation, turns: list[Turn], tabs: asyncio.Semaphore) -> None:
    """Take the turns one after the other, while a tab is free."""
    async with tabs:
        await conversation.open()
        try:
            for turn in turns:
                try:
                    await conversation.use(turn)
                except AssertionError as error:
                    raise AssertionError(f"{conversation.name}: {turn}: {error}") from error
        finally:
            await conversation.close()
