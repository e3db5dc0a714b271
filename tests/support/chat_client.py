"""A client of the chat without the page: logs in over HTTP, uses socket.io, and collects the events."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import socketio  # type: ignore[import-untyped]

from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.plain_http import PLAIN_HTTP

_LOOK_SECONDS = 0.1
# The states of an answer after which a thread gets its title.
_ANSWERED = frozenset({"complete", "length", "filtered", "cut"})


class ChatClient:
    """One tab of one user, connected until the end of the `with` block."""

    def __init__(
        self,
        base_url: str,
        identifier: str,
        password: str,
        *,
        thread_id: str | None = None,
        language: str = "en-US",
        profile: str = "",
    ) -> None:
        """If `thread_id` is given, that thread is resumed. `profile`: the chat profile that the page has chosen."""
        self._identifier, self._password, self._language = identifier, password, language
        self._resumed_id = thread_id
        self._profile = profile
        self.http = httpx.AsyncClient(base_url=base_url, **PLAIN_HTTP, timeout=PATIENCE_SECONDS)
        self.events: list[tuple[str, Any]] = []
        self.steps: dict[str, dict[str, Any]] = {}
        self.connected = False
        self.session_id = str(uuid.uuid4())
        self._changed = asyncio.Event()
        self._socket = socketio.AsyncClient(reconnection=False)
        self._socket.on("*", self._on_event)
        self._socket.on("disconnect", self._on_disconnect)

    async def __aenter__(self) -> Self:
        try:
            await self.log_in()
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def successor(self) -> "ChatClient":
        """A page of the same browser, with its cookies, that is not open yet: it resumes the thread of this one."""
        base_url = str(self.http.base_url)
        page = ChatClient(base_url, self._identifier, self._password, thread_id=self.thread_id, language=self._language)
        page.http.cookies = self.http.cookies
        return page

    async def log_in(self) -> None:
        """Raises httpx.HTTPStatusError if the login is refused."""
        form = {"username": self._identifier, "password": self._password}
        (await self.http.post("/login", data=form)).raise_for_status()

    async def connect(self, *, resumes: bool = True, starts: bool = True) -> None:
        """Raises socketio.exceptions.ConnectionError if refused. With a thread id, waits until the thread is resumed.

        `starts`: whether the app has a handler for the start of a chat; if so, waits for its end.
        """
        await self.open_socket()
        await self._socket.emit("connection_successful")
        if self._resumed_id and resumes:
            await self.event("resume_thread")
            return
        # Each connection first sends the end of a task that never started. The second one is the start of the chat.
        await self.until(lambda: [name for name, _ in self.events].count("task_end") == 1 + starts)

    async def open_socket(self) -> None:
        """Connect without telling the server that the page is ready. Raises as `connect`."""
        auth = {
            "sessionId": self.session_id,
            "userEnv": "{}",
            "clientType": "webapp",
            "chatProfile": quote(self._profile),
            "threadId": self._resumed_id or "",
        }
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar)
        await self._socket.connect(
            str(self.http.base_url),
            headers={"Cookie": cookies, "Accept-Language": self._language},
            auth=auth,
            transports=["websocket"],
            socketio_path="/ws/socket.io",
            wait_timeout=PATIENCE_SECONDS,
        )
        self.connected = True

    async def close(self) -> None:
        """Disconnect as a closed tab does."""
        await self._socket.disconnect()
        await self._socket.shutdown()
        await self.http.aclose()

    async def send(self, text: str, *, modes: dict[str, str] | None = None, files: list[str] | None = None) -> str:
        """Send a question with the ids of uploaded files. Returns its id without waiting for the answer."""
        step_id = str(uuid.uuid4())
        message = {
            "id": step_id,
            "threadId": "",
            "name": self._identifier,
            "type": "user_message",
            "output": text,
            "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "modes": modes,
        }
        references = [{"id": file_id} for file_id in files or []]
        await self._socket.emit("client_message", {"message": message, "fileReferences": references})
        return step_id

    async def ask(self, text: str, *, modes: dict[str, str] | None = None) -> str:
        """Send a question. Returns the complete answer."""
        known, seen = set(self.steps), len(self.events)
        await self.send(text, modes=modes)
        await self.until(lambda: any(name == "task_end" for name, _ in self.events[seen:]))
        return "".join(step["output"] for step in self.answers() if step["id"] not in known)

    async def upload(self, name: str, content: bytes, mime: str) -> str:
        """Upload a file. Returns its id for `send`."""
        answer = await self.http.post(
            "/project/file", params={"session_id": self.session_id}, files={"file": (name, content, mime)}
        )
        return str(answer.raise_for_status().json()["id"])

    async def emit(self, event: str, data: Any = None) -> None:
        await self._socket.emit(event, data)

    async def call(self, event: str, data: Any = None) -> None:
        """Send an event, and wait until the server has dealt with it."""
        await self._socket.call(event, data, timeout=PATIENCE_SECONDS)

    def answers(self) -> list[dict[str, Any]]:
        """The assistant's messages as shown on the page, oldest first."""
        return [step for step in self.steps.values() if step["type"] == "assistant_message"]

    @property
    def answer(self) -> str:
        """The text of the last answer."""
        return str(self.answers()[-1]["output"]) if self.answers() else ""

    @property
    def thread_id(self) -> str | None:
        """The id of the thread. Known after the first question."""
        begun = [data["thread_id"] for name, data in self.events if name == "first_interaction"]
        return begun[-1] if begun else self._resumed_id

    async def stored(self) -> dict[str, Any]:
        """The thread as it is stored."""
        answer = await self.http.get(f"/project/thread/{self.thread_id}")
        thread: dict[str, Any] = answer.raise_for_status().json()
        return thread

    async def titled(self) -> bool:
        """Wait until no title is being made, which an answer starts in the background; returns whether one was."""

        async def name() -> tuple[bool] | None:
            thread = await self.stored()
            asked = [step["output"] for step in thread["steps"] if step["type"] == "user_message"]
            has_title = thread["name"] not in asked[:1]
            is_due = any((step.get("metadata") or {}).get("status") in _ANSWERED for step in thread["steps"])
            return (has_title,) if has_title or not is_due else None

        return (await until(name))[0]

    def button(self, name: str) -> dict[str, Any] | None:
        """The first button with this name that the server sent."""
        given = (data for event, data in self.events if event == "action" and data["name"] == name)
        return next(given, None)

    def footers(self) -> list[str]:
        """The usage lines under the answers, in the order in which they arrived."""
        return [data["label"] for event, data in self.events if event == "action" and data["name"] == "usage"]

    async def event(self, name: str, *, seen: int = 0) -> Any:
        """Wait for an event with this name behind the first `seen` ones. Returns the data of the first."""
        await self.until(lambda: any(event == name for event, _ in self.events[seen:]))
        return next(data for event, data in self.events[seen:] if event == name)

    async def until(
        self, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS, *, what: str = "it"
    ) -> None:
        """Wait until the condition is true. It is looked at after each event, and every 0.1 s without one.

        `what` is waited for, for the message of the error.
        """
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    # What else it looks at, such as the requests to the model, can change after the last event.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await self._changed.wait()
        except TimeoutError:
            names = [name for name, _ in self.events]
            raise AssertionError(
                f"{what} did not come within {seconds:g} s; user {self._identifier}, thread {self.thread_id}, "
                f"connected: {self.connected}; {names}"
            ) from None

    async def _on_event(self, name: str, *arguments: Any) -> None:
        data: Any = arguments[0] if arguments else None
        self.events.append((name, data))
        if name in ("new_message", "update_message", "stream_start"):
            self.steps[data["id"]] = {**self.steps.get(data["id"], {}), **data}
        elif name == "stream_token" and data["id"] in self.steps:
            before = "" if data["isSequence"] else self.steps[data["id"]]["output"]
            self.steps[data["id"]]["output"] = before + data["token"]
        elif name == "delete_message":
            self.steps.pop(data["id"], None)
        elif name == "resume_thread":
            self.steps = {step["id"]: dict(step) for step in data["steps"]}
        self._changed.set()

    async def _on_disconnect(self, *_reason: Any) -> None:
        self.connected = False
        self._changed.set()
