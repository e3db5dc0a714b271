"""Tells the format of an export by its content. Names of files say nothing: people rename them."""

from collections.abc import Sequence

from threadkeeper.importing.package import BadPackage, Package
from threadkeeper.importing.reader import Reader
from threadkeeper.importing.readers.chatgpt import ChatGPT
from threadkeeper.importing.readers.claude import Claude

READERS: Sequence[Reader] = (ChatGPT(), Claude())
"""The first one that recognizes a file reads it."""


def reader_of(package: Package) -> tuple[Reader, list[str]]:
    """The reader of the export, and the entries with its conversations.

    Raises:
        BadPackage: no reader recognizes it.
    """
    for reader in READERS:
        entries = [name for name, shape in package.shapes.items() if reader.recognizes(shape)]
        if entries:
            return reader, entries
    raise BadPackage("nothing in the file is in a known format")
