"""Why nothing in an export can be read: what it seems to be instead, and what to do."""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator

from threadkeeper.importing.names import READABLE
from threadkeeper.importing.package import BadPackage, Package, Shape

_MOST_LOOKED_AT = 50
_START_BYTES = 1024
_KINDS = (
    (b"\x1f\x8b", "gzip"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
)
_TAR_AT, _TAR = 257, b"ustar"
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")
# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_ENCODINGS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# The first row of each of its files.
_COPILOT = (
    b"Conversation,Time,Author,Message",
    b"CreatedAt,MessageContent,Author,ChatName",
    b"Timestamp,ClientApp,Prompt",
)
_OTHERS: tuple[tuple[str, Shape], ...] = (
    ("SillyTavern", frozenset({"user_name", "character_name"})),
    ("SillyTavern", frozenset({"chat_metadata"})),
    ("Perplexity", frozenset({"conversations.item.context_uuid"})),
    ("Perplexity", frozenset({"item.context_uuid"})),
    ("Perplexity", frozenset({"item.query_str"})),
    ("Perplexity", frozenset({"entries.item.query_str"})),
    ("Poe", frozenset({"data.chat.messagesConnection"})),
    ("Poe", frozenset({"messagesConnection"})),
    ("Google AI Studio", frozenset({"chunkedPrompt"})),
    ("Chatbox", frozenset({"chat-sessions-list"})),
    ("TypingMind", frozenset({"data.chats"})),
    ("Claude Code", frozenset({"sessionId", "parentUuid"})),
    ("GitHub Copilot Chat", frozenset({"responderUsername", "requests"})),
    ("OpenAI API (messages)", frozenset({"messages.item.role", "messages.item.content"})),
    ("OpenAI API (messages)", frozenset({"item.role", "item.content"})),
)
"""Chats that cannot be read, with the keys by which their files are told."""


def unknown(package: Package) -> BadPackage:
    """Call it if no reader recognizes the export."""
    return next(_reasons(package))


def _reasons(package: Package) -> Iterator[BadPackage]:
    """The first one says most."""
    inner = next((name for name in package.names if name.lower().endswith(".zip")), None)
    # A file may be called a ZIP and be none, as a page that was saved in the place of a download.
    if inner is not None and _start(package, inner).startswith(b"PK"):
        yield BadPackage("import_reason_zip_in_zip", name=inner)
    names = package.names[:_MOST_LOOKED_AT]
    for other in _others(package, names):
        yield BadPackage("import_reason_other_chat", name=other, formats=READABLE)
    starts = [_start(package, name) for name in names]
    if any(b"".join(start.split()) == b"[]" for start in starts):
        yield BadPackage("import_reason_no_conversations")
    for start in starts:
        encoding = next((name for mark, name in _ENCODINGS if start.startswith(mark)), None)
        if encoding is not None:
            yield BadPackage("import_reason_encoding", encoding=encoding)
    if any("takeout/" in name.lower() for name in package.names):
        # Web pages, which it gives if nothing else was chosen, or other data of Google.
        yield BadPackage("import_reason_takeout")
    if any(name.lower().endswith((".html", ".htm")) for name in package.names) or package.is_markup:
        yield BadPackage("import_reason_html")
    for start in starts:
        kind = next((kind for mark, kind in _KINDS if start.startswith(mark)), "tar" if _is_tar(start) else None)
        if kind is not None:
            yield BadPackage("import_reason_archive", kind=kind)
    if not any(starts):
        yield BadPackage("import_reason_empty")
    yield from (
        error for name, start in zip(names, starts, strict=True) if _is_json(start) and (error := package.fault(name))
    )
    if all(map(_is_text, starts)):
        yield BadPackage("import_reason_text", formats=READABLE)
    yield BadPackage("import_reason_unknown_format", formats=READABLE)


def _others(package: Package, names: list[str]) -> Iterator[str]:
    """The chats of which the files seem to be."""
    for name in names:
        shape = package.shape(name)
        yield from (other for other, keys in _OTHERS if keys <= shape)
        if not shape and _start(package, name).startswith(_COPILOT):
            yield "Microsoft Copilot"


def _start(package: Package, name: str) -> bytes:
    with package.open(name) as stream:
        return stream.read(_START_BYTES).removeprefix(b"\xef\xbb\xbf")


def _is_json(start: bytes) -> bool:
    return start.lstrip()[:1] in (b"{", b"[")


def _is_text(start: bytes) -> bool:
    try:
        # The last character may be cut.
        shown = getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return not _is_json(start) and not _CONTROL.search(shown)


def _is_tar(start: bytes) -> bool:
    return start[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR
