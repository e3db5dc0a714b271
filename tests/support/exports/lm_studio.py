"""A conversation of LM Studio, alone in its file: a question with two answers, a thought and a tool."""

import json
from typing import Any

from tests.support.exports import Export, Thread, second


def said(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def question(words: str, *content: Any) -> dict[str, Any]:
    return {"type": "singleStep", "role": "user", "content": [said(words), *content]}


def answer(*steps: Any) -> dict[str, Any]:
    return {"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen3"}, "steps": steps}


def block(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "contentBlock", "content": content, **fields}


EXPORT = Export(
    "lm-studio",
    json.dumps(
        {
            "name": "Bettongs",
            "pinned": True,
            "createdAt": int(second(0) * 1000),
            "assistantLastMessagedAt": int(second(60) * 1000),
            "systemPrompt": "Be brief.",
            "messages": [
                {
                    "versions": [question("Do bettongs dig?", {"type": "file", "fileIdentifier": "b.pdf"})],
                    "currentlySelected": 0,
                },
                {
                    "versions": [
                        answer(block(said("No."))),
                        answer(
                            block(said("They do."), style={"type": "thinking"}),
                            block(
                                {
                                    "type": "toolCallRequest",
                                    "callId": 1,
                                    "name": "look",
                                    "parameters": {"of": "bettong"},
                                }
                            ),
                            block({"type": "toolCallResult", "callId": 1, "content": "holes"}),
                            block(said("Yes, "), said("deep."), {"type": "riddle"}),
                            {"type": "debugInfoBlock", "debugInfo": "x"},
                        ),
                    ],
                    "currentlySelected": 1,
                },
                {"versions": [question("Why?")], "currentlySelected": 0},
            ],
        }
    ).encode(),
    (
        Thread(
            "Bettongs",
            (
                ("user_message", "Do bettongs dig?", 0),
                ("llm", "They do.", 0.001001),
                ("tool", "holes", 0.002001),
                ("assistant_message", "Yes, deep.", 0.003001),
                ("user_message", "Why?", 0.004001),
            ),
            (("removed", "assistant_message", "No."),),
            ("qwen3",),
            pinned=True,
        ),
    ),
    "bettongs",
    (),
    {"missing_files": 1, "other_content": 1},
)
