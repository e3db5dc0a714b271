"""An export of ChatGPT with shards, `.dat` files, votes, hidden nodes, tools and an edited question."""

import json
from typing import Any

from tests.support.exports import PNG, Export, Thread, second, zipped


def node(
    key: str, parent: str | None, role: str, content: Any, at: float | None = None, **about: Any
) -> dict[str, dict[str, Any]]:
    """A node of `mapping`; text stands for content of the type `text`."""
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    message = {
        "id": key,
        "author": {"role": role, "name": about.pop("name", None), "metadata": {}},
        "create_time": None if at is None else second(at),
        "content": content,
        "status": "finished_successfully",
        "recipient": about.pop("recipient", "all"),
        "metadata": about,
    }
    return {key: {"id": key, "message": message, "parent": parent, "children": []}}


def _linked(*nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for one in nodes:
        whole |= one
    for key, one in whole.items():
        if one.get("parent") in whole:
            whole[one["parent"]].get("children", []).append(key)
    return whole


def conversation(key: str, title: str, at: float, mapping: Any, current: str | None, **fields: Any) -> dict[str, Any]:
    return {
        "title": title,
        "create_time": second(at),
        "update_time": second(at + 500),
        "mapping": mapping,
        "moderation_results": [],
        "current_node": current,
        "default_model_slug": "gpt-4o",
        "conversation_id": key,
        "id": key,
        **fields,
    }


PICTURE = "file-AbCdEf123456"
MARK = "\ue200cite\ue202turn0search0\ue201"
PERSON = '\ue200entity\ue202["people","Ada Lovelace","mathematician"]\ue201'
SITE = "\ue200url\ue202the site\ue202https://example.org/site\ue201"
FILE = "\ue200filecite\ue202turn0file0\ue201"
PICTURES = '\ue200image_group\ue202{"query":["quokka"]}\ue201'
REPORT = {"status": "completed", "report_message": {"content": {"parts": ["# Quokkas\n\nA report."]}}}
# What is beside the chat: a search, marks with words in them, a canvas, and the report of a research.
BESIDE = _linked(
    node("b1", None, "user", "Find all about quokkas", 2001),
    node("b2", "b1", "assistant", {"content_type": "thoughts", "thoughts": [{"content": "Let me search."}]}, 2002),
    node("b3", "b2", "assistant", {"content_type": "code", "text": "search()"}, 2003, recipient="web.run"),
    node(
        "b4",
        "b3",
        "tool",
        {"content_type": "text", "parts": [""]},
        2004,
        name="web.run",
        search_result_groups=[{"entries": [{"url": "https://example.org/q", "title": "All"}]}],
    ),
    node("b5", "b4", "assistant", {"content_type": "reasoning_recap"}, 2005, finished_duration_sec=7),
    node(
        "b6",
        "b5",
        "assistant",
        f"{PERSON} knew. See {SITE}{MARK}, {FILE} and \ue203this\ue204.{PICTURES}",
        2006,
        content_references=[
            {"matched_text": FILE, "type": "file", "name": "notes.pdf"},
            {"matched_text": " ", "type": "sources_footnote", "sources": [{"url": "https://example.org/f"}]},
        ],
    ),
    node("b7", "b6", "user", "Write it down", 2010),
    node(
        "b8",
        "b7",
        "assistant",
        {"content_type": "code", "text": '{"name": "Notes", "type": "document", "content": "# Ears\\n\\nRound."}'},
        2011,
        recipient="canmore.create_textdoc",
    ),
    node("b9", "b8", "tool", "Successfully created", 2012, name="canmore.create_textdoc"),
    node("b10", "b9", "tool", "Done.", 2013, name="api_tool", chatgpt_sdk={"widget_state": json.dumps(REPORT)}),
)
EDITED = _linked(
    {"root": {"id": "root", "message": None, "parent": None, "children": []}},
    node("sys", "root", "system", "", 0, is_visually_hidden_from_conversation=True),
    node("q1", "sys", "user", "Where do quokkas live?", 1),
    node("a1", "q1", "assistant", "On an island.", 2, model_slug="gpt-4"),
    node("q1b", "sys", "user", "Where do quokkas live, exactly?", 20),
    {
        **node(
            "think",
            "q1b",
            "assistant",
            {
                "content_type": "thoughts",
                "thoughts": [{"summary": "Recalling", "content": "Rottnest, I think."}],
            },
            21,
        ),
        **node(
            "recap",
            "think",
            "assistant",
            {"content_type": "reasoning_recap", "content": "Thought for 3 s"},
            24,
            finished_duration_sec=3,
        ),
    },
    node(
        "call",
        "recap",
        "assistant",
        {"content_type": "code", "language": "unknown", "text": "search('quokka')"},
        25,
        recipient="web",
    ),
    node(
        "result",
        "call",
        "tool",
        {"content_type": "tether_browsing_display", "result": "Rottnest Island"},
        26,
        name="web",
    ),
    node(
        "a1b",
        "result",
        "assistant",
        f"On Rottnest Island.{MARK}",
        27,
        model_slug="o3",
        content_references=[
            {
                "matched_text": MARK,
                "type": "grouped_webpages",
                "items": [{"title": "Quokka", "url": "https://example.org/quokka"}],
            },
        ],
    ),
    node(
        "q2",
        "a1b",
        "user",
        {
            "content_type": "multimodal_text",
            "parts": [
                {"content_type": "image_asset_pointer", "asset_pointer": f"file-service://{PICTURE}"},
                "Is this one?",
            ],
        },
        30,
        attachments=[
            {"id": PICTURE, "name": "photo.png", "mime_type": "image/png"},
            {"id": "file-Gone", "name": "lost.pdf"},
        ],
    ),
    node("a2", "q2", "assistant", "Yes.", 31, model_slug="o3"),
    node("a2b", "q2", "assistant", "It is.", 40),
)

EXPORT = Export(
    "chatgpt",
    zipped(
        {
            "chat.html": b"<html>",
            "export_manifest.json": {"version": 1, "files": ["conversations-000.json", "conversations-001.json"]},
            "conversations-000.json": [
                conversation("c-1", "Quokkas", 0, EDITED, "a2b", is_archived=True, pinned_time=second(600)),
                {"title": "Broken", "conversation_id": "c-2", "mapping": None},
                conversation("c-3", "", 900, _linked(node("x", None, "user", "Just a numbat\nhere", 901)), None),
            ],
            "conversations-001.json": [
                conversation(
                    "c-4",
                    "Bilbies",
                    1000,
                    _linked(
                        # Neither `children` nor `metadata` need to be there.
                        {
                            key: {name: one[name] for name in one if name != "children"}
                            for key, one in node("y", None, "user", "A bilby?", 1001).items()
                        },
                        node("z", "y", "assistant", "A bilby!", 1002),
                    ),
                    "z",
                ),
                conversation("c-5", "Beside", 2000, BESIDE, "b10"),
                conversation("c-6", "Deleted", 3000, _linked(node("x", None, "user", "", 3001)), "x"),
            ],
            "message_feedback.json": [
                {
                    "id": "a2b",
                    "conversation_id": "c-1",
                    "rating": "thumbs_up",
                    "content": '{"text": "right"}',
                    "create_time": "2025-03-01T11:00:00",
                },
                {"id": "a1", "conversation_id": "c-1", "rating": "thumbs_down", "content": "{}"},
            ],
            "conversation_asset_file_names.json": {f"{PICTURE}.dat": "photo.png"},
            f"{PICTURE}.dat": PNG,
            "user.json": {"id": "user-1", "email": "ada@example.org"},
        }
    ),
    (
        Thread(
            "Quokkas",
            (
                ("user_message", "Where do quokkas live, exactly?", 1),
                ("llm", "**Recalling**\n\nRottnest, I think.", 21),
                ("tool", "Rottnest Island", 25),
                ("assistant_message", "On Rottnest Island. ([Quokka](<https://example.org/quokka>))", 27),
                ("user_message", "Is this one?", 30),
                ("assistant_message", "It is.", 40),
            ),
            (
                ("edited", "user_message", "Where do quokkas live?"),
                ("removed", "assistant_message", "On an island."),
                ("removed", "assistant_message", "Yes."),
            ),
            ("o3", "gpt-4o"),
            {"It is.": 1, "On an island.": 0},
            {"photo.png": PNG},
            archived=True,
        ),
        Thread("Just a numbat", (("user_message", "Just a numbat\nhere", 901),)),
        Thread(
            "Bilbies", (("user_message", "A bilby?", 1001), ("assistant_message", "A bilby!", 1002)), (), ("gpt-4o",)
        ),
        Thread(
            "Beside",
            (
                ("user_message", "Find all about quokkas", 2001),
                ("llm", "Let me search.", 2002),
                ("tool", "All https://example.org/q", 2003),
                (
                    "assistant_message",
                    "Ada Lovelace knew. See [the site](<https://example.org/site>), (`notes.pdf`) and this.\n\n"
                    "1. [https://example.org/f](<https://example.org/f>)",
                    2006,
                ),
                ("user_message", "Write it down", 2010),
                ("assistant_message", "**Notes**\n\n# Ears\n\nRound.", 2011),
                ("assistant_message", "# Quokkas\n\nA report.", 2013),
            ),
            models=("gpt-4o", "gpt-4o", "gpt-4o"),
        ),
    ),
    "rottnest",
    ("Broken",),
    {"missing_files": 1},
)
