"""A thread as Markdown: as the model wrote it, with headings for who speaks."""

import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any

from threadkeeper.exporting.messages import Said, moment, said_in

_BACKTICKS = re.compile(r"`{3,}")


def written(thread: Mapping[str, Any], zone: tzinfo = UTC) -> str:
    """The thread, with the times of this zone."""
    parts = [f"# {_one_line(thread['name'] or thread['id'])}", moment(thread["createdAt"], zone)]
    parts += (_part(one, thread, zone) for one in said_in(thread))
    return "\n\n".join(parts) + "\n\n"


def _part(one: Said, thread: Mapping[str, Any], zone: tzinfo) -> str:
    files = "".join(f"\n\n- `{_one_line(file.get('name') or 'file')}`" for file in one.files)
    at = moment(one.at, zone)
    match one.kind:
        case "question":
            return f"## {_one_line(thread['userIdentifier'] or 'User')} ({at})\n\n{one.text}{files}"
        case "answer":
            return f"## {_one_line(one.name or 'Assistant')} ({at})\n\n{one.text}{files}"
        case "thought":
            quoted = "\n".join(f"> {line}".rstrip() for line in one.text.splitlines())
            return f"> **Thought**\n>\n{quoted}"
        case _:
            shown = "".join(f"\n\n{_fenced(text)}" for text in (one.input, one.text) if text)
            return f"**Tool: {_one_line(one.name)}**{shown}{files}"


def _fenced(text: str) -> str:
    """The text in a fence that is longer than each one within."""
    fence = "`" * max(3, *(len(found) + 1 for found in _BACKTICKS.findall(text)), 3)
    return f"{fence}\n{text}\n{fence}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
