"""Further endpoints of the scripted model server: what other dialects answer, and what a gateway must take.

Each answers ``You said: <the last user message>`` and reports the tokens that go into the ledger. `/v1/redirect`
answers with a redirect, `/v1/page` with a page that sets a cookie, and `/v1/mirror` with what it got: the raw path, the
headers, and the number and the hash of the body's bytes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Record = Callable[[web.Request], Awaitable[Any]]
Bill = Callable[[Any, str, int, int], None]
"""Writes an answer into the ledger: request, model, tokens of the prompt, tokens of the answer."""

Pieces = Callable[[str], list[str]]
CACHED = 30
"""Tokens that Anthropic's endpoint read from its cache, beside those of the prompt."""
THOUGHT = 20
"""Tokens that Gemini's endpoint thought, beside those of the answer."""


class Dialects:
    def __init__(self, record: Record, bill: Bill, pieces: Pieces) -> None:
        self._record, self._bill, self._pieces = record, bill, pieces

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/completions", self._completions)
        router.add_post("/v1/responses", self._responses)
        router.add_post("/v1/responses/{id}/cancel", self._cancelled)
        router.add_post("/v1/messages", self._messages)
        router.add_post("/v1/messages/count_tokens", self._count_tokens)
        router.add_post("/v1beta/models/{call}", self._gemini)
        router.add_post("/v1/images/generations", self._image)
        router.add_post("/v1/audio/transcriptions", self._transcription)
        router.add_post("/v1/audio/speech", self._speech)
        router.add_post("/v1/moderations", self._moderation)
        router.add_post("/v1/compressed/chat/completions", self._compressed)
        router.add_route("*", "/v1/redirect", self._redirect)
        router.add_post("/v1/broken/chat/completions", self._broken)
        router.add_route("*", "/v1/page", self._page)
        router.add_route("*", "/v1/mirror{rest:.*}", self._mirror)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        body = recorded.body
        tokens = self._pieces(f"You said: {body['prompt']}")
        prompt = len(self._pieces(body["prompt"]))
        self._bill(recorded, body["model"], prompt, len(tokens))
        usage = {"prompt_tokens": prompt, "completion_tokens": len(tokens), "total_tokens": prompt + len(tokens)}
        if not body.get("stream"):
            return web.json_response({**_completion(body, "".join(tokens), "stop"), "usage": usage})
        events: list[Any] = [_completion(body, token, None) for token in tokens]
        events.append(_completion(body, "", "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**_completion(body, "", None), "choices": [], "usage": usage})
        return await _stream(request, [*events, "[DONE]"])

    async def _cancelled(self, request: web.Request) -> web.Response:
        await self._record(request)
        found = {"id": request.match_info["id"], "object": "response", "model": "echo", "status": "cancelled"}
        return web.json_response({**found, "background": True, "output": [], "usage": None})

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        body = recorded.body
        asked = body["input"] if isinstance(body["input"], str) else body["input"][-1]["content"]
        tokens, prompt = self._pieces(f"You said: {asked}"), len(self._pieces(asked))
        self._bill(recorded, body["model"], prompt, len(tokens))
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": len(tokens),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + len(tokens),
        }
        part = {"type": "output_text", "text": "".join(tokens), "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        whole = {
            **{"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": "completed"},
            **{"output": [item], "usage": usage, "error": None, "incomplete_details": None, "tools": []},
            **{"parallel_tool_calls": True, "tool_choice": "auto", "instructions": None, "metadata": {}},
        }
        if not body.get("stream"):
            return web.json_response(whole)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        empty = {**item, "status": "in_progress", "content": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": empty},
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        ]
        delta = {"type": "response.output_text.delta", "logprobs": [], **place}
        events += [{**delta, "delta": token} for token in tokens]
        events.append({"type": "response.completed", "response": whole})
        events = [{**event, "sequence_number": number} for number, event in enumerate(events)]
        return await _stream(request, events, named=True)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        body = recorded.body
        asked = body["messages"][-1]["content"]
        tokens, prompt = self._pieces(f"You said: {asked}"), len(self._pieces(asked))
        self._bill(recorded, body["model"], prompt + CACHED, len(tokens))
        counts = {"input_tokens": prompt, "cache_read_input_tokens": CACHED, "cache_creation_input_tokens": 0}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None}
        if not body.get("stream"):
            content = [{"type": "text", "text": "".join(tokens)}]
            usage = {**counts, "output_tokens": len(tokens)}
            return web.json_response({**message, "content": content, "stop_reason": "end_turn", "usage": usage})
        begun = {**message, "content": [], "stop_reason": None, "usage": {**counts, "output_tokens": 1}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}}
            for token in tokens
        ]
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        events: list[Any] = [
            {"type": "message_start", "message": begun},
            *(block, {"type": "ping"}, *deltas, {"type": "content_block_stop", "index": 0}),
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": len(tokens)}},
            {"type": "message_stop"},
        ]
        return await _stream(request, events, named=True)

    async def _count_tokens(self, request: web.Request) -> web.Response:
        asked = (await self._record(request)).body["messages"][-1]["content"]
        return web.json_response({"input_tokens": len(self._pieces(asked))})

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        model, _, method = request.match_info["call"].partition(":")
        if method == "batchEmbedContents":
            # It reports no usage.
            return web.json_response({"embeddings": [{"values": [0.5]} for _ in recorded.body["requests"]]})
        asked = recorded.body["contents"][-1]["parts"][-1]["text"]
        tokens, prompt = self._pieces(f"You said: {asked}"), len(self._pieces(asked))
        self._bill(recorded, model, prompt, len(tokens) + THOUGHT)

        def event(text: str, count: int, *, ends: bool) -> dict[str, Any]:
            usage = {"promptTokenCount": prompt, "candidatesTokenCount": count, "thoughtsTokenCount": THOUGHT}
            candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
            candidate |= {"finishReason": "STOP"} if ends else {}
            usage["totalTokenCount"] = prompt + count + THOUGHT
            return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}

        if method != "streamGenerateContent":
            return web.json_response(event("".join(tokens), len(tokens), ends=True))
        events = [event(token, at, ends=at == len(tokens)) for at, token in enumerate(tokens, 1)]
        return await _stream(request, events) if request.query.get("alt") == "sse" else web.json_response(events)

    async def _image(self, request: web.Request) -> web.Response:
        recorded = await self._record(request)
        self._bill(recorded, recorded.body["model"], 7, 100)
        usage = {"input_tokens": 7, "output_tokens": 100, "total_tokens": 107}
        return web.json_response({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage})

    async def _transcription(self, request: web.Request) -> web.Response:
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        size, model = len(upload.file.read()), str(form["model"])
        usage: dict[str, Any] = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
        if model == "by-the-minute":
            usage = {"type": "duration", "seconds": 3}
        return web.json_response({"text": f"{size} bytes for {model}", "usage": usage})

    async def _speech(self, request: web.Request) -> web.Response:
        await self._record(request)
        return web.Response(body=bytes(range(256)), content_type="audio/mpeg")

    async def _moderation(self, request: web.Request) -> web.Response:
        recorded = await self._record(request)
        result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
        return web.json_response({"id": "modr-1", "model": recorded.body["model"], "results": [result]})

    async def _compressed(self, request: web.Request) -> web.Response:
        recorded = await self._record(request)
        prompt = len(self._pieces(recorded.body["messages"][-1]["content"]))
        self._bill(recorded, recorded.model, prompt, 3)
        usage = {"prompt_tokens": prompt, "completion_tokens": 3, "total_tokens": prompt + 3}
        choice = {"index": 0, "message": {"role": "assistant", "content": "One two three"}, "finish_reason": "stop"}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": recorded.model}
        body = gzip.compress(json.dumps({**whole, "choices": [choice], "usage": usage}).encode(), mtime=0)
        assert "gzip" in request.headers.get("Accept-Encoding", "")
        return web.Response(body=body, content_type="application/json", headers={"Content-Encoding": "gzip"})

    async def _redirect(self, _request: web.Request) -> web.Response:
        # To an address that records who asks it.
        return web.Response(status=307, headers={"Location": "/v1/audio/speech"})

    async def _broken(self, request: web.Request) -> web.Response:
        """Breaks off within a refusal that names `stream_options`."""
        await self._record(request)
        response = web.StreamResponse(status=400, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"stream_options")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _page(self, _request: web.Request) -> web.Response:
        page = web.Response(text="<script>alert(1)</script>", content_type="text/html")
        page.set_cookie("access_token", "stolen")
        return page

    async def _mirror(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = {"path": request.raw_path, "headers": headers, "bytes": size, "sha256": digest.hexdigest()}
        return web.json_response(seen, headers={"X-Request-Id": "req-1"})


def _completion(body: dict[str, Any], text: str, reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"], "choices": [choice]}


async def _stream(request: web.Request, events: list[Any], *, named: bool = False) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for event in events:
        text = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if named else ""
        await response.write(f"{name}data: {text}\n\n".encode())
        await asyncio.sleep(0)
    await response.write_eof()
    return response
