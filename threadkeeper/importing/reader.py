"""What a reader of one format is. A new format is a file in `readers/` and a row in `detection.READERS`."""

from collections.abc import Iterator
from typing import Protocol

from threadkeeper.importing.model import Read
from threadkeeper.importing.package import Package, Shape


class Reader(Protocol):
    """Reads the exports of one chat."""

    @property
    def source(self) -> str:
        """The name of the format: a part of every id, so it never changes."""

    def recognizes(self, shape: Shape) -> bool:
        """Whether a JSON file of this shape has conversations of this format."""

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        """The conversations, one at a time.

        Args:
            entries: those whose shape is recognized, sorted by name.
        """
