"""Loads the names of the columns of a datasheet, so that its owner can choose some: a document for each sheet.

The text of a document is a JSON list of names, and its title the name of the sheet; a CSV file has one without title.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.datasheet import tables_of


class ColumnsLoader:
    name: ClassVar[str] = "columns"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        is_empty = True
        for sheet, rows in tables_of(data, options, taken):
            header = next(rows, [])
            # The loader takes the first of two columns with the same name.
            names = list(dict.fromkeys(name for name in header if name))
            if names:
                is_empty = False
                yield LoadedDocument(json.dumps(names), sheet, sheet or None)
        if is_empty:
            raise Refused("without_text")
