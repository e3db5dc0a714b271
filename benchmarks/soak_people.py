"""People of the soak: each asks again and again through the proxy, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp

HEADER = "X-Benchmark-User"
"""The header with the user name, as a trusted proxy sets it."""
WORDS = "and count slowly to twenty while the harbour wakes and the first boats leave for the islands"
_PATIENCE_SECONDS = 90.0
_AGAIN_SECONDS = 1.0
_QUESTIONS_OF_A_THREAD = 5
_WITH_A_FILE = 0.1

End = Literal["answered", "refused", "lost"]
"""The whole answer came; an error came in words; or the connection ended, or nothing came."""


@dataclass
class Asked:
    """A question, and what became of it. Times are seconds since 1970."""

    marker: str
    begun: float
    step_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    thread_id: str | None = None
    ended: float = 0.0
    end: End = "lost"
    said: str = ""
    """The words of an error, or what the page showed when the question was lost."""
    answer: str = ""
    """As the page showed it."""
    content: bytes | None = None
    """Of the file that was sent with it."""

    @property
    def text(self) -> str:
        return f"{self.marker} {WORDS}"


class Person:
    """One browser of one user, until `is_over`. `pause`: the longest time between two questions, in seconds."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, name: str, *, pause: float, is_over: Callable[[], bool]
    ) -> None:
        self._http, self._url, self._name, self._pause, self._is_over = http, url, name, pause, is_over
        self.asked: list[Asked] = []
        self.is_connected = False
        self._session_id = ""
        self._cookies: dict[str, str] = {}
        self._thread_id: str | None = None
        self._texts: dict[str, str] = {}
        self._error = ""
        self._ended = asyncio.Event()
        self._has_answer = False
        self._random = random.Random(name)

    async def live(self) -> None:
        """Ask, and connect again whenever the connection has ended."""
        await asyncio.sleep(self._random.uniform(0, self._pause))
        while not self._is_over():
            try:
                async with self._connected() as socket:
                    await self._converse(socket)
            except (aiohttp.ClientError, aiohttp.WSMessageTypeError, TimeoutError, OSError, ValueError):
                await asyncio.sleep(_AGAIN_SECONDS)

    @contextlib.asynccontextmanager
    async def _connected(self) -> Any:
        self._session_id, self._thread_id = str(uuid.uuid4()), None
        self._cookies = {}
        async with self._http.post(f"{self._url}/auth/header", headers={HEADER: self._name}) as answer:
            answer.raise_for_status()
            self._cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
        socket = await self._http.ws_connect(
            f"{self._url}/ws/socket.io/?EIO=4&transport=websocket", headers=self._headers(), max_msg_size=0
        )
        auth = {"sessionId": self._session_id, "userEnv": "{}", "clientType": "webapp", "chatProfile": ""}
        try:
            await asyncio.wait_for(socket.receive_str(), _PATIENCE_SECONDS)
            await socket.send_str("40" + json.dumps({**auth, "threadId": ""}))
            accepted = await asyncio.wait_for(socket.receive_str(), _PATIENCE_SECONDS)
            if not accepted.startswith("40"):
                raise ConnectionError(accepted)
            self.is_connected = True
            listening = asyncio.create_task(self._listen(socket))
            await self._emit(socket, "connection_successful")
            try:
                yield socket
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        finally:
            self.is_connected = False
            await socket.close()

    def _headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        for _ in range(_QUESTIONS_OF_A_THREAD):
            await asyncio.sleep(self._random.uniform(self._pause / 4, self._pause))
            if self._is_over() or not self.is_connected:
                return
            asked = Asked(f"{self._name}-{len(self.asked)}-end", time.time())
            self.asked.append(asked)
            try:
                await self._ask(socket, asked)
            except Exception as error:
                asked.said = f"{type(error).__name__}: {error}"
                raise
            finally:
                asked.ended = time.time()
            if asked.end == "lost":
                return

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse, asked: Asked) -> None:
        files = []
        if self._random.random() < _WITH_A_FILE:
            content = f"The file of {asked.marker}.".encode()
            file_id = await self._upload(f"{asked.marker}.txt", content)
            if file_id is None:
                asked.end, asked.said = "refused", "the upload was refused"
                return
            files, asked.content = [{"id": file_id}], content
        self._texts, self._error, self._has_answer = {}, "", False
        self._ended.clear()
        message = {
            "id": asked.step_id,
            "threadId": "",
            "name": self._name,
            "type": "user_message",
            "output": asked.text,
            "createdAt": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        await self._emit(socket, "client_message", {"message": message, "fileReferences": files})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _PATIENCE_SECONDS)
        asked.thread_id = self._thread_id
        if self._error:
            asked.end, asked.said = "refused", self._error
            return
        # Behind files, and behind questions that had no answer.
        whole = [text for text in self._texts.values() if text.endswith(asked.text)]
        # All of a text can be shown before its turn has ended. If the connection ends in between, it may not be stored.
        if self._has_answer and whole:
            asked.end, asked.answer = "answered", whole[-1]
        else:
            asked.said = f"connected: {self.is_connected}; shown: {list(self._texts.values())}"

    async def _upload(self, name: str, content: bytes) -> str | None:
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name, content_type="text/plain")
        where = f"{self._url}/project/file?session_id={self._session_id}"
        async with self._http.post(where, data=form, headers=self._headers()) as answer:
            return str((await answer.json())["id"]) if answer.ok else None

    async def _emit(self, socket: aiohttp.ClientWebSocketResponse, event: str, *data: Any) -> None:
        await socket.send_str("42" + json.dumps([event, *data]))

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            packet = str(frame.data)
            if packet == "2":
                await socket.send_str("3")
            elif packet.startswith("42"):
                event, *data = json.loads(packet[2:])
                self._take(event, data[0] if data else None)
        self.is_connected = False
        self._ended.set()

    def _take(self, event: str, data: Any) -> None:
        match event:
            case "first_interaction":
                self._thread_id = data["thread_id"]
            case "new_message" | "update_message" if data.get("isError"):
                self._error = data["output"]
            case "stream_start" | "new_message" | "update_message" if data["type"] == "assistant_message":
                self._texts[data["id"]] = data["output"]
            case "stream_token" if data["id"] in self._texts:
                before = "" if data["isSequence"] else self._texts[data["id"]]
                self._texts[data["id"]] = before + data["token"]
            case "task_end" if self._texts or self._error:
                # The start of the chat ends as well, and can end after the question was sent.
                self._has_answer = True
                self._ended.set()
