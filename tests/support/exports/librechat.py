"""Exports of LibreChat in a ZIP: one flat with branches, and one nested without times."""

from typing import Any

from tests.support.exports import Export, Thread, iso, zipped

ROOT = "00000000-0000-0000-0000-000000000000"


ANCHOR = "\ue202turn0search0"
FOUND = {"turn": 0, "organic": [{"title": "Dingo", "link": "https://example.org/d"}]}
ANSWER = "Nearly ([Dingo](<https://example.org/d>))."


def message(key: str, parent: str, said: str, at: float | None, **fields: Any) -> dict[str, Any]:
    about = {"messageId": key, "parentMessageId": parent, "text": said, "isCreatedByUser": "model" not in fields}
    return about | ({} if at is None else {"createdAt": iso(at)}) | fields


def exported(key: str, title: str, messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    # The real one says the time of the day alone in `exportAt`.
    about = {"conversationId": key, "endpoint": "openAI", "title": title, "exportAt": "08:12:16 GMT-0400"}
    return about | {"branches": True, "messages": messages, **fields}


EXPORT = Export(
    "librechat",
    zipped(
        {
            "first.json": exported(
                "l-1",
                "Dingoes",
                [
                    message("m1", ROOT, "Is a dingo a dog?", 1, files=[{"file_id": "f", "filename": "dog.txt"}]),
                    message(
                        "m2", "m1", "Yes.", 2, model="gpt-4o", feedback={"rating": "thumbsDown", "tag": "inaccurate"}
                    ),
                    message(
                        "m3",
                        "m1",
                        "",
                        3,
                        model="agent_1",
                        sender="claude-4",
                        attachments=[{"type": "web_search", "web_search": FOUND}],
                        feedback={"rating": "thumbsUp"},
                        content=[
                            {"type": "think", "think": "Taxonomists disagree."},
                            {
                                "type": "tool_call",
                                "tool_call": {"name": "wiki", "args": {"q": "dingo"}, "output": "Canis"},
                            },
                            {"type": "text", "text": {"value": f"Nearly{ANCHOR} \\ue202turn0news0."}},
                            {"type": "agent_update", "agent_update": {}},
                            {"type": "mystery"},
                        ],
                    ),
                ],
                recursive=False,
                options={"model": "gpt-4o"},
            ),
            "second.json": exported(
                "l-2",
                "Nested",
                [
                    message(
                        "n1",
                        ROOT,
                        "One?",
                        None,
                        children=[
                            message(
                                "n2",
                                "n1",
                                "Two.",
                                None,
                                model="gpt-4o",
                                children=[
                                    message("n3", "n2", "Three?", None, children=[]),
                                ],
                            ),
                        ],
                    ),
                ],
                recursive=True,
                createdAt=iso(100),
                updatedAt=iso(101),
            ),
            "third.json": {"conversationId": "l-3", "title": "Broken", "messages": {}},
            "dog.txt": b"woof",
        }
    ),
    (
        Thread(
            "Dingoes",
            (
                ("user_message", "Is a dingo a dog?", 1),
                ("llm", "Taxonomists disagree.", 3),
                ("tool", "Canis", 3 + 1e-6),
                ("assistant_message", ANSWER, 3 + 2e-6),
            ),
            (("removed", "assistant_message", "Yes."),),
            ("claude-4",),
            {ANSWER: 1, "Yes.": 0},
            {"dog.txt": b"woof"},
        ),
        Thread(
            "Nested",
            (
                ("user_message", "One?", 100),
                ("assistant_message", "Two.", 100.001001),
                ("user_message", "Three?", 100.002001),
            ),
            models=("gpt-4o",),
        ),
    ),
    "nearly",
    ("Broken",),
    {"other_content": 1},
)
