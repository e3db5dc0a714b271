"""A thread as Markdown: as the model wrote it, with headings for who speaks."""

import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any

from markdown_it import MarkdownIt

from threadkeeper.exporting.messages import Said, Say, moment, said_in

_OPENING = ("```", "~~~", "<!--")
_BLOCKS = MarkdownIt("commonmark").disable("inline")
_BACKTICKS = re.compile(r"`{3,}")


def written(thread: Mapping[str, Any], say: Say, zone: tzinfo = UTC) -> str:
    """The thread, with the times of this zone. `say` says messages in the language of the reader."""
    parts = [f"# {_one_line(thread['name'] or thread['id'])}", moment(thread["createdAt"], zone)]
    parts += (_part(one, thread, say, zone) for one in said_in(thread))
    return "\n\n".join(parts) + "\n\n"


def _part(one: Said, thread: Mapping[str, Any], say: Say, zone: tzinfo) -> str:
    files = "".join(f"\n\n- `{_one_line(file.get('name') or 'file')}`" for file in one.files)
    at = moment(one.at, zone)
    match one.kind:
        case "question":
            return f"## {_one_line(thread['userIdentifier'] or say('export_user'))} ({at})\n\n{_ended(one.text)}{files}"
        case "answer":
            return f"## {_one_line(one.name or say('export_assistant'))} ({at})\n\n{_ended(one.text)}{files}"
        case "thought":
            quoted = "\n".join(f"> {line}".rstrip() for line in one.text.splitlines())
            return f"> **{say('thought')}**\n>\n{quoted}"
        case _:
            shown = "".join(f"\n\n{_fenced(text)}" for text in (one.input, one.text) if text)
            return f"**{say('export_tool', name=_one_line(one.name))}**{shown}{files}"


def _ended(text: str) -> str:
    """The text with an end of its last code fence or comment, which an answer that was stopped leaves open.

    Otherwise, all messages behind it would belong to it.
    """
    if not any(mark in text for mark in _OPENING):
        return text
    last = _BLOCKS.parse(f"{text}\n\n# ")[-1]
    return text if last.type == "heading_close" else f"{text}\n{last.markup or '-->'}"


def _fenced(text: str) -> str:
    """The text in a fence that is longer than each one within."""
    fence = "`" * max(3, *(len(found) + 1 for found in _BACKTICKS.findall(text)), 3)
    return f"{fence}\n{text}\n{fence}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
