"""Many users of one chat server, in one process: each asks on request and records when the answer arrives.

The users speak the protocol of Chainlit's page over a bare websocket, because they share the machine with the server.
For each line on standard input, every user asks once, and one line of JSON on standard output contains the results.
`python -m benchmarks.chat_users --url http://127.0.0.1:8000 --users 100`
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import uvloop

from benchmarks.token_server import ANSWER

HEADER = "X-Benchmark-User"
"""The header with the user name, as a trusted proxy sets it."""
_QUIET_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0


@dataclass
class Heard:
    """One answer as its user received it; times are seconds since the question was sent."""

    first_seconds: float = 0.0
    seconds: float = 0.0
    text: str = ""
    messages: int = 0


class ChatUser:
    """One browser tab of one user."""

    def __init__(self, http: aiohttp.ClientSession, url: str, name: str, profile: str = "") -> None:
        self._http, self._url, self._name, self._profile = http, url, name, profile
        self.last_message = 0.0
        self._heard = Heard()
        self._answer_id = ""
        self._asked = 0.0
        self._ended = asyncio.Event()

    async def connect(self) -> None:
        """Log in if the server has users, and open the websocket."""
        cookies = ""
        async with self._http.post(f"{self._url}/auth/header", headers={HEADER: self._name}) as answer:
            if answer.ok:
                cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in answer.cookies.items())
        # Compression is offered, as browsers do.
        self._socket = await self._http.ws_connect(
            f"{self._url}/ws/socket.io/?EIO=4&transport=websocket", headers={"Cookie": cookies}, compress=15
        )
        auth = {
            "sessionId": str(uuid.uuid4()),
            "userEnv": "{}",
            "clientType": "webapp",
            "chatProfile": self._profile,
            "threadId": "",
        }
        await self._socket.receive_str()
        await self._socket.send_str("40" + json.dumps(auth))
        accepted = await self._socket.receive_str()
        if not accepted.startswith("40"):
            raise RuntimeError(f"the server refuses {self._name}: {accepted}")
        self._listening = asyncio.create_task(self._listen())
        await self._emit("connection_successful")

    async def ask(self, question: str = "Please count to two hundred, and leave nothing out.") -> Heard:
        """Ask, and return when the answer is complete."""
        self._heard, self._answer_id = Heard(), ""
        self._ended.clear()
        message = {
            "id": str(uuid.uuid4()),
            "threadId": "",
            "name": self._name,
            "type": "user_message",
            "output": question,
            "createdAt": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        self._asked = time.perf_counter()
        await self._emit("client_message", {"message": message, "fileReferences": []})
        await asyncio.wait_for(self._ended.wait(), _PATIENCE_SECONDS)
        return self._heard

    async def close(self) -> None:
        await self._socket.close()
        await self._listening

    async def _emit(self, event: str, *data: Any) -> None:
        await self._socket.send_str("42" + json.dumps([event, *data]))

    async def _listen(self) -> None:
        async for frame in self._socket:
            packet: str = frame.data
            if packet == "2":
                await self._socket.send_str("3")
                continue
            self.last_message = time.perf_counter()
            self._heard.messages += 1
            event, data = json.loads(packet[2:])
            if event == "stream_token" and data["id"] == self._answer_id:
                self._add(data["token"])
            elif event == "stream_start":
                self._answer_id = data["id"]
                self._add(data["output"])
            elif event == "task_end" and self._heard.text:
                # The start of the chat ends as well, and can end after the question was sent.
                self._ended.set()

    def _add(self, text: str) -> None:
        heard, now = self._heard, self.last_message - self._asked
        if text and not heard.text:
            heard.first_seconds = now
        heard.text += text
        if len(heard.text) == len(ANSWER):
            heard.seconds = now


async def _run(url: str, count: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        users = [ChatUser(http, url, f"user-{number}") for number in range(1, count + 1)]
        for user in users:
            await user.connect()
        await quiet(users)
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            heard = await asyncio.gather(*(user.ask() for user in users))
            print(json.dumps([asdict(one) for one in heard]), flush=True)
        await asyncio.gather(*(user.close() for user in users))


async def quiet(users: list[ChatUser]) -> None:
    """Wait until no messages of the start arrive any more."""
    while max(user.last_message for user in users) > time.perf_counter() - _QUIET_SECONDS:  # noqa: ASYNC110
        await asyncio.sleep(_QUIET_SECONDS / 5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Users who ask when a line comes in.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--users", type=int, default=100)
    options = parser.parse_args()
    uvloop.run(_run(options.url, options.users))
