"""ThreadDicts of another Chainlit app in one file: a run with a vote, a thought, a tool and an earlier version."""

import base64
import json
from typing import Any

from tests.support.exports import Export, Thread, iso


def step(key: str, kind: str, output: str, at: float, **fields: Any) -> dict[str, Any]:
    about = {"id": key, "type": kind, "name": kind, "output": output, "createdAt": iso(at), "metadata": {}}
    return about | {"input": "", "feedback": None, "parentId": None, **fields}


EXPORT = Export(
    "threadkeeper",
    json.dumps(
        [
            {
                "id": "t-1",
                "createdAt": iso(0),
                "name": "Echidnas",
                "userIdentifier": "somebody",
                "tags": ["eggs"],
                "metadata": {},
                "steps": [
                    step("a", "assistant_message", "They lay eggs.", 4, parentId="r", metadata={"model": "gpt-4o"}),
                    step("q", "user_message", "Do echidnas lay eggs?", 1),
                    step("r", "run", "", 2, parentId="q", feedback={"value": 1, "comment": "yes"}),
                    step("t", "llm", "Monotremes do.", 3, name="Thought", parentId="r", metadata={"seconds": 1}),
                    step("s", "retrieval", "a page", 3.5, parentId="r", input="monotreme"),
                    step("n", "assistant_message", "A notice.", 5, metadata={"status": "notice"}),
                ],
                "elements": [
                    {
                        "id": "e",
                        "name": "egg.txt",
                        "mime": "text/plain",
                        "forId": "q",
                        "content": base64.b64encode(b"oval").decode(),
                    },
                    {"id": "f", "name": "gone.txt", "forId": "q", "url": "/gone"},
                ],
                "versions": [
                    {
                        "stepId": "q",
                        "change": "edited",
                        "type": "user_message",
                        "name": "x",
                        "output": "Eggs?",
                        "createdAt": iso(1),
                        "replacedAt": iso(2.5),
                        "parentId": None,
                    },
                    {
                        "stepId": "old",
                        "change": "removed",
                        "type": "assistant_message",
                        "name": "x",
                        "output": "Yes.",
                        "createdAt": iso(2),
                        "replacedAt": iso(2.5),
                        "parentId": "r0",
                    },
                ],
            },
            {"id": "t-2", "name": "Bad", "steps": [{"type": "run"}], "createdAt": {}, "metadata": 1, "elements": 3},
            {"name": "Nameless", "steps": []},
        ]
    ).encode(),
    (
        Thread(
            "Echidnas",
            (
                ("user_message", "Do echidnas lay eggs?", 1),
                ("llm", "Monotremes do.", 3),
                ("tool", "a page", 3.5),
                ("assistant_message", "They lay eggs.", 4),
            ),
            (("edited", "user_message", "Eggs?"), ("removed", "assistant_message", "Yes.")),
            ("gpt-4o",),
            {"They lay eggs.": 1},
            {"egg.txt": b"oval"},
        ),
    ),
    "echidnas",
    ("Nameless",),
    {"missing_files": 1, "notices": 1},
)
