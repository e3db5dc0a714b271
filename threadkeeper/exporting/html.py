"""Threads as one HTML page that loads nothing: pictures are within, and links lead to the web only when they are
followed. HTML in the texts is escaped."""

import base64
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, tzinfo
from typing import Any

from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import escape

from threadkeeper.exporting.messages import Said, Say, moment, said_in
from threadkeeper.formulas.renderer import FormulaRenderer, markdown_with
from threadkeeper.language import cjk

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
LONGEST_RENDERED = 100_000
"""Characters; a longer text is shown as plain text."""
_LINKS = ("http://", "https://", "mailto:", "#")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 50rem; padding: 1rem; overflow-wrap: anywhere; }
article { border-top: 1px solid #8888; margin-top: 2rem; }
section.question { border-left: 3px solid #15616d; padding-left: .75rem; }
header, summary, time { color: GrayText; font-size: .9rem; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8884; } img { max-width: 100%; }
section, details { overflow-x: auto; }
table { border-collapse: collapse; overflow-wrap: normal; } th, td { border: 1px solid #8886; padding: .25rem .5rem; }
"""
_HEAD = f"""<!DOCTYPE html>
<html lang="{{language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{title}}</title>
<style>{_STYLE.replace("{", "{{").replace("}", "}}")}</style>
</head>
<body>
"""
FOOT = "</body>\n</html>\n"


class _Renderer(FormulaRenderer):
    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        if not str(token.attrGet("href") or "").lower().startswith(_LINKS):
            token.attrs.pop("href", None)
        token.attrs |= {"rel": "noopener noreferrer nofollow"}
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        """A link to the picture, because a page that is opened must not tell others about it."""
        token = tokens[idx]
        source, words = str(token.attrGet("src") or ""), self.renderInlineAsText(token.children or [], options, env)
        if not source.lower().startswith(_LINKS[:2]):
            return str(escape(words))
        return f'<a href="{escape(source)}" rel="noopener noreferrer nofollow">{escape(words or source)}</a>'


_MARKDOWN = markdown_with(_Renderer, cjk.emphasis_beside_letters)


def head(say: Say, language: str) -> str:
    """The beginning of the page."""
    return _HEAD.format(language=escape(language), title=escape(say("export_title")))


def written(thread: Mapping[str, Any], pictures: Mapping[str, bytes], say: Say, zone: tzinfo = UTC) -> str:
    """The article of a thread.

    Args:
        thread: as `export_threads` gives it.
        pictures: by element id; the files without one are named.
        say: says messages in the language of the reader.
        zone: of the times.
    """
    owner = thread["userIdentifier"] or say("export_user")
    parts = "".join(_part(one, owner, pictures, say, zone) for one in said_in(thread))
    title = escape(thread["name"] or thread["id"])
    return f"<article>\n<h1>{title}</h1>\n{_time(thread['createdAt'], zone)}\n{parts}</article>\n"


def _part(one: Said, owner: str, pictures: Mapping[str, bytes], say: Say, zone: tzinfo) -> str:
    if one.kind == "thought":
        return f"<details><summary>{escape(say('thought'))}</summary>{_rendered(one.text)}</details>\n"
    files = "".join(_file(file, pictures) for file in one.files)
    if one.kind == "tool":
        shown = "".join(f"<pre>{escape(text)}</pre>" for text in (one.input, one.text) if text)
        return f"<details><summary>{escape(say('export_tool', name=one.name))}</summary>{shown}{files}</details>\n"
    name = owner if one.kind == "question" else one.name or say("export_assistant")
    head = f"<header><strong>{escape(name)}</strong> {_time(one.at, zone)}</header>"
    return f'<section class="{one.kind}">{head}{_rendered(one.text)}{files}</section>\n'


def _file(file: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    name = escape(file.get("name") or "file")
    content = pictures.get(file["id"])
    if content is None or file.get("mime") not in PICTURES:
        return f"<p>{name}</p>"
    return f'<p><img alt="{name}" src="data:{file["mime"]};base64,{base64.b64encode(content).decode()}"></p>'


def _rendered(text: str) -> str:
    if len(text) > LONGEST_RENDERED:
        return f"<pre>{escape(text)}</pre>"
    return str(_MARKDOWN.render(text))


def _time(at: str, zone: tzinfo) -> str:
    return f'<time datetime="{escape(at)}">{escape(moment(at, zone))}</time>'
