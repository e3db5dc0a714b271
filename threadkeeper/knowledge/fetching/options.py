"""The options of data sources that are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalayer.records.knowledge import FETCHED_KINDS

FETCH_OPTIONS = ("address", "header", "next", "page")
"""The options that are not those of the loader: where the content is, the variable with a header, and for an API the
path to the address of the next page in an answer, or the parameter that counts the pages."""


def load_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the loader, with tuples in place of lists."""
    left_out = FETCH_OPTIONS if kind in FETCHED_KINDS else ()
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if name not in left_out
    }
