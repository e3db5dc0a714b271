"""Tells the format of an export by its content. Names of files say nothing: people rename them."""

from collections.abc import Sequence

from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.reader import Reader
from threadkeeper.importing.readers.chat_ui import ChatUI
from threadkeeper.importing.readers.chatgpt import ChatGPT
from threadkeeper.importing.readers.claude import Claude
from threadkeeper.importing.readers.deepseek import DeepSeek
from threadkeeper.importing.readers.gemini import Gemini
from threadkeeper.importing.readers.grok import Grok
from threadkeeper.importing.readers.jan import Jan
from threadkeeper.importing.readers.le_chat import LeChat
from threadkeeper.importing.readers.librechat import LibreChat
from threadkeeper.importing.readers.lm_studio import LMStudio
from threadkeeper.importing.readers.open_webui import OpenWebUI
from threadkeeper.importing.readers.threadkeeper import Threadkeeper
from threadkeeper.importing.unknown import unknown

READERS: Sequence[Reader] = (
    *(Threadkeeper(), ChatGPT(), DeepSeek(), Claude(), OpenWebUI(), LibreChat(), LeChat(), Gemini()),
    *(Grok(), ChatUI(), LMStudio(), Jan()),
)
"""The first one that recognizes a file reads it."""


def reader_of(package: Package, *, by_day: bool = False) -> tuple[Reader, list[str], list[tuple[str, str]]]:
    """The reader of the export, the entries with its conversations, and those that other readers recognize.

    The latter with the source of their reader: an import has one format, so they are named and not read.

    Args:
        by_day: as in `run_import`.

    Raises:
        BadPackage: no reader recognizes it.
    """
    recognized: list[list[str]] = [[] for _ in READERS]
    # One shape at a time: that of a ChatGPT shard has the ids of all its messages.
    for name in package.names:
        if shape := package.shape(name):
            found = [*_readers_of(shape)]
            if not found and (found := [*_readers_of(_of_array(shape))]):
                package.read_as_array(name)
            for place in found:
                recognized[place].append(name)
    reader, entries = next(
        ((reader, found) for reader, found in zip(READERS, recognized, strict=True) if found), (None, [])
    )
    if reader is None:
        raise unknown(package)
    others = {
        name: other.source for other, found in zip(READERS[::-1], recognized[::-1], strict=True) for name in found
    }
    left = [(name, source) for name, source in others.items() if name not in set(entries)]
    # The files of own threads may be exports of other chats.
    left = [] if isinstance(reader, Threadkeeper) else sorted(left)
    return (Gemini(by_day) if isinstance(reader, Gemini) else reader), entries, left


def _readers_of(shape: Shape) -> list[int]:
    return [place for place, reader in enumerate(READERS) if reader.recognizes(shape)]


def _of_array(shape: Shape) -> Shape:
    """The shape that an array of this record has."""
    return frozenset(f"item.{key}" for key in shape)
