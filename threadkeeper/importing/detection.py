"""Tells the format of an export by its content. Names of files say nothing: people rename them."""

from collections.abc import Sequence

from threadkeeper.importing.package import BadPackage, Package
from threadkeeper.importing.reader import Reader
from threadkeeper.importing.readers.chatgpt import ChatGPT
from threadkeeper.importing.readers.claude import Claude
from threadkeeper.importing.readers.deepseek import DeepSeek
from threadkeeper.importing.readers.gemini import Gemini
from threadkeeper.importing.readers.le_chat import LeChat
from threadkeeper.importing.readers.librechat import LibreChat
from threadkeeper.importing.readers.open_webui import OpenWebUI
from threadkeeper.importing.readers.threadkeeper import Threadkeeper

READERS: Sequence[Reader] = (
    *(Threadkeeper(), ChatGPT(), DeepSeek(), Claude(), OpenWebUI(), LibreChat(), LeChat(), Gemini()),
)
"""The first one that recognizes a file reads it."""


def reader_of(package: Package, *, by_day: bool = False) -> tuple[Reader, list[str]]:
    """The reader of the export, and the entries with its conversations.

    Args:
        by_day: as in `run_import`.

    Raises:
        BadPackage: no reader recognizes it.
    """
    recognized: list[list[str]] = [[] for _ in READERS]
    # One shape at a time: that of a ChatGPT shard has the ids of all its messages.
    for name in package.names:
        if shape := package.shape(name):
            for reader, entries in zip(READERS, recognized, strict=True):
                if reader.recognizes(shape):
                    entries.append(name)
    for reader, entries in zip(READERS, recognized, strict=True):
        if entries:
            return (Gemini(by_day) if isinstance(reader, Gemini) else reader), entries
    inner = next((name for name in package.names if name.lower().endswith(".zip")), None)
    if inner is not None:
        raise BadPackage("import_reason_zip_in_zip", name=inner)
    if any(name.lower().endswith((".html", ".htm")) for name in package.names) or package.is_markup:
        # As Google Takeout gives it if nothing else was chosen.
        raise BadPackage("import_reason_html")
    raise BadPackage("import_reason_unknown_format")
