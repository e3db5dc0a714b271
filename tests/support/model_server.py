"""A scripted server for OpenAI's protocol over real HTTP. It is the only part that the tests replace.

The name of the model selects its behaviour, so that a test, a browser or a benchmark needs no other channel:

====================== =========================================================================================
echo, gpt-…            streams ``You said: <the last user message>``
say:<text>             streams the text
slow:<tokens>:<s>      streams ``word-1 word-2 …``, one token every <s> seconds
context-echo           streams the JSON of the messages in the request
401 403 404 500 503    answers with that status; ``500:2`` only the first two times, then as echo
429:<times>:<s>        the same with ``Retry-After: <s>``; without times, always
quota                  429 with the error code of an exhausted quota
hang, hang:<n>         sends nothing; sends n tokens and then nothing more
cut:<n>                drops the connection after n tokens
short:<n>              ends the stream properly after n tokens, with neither finish_reason nor [DONE]
error:<n>[:<code>]     sends an error object inside the stream after n tokens
refuse:<parameter>     400 with the name of the parameter if the request has it, else as echo
window:<n>             400 context_length_exceeded when the prompt has more than n tokens, else as echo
bytes                  as echo, but the body is sent in pieces of one to three bytes
comments               as echo, with comment lines, CRLF line ends and no space after ``data:``
returns                as echo, with line ends of CR alone
ndjson                 as echo, with each chunk as a line of JSON, without ``data:``
streams                as echo, streamed also where no stream was asked for
late                   as echo, but the body ends a moment after [DONE]
no-done, no-usage      as echo without the [DONE] line, without the usage chunk
odd-usage              as echo, with an invalid usage chunk
json, html, garbage    ignores ``stream``; answers with a web page; sends invalid JSON
empty, length, filtered  no text at all; finish_reason length; finish_reason content_filter
tier:<tier>            as echo, with this service tier at the end, and another one at the begin of a stream
usage:<name>           as echo, with the usage of that name in `odd_streams.USAGES`
ends:<name>            begins an answer and ends it as that name in `odd_streams.ENDS` says
body:<name>            answers with that body of `odd_streams.BODIES`, whether streaming was asked for or not
first:<name>[:<model>] as echo after those first chunks of `odd_streams.FIRST_CHUNKS`; the model calls itself <model>
content:<name>         as echo, with the content of that name in `odd_streams.CONTENTS`
choices:<name>         as echo, with the other choices, or the odd indexes, of that name in `odd_streams.CHOICES`
others:<name>[:alone]  as echo, with the content of that name in `odd_streams.OTHERS` beside the text, or without text
think:<shape>[:<s>]    as echo, after the thought ``Pondering <the last user message>``, one token every <s> seconds
think-limit:<shape>    only the thought, with finish_reason length; think-only:<shape>: with finish_reason stop;
                       think-hang:<shape>: and then nothing more
words, words:<n>       embeds: texts with the same words have vectors near each other; n dimensions in place of 64
words-nan, words-few   embeds with a NaN; with a vector less than there are texts
====================== =========================================================================================

`tests/support/refusing_models.py` has more models, which refuse requests as real servers do, and
`tests/support/provider_dialects.py` the other endpoints: completions, responses, images, audio, Anthropic, Gemini.

The shapes of a thought are those of `THOUGHTS`. Other names get 404. `count_tokens` counts the tokens of prompt and
answer.
Its ledger has an entry for each answer that it started, with the tokens that it reported, or that it sent without
being able to report them.
In a test: ``async with ModelServer() as server: ... server.base_url, server.requests``.
As a process: ``python -m tests.support.model_server --port 0`` prints its URL. The requests are at ``/_requests``, the
ledger is at ``/_ledger``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.support.odd_streams import (
    BEGINNING,
    BODIES,
    CHOICES,
    CONTENTS,
    ENDS,
    FIRST_CHUNKS,
    OTHERS,
    USAGES,
    ChoicesOf,
    End,
    UsageShape,
)
from tests.support.provider_dialects import Dialects
from tests.support.refusing_models import is_refusing, refusal

PICTURE_TOKENS = 85
API_KEY = "sk-scripted-0123456789abcdef"

_CJK = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
_PIECES = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+\s*|\s+")
_MESSAGES = {
    401: ("invalid_api_key", "Incorrect API key provided: {key}."),
    403: ("model_not_allowed", "Project does not have access to model."),
    404: ("model_not_found", "The model does not exist."),
    429: ("rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", "The server had an error while processing your request."),
    503: ("overloaded", "The engine is currently overloaded."),
}


def pieces(text: str) -> list[str]:
    """The tokens of a text: words with the space after them, and single CJK characters."""
    return _PIECES.findall(text)


def count_tokens(messages: Iterable[dict[str, Any]]) -> int:
    """The prompt tokens: those of all texts, `PICTURE_TOKENS` per picture and 4 per message."""
    total = 0
    for message in messages:
        total += 4
        content = message["content"]
        if isinstance(content, str):
            total += len(pieces(content))
            continue
        for part in content:
            total += len(pieces(part["text"])) if part["type"] == "text" else PICTURE_TOKENS
    return total


def last_user_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return " ".join(part["text"] for part in content if part["type"] == "text")
    return ""


@dataclass
class Recorded:
    """One request.

    `peer`: the client's address; `left_early`: the client disconnected before the end; `billed`: its entry in the
    ledger.
    """

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]
    peer: str
    left_early: bool = False
    billed: Billed | None = None

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))


@dataclass
class Reply:
    """The pieces to stream, and how the stream ends."""

    tokens: list[str]
    seconds_between: float = 0.0
    finish_reason: str | None = "stop"
    usage: bool = True
    odd_usage: bool = False
    done: bool = True
    fault_after: int | None = None
    fault: str = ""
    fault_code: str = ""
    wire: str = "plain"
    shape: UsageShape | None = None
    first_chunks: list[str] = field(default_factory=list)
    end: End | None = None
    answered_by: str | None = None
    service_tier: str | None = None
    deltas: list[dict[str, Any]] | None = None
    """In place of one delta for each token."""
    message: dict[str, Any] | None = None
    reasoning_tokens: int = 0
    choices: ChoicesOf | None = None
    """The choices of each chunk, in place of the first one alone."""
    held: tuple[int, asyncio.Event] | None = None
    """After this many tokens, the stream waits for the event."""


@dataclass
class Billed:
    """The tokens of one answer: those of the prompt, and of the text sent so far.

    `reported`: whether the usage was sent to the client.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int = 0
    text: str = ""
    reported: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    def sent(self, tokens: list[str]) -> None:
        self.completion_tokens += len(tokens)
        self.text += "".join(tokens)


