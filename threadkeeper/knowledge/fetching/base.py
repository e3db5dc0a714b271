"""What fetching gives: the content of a data source, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from datalayer.records.knowledge import DataSource
from threadkeeper.knowledge.fetching.hosts import FetchHeader, UrlHost

FetchFailure = Literal[
    "address",
    "no_hosts",
    "host",
    "private",
    "unreachable",
    "certificate",
    "timeout",
    "robots",
    "robots_unread",
    "robots_moved",
    "redirects",
    "status",
    "encoding",
    "too_large",
    "header",
    "not_json",
    "not_list",
    "paging",
    "unexpected",
]
"""Each has a sentence `fetch_…`."""


class FetchFailed(Exception):
    """Nothing was fetched, and the reason why.

    Args:
        kind: the reason.
        values: that fill its sentence, such as the host; without secrets.
    """

    def __init__(self, kind: FetchFailure, **values: Any) -> None:
        super().__init__(f"{kind} {values}" if values else kind)
        self.kind: FetchFailure = kind
        self.values = values


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """Args:
    hosts: from which may be fetched.
    headers: by the names of their variables.
    seconds: for a data source, with all its pages.
    megabytes: MiB of a data source, unpacked.
    pages: of an HTTP API.
    """

    hosts: tuple[UrlHost, ...] = ()
    headers: Mapping[str, FetchHeader] = field(default_factory=dict)
    seconds: float = 120.0
    megabytes: float = 50.0
    pages: int = 100


@dataclass(frozen=True, slots=True)
class Fetched:
    """Args:
    content: None if it is unchanged since it was fetched last.
    facts: where and when it was fetched, as `DataSource.fetched`.
    """

    content: bytes | None
    facts: dict[str, Any]


class Fetches(Protocol):
    """Fetches the data sources of one training."""

    async def fetch(self, source: DataSource) -> Fetched:
        """The content of a data source. Raises FetchFailed."""

    async def close(self) -> None: ...
