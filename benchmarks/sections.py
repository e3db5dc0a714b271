"""The contribution of a module to the page: a section, and rows of the table of budgets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """A budget that does not depend on the size of the history."""

    what: str
    promised: str
    found: str
    """The number with its unit, or "not measured" if a requirement is missing."""
    met: bool | None


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[str, ...]
    """Markdown, without the title."""
    judged: tuple[Judged, ...] = ()


TITLES = {
    "floor": "floor",
    "ours": "Threadkeeper",
    "sqlalchemy": "Chainlit's SQLAlchemy layer",
    "asyncpg": "Chainlit's asyncpg layer",
}