@dataclass
class ModelServer:
    """The server on a free loopback port (or `port`). Records the requests in order, and the tokens of the answers."""

    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    ledger: list[Billed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._served: Counter[str] = Counter()
        self._left = asyncio.Event()
        self._held: tuple[int, asyncio.Event] | None = None
        self._answers: tuple[int, asyncio.Event] | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """The value for OPENAI_BASE_URL."""
        return f"{self.root}/v1"

    async def client_left(self) -> None:
        """Wait until a client disconnects before its answer is complete."""
        await self._left.wait()

    def hold_embeddings(self, after: int) -> asyncio.Event:
        """Answer requests with this many texts, and each later one when the event is set."""
        self._held = (after, asyncio.Event())
        return self._held[1]

    def hold_answers(self, after: int = 0) -> asyncio.Event:
        """Answer in the chat when the event is set; a stream sends this many tokens before."""
        self._answers = (after, asyncio.Event())
        return self._answers[1]

    def forget(self) -> None:
        """Clear the recorded requests and the ledger."""
        self.requests.clear()
        self.ledger.clear()
        self._served.clear()

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=256 * 1024 * 1024)
        for prefix in ("/v1", "/openai/deployments/{deployment}"):
            application.router.add_post(f"{prefix}/chat/completions", self._chat)
            application.router.add_post(f"{prefix}/embeddings", self._embeddings)
        Dialects(self._record, self._bill_tokens, pieces).add_to(application.router)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/_requests", self._list_requests)
        application.router.add_delete("/_requests", self._forget_requests)
        application.router.add_get("/_ledger", self._list_ledger)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _list_requests(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(recorded) for recorded in self.requests])

    async def _list_ledger(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(billed) for billed in self.ledger])

    async def _forget_requests(self, _request: web.Request) -> web.Response:
        self.requests.clear()
        return web.json_response([])

    async def _models(self, _request: web.Request) -> web.Response:
        names = ["echo", "context-echo", "slow:200:0.02"]
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    async def _embeddings(self, request: web.Request) -> web.Response:
        recorded = await self._record(request)
        texts = recorded.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        if recorded.model.split(":")[0].isdigit() and (refusal := self._refusal(recorded)) is not None:
            return refusal
        if self._held is not None:
            left, goes_on = self._held
            if left < len(texts):
                await goes_on.wait()
            self._held = (left - len(texts), goes_on)
        size = int(recorded.body.get("dimensions") or 16)
        tokens = sum(len(pieces(text)) for text in texts)
        self._bill(recorded, Billed(recorded.model, tokens, reported=True))
        name, *rest = recorded.model.split(":")
        if name.startswith("words"):
            vectors = [_bag_of_words(text, int(rest[0]) if rest else 64) for text in texts]
        else:
            vectors = [_vector(text, size) for text in texts]
        if name == "words-nan":
            vectors[-1][0] = math.nan
        if name == "words-few":
            vectors.pop()
        return web.json_response(
            {
                "object": "list",
                "model": recorded.model,
                "data": [
                    {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
                ],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    async def _record(self, request: web.Request) -> Recorded:
        body = await request.json()
        if deployment := request.match_info.get("deployment"):
            body["model"] = deployment
        headers = {name.lower(): value for name, value in request.headers.items()}
        recorded = Recorded(request.path, dict(request.query), headers, body, _peer(request))
        self.requests.append(recorded)
        return recorded

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        try:
            if (refusal := self._refusal(recorded)) is not None:
                return refusal
            name, *rest = recorded.model.split(":")
            if name == "hang" and not rest:
                await asyncio.Event().wait()
            if name == "html":
                return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
            if name == "body":
                body = BODIES[rest[0]]
                if body.tokens is not None:
                    self._bill(recorded, Billed(recorded.model, *body.tokens, reported=True))
                elif body.is_answer:
                    messages = recorded.body["messages"]
                    self._bill(recorded, Billed(recorded.model, count_tokens(messages), messages=messages))
                return web.Response(body=body.text.encode(), headers={"Content-Type": body.content_type})
            reply = self._reply(recorded)
            streams = name == "streams" or (name != "json" and bool(recorded.body.get("stream")))
            if self._answers is not None:
                after, event = self._answers
                if after and streams:
                    reply.held = self._answers
                else:
                    await event.wait()
            messages = recorded.body["messages"]
            billed = Billed(recorded.model, count_tokens(messages), messages=messages)
            if reply.tokens or reply.fault != "error":
                # An error in place of an answer is not billed.
                self._bill(recorded, billed)
            if not streams:
                billed.sent(reply.tokens)
                billed.reported = True
                return web.json_response(_completion(recorded, reply))
            return await self._stream(request, recorded, reply, billed)
        except (asyncio.CancelledError, ConnectionError):
            recorded.left_early = True
            self._left.set()
            raise

    def _bill(self, recorded: Recorded, billed: Billed) -> Billed:
        recorded.billed = billed
        self.ledger.append(billed)
        return billed

    def _bill_tokens(self, recorded: Recorded, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        self._bill(recorded, Billed(model, prompt_tokens, completion_tokens, reported=True))

    def _refusal(self, recorded: Recorded) -> web.Response | None:
        name, *rest = recorded.model.split(":")
        if name == "quota":
            return _error(429, "insufficient_quota", "You exceeded your current quota.", {"x-should-retry": "false"})
        if name == "refuse" and rest[0] in recorded.body:
            message = f"Unsupported parameter: '{rest[0]}' is not supported with this model."
            return _error(400, "unsupported_parameter", message, param=rest[0])
        if name == "window" and (tokens := count_tokens(recorded.body["messages"])) > int(rest[0]):
            message = f"This model's maximum context length is {rest[0]} tokens, your messages have {tokens}."
            return _error(400, "context_length_exceeded", message, param="messages")
        if is_refusing(name):
            self._served[recorded.model] += 1
            tokens, served = count_tokens(recorded.body["messages"]), self._served[recorded.model]
            return refusal(recorded.model, recorded.body, tokens, served)
        if not name.isdigit():
            return None if _is_known(name) else _error(404, *_MESSAGES[404])
        self._served[recorded.model] += 1
        if rest and self._served[recorded.model] > int(rest[0]):
            return None
        headers = {"Retry-After": rest[1]} if len(rest) > 1 else {"x-should-retry": "false"} if not rest else {}
        code, message = _MESSAGES[int(name)]
        return _error(int(name), code, message.format(key=recorded.headers.get("authorization", "")), headers)

    def _reply(self, recorded: Recorded) -> Reply:
        name, *rest = recorded.model.split(":")
        messages = recorded.body["messages"]
        reply = Reply(pieces(f"You said: {last_user_text(messages)}"))
        match name:
            case "say":
                reply.tokens = pieces(recorded.model.removeprefix("say:"))
            case "slow":
                reply.tokens = [f"word-{number} " for number in range(1, int(rest[0]) + 1)]
                reply.seconds_between = float(rest[1])
            case "context-echo":
                reply.tokens = [json.dumps(messages, ensure_ascii=False)]
            case "hang" | "cut" | "short" | "error":
                reply.tokens = [f"word-{number} " for number in range(1, int(rest[0]) + 1)]
                reply.fault, reply.fault_after = name, int(rest[0])
                reply.fault_code = rest[1] if len(rest) > 1 else "server_error"
            case "no-done":
                reply.done = False
            case "no-usage":
                reply.usage = False
            case "odd-usage":
                reply.odd_usage = True
            case "empty":
                reply.tokens = []
            case "length":
                reply.finish_reason = "length"
            case "filtered":
                reply.finish_reason = "content_filter"
            case "tier":
                reply.service_tier = rest[0]
            case "usage":
                reply.shape = USAGES[rest[0]]
            case "ends":
                reply.tokens, reply.end = BEGINNING, ENDS[rest[0]]
            case "content":
                reply.deltas = [{"content": CONTENTS[rest[0]](token)} for token in reply.tokens]
                reply.message = {"content": CONTENTS[rest[0]]("".join(reply.tokens))}
            case "first":
                reply.first_chunks = FIRST_CHUNKS[rest[0]]
                reply.answered_by = rest[1] if len(rest) > 1 else None
            case "others":
                reply.tokens = [] if "alone" in rest else reply.tokens
                reply.message = {"content": "".join(reply.tokens), **OTHERS[rest[0]]}
                reply.deltas = [*({"content": token} for token in reply.tokens), OTHERS[rest[0]]]
                reply.tokens = [*reply.tokens, ""]
            case "choices":
                reply.choices = CHOICES[rest[0]]
            case "bytes" | "comments" | "garbage" | "late" | "returns" | "ndjson":
                reply.wire = name
            case "think" | "think-limit" | "think-only" | "think-hang":
                asked = last_user_text(messages)
                _think(reply, rest[0], f"Pondering {asked}", f"You said: {asked}" if name == "think" else "")
                reply.seconds_between = float(rest[1]) if len(rest) > 1 else 0.0
                reply.finish_reason = "length" if name == "think-limit" else "stop"
                reply.fault = "hang" if name == "think-hang" else ""
        return reply

    async def _stream(
        self, request: web.Request, recorded: Recorded, reply: Reply, billed: Billed
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for chunk in reply.first_chunks:
            await response.write(chunk.encode())
        async for event in _events(recorded, reply, billed):
            for part in _on_the_wire(event, reply.wire):
                await response.write(part)
        if reply.end is not None:
            await response.write(reply.end.wire.encode())
            if reply.end.tokens is not None:
                billed.prompt_tokens, billed.completion_tokens = reply.end.tokens
                billed.reported = True
        if reply.wire == "late":
            await asyncio.sleep(0.02)
        if reply.fault == "hang":
            await asyncio.Event().wait()
        if reply.fault == "cut" and request.transport is not None:
            request.transport.abort()
            return response
        await response.write_eof()
        return response


async def _events(recorded: Recorded, reply: Reply, billed: Billed) -> AsyncIterator[str]:
    """The events of the stream. Code after a `yield` runs once the event has been sent."""
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    frame["model"] = reply.answered_by or recorded.model
    prompt, shape = count_tokens(recorded.body["messages"]), reply.shape or UsageShape()
    include_usage = (recorded.body.get("stream_options") or {}).get("include_usage")
    first: dict[str, Any] = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    begins = _some("service_tier", reply.service_tier and "auto")
    yield json.dumps({**frame, "choices": [first], **_some("usage", shape.first(prompt)), **begins})
    deltas = [{"content": token} for token in reply.tokens] if reply.deltas is None else reply.deltas
    for number, (token, delta) in enumerate(zip(reply.tokens, deltas, strict=True)):
        if number and reply.seconds_between:
            await asyncio.sleep(reply.seconds_between)
        if reply.held is not None and number == reply.held[0]:
            await reply.held[1].wait()
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        for choices in reply.choices(choice, number, len(reply.tokens)) if reply.choices else ([choice],):
            chunk = {**frame, "choices": choices, **_some("usage", shape.each(prompt, number + 1))}
            yield json.dumps(chunk, ensure_ascii=False)
        billed.sent([token])
    if reply.fault == "error":
        yield json.dumps({"error": {"message": "Something broke.", "type": reply.fault_code, "code": reply.fault_code}})
        return
    if reply.fault or reply.end is not None:
        return
    if reply.wire == "garbage":
        yield "{this is not JSON"
    end = {"index": 0, "delta": {}, "finish_reason": reply.finish_reason}
    number = len(reply.tokens)
    for choices in reply.choices(end, number, number) if reply.choices else ([end],):
        yield json.dumps({**frame, "choices": choices, **_some("service_tier", reply.service_tier)})
    if include_usage and reply.shape is not None:
        usage = shape.last(prompt, len(reply.tokens))
        billed.completion_tokens += shape.thought
        billed.reported = shape.is_report
        if shape.place == "choice":
            yield json.dumps({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": None, "usage": usage}]})
        elif usage is not None:
            placed = {name: usage if name == "usage" else {"usage": usage} for name in shape.place.split()}
            yield json.dumps({**frame, "choices": [], **placed})
    elif include_usage and reply.usage:
        usage = {"prompt_tokens": -1, "completion_tokens": "many"} if reply.odd_usage else _usage(recorded, reply)
        yield json.dumps({**frame, "choices": [], "usage": usage})
        # Clients stop reading at the invalid event.
        billed.reported = reply.wire != "garbage" and not reply.odd_usage
    if reply.done:
        yield "[DONE]"


def _some(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


# How servers send a thought, each with the text that they send in the field "content" and the other fields: `{}` is the
# place of the thought. The tags arrive cut into three characters a delta.
_TAGGED = {
    "think": "<think>\n{}\n</think>\n\n",
    "thinking": "<thinking>{}</thinking>",
    "thought": "<thought>{}</thought>\n",
    "reasoning-tag": "<reasoning>\n{}\n</reasoning>\n\n",
    "brackets": "[THINK]{}[/THINK]",
    # The chat template of DeepSeek-R1 has the opening tag, so the answer begins with thought.
    "closing": "{}\n</think>\n\n",
    "closing-inline": "{}.</think>",
    "unclosed": "<think>\n{}",
}
_FIELDS: dict[str, tuple[str, ...]] = {
    "reasoning_content": ("reasoning_content",),
    "reasoning": ("reasoning",),
    "reasoning_details": ("reasoning_details",),
    "openrouter": ("reasoning", "reasoning_details"),
    "vllm": ("reasoning", "reasoning_content"),
    "litellm": ("reasoning_content", "thinking_blocks"),
}
_GOOGLE = {"extra_content": {"google": {"thought": True}}}
# The text is marked as thought: the thought with its tags, the text behind it, and the mark. The closing tag of Gemini
# stands in the first delta of the answer, which has no mark.
_MARKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemini": ("<thought>{}", "</thought>", _GOOGLE),
    "gemini-closed": ("<thought>{}</thought>", "", _GOOGLE),
    "gemini-untagged": ("{}", "", _GOOGLE),
    "marked": ("{}", "", {"thought": True}),
    "typed": ("{}", "", {"type": "thinking"}),
}
_BLOCKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "anthropic": lambda thought: {"type": "thinking", "thinking": thought, "signature": "c2lnbmF0dXJl"},
    "mistral": lambda thought: {"type": "thinking", "thinking": [{"type": "text", "text": thought}]},
    "vertex": lambda thought: {"text": thought, "thought": True},
}
THOUGHTS = (*_TAGGED, *_FIELDS, *_MARKED, *_BLOCKS)


def _think(reply: Reply, shape: str, thought: str, text: str) -> None:
    """Make the deltas and the message of a thought in this shape."""
    thoughts, texts = pieces(thought), pieces(text)
    reply.reasoning_tokens = len(thoughts)
    if shape in _TAGGED:
        whole = _TAGGED[shape].format(thought) + text
        reply.tokens = [whole[at : at + 3] for at in range(0, len(whole), 3)]
        return
    reply.tokens = [*thoughts, *texts]
    if shape in _FIELDS:
        fields = _FIELDS[shape]
        reply.deltas = [{"content": None, **_fields(fields, token)} for token in thoughts]
        reply.deltas += [{"content": token} for token in texts]
        reply.message = {"content": text, **_fields(fields, thought)}
        return
    if shape in _MARKED:
        form, between, mark = _MARKED[shape]
        texts = [between + token if at == 0 else token for at, token in enumerate(texts)]
        reply.tokens = [*(thoughts := pieces(form.format(thought))), *texts]
        reply.deltas = [{"content": token, **mark} for token in thoughts] + [{"content": token} for token in texts]
        # A whole message has the tags always: without them nothing tells the two apart.
        reply.message = {"content": f"<thought>{thought}</thought>{text}", **mark}
        return
    block = _BLOCKS[shape]
    reply.deltas = [{"content": [block(token)]} for token in thoughts]
    reply.deltas += [{"content": [{"type": "text", "text": token}]} for token in texts]
    reply.message = {"content": [block(thought), *([{"type": "text", "text": text}] if text else [])]}


def _fields(names: Iterable[str], thought: str) -> dict[str, Any]:
    values = {
        "reasoning_details": [{"type": "reasoning.text", "text": thought, "format": "unknown", "index": 0}],
        "thinking_blocks": [_BLOCKS["anthropic"](thought)],
    }
    return {name: values.get(name, thought) for name in names}


def _on_the_wire(event: str, wire: str) -> Iterable[bytes]:
    if wire == "comments":
        return [f": keep-alive\r\nevent: message\r\ndata:{event}\r\n\r\n".encode()]
    if wire == "returns":
        return [f"data: {event}\r\r".encode()]
    if wire == "ndjson":
        return [b"" if event == "[DONE]" else f"{event}\n".encode()]
    data = f"data: {event}\n\n".encode()
    if wire == "bytes":
        return (data[start : start + 3] for start in range(0, len(data), 3))
    return [data]


def _usage(recorded: Recorded, reply: Reply) -> dict[str, Any]:
    prompt, completion = count_tokens(recorded.body["messages"]), len(reply.tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
    }


def _completion(recorded: Recorded, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", **(reply.message or {"content": "".join(reply.tokens)})}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": reply.answered_by or recorded.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
        "usage": _usage(recorded, reply),
        **_some("service_tier", reply.service_tier),
    }


def _error(
    status: int, code: str, message: str, headers: dict[str, str] | None = None, *, param: str | None = None
) -> web.Response:
    body = {"error": {"message": message, "type": code, "param": param, "code": code}}
    return web.json_response(body, status=status, headers=headers)


def _is_known(name: str) -> bool:
    known = "echo say slow context-echo hang cut short error refuse window bytes comments late returns no-done no-usage"
    odd = "json html content odd-usage garbage empty length filtered usage ends body first think think-limit think-only"
    return name in f"{known} {odd} think-hang ndjson streams choices others tier".split() or name.startswith("gpt-")


def _peer(request: web.Request) -> str:
    address = request.transport.get_extra_info("peername") if request.transport else None
    return f"{address[0]}:{address[1]}" if address else ""


def _vector(text: str, size: int) -> list[float]:
    digest = hashlib.shake_256(text.encode()).digest(size)
    numbers = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def _bag_of_words(text: str, size: int) -> list[float]:
    """A vector that is near those of texts with the same words."""
    numbers = [0.0] * size
    for word in pieces(text.lower()):
        digest = hashlib.blake2s(word.strip(" .,;:!?").encode()).digest()
        numbers[int.from_bytes(digest[:4]) % size] += 1 if digest[4] % 2 else -1
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


async def _serve(port: int) -> None:
    async with ModelServer(port) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A scripted OpenAI server on the loopback interface.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; the address is printed")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))
