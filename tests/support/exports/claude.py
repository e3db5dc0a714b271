"""An export of Claude: both branches stand in one list, and a document has its text alone."""

from typing import Any

from tests.support.exports import Export, Thread, iso, zipped

ROOT = "00000000-0000-4000-8000-000000000000"


def message(key: str, parent: str | None, sender: str, blocks: list[dict[str, Any]], at: float, **fields: Any) -> Any:
    said = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    about = {"uuid": key, "text": said, "content": blocks, "sender": sender, "created_at": iso(at)}
    return about | {"updated_at": iso(at), "attachments": [], "files": [], "parent_message_uuid": parent, **fields}


def said(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "citations": [], **fields}


WRITTEN = {"command": "create", "type": "text/html", "title": "Burrow", "content": "<p>deep</p>\n"}
FOUND = {"type": "knowledge", "title": "Wombat", "url": "https://example.org/w", "text": "It digs."}
CONVERSATIONS = [
    {
        "uuid": "k-1",
        "name": "Wombats",
        "created_at": iso(0),
        "updated_at": iso(500),
        "account": {"uuid": "account"},
        "chat_messages": [
            message(
                "m1",
                ROOT,
                "human",
                [said("How big is a wombat?")],
                1,
                attachments=[
                    {
                        "file_name": "notes.docx",
                        "file_type": "docx",
                        "file_size": 9,
                        "extracted_content": "burrow notes",
                    },
                ],
                files=[{"file_name": "gone.png"}],
            ),
            message("m2", "m1", "assistant", [said("Small.")], 2),
            message("m3", "m2", "human", [said("Are you sure?")], 3),
            message("m1b", ROOT, "human", [said("How big is a grown wombat?")], 10),
            message(
                "m2b",
                "m1b",
                "assistant",
                [
                    {
                        "type": "thinking",
                        "thinking": "About a metre.",
                        "start_timestamp": iso(11),
                        "stop_timestamp": iso(13),
                    },
                    said("Let me look."),
                    {"type": "tool_use", "id": "t1", "name": "web_search", "input": {"query": "wombat"}},
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "1 m"}]},
                    {"type": "injected_prompt_block", "text": "never shown"},
                    {"type": "hologram", "data": "?"},
                    {"type": "thinking", "thinking": "", "summaries": [{"summary": "Weighing."}]},
                    {"type": "tool_use", "id": None, "name": "artifacts", "input": WRITTEN},
                    {"type": "tool_result", "tool_use_id": None, "content": [{"type": "text", "text": "OK"}]},
                    {"type": "tool_use", "id": "t2", "name": "web_search", "input": {}},
                    {"type": "tool_result", "tool_use_id": "t2", "content": [FOUND]},
                    said("A metre long."),
                ],
                15,
            ),
        ],
    },
    {"uuid": "k-2", "name": "Empty", "created_at": iso(600), "updated_at": iso(600), "chat_messages": []},
    # As of a conversation that was deleted.
    {
        "uuid": "k-5",
        "name": "",
        "created_at": iso(650),
        "chat_messages": [message("d", ROOT, "human", [said("")], 650)],
    },
    {"uuid": "k-3", "name": "Bad", "chat_messages": "?"},
    {
        "uuid": "k-4",
        "name": "Old",
        "created_at": iso(700),
        "updated_at": iso(702),
        # As in old exports: neither blocks nor parents.
        "chat_messages": [
            {"uuid": "o1", "text": "An old question", "sender": "human", "created_at": iso(700)},
            {"uuid": "o2", "text": "An old answer", "sender": "assistant", "created_at": iso(701)},
            {"uuid": "o3", "text": "", "sender": "human", "created_at": iso(702)},
        ],
    },
]

EXPORT = Export(
    "claude",
    zipped(
        {
            "conversations.json": CONVERSATIONS,
            "users.json": [{"uuid": "account", "full_name": "Ada"}],
            "projects.json": [],
        }
    ),
    (
        Thread(
            "Wombats",
            (
                ("user_message", "How big is a grown wombat?", 1),
                ("llm", "About a metre.", 11),
                ("assistant_message", "Let me look.", 15),
                ("tool", "1 m", 15 + 1e-6),
                ("llm", "Weighing.", 15 + 2e-6),
                ("assistant_message", "**Burrow**\n\n```html\n<p>deep</p>\n```", 15 + 3e-6),
                ("tool", "Wombat https://example.org/w\nIt digs.", 15 + 4e-6),
                ("assistant_message", "A metre long.", 15 + 5e-6),
            ),
            (
                ("edited", "user_message", "How big is a wombat?"),
                ("removed", "assistant_message", "Small."),
                ("removed", "user_message", "Are you sure?"),
            ),
            (None, None, None),
            files={"notes.docx.txt": b"burrow notes"},
        ),
        Thread(
            "Old",
            (("user_message", "An old question", 700), ("assistant_message", "An old answer", 701)),
            models=(None,),
        ),
    ),
    "grown",
    ("Bad",),
    {"missing_files": 1, "other_content": 1},
)
