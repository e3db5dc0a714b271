"""An export of Grok: two wordings of a question, a thought, cards in the text, and a file in the folder of its id."""

from typing import Any

from tests.support.exports import PNG, Export, Thread, iso, second, zipped

FOLDER = "ttl/30d/export_data/0a1b"


def response(key: str, parent: str | None, sender: str, said: str, at: float, **fields: Any) -> dict[str, Any]:
    about = {"_id": key, "message": said, "sender": sender, "create_time": mongo(at), "parent_response_id": parent}
    return {"response": about | fields, "share_link": None}


def mongo(at: float) -> Any:
    return {"$date": {"$numberLong": str(int(second(at) * 1000))}}


EXPORT = Export(
    "grok",
    zipped(
        {
            f"{FOLDER}/prod-mc-billing.json": {"credits": 1},
            f"{FOLDER}/prod-mc-asset-server/f-1/content": PNG,
            f"{FOLDER}/prod-grok-backend.json": {
                "projects": [],
                "conversations": [
                    {
                        "conversation": {
                            "id": "g-1",
                            "title": "Potoroos",
                            "create_time": iso(0),
                            "modify_time": iso(50),
                            "starred": True,
                        },
                        "responses": [
                            response("q", None, "human", "What is this?", 1, file_attachments=["f-1", "f-2"]),
                            response("a", "q", "ASSISTANT", "A rat.", 2, model="grok-3"),
                            response("q2", None, "human", "What is this animal?", 10, file_attachments=["f-1"]),
                            response(
                                "a2",
                                "q2",
                                "grok-4",
                                'A potoroo.<grok:render card_id="1"><argument>1</argument></grok:render>',
                                15,
                                model="grok-4",
                                thinking_trace="Long nose. <xai:tool_usage_card>?</xai:tool_usage_card>",
                                thinking_start_time=mongo(11),
                                thinking_end_time=mongo(13),
                                cited_web_search_results=[{"url": "https://example.org/p", "title": "Potoroo"}],
                            ),
                            response("q3", "a2", "human", "Draw it", 20),
                            response("a3", "q3", "assistant", "", 21, model="grok-4", error="Failed to respond."),
                        ],
                    },
                    {"conversation": {"title": "Bad"}, "responses": []},
                ],
            },
        }
    ),
    (
        Thread(
            "Potoroos",
            (
                ("user_message", "What is this animal?", 1),
                ("llm", "Long nose.", 11),
                ("assistant_message", "A potoroo.\n\n1. [Potoroo](<https://example.org/p>)", 15),
                ("user_message", "Draw it", 20),
                ("assistant_message", "Failed to respond.", 21),
            ),
            (("edited", "user_message", "What is this?"), ("removed", "assistant_message", "A rat.")),
            ("grok-4", "grok-4"),
            files={"f-1.png": PNG},
            pinned=True,
        ),
    ),
    "potoroo",
    ("Bad",),
    {"missing_files": 1},
)
