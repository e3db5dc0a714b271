"""An export of Le Chat: one file a chat, whose messages are in no order."""

from typing import Any

from tests.support.exports import PNG, Export, Thread, iso, zipped

KEY = "5f0c3d1e-8a56-4d42-9c6e-0a4f3b1c2d3e"


def message(key: str, role: str, said: str, at: float, **fields: Any) -> dict[str, Any]:
    about = {"id": key, "version": 0, "chatId": KEY, "content": said, "role": role, "createdAt": iso(at)}
    return about | {"reaction": "neutral", "files": [], **fields}


# What an answer cites is a list below it.
ANSWER = "Oui, un ornithorynque.\n\n1. [Bec](<https://example.org>)"
EXPORT = Export(
    "le-chat",
    zipped(
        {
            f"chat-{KEY}.json": [
                message(
                    "b",
                    "assistant",
                    "Oui, un ornithorynque.",
                    2,
                    reaction="like",
                    reactionComment="exact",
                    contentChunks=[
                        {
                            "type": "tool_call",
                            "name": "web_search",
                            "publicArguments": "bec",
                            "publicResult": "ornithorynque",
                        },
                        {"type": "text", "text": "Oui, un "},
                        {"type": "reference", "referenceIds": [1], "url": "https://example.org", "title": "Bec"},
                        {"type": "text", "text": "ornithorynque."},
                        {"type": "perfume"},
                    ],
                    canvas=[{"title": "Fiche", "content": "Un bec."}],
                ),
                message(
                    "a",
                    "user",
                    "Est-ce un ornithorynque ?",
                    1,
                    files=[{"name": "bec.png", "type": "image"}, {"name": "perdu.pdf"}],
                ),
            ],
            f"chat-{KEY}-files/bec.png": PNG,
            "chat-empty.json": [],
            "chat-bad.json": b'[{"chatId": "bad", "role": "user", "createdAt": "2025-03-01T10:00:00Z", "content": ',
        }
    ),
    (
        Thread(
            "Est-ce un ornithorynque ?",
            (
                ("user_message", "Est-ce un ornithorynque ?", 1),
                ("tool", "ornithorynque", 2),
                ("assistant_message", ANSWER, 2 + 1e-6),
                ("assistant_message", "**Fiche**\n\nUn bec.", 2 + 2e-6),
            ),
            models=(None, None),
            votes={"**Fiche**\n\nUn bec.": 1},
            files={"bec.png": PNG},
        ),
    ),
    "ornithorynque",
    ("chat-bad.json",),
    {"missing_files": 1, "other_content": 1},
)
