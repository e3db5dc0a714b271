"""An export of DeepSeek: times of +08:00, and no current node."""

from datetime import timedelta, timezone
from typing import Any

from tests.support.exports import BEGIN, Export, Thread, zipped


def china(at: float) -> str:
    return (BEGIN + timedelta(seconds=at)).astimezone(timezone(timedelta(hours=8))).isoformat(timespec="microseconds")


def node(key: str, parent: str | None, children: list[str], fragments: Any = None, at: float = 0) -> dict[str, Any]:
    about = {"files": [], "model": "deepseek-reasoner", "inserted_at": china(at), "fragments": fragments}
    return {key: {"id": key, "parent": parent, "children": children, "message": about if fragments else None}}


def old(key: str, parent: str, children: list[str], content: str, at: float, **fields: Any) -> dict[str, Any]:
    """As in exports of 2025: without fragments and roles."""
    about: dict[str, Any] = {"files": [], "search_results": None, "model": "deepseek-chat", "reasoning_content": None}
    message = about | {"content": content, "inserted_at": china(at), **fields}
    return {key: {"id": key, "parent": parent, "children": children, "message": message}}


def said(kind: str, words: str) -> dict[str, str]:
    return {"type": kind, "content": words}


FILE = {"type": "FILE", "files": [{"file_id": "f", "file_name": "lost.pdf", "file_size": 3}]}
FOUND = {"title": "A", "url": "https://example.org/a", "cite_index": 1}
EXPORT = Export(
    "deepseek",
    zipped(
        {
            "user.json": {"user_id": "u"},
            "conversations.json": [
                {
                    "id": "d-1",
                    "title": "袋熊",
                    "inserted_at": china(0),
                    "updated_at": china(50),
                    "mapping": {
                        **node("root", None, ["1"]),
                        **node("1", "root", ["2", "3"], [FILE, said("REQUEST", "袋熊的粪便是什么形状？")], 1),
                        **node("2", "1", [], [said("RESPONSE", "圆的。")], 2),
                        **node(
                            "3",
                            "1",
                            ["4"],
                            [
                                said("THINK", "它们是立方体。"),
                                {"type": "SEARCH", "results": [FOUND, {"title": "B", "cite_index": None}]},
                                {"type": "TOOL_OPEN"},
                                said("RESPONSE", "立方体 [citation:1][citation:9]。"),
                                said("SONG", "la"),
                            ],
                            3,
                        ),
                        **node("4", "3", [], [said("REQUEST", "为什么？")], 4),
                    },
                },
                {"id": "d-2", "title": "Bad", "inserted_at": china(60), "mapping": {}},
                {
                    "id": "d-3",
                    "title": "Old",
                    "inserted_at": china(70),
                    "mapping": {
                        **node("root", None, ["1"]),
                        **old("1", "root", ["2"], "An old question", 71),
                        **old("2", "1", ["3"], "An old answer", 72, reasoning_content="Hm."),
                        **old("3", "2", ["4"], "More", 73),
                        **old("4", "3", [], "That is all.", 74),
                    },
                },
            ],
        }
    ),
    (
        Thread(
            "袋熊",
            (
                ("user_message", "袋熊的粪便是什么形状？", 1),
                ("llm", "它们是立方体。", 3),
                ("tool", "A https://example.org/a\nB", 3 + 1e-6),
                ("assistant_message", "立方体 ([A](<https://example.org/a>))[citation:9]。", 3 + 2e-6),
                ("user_message", "为什么？", 4),
            ),
            (("removed", "assistant_message", "圆的。"),),
            ("deepseek-reasoner",),
        ),
        Thread(
            "Old",
            (
                ("user_message", "An old question", 71),
                ("llm", "Hm.", 72),
                ("assistant_message", "An old answer", 72 + 1e-6),
                ("user_message", "More", 73),
                ("assistant_message", "That is all.", 74),
            ),
            models=("deepseek-chat", "deepseek-chat"),
        ),
    ),
    "粪便",
    ("Bad",),
    {"other_content": 1, "missing_files": 1},
)
