"""An export of Open WebUI: newer chats have `output`, older ones `<details>` in the text."""

import base64
import json
from typing import Any

from tests.support.exports import PNG, Export, Thread, second


def message(key: str, parent: str | None, role: str, content: Any, at: float, **fields: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"id": key, "parentId": parent, "childrenIds": [], "role": role, "content": content}
    return {key: about | {"timestamp": int(second(at)), **fields}}


def chat(key: str, title: str, at: float, current: str, messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": key,
        "user_id": "u1",
        "title": title,
        "chat": {
            "title": title,
            "models": ["llama"],
            "history": {"messages": messages, "currentId": current},
            "timestamp": int(second(at) * 1000),
        },
        "created_at": int(second(at)),
        "updated_at": int(second(at + 50)),
        "archived": False,
        "pinned": False,
        "meta": {"tags": ["animals"]},
        **fields,
    }


EXPORT = Export(
    "open-webui",
    json.dumps(
        [
            chat(
                "w-1",
                "Koalas",
                0,
                "r2",
                {
                    **message(
                        "u1",
                        None,
                        "user",
                        "What do koalas eat?",
                        1,
                        files=[
                            {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
                            {"type": "file", "id": "f1", "name": "lost.pdf"},
                            {"type": "collection", "id": "k1", "name": "All leaves"},
                        ],
                    ),
                    **message(
                        "r1",
                        "u1",
                        "assistant",
                        "Grass.",
                        2,
                        model="llama",
                        annotation={"rating": -1, "reason": "wrong"},
                    ),
                    **message(
                        "r2",
                        "u1",
                        "assistant",
                        "shown elsewhere",
                        3,
                        model="llama:70b",
                        annotation={"rating": 1},
                        output=[
                            {
                                "type": "reasoning",
                                "content": [{"type": "output_text", "text": "Think of eucalyptus."}],
                                "duration": 2,
                            },
                            {
                                "type": "function_call",
                                "call_id": "c",
                                "name": "look_up",
                                "arguments": '{"of": "koala"}',
                            },
                            {
                                "type": "function_call_output",
                                "call_id": "c",
                                "output": [{"type": "input_text", "text": "leaves"}],
                            },
                            {"type": "message", "content": [{"type": "output_text", "text": "Leaves of eucalyptus."}]},
                            {"type": "telepathy"},
                        ],
                    ),
                },
                archived=True,
            ),
            {"id": "w-2", "title": "Nothing", "chat": None},
            # As in the oldest exports: the chat itself, and a question in parts.
            {
                "title": "Oldest",
                "history": {
                    "messages": message("o", None, "user", [{"type": "text", "text": "And sloths?"}], 200),
                    "currentId": "o",
                },
            },
            chat(
                "w-3",
                "Older",
                100,
                "r2",
                {
                    **message("u", None, "user", "And pandas?", 101),
                    **message(
                        "r",
                        "u",
                        "assistant",
                        '<details type="reasoning" done="true" duration="4">\n<summary>Thought</summary>\n'
                        "&gt; Bamboo &amp; more.\n</details>\n"
                        '<details type="tool_calls" name="search" arguments="&quot;a&quot;" result="&quot;b&quot;">'
                        "\n<summary>Tool Executed</summary>\n</details>\nBamboo."
                        '\n<details type="reasoning" done="true">\n&gt; Or fish?\n</details>\nNo fish.',
                        102,
                        model="llama",
                        statusHistory=[
                            {"action": "web_search_queries_generated", "queries": ["panda food"]},
                            {"action": "web_search", "urls": ["https://example.org/p"], "done": True},
                        ],
                        sources=[
                            {
                                "source": {"name": "panda food", "urls": ["https://example.org/p"]},
                                "metadata": [{"source": "https://example.org/p", "title": "Pandas"}],
                            },
                        ],
                        code_executions=[{"name": "sum", "code": "1+1", "result": {"output": "2"}}],
                    ),
                    **message("u2", "r", "user", "More", 103),
                    **message("r2", "u2", "assistant", "", 104, model="llama", error={"content": "No such model"}),
                },
                pinned=True,
            ),
        ]
    ).encode(),
    (
        Thread(
            "Koalas",
            (
                ("user_message", "What do koalas eat?", 1),
                ("llm", "Think of eucalyptus.", 3),
                ("tool", "leaves", 3 + 1e-6),
                ("assistant_message", "Leaves of eucalyptus.", 3 + 2e-6),
            ),
            (("removed", "assistant_message", "Grass."),),
            ("llama:70b",),
            {"Leaves of eucalyptus.": 1, "Grass.": 0},
            {"picture-1.png": PNG},
            archived=True,
        ),
        Thread(
            "Older",
            (
                ("user_message", "And pandas?", 101),
                ("tool", "https://example.org/p", 102),
                ("tool", "2", 102 + 1e-6),
                ("llm", "Bamboo & more.", 102 + 2e-6),
                ("tool", "b", 102 + 3e-6),
                ("assistant_message", "Bamboo.", 102 + 4e-6),
                ("llm", "Or fish?", 102 + 5e-6),
                ("assistant_message", "No fish.\n\n1. [Pandas](<https://example.org/p>)", 102 + 6e-6),
                ("user_message", "More", 103),
                ("assistant_message", "No such model", 104),
            ),
            models=("llama", "llama", "llama"),
            pinned=True,
        ),
        Thread("Oldest", (("user_message", "And sloths?", 200),)),
    ),
    "eucalyptus",
    ("Nothing",),
    {"missing_files": 1, "other_content": 1},
)
