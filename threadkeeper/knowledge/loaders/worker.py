"""The program that `loading` runs: loads the documents of one file in a process of its own, which has limits.

Arguments: a JSON object of the kind and the name of the source, the seconds of CPU time, and the options. It reads the
file from its standard input, and writes frames to its standard output: four bytes of length, and JSON. A frame with
"document" is a document, the last one is what was taken, or why nothing was.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import asdict, replace
from typing import Any

from threadkeeper.documents.worker.limits import limit
from threadkeeper.knowledge.loaders.base import LoadOptions, Refused, Taken


def main() -> None:
    asked = json.loads(sys.argv[1])
    data = sys.stdin.buffer.read()
    limit(asked["seconds"])
    options = LoadOptions(**asked["options"])
    options = replace(options, columns=tuple(options.columns))
    taken = Taken()
    try:
        from threadkeeper.knowledge.loaders.formats import loader_for  # noqa: PLC0415  within the limits

        loader = loader_for(asked["kind"], asked["name"], data)
        taken.loader = f"{loader.name} {loader.version}"
        for document in loader.load(data, options, taken):
            _write({"document": asdict(document)})
    except Refused as refusal:
        _write({"refused": refusal.refusal})
    except (MemoryError, RecursionError):
        _write({"refused": "unsafe"})
    else:
        _write({"taken": asdict(taken)})


def _write(frame: dict[str, Any]) -> None:
    # ASCII, because some fonts give lone surrogates, which UTF-8 cannot encode.
    encoded = json.dumps(frame).encode("ascii")
    sys.stdout.buffer.write(struct.pack(">I", len(encoded)) + encoded)
    sys.stdout.buffer.flush()
