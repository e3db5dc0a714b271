"""Threads of Jan: one with a thought in the text, a tool and a picture; one without its messages, and a damaged one."""

import base64
import json
from typing import Any

from tests.support.exports import PNG, Export, Thread, second, zipped


def thread(key: str, title: str, at: float) -> dict[str, Any]:
    about = {"id": key, "object": "thread", "title": title, "assistants": [{"model": {"id": "qwen3"}}]}
    return about | {"created": second(at), "updated": second(at + 9), "metadata": {"is_favorite": True}}


def message(key: str, role: str, said: str, at: float, *content: Any, **metadata: Any) -> dict[str, Any]:
    words = {"type": "text", "text": {"value": said, "annotations": []}}
    about = {"id": key, "object": "thread.message", "role": role, "created_at": int(second(at) * 1000)}
    return about | {"content": [words, *content], "status": "ready", "metadata": metadata}


PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}}
CALL = {
    "tool": {"function": {"name": "look", "arguments": '{"of": "numbat"}'}},
    "response": {"content": [{"type": "text", "text": "stripes"}]},
}
MESSAGES = [
    message("m1", "user", "Is this a numbat?", 1, PICTURE),
    message("m2", "assistant", "<think>It has stripes.</think>\n\nIt is.", 2, {"type": "hum"}, tool_calls=[CALL]),
]

EXPORT = Export(
    "jan",
    zipped(
        {
            "threads/one/thread.json": thread("t-1", "Numbats", 0),
            "threads/one/messages.jsonl": "\n".join(map(json.dumps, MESSAGES)).encode(),
            "threads/three/thread.json": thread("t-3", "Without", 200),
            "threads/two/thread.json": thread("t-2", "Damaged", 100),
            "threads/two/messages.jsonl": b'{"id": "m1", "role": ',
        }
    ),
    (
        Thread(
            "Numbats",
            (
                ("user_message", "Is this a numbat?", 1),
                ("llm", "It has stripes.", 2),
                ("tool", "stripes", 2 + 1e-6),
                ("assistant_message", "It is.", 2 + 2e-6),
            ),
            models=("qwen3",),
            files={"picture-1.png": PNG},
            pinned=True,
        ),
    ),
    "numbat",
    ("Without", "threads/two/thread.json"),
    {"other_content": 1},
)
