"""An export of chat-ui: another answer, a thought, a vote, and the files of a conversation at each of its messages."""

from typing import Any

from tests.support.exports import PNG, Export, Thread, iso, zipped


def message(key: str, before: list[str], who: str, said: str, at: float, **fields: Any) -> dict[str, Any]:
    about = {"id": key, "ancestors": before, "children": [], "from": who, "content": said, "createdAt": iso(at)}
    return about | {"files": ["file-h1-abc.png", "file-h1-gone.pdf"]} | fields


EXPORT = Export(
    "chat-ui",
    zipped(
        {
            "assistants.json": [],
            "file-h1-abc.png": PNG,
            "conversations.json": [
                {
                    "_id": "h1",
                    "title": "Gliders",
                    "model": "llama",
                    "rootMessageId": "s",
                    "createdAt": iso(0),
                    "updatedAt": iso(9),
                    "messages": [
                        message("s", [], "system", "", 0),
                        message("q", ["s"], "user", "Can gliders fly?", 1),
                        message("a", ["s", "q"], "assistant", "Yes.", 2, score=-1),
                        message("a2", ["s", "q"], "assistant", "They glide.", 3, score=1, reasoning="Not quite."),
                        message("q2", ["s", "q", "a2"], "user", "How far?", 4),
                    ],
                },
                {"_id": "h2", "title": "Bad", "messages": None},
                {
                    "_id": {"$oid": "h3"},
                    "title": "Old",
                    "createdAt": iso(100),
                    "messages": [{"from": "user", "content": "An old one"}, {"from": "assistant", "content": "Yes"}],
                },
            ],
        }
    ),
    (
        Thread(
            "Gliders",
            (
                ("user_message", "Can gliders fly?", 1),
                ("llm", "Not quite.", 3),
                ("assistant_message", "They glide.", 3 + 1e-6),
                ("user_message", "How far?", 4),
            ),
            (("removed", "assistant_message", "Yes."),),
            ("llama",),
            {"They glide.": 1, "Yes.": 0},
            {"file-h1-abc.png": PNG},
        ),
        Thread("Old", (("user_message", "An old one", 100), ("assistant_message", "Yes", 100.001001)), models=(None,)),
    ),
    "gliders",
    ("Bad",),
    {"missing_files": 1},
)
