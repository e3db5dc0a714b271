"""A search, as tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """The tokens that one text must contain: each of `whole` as a token, each of `beginnings` as the start of one."""

    whole: tuple[str, ...]
    beginnings: tuple[str, ...]
